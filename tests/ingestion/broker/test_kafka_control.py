"""Plan and apply on real clusters, one of them with users and ACLs."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, KafkaError, Producer

from ingestion.broker import Record, open_broker
from ingestion.broker.kafka.connection import KafkaOptions
from ingestion.cli import cli
from ingestion.errors import BrokerUnavailable, ConfigurationError, HeadraceError
from ingestion.tables import all_tables
from tests.ingestion.broker.cluster import Operator, operating
from tests.services.fixtures import USERS
from tests.services.kafka import ADMIN, ADMIN_PASSWORD, Kafka

TOPICS = [table.topic for table in all_tables()]
VIEWS, ORDERS = "events.product_viewed", "events.order_completed"
ONE_BROKER = "[defaults]\nreplication = 1\nmin_insync_replicas = 1\npartitions = 1\n"
Headrace: TypeAlias = Callable[..., Result]


@pytest.fixture
def declaration(tmp_path: Path) -> Path:
    file = tmp_path / "topics.toml"
    file.write_text(ONE_BROKER)
    return file


@pytest.fixture
def operator(kafka: Kafka) -> Iterator[Operator]:
    with operating(kafka) as operator:
        operator.delete(*TOPICS)
        yield operator
        operator.delete(*TOPICS)


@pytest.fixture
def topics(kafka: Kafka, operator: Operator, declaration: Path, monkeypatch: pytest.MonkeyPatch) -> Headrace:
    """`headrace topics …` on the open broker, with the declaration."""
    monkeypatch.setenv("HEADRACE_BROKER", f"kafka://{kafka.bootstrap_servers}")
    monkeypatch.setenv("HEADRACE_TOPICS", str(declaration))
    return lambda *command: CliRunner().invoke(cli, ["topics", *command])


def test_apply_creates_what_is_declared_and_again_does_nothing(topics: Headrace, kafka: Kafka) -> None:
    planned = topics("plan")
    assert f"+ {VIEWS}: 1 partitions, 1 replicas" in planned.output and planned.exit_code == 0
    assert "message.timestamp.type=LogAppendTime" in planned.output
    applied = topics("apply")
    assert (applied.exit_code, applied.output) == (0, planned.output)
    assert topics("plan").output == "The cluster is as declared.\n"
    assert topics("apply").output == "The cluster is as declared.\n"
    with closing(open_broker(f"kafka://{kafka.bootstrap_servers}")) as broker:
        broker.ensure_topics(TOPICS)


def test_apply_changes_what_differs(topics: Headrace, declaration: Path, operator: Operator) -> None:
    topics("apply")
    declaration.write_text(f'{ONE_BROKER}[topics."{ORDERS}"]\npartitions = 3\nretention_hours = 24\n')
    applied = topics("apply")
    assert f"~ {ORDERS}: partitions 1 -> 3\n" in applied.output
    assert f"~ {ORDERS}: retention.ms 604800000 -> 86400000\n" in applied.output
    [described] = operator.admin.describe_topics([ORDERS])
    assert len(described["partitions"]) == 3
    assert topics("plan").output == "The cluster is as declared.\n"


def test_a_refusal_names_its_reason_and_nothing_is_changed(
    topics: Headrace, declaration: Path, operator: Operator
) -> None:
    operator.create(ORDERS, partitions=4)
    planned = topics("plan")
    assert planned.exit_code == 1 and f"! {ORDERS} has 4 partitions, 1 are declared" in planned.output
    applied = topics("apply")
    assert isinstance(applied.exception, ConfigurationError) and "nothing was changed" in str(applied.exception)
    assert set(operator.admin.list_topics()) & set(TOPICS) == {ORDERS}


def test_a_log_that_makes_its_own_topics_needs_no_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    result = CliRunner().invoke(cli, ["topics", "plan"])
    assert isinstance(result.exception, ConfigurationError) and "makes its topics by itself" in str(result.exception)


@pytest.mark.parametrize(
    ("configs", "said"),
    [
        ({"message.timestamp.type": "CreateTime"}, "message.timestamp.type=CreateTime"),
        ({"message.timestamp.type": "LogAppendTime", "unclean.leader.election.enable": "true"}, "unclean"),
        ({"message.timestamp.type": "LogAppendTime", "cleanup.policy": "compact"}, "cleanup.policy=compact"),
    ],
)
def test_unsafe_topics_are_refused_at_start_unless_warnings_do(
    kafka: Kafka, operator: Operator, configs: dict[str, str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = f"events.unsafe_{len(said)}"  # no name that is used again: Kafka 4.3.1 brings settings of the dead back
    operator.create(topic, configs=configs)
    url = f"kafka://{kafka.bootstrap_servers}"
    with closing(open_broker(url)) as broker, pytest.raises(ConfigurationError, match=said):
        broker.ensure_topics([topic])
    with closing(open_broker(url, kafka=KafkaOptions(allow_unsafe=True))) as broker:
        broker.ensure_topics([topic])
    assert said in caplog.text
    operator.delete(topic)


@pytest.fixture
def guarded(kafka_with_users: Kafka, declaration: Path, monkeypatch: pytest.MonkeyPatch) -> Headrace:
    """The same on a cluster with users, as its super user."""
    declaration.write_text(
        'writers = ["User:collector"]\nreaders = ["User:lander"]\n'
        f'{ONE_BROKER}[topics."{ORDERS}"]\nsubscribers = ["User:stranger"]\n'
    )
    monkeypatch.setenv("HEADRACE_BROKER", f"kafka://{kafka_with_users.bootstrap_servers}")
    monkeypatch.setenv("HEADRACE_TOPICS", str(declaration))
    monkeypatch.setenv("HEADRACE_KAFKA_MECHANISM", "SCRAM-SHA-256")
    monkeypatch.setenv("HEADRACE_KAFKA_USER", ADMIN)
    monkeypatch.setenv("HEADRACE_KAFKA_PASSWORD", ADMIN_PASSWORD)
    return lambda *command: CliRunner().invoke(cli, ["topics", *command])


def as_user(kafka: Kafka, user: str) -> KafkaOptions:
    return KafkaOptions("SCRAM-SHA-256", user, USERS[user], delivery_timeout_ms=2_000)


def first_of(kafka: Kafka, user: str, group: str, topic: str) -> object:
    """What a consumer of any make gets first: a record's value, or the code of an error."""
    consumer = Consumer({**kafka.librdkafka(user), "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    try:
        message = consumer.poll(20)
        assert message is not None, f"{user} heard nothing from {topic}"
        error = message.error()
        return message.value() if error is None else error.code()
    finally:
        consumer.close()


def test_who_is_declared_may_do_what_is_declared_and_nobody_else(guarded: Headrace, kafka_with_users: Kafka) -> None:
    kafka = kafka_with_users
    url = f"kafka://{kafka.bootstrap_servers}"
    assert "+ User:stranger may READ topic events.order_completed\n" in guarded("apply").output
    deadline = time.monotonic() + 10
    while (planned := guarded("plan").output) != "The cluster is as declared.\n":
        assert time.monotonic() < deadline, planned
    with closing(open_broker(url, kafka=as_user(kafka, "collector"))) as collector:
        collector.ensure_topics(TOPICS)
        collector.publish([Record(ORDERS, b"key", b"order"), Record(VIEWS, b"key", b"view")])
    with closing(open_broker(url, kafka=as_user(kafka, "lander"))) as lander:
        lander.ensure_topics(TOPICS)
        topic = lander.topic(ORDERS)
        assert list(lander.read(ORDERS, 0, 0, 10, 1_000).values) == [b"order"]
        while not lander.share("lander", [ORDERS])[ORDERS]:
            assert time.monotonic() < deadline + 20
        lander.commit("lander", topic, {0: 1})
        assert lander.positions("lander", topic) == {0: 1}
        with pytest.raises(HeadraceError):
            lander.publish([Record(ORDERS, b"key", b"forged")])
    assert first_of(kafka, "stranger", "stranger-1", ORDERS) == b"order"
    assert first_of(kafka, "stranger", "lander", ORDERS) == KafkaError.GROUP_AUTHORIZATION_FAILED
    assert first_of(kafka, "stranger", "stranger-1", VIEWS) == KafkaError.TOPIC_AUTHORIZATION_FAILED


def with_certificate(kafka: Kafka, name: str) -> KafkaOptions:
    file = str(kafka.authority.sign(name))
    return KafkaOptions(
        ca_file=str(kafka.authority.certificate), certificate_file=file, key_file=file, delivery_timeout_ms=2_000
    )


def test_a_certificate_logs_in_as_the_user_whose_name_it_carries(guarded: Headrace, kafka_with_users: Kafka) -> None:
    kafka = kafka_with_users
    guarded("apply")
    url = f"kafka://{kafka.tls_bootstrap_servers}"
    with closing(open_broker(url, kafka=with_certificate(kafka, "collector"))) as collector:
        collector.ensure_topics(TOPICS)
        collector.publish([Record(VIEWS, b"key", b"by certificate")])
    with closing(open_broker(url, kafka=with_certificate(kafka, "lander"))) as lander:
        assert b"by certificate" in lander.read(VIEWS, 0, 0, 100, 1 << 20).values
        with pytest.raises(HeadraceError):
            lander.publish([Record(VIEWS, b"key", b"forged")])
    trusting = KafkaOptions(ca_file=str(kafka.authority.certificate))
    with closing(open_broker(url, kafka=trusting)) as nobody, pytest.raises(BrokerUnavailable):
        nobody.topic(VIEWS)


def test_topics_are_planned_with_a_certificate_too(
    guarded: Headrace, kafka_with_users: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded("apply")
    file = str(kafka_with_users.authority.sign(ADMIN))
    monkeypatch.setenv("HEADRACE_BROKER", f"kafka://{kafka_with_users.tls_bootstrap_servers}")
    monkeypatch.setenv("HEADRACE_KAFKA_MECHANISM", "")
    monkeypatch.setenv("HEADRACE_KAFKA_CA_FILE", str(kafka_with_users.authority.certificate))
    monkeypatch.setenv("HEADRACE_KAFKA_CERTIFICATE_FILE", file)
    monkeypatch.setenv("HEADRACE_KAFKA_KEY_FILE", file)
    assert guarded("plan").output == "The cluster is as declared.\n"


def test_a_subscriber_that_is_taken_off_the_list_is_refused(
    guarded: Headrace, declaration: Path, kafka_with_users: Kafka
) -> None:
    guarded("apply")
    declaration.write_text(declaration.read_text().replace('["User:stranger"]', "[]"))
    assert "- User:stranger may READ topic events.order_completed\n" in guarded("apply").output
    deadline = time.monotonic() + 20
    while first_of(kafka_with_users, "stranger", "stranger-2", ORDERS) != KafkaError.TOPIC_AUTHORIZATION_FAILED:
        assert time.monotonic() < deadline


def test_a_user_without_rights_is_told_and_never_waits_for_ever(guarded: Headrace, kafka_with_users: Kafka) -> None:
    guarded("apply")
    url = f"kafka://{kafka_with_users.bootstrap_servers}"
    with closing(open_broker(url, kafka=as_user(kafka_with_users, "stranger"))) as stranger:
        with pytest.raises(HeadraceError):
            stranger.ensure_topics(TOPICS)
        with pytest.raises(HeadraceError):
            stranger.read(VIEWS, 0, 0, 10, 1_000)
        for _ in range(3):  # librdkafka calls this fatal; every attempt has to fail, and none may hang
            with pytest.raises(HeadraceError):
                stranger.publish([Record(ORDERS, b"key", b"forged")])
    wrong = KafkaOptions("SCRAM-SHA-256", "lander", "guessed", delivery_timeout_ms=1_000)
    with closing(open_broker(url, kafka=wrong)) as intruder, pytest.raises(BrokerUnavailable):
        intruder.topic(VIEWS)
    producer = Producer(kafka_with_users.librdkafka())
    producer.produce(ORDERS, b"still there", partition=0)
    assert producer.flush(10) == 0
    with closing(open_broker(url, kafka=as_user(kafka_with_users, "lander"))) as lander:
        assert b"forged" not in lander.read(ORDERS, 0, 0, 100, 1 << 20).values
