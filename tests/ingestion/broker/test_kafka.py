"""The adapter of Kafka, on a real broker."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from random import Random
from typing import TypeVar

import pytest
from confluent_kafka import Producer

from ingestion.broker import Broker, Record, open_broker
from ingestion.broker.kafka import fetcher, member
from ingestion.broker.kafka.broker import KafkaBroker
from ingestion.broker.kafka.connection import Connection, KafkaOptions
from ingestion.errors import BrokerUnavailable, ConfigurationError, PermanentError
from tests.ingestion.broker.cluster import Operator, operating
from tests.ingestion.broker.contract import (
    GROUP,
    OTHER,
    PLENTY,
    TOPIC,
    BrokerContract,
    Log,
    read_all,
    records,
    shares,
    values,
)
from tests.services.kafka import Kafka

CREATED, MANY = "events.new", "events.many"
Found = TypeVar("Found")


def open_kafka(servers: str, **options: object) -> KafkaBroker:
    return KafkaBroker(Connection(servers, KafkaOptions(**options)))  # type: ignore[arg-type]


def wait_for(ask: Callable[[], Found], is_right: Callable[[Found], bool], seconds: float = 20.0) -> Found:
    """What `ask` finds once that is right."""
    deadline = time.monotonic() + seconds
    while not is_right(found := ask()):
        assert time.monotonic() < deadline, f"still {found}"
        time.sleep(0.02)
    return found


def is_published(broker: KafkaBroker, some: Sequence[Record]) -> bool:
    try:
        broker.publish(some)
    except BrokerUnavailable:
        return False
    return True


@pytest.fixture(scope="module")
def operator(kafka: Kafka) -> Iterator[Operator]:
    with operating(kafka) as operator:
        yield operator


@pytest.fixture
def topics(operator: Operator) -> Iterator[None]:
    operator.delete(TOPIC, OTHER, CREATED)
    operator.create(TOPIC, OTHER)
    yield
    operator.delete(TOPIC, OTHER, CREATED)


@pytest.fixture
def broker(kafka: Kafka, topics: None) -> Iterator[KafkaBroker]:
    broker = open_kafka(kafka.bootstrap_servers, create_topics=True)
    yield broker
    broker.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that are silent are replaced in seconds: as many as the broker of the tests permits."""
    hasty = {"session.timeout.ms": 3_000, "max.poll.interval.ms": 3_000, "heartbeat.interval.ms": 300}
    monkeypatch.setattr(member, "CONFIGURATION", {**member.CONFIGURATION, **hasty})


class TestKafkaBroker(BrokerContract):
    @pytest.fixture
    def log(self, broker: KafkaBroker, kafka: Kafka, operator: Operator, impatient: None) -> Iterator[Log]:
        another = partial(open_kafka, kafka.bootstrap_servers)
        silent: list[Broker] = []
        yield Log(broker, another, operator.recreate, operator.truncate, another, die=silent.append)
        for dead in silent:
            dead.close()


def test_the_url_names_the_servers(kafka: Kafka, topics: None) -> None:
    broker = open_broker(f"kafka://{kafka.bootstrap_servers}")
    assert broker.topic(TOPIC).partitions == (0, 1)
    broker.close()


def test_the_identity_of_a_topic_is_spelled_as_other_tools_do(broker: KafkaBroker, operator: Operator) -> None:
    [described] = operator.admin.describe_topics([TOPIC])
    assert broker.topic(TOPIC).id == described["topic_id"]


def test_topics_that_are_missing_are_named_with_the_command_that_creates_them(kafka: Kafka, topics: None) -> None:
    broker = open_kafka(kafka.bootstrap_servers)
    with pytest.raises(ConfigurationError, match=r"events\.a, events\.b; run `headrace topics apply`"):
        broker.ensure_topics(["events.a", TOPIC, "events.b"])
    broker.close()


def test_append_times_are_the_brokers(broker: KafkaBroker) -> None:
    before = time.time() * 1_000_000 - 1_000
    broker.publish(records(20))
    times = [at for chunk in read_all(broker).values() for at in chunk.timestamps]
    assert len(times) == 20 and all(before <= at <= time.time() * 1_000_000 for at in times)


def test_records_of_foreign_producers_are_read_whatever_they_lack(broker: KafkaBroker, kafka: Kafka) -> None:
    producer = Producer(kafka.librdkafka())
    producer.produce(TOPIC, None, None, partition=0)
    producer.produce(TOPIC, b"value", None, partition=0, headers=[("name", b"\xff"), ("none", None)])
    producer.produce(TOPIC, b"", b"key", partition=0)
    assert producer.flush(10) == 0
    chunk = broker.read(TOPIC, 0, 0, *PLENTY)
    assert (list(chunk.offsets), list(chunk.values)) == ([0, 1, 2], [b"", b"value", b""])


@pytest.mark.parametrize("end", ["commit_transaction", "abort_transaction"])
def test_the_position_goes_over_what_a_transaction_leaves_in_the_log(
    broker: KafkaBroker, kafka: Kafka, end: str
) -> None:
    producer = Producer({**kafka.librdkafka(), "transactional.id": f"foreign-{end}"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(TOPIC, b"in a transaction", partition=0)
    producer.flush(10)
    open_end = broker.bounds(TOPIC)[0].end
    assert (open_end, broker.read(TOPIC, 0, 0, *PLENTY).next_offset) == (0, 0), "nothing is decided yet"
    getattr(producer, end)(10)
    held = wait_for(lambda: broker.bounds(TOPIC)[0], lambda held: held.end == 2)
    chunk = broker.read(TOPIC, 0, 0, *PLENTY)
    if not chunk.offsets:
        assert chunk.next_offset == held.end
    else:
        assert list(chunk.values) == [b"in a transaction"] and end == "commit_transaction"
        assert broker.read(TOPIC, 0, chunk.next_offset, *PLENTY).next_offset == held.end


def test_reading_on_at_the_end_asks_the_cluster_nothing_and_waits_for_nothing(broker: KafkaBroker) -> None:
    broker.publish(records(10))
    ends = {partition: chunk.next_offset for partition, chunk in read_all(broker).items()}
    for partition, end in ends.items():
        broker.read(TOPIC, partition, end, *PLENTY)
    begun = time.monotonic()
    for _ in range(50):
        for partition, end in ends.items():
            assert broker.read(TOPIC, partition, end, *PLENTY).next_offset == end
    assert time.monotonic() - begun < 1.0


def test_readers_that_are_near_each_other_share_what_was_fetched(
    broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The views of a listener read the same topics, each from its own position."""
    broker.publish([Record(TOPIC, b"key", b"%d" % n) for n in range(200)])
    (partition,) = [p for p, held in broker.bounds(TOPIC).items() if held.end]
    broker.read(TOPIC, partition, 0, 100, 1 << 20)
    monkeypatch.setattr(broker, "topic", None)  # nothing more is asked of the cluster
    for offset in (50, 100, 30, 150, 0, 120):
        chunk = broker.read(TOPIC, partition, offset, 50, 1 << 20)
        assert list(chunk.offsets) == list(range(offset, offset + 50)) == [int(value) for value in chunk.values]


def test_what_others_append_is_fetched_ahead(broker: KafkaBroker, kafka: Kafka) -> None:
    assert broker.read(TOPIC, 0, 0, *PLENTY).next_offset == 0
    other = open_kafka(kafka.bootstrap_servers)
    other.publish([Record(TOPIC, b"%d" % n, b"%d" % n) for n in range(10)])
    other.close()
    wait_for(lambda: broker.read(TOPIC, 0, 0, 1, 1), lambda chunk: chunk.next_offset == 1)


def test_wherever_readers_jump_to_they_find_what_is_there(
    broker: KafkaBroker, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions at random, with queues so small that fetching stops and goes on all the time."""
    monkeypatch.setattr(fetcher, "AHEAD_BYTES", 1)
    operator.create(MANY, partitions=5)
    random, number = Random(7), 6_000
    broker.publish([Record(MANY, b"%d" % n, b"%d" % n + b"x" * 400) for n in range(number)])
    ends = {partition: held.end for partition, held in broker.bounds(MANY).items()}
    held = {partition: broker.read(MANY, partition, 0, *PLENTY).values for partition in ends}
    assert sorted(value for values in held.values() for value in values) == sorted(
        b"%d" % n + b"x" * 400 for n in range(number)
    )
    positions = dict.fromkeys(ends, 0)
    for _ in range(150):
        partition = random.choice(list(ends))
        if random.random() < 0.2 or positions[partition] == ends[partition]:
            positions[partition] = random.randrange(ends[partition] + 1)
        start, records, size = positions[partition], random.choice([1, 7, 500]), random.choice([1, 5_000, 1 << 20])
        chunk = broker.read(MANY, partition, start, records, size)
        positions[partition] = chunk.next_offset
        assert list(chunk.offsets) == list(range(start, chunk.next_offset))
        assert list(chunk.values) == list(held[partition][start : chunk.next_offset])
        assert len(chunk.values) <= records and (chunk.values or start == ends[partition])
    operator.delete(MANY)


def test_what_was_fetched_ahead_is_dropped_with_its_topic(broker: KafkaBroker, operator: Operator) -> None:
    before = broker.topic(TOPIC)
    broker.publish([Record(TOPIC, b"key", b"old %d" % n) for n in range(100)])
    (partition,) = [p for p, held in broker.bounds(TOPIC).items() if held.end]
    assert broker.read(TOPIC, partition, 0, 10, 1 << 20).next_offset == 10  # the other ninety are here already
    operator.recreate(TOPIC)
    assert broker.topic(TOPIC).id != before.id
    broker.publish([Record(TOPIC, b"key", b"new %d" % n) for n in range(100)])
    assert list(broker.read(TOPIC, partition, 10, 3, 1 << 20).values) == [b"new 10", b"new 11", b"new 12"]


def test_partitions_that_were_added_are_read_and_written(broker: KafkaBroker, kafka: Kafka, operator: Operator) -> None:
    broker.publish(records(10))
    read_all(broker)
    operator.admin.create_partitions({TOPIC: 4})
    wait_for(lambda: broker.topic(TOPIC).partitions, lambda partitions: partitions == (0, 1, 2, 3))
    producer = open_kafka(kafka.bootstrap_servers)
    producer.publish([Record(TOPIC, b"%d" % n, b"%d" % n) for n in range(100)])
    producer.close()
    found = read_all(broker)
    assert set(found) == {0, 1, 2, 3} and sum(len(chunk.values) for chunk in found.values()) == 110
    assert found[3].values
    again = {p: broker.read(TOPIC, p, chunk.next_offset, *PLENTY).next_offset for p, chunk in found.items()}
    assert again == {p: chunk.next_offset for p, chunk in found.items()}


def test_positions_are_noted_while_the_group_has_members_and_after(kafka: Kafka, broker: KafkaBroker) -> None:
    topic = broker.topic(TOPIC)
    shares(broker)
    broker.commit(GROUP, topic, {0: 3})
    other = open_kafka(kafka.bootstrap_servers)
    shares(broker, other)
    other.commit(GROUP, topic, {1: 4})
    assert broker.positions(GROUP, topic) == {0: 3, 1: 4}
    with (
        closing(open_kafka(kafka.bootstrap_servers)) as outside,
        pytest.raises(BrokerUnavailable, match="group lander"),
    ):
        outside.commit(GROUP, topic, {0: 9})
    other.close()
    broker.commit(GROUP, topic, {0: 5})
    assert broker.positions(GROUP, topic) == {0: 5, 1: 4}


def test_a_group_that_was_deleted_is_made_anew(kafka: Kafka, operator: Operator, broker: KafkaBroker) -> None:
    topic = broker.topic(TOPIC)
    broker.commit("short-lived", topic, {0: 3})
    operator.admin.delete_groups(["short-lived"])
    wait_for(lambda: broker.positions("short-lived", topic), lambda positions: positions == {})
    broker.commit("short-lived", topic, {1: 4})
    assert broker.positions("short-lived", topic) == {1: 4}


def test_threads_that_publish_at_once_hear_of_their_own_records(broker: KafkaBroker) -> None:
    def publish(writer: int) -> None:
        for batch in range(20):
            broker.publish([Record(TOPIC, b"%d" % n, b"%d/%d/%d" % (writer, batch, n)) for n in range(25)])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(publish, range(4)))
    assert values(broker) == sorted(b"%d/%d/%d" % (w, b, n) for w in range(4) for b in range(20) for n in range(25))


def test_a_record_that_is_too_large_is_refused_for_good(broker: KafkaBroker) -> None:
    with pytest.raises(PermanentError, match="2000000 bytes is larger than Kafka takes"):
        broker.publish([Record(TOPIC, b"key", b"x" * 2_000_000)])
    broker.publish(records(3))
    assert len(values(broker)) == 3


def test_a_broker_that_is_down_leaves_records_unknown_in_bounded_time(kafka: Kafka, topics: None) -> None:
    broker = open_kafka(kafka.bootstrap_servers, delivery_timeout_ms=1_000)
    broker.publish(records(5))
    with kafka.broker.down():
        begun = time.monotonic()
        with pytest.raises(BrokerUnavailable, match=r"has not confirmed \d+ of 7 records"):
            broker.publish(records(7))
        assert time.monotonic() - begun < 4.0
        with pytest.raises(BrokerUnavailable):
            broker.read(TOPIC, 0, 0, *PLENTY)
    wait_for(lambda: is_published(broker, records(3)), lambda published: published)
    assert set(values(broker)) == {record.value for record in records(7)} or len(values(broker)) >= 8
    broker.close()


def test_after_a_fatal_error_every_publish_fails_until_another_producer_is_there(broker: KafkaBroker) -> None:
    """What librdkafka calls fatal makes a producer refuse for ever; here the next publish builds another one."""
    broker.publish(records(2))
    link = broker._producer._link
    assert link is not None
    link.fatal = "made up by the test"
    broker.publish(records(3))
    assert broker._producer._link is not link and len(values(broker)) == 5
