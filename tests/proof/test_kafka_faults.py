"""Faults of a real Kafka cluster: every record is in the lake once, positions join, and what was lost is named."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx
import msgspec
import pytest

from ingestion.audit import BALANCED
from ingestion.broker import Record
from ingestion.broker.kafka.broker import KafkaBroker
from ingestion.broker.kafka.connection import Connection
from ingestion.errors import TransientError
from ingestion.lake import Lake
from ingestion.lander import GROUP, Landed, Lander, Rotation
from ingestion.listener import Heard, Listener
from ingestion.sender import Attempt
from ingestion.steps import run
from ingestion.tables import all_tables, event_table
from ingestion.views.facts import Lookups
from ingestion.views.registry import fact_view
from ingestion.views.sqlite import SQLiteViews
from ingestion.warehouse.duckdb import DuckDBWarehouse
from tests.ingestion.broker.cluster import APPENDED, Operator, operating
from tests.platform import NOON, Platform, steps_until
from tests.proof import checker
from tests.proof.deployment import Deployment
from tests.proof.kafka_log import read_kafka
from tests.proof.test_interleavings import quietly
from tests.proof.test_kills import events, paced
from tests.services.kafka import Kafka

TOPICS = [table.topic for table in all_tables()]
VIEWS = event_table("product_viewed")
DOWN_SECONDS = 60.0 if os.environ.get("HEADRACE_LONG") else 8.0
ANSWER_SECONDS = 4.0


class KafkaPlatform(Platform):
    """The platform of one table on a Kafka cluster; `owed` has what topics held that are gone."""

    def __init__(self, path: Path, kafka: Kafka, operator: Operator) -> None:
        self.path, self.tables, self.now = path, [VIEWS], NOON
        self.kafka, self.operator = kafka, operator
        self.broker = KafkaBroker(Connection(kafka.bootstrap_servers))  # type: ignore[assignment]
        self.lake = Lake(f"file://{path}/lake")
        self.warehouse = DuckDBWarehouse(path / "warehouse.duckdb", wait=0.5)
        self._numbers = itertools.count()
        self.owed: dict[checker.Place, bytes] = {}
        self.dead: set[str] = set()

    def whole_lander(self, stack: ExitStack) -> Lander:
        """A lander of every partition, with a connection of its own."""
        broker = stack.enter_context(closing(KafkaBroker(Connection(self.kafka.bootstrap_servers))))
        return Lander(broker, self.lake, self.tables, Rotation(), clock=lambda: 0.0, whole=True)

    def land_all(self, lander: Lander) -> None:
        """Rounds until nothing is left."""
        while run(lander.round(flush=True), lambda point: None).read:
            pass

    def recreate(self) -> None:
        """Another topic takes the name; what the old one held stays owed as far as it was begun."""
        self.owed |= read_kafka(self.kafka)
        self.dead.add(self.broker.topic(VIEWS.topic).id)
        self.operator.recreate(VIEWS.topic)

    def judge(self, destroyed: set[checker.Place] | None = None) -> list[str]:
        """The checker's violations after everything was loaded."""
        self.load()
        appended = self.owed | read_kafka(self.kafka)
        file = self.path / "warehouse.duckdb"
        rows, unread = checker.read_raw(file), checker.read_unread(file)
        return [
            *checker.judge_places(appended, rows, unread, destroyed or set(), self.dead),
            *checker.judge_contents(appended, rows),
        ]


@pytest.fixture
def operator(kafka: Kafka) -> Iterator[Operator]:
    with operating(kafka) as operator:
        operator.delete(*TOPICS)
        yield operator
        operator.delete(*TOPICS)


@pytest.fixture
def platform(tmp_path: Path, kafka: Kafka, operator: Operator) -> Iterator[KafkaPlatform]:
    operator.create(VIEWS.topic)
    with closing(KafkaPlatform(tmp_path, kafka, operator)) as platform:
        yield platform


@pytest.fixture
def lander(platform: KafkaPlatform) -> Iterator[Lander]:
    with ExitStack() as stack:
        yield platform.whole_lander(stack)


@pytest.mark.parametrize("point", ["lander.read", "lander.positioned", "lander.encoded", "lander.committed"])
def test_of_a_topic_recreated_under_a_lander_no_record_is_passed_over(
    platform: KafkaPlatform, lander: Lander, point: str
) -> None:
    """Every client goes on at the old offset in the new topic, and silently."""
    platform.publish("product_viewed", 100)
    platform.land_all(lander)
    platform.publish("product_viewed", 40)
    paused = lander.round(flush=True)
    steps_until(paused, point)
    platform.recreate()
    platform.publish("product_viewed", 300)
    for _ in paused:
        pass
    platform.land_all(lander)
    assert platform.judge() == []
    assert platform.audit().status == BALANCED


def test_a_lander_that_slept_while_its_topic_was_recreated_takes_nothing_of_the_new_one_for_the_old(
    platform: KafkaPlatform, lander: Lander
) -> None:
    platform.publish("product_viewed", 100)
    assert run(lander.round(), lambda point: None).read == 100, "read, and not landed yet"
    platform.recreate()
    platform.publish("product_viewed", 300)
    assert all(end > 60 for end in platform.operator.ends(VIEWS.topic).values()), "so that its offsets exist again"
    time.sleep(1.0)  # in which what is fetched ahead would come from the new one
    run(lander.round(flush=True), lambda point: None)
    platform.land_all(lander)
    assert platform.judge() == []
    assert len(checker.read_raw(platform.path / "warehouse.duckdb")) == 300


def test_what_retention_took_from_a_stopped_lander_is_named(platform: KafkaPlatform, lander: Lander) -> None:
    platform.publish("product_viewed", 50)
    with ExitStack() as stack:
        platform.land_all(platform.whole_lander(stack))
    platform.publish("product_viewed", 100)
    platform.owed = read_kafka(platform.kafka)
    starts = {partition: end - 7 - partition for partition, end in platform.operator.ends(VIEWS.topic).items()}
    for partition, before in starts.items():
        platform.operator.truncate(VIEWS.topic, partition, before)
    landed = run(lander.round(flush=True), lambda point: None)
    assert landed.rows == 7 + 8 and f"retention took {landed.unread} records" in landed.problems[0]
    platform.land_all(lander)
    assert platform.judge({place for place in platform.owed if place.offset < starts[place.partition]}) == []
    assert platform.audit().unread == landed.unread == 100 - 15


def test_partitions_that_are_added_are_landed_from_their_beginning(platform: KafkaPlatform, lander: Lander) -> None:
    platform.publish("product_viewed", 60)
    platform.land_all(lander)
    platform.operator.admin.create_partitions({VIEWS.topic: 5})
    with closing(KafkaBroker(Connection(platform.kafka.bootstrap_servers))) as producer:  # knows all five
        platform.broker, before = producer, platform.broker  # type: ignore[assignment]
        platform.publish("product_viewed", 100)
        platform.broker = before
    assert all(platform.operator.ends(VIEWS.topic).values())
    deadline = time.monotonic() + 60
    while platform.judge():
        platform.land_all(lander)
        assert time.monotonic() < deadline
    assert platform.audit().status == BALANCED


def test_a_deleted_group_changes_nothing_of_what_lands(platform: KafkaPlatform, lander: Lander) -> None:
    platform.publish("product_viewed", 60)
    platform.land_all(lander)
    assert platform.operator.admin.delete_groups([GROUP])[GROUP] == "OK"
    platform.publish("product_viewed", 60)
    platform.land_all(lander)
    assert platform.judge() == []
    with ExitStack() as stack:
        platform.land_all(platform.whole_lander(stack))
    assert platform.judge() == []


def test_two_landers_of_the_same_partitions_land_everything_once(platform: KafkaPlatform) -> None:
    chance = Random(11)
    with ExitStack() as stack:
        landers = [platform.whole_lander(stack) for _ in range(2)]
        rounds = [landers[0].round(flush=True), landers[1].round(flush=True)]
        for _ in range(60):
            if chance.random() < 0.3:
                platform.publish("product_viewed", 20)
            which = chance.randrange(2)
            if next(rounds[which], None) is None:
                rounds[which] = landers[which].round(flush=True)
        for steps in rounds:
            for _ in steps:
                pass
        platform.land_all(landers[0])
    assert platform.judge() == []


def test_a_lander_goes_on_after_its_broker_was_away(platform: KafkaPlatform, lander: Lander) -> None:
    platform.publish("product_viewed", 50)
    steps = lander.round(flush=True)
    steps_until(steps, "lander.read")
    with platform.kafka.broker.down(), pytest.raises(TransientError):
        for _ in steps:
            pass
    insist(lambda: platform.publish("product_viewed", 50))
    insist(lambda: platform.land_all(lander))
    assert platform.judge() == []


def insist(what: Callable[[], object], seconds: float = 30.0) -> None:
    """Do it again until it succeeds: what failed may be stored all the same."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            what()
        except TransientError:
            assert time.monotonic() < deadline
        else:
            return


def deployed(home: Path, kafka: Kafka, **environment: str) -> Deployment:
    """The processes on a cluster."""
    return Deployment(
        home,
        None,
        partial(read_kafka, kafka),
        HEADRACE_BROKER=f"kafka://{kafka.bootstrap_servers}",
        HEADRACE_KAFKA_CREATE_TOPICS="true",
        HEADRACE_KAFKA_REPLICATION=str(min(3, len(kafka.nodes))),
        **environment,
    )


def audited(deployment: Deployment) -> str:
    """What an audit has to say against it once everything that was accepted had time to arrive."""
    audit = deployment.run("audit", "--wait", "90", "--sent", str(deployment.record))
    return "" if audit.returncode == 0 else audit.stdout + audit.stderr


def test_a_broker_killed_under_load_and_landers_that_are_paused_and_killed_lose_nothing(
    tmp_path: Path, kafka: Kafka, operator: Operator
) -> None:
    with deployed(tmp_path, kafka) as deployment:
        deployment.start("second lander")
        sending = threading.Thread(target=deployment.send, args=(paced(events(3, 1_200), 10.0),))
        sending.start()
        time.sleep(1.5)
        deployment.signal("lander", signal.SIGSTOP)  # a zombie: its partitions go to the other, and it wakes up later
        with kafka.broker.down():
            time.sleep(1.0)
        deployment.signal("second lander", signal.SIGKILL)
        time.sleep(1.0)
        deployment.signal("lander", signal.SIGCONT)
        deployment.signal("collector", signal.SIGKILL)
        sending.join()
        assert deployment.deaths["collector"] and deployment.deaths["second lander"]
        assert audited(deployment) == ""
    assert deployment.judge() == []


def test_a_collector_whose_broker_is_down_says_so_in_time_and_keeps_what_it_accepted(
    tmp_path: Path, kafka: Kafka, operator: Operator
) -> None:
    with deployed(tmp_path, kafka) as deployment, httpx.Client(timeout=30) as client:
        deployment.send(events(1, 200))
        said: list[tuple[int, str | None, float]] = []

        def knock(first: int) -> None:
            deadline = time.monotonic() + DOWN_SECONDS
            for number in itertools.takewhile(lambda _: time.monotonic() < deadline, itertools.count(first, 10)):
                begun = time.monotonic()
                sent = client.post(f"{deployment.url}/v1/events", json=[*events(number, 50)], auth=(deployment.key, ""))
                said.append((sent.status_code, sent.headers.get("Retry-After"), time.monotonic() - begun))

        with kafka.broker.down(), ThreadPoolExecutor(8) as threads:
            ready = client.get(f"{deployment.url}/ready")
            assert (ready.status_code, ready.headers.get("Retry-After")) == (503, "2")
            list(threads.map(knock, range(1_000, 1_008)))
        assert said and {status for status, _, _ in said} == {503}
        assert all(after for _, after, _ in said)
        assert max(seconds for _, _, seconds in said) < ANSWER_SECONDS + 2.0
        assert deployment.resident_bytes("collector") < 400 * 1024 * 1024
        deployment.send(events(2, 200))
        audit = deployment.run("audit", "--wait", "60")
        assert audit.returncode == 0, audit.stdout + audit.stderr
    rows = checker.read_raw(tmp_path / "warehouse.duckdb")
    answers = checker.read_answers(deployment.record.read_text().splitlines())
    assert {event for event, answer in answers.items() if answer.accepted} <= {row.event_id for row in rows}
    assert checker.judge_places(read_kafka(kafka), rows, set(), set(), set()) == []


@pytest.fixture
def operator_of_three(kafka_of_three: Kafka) -> Iterator[Operator]:
    with operating(kafka_of_three) as operator:
        operator.delete(*TOPICS)
        yield operator


def test_a_partition_without_a_leader_holds_up_no_other(
    tmp_path: Path, kafka_of_three: Kafka, operator_of_three: Operator
) -> None:
    kafka, name = kafka_of_three, event_table("order_refunded").topic
    operator_of_three.admin.create_topics(
        {name: {"num_partitions": 3, "replication_factor": 1, "configs": dict(APPENDED)}}, wait_for_metadata=True
    )
    with ExitStack() as stack:
        broker = stack.enter_context(closing(KafkaBroker(Connection(kafka.bootstrap_servers))))
        views = stack.enter_context(closing(SQLiteViews(tmp_path / "views.db", clock=time.time)))
        lake, table = Lake(f"file://{tmp_path}/lake"), event_table("order_refunded")
        lander = Lander(broker, lake, [table], Rotation(), clock=lambda: 0.0, whole=True)
        view = replace(fact_view("user_activity"), event_types=(table.name,))
        listener = Listener(broker, views, [view], Lookups, whole=True)
        broker.publish([Record(name, b"%d" % n, b"{}") for n in range(60)])
        held = {partition: bounds.end for partition, bounds in broker.bounds(name).items()}
        assert all(held.values())
        with kafka.brokers[kafka.leader(name, 0)].down():
            landed, heard = list[Landed](), list[Heard]()
            deadline = time.monotonic() + 60  # the dead one may have led the quorum too
            while not (sum(each.read for each in landed) == sum(each.read for each in heard) == held[1] + held[2]):
                insist(lambda: landed.append(run(lander.round(flush=True), quietly)))
                insist(lambda: heard.append(run(listener.round(), quietly)))
                assert time.monotonic() < deadline, (landed, heard)
            for told in (*(each.problems for each in landed), *(each.problems for each in heard)):
                assert told and all("no leader" in problem or "not answer" in problem for problem in told)
        insist(lambda: run(lander.round(flush=True), quietly))
        insist(lambda: run(listener.round(), quietly))
        assert sum(lake.table(table).snapshot().position(broker.topic(name).id, p) for p in held) == 60
    operator_of_three.delete(name)


def test_of_three_brokers_one_may_die_under_load_and_with_two_dead_nothing_is_accepted_and_nothing_is_lost(
    tmp_path: Path, kafka_of_three: Kafka, operator_of_three: Operator
) -> None:
    kafka = kafka_of_three
    operator_of_three.create(VIEWS.topic, partitions=1, configs={**APPENDED, "min.insync.replicas": "2"})
    with deployed(tmp_path, kafka) as deployment:
        sending = threading.Thread(target=deployment.send, args=(paced(events(5, 900), 12.0),))
        sending.start()
        time.sleep(2.0)
        dead = kafka.leader(VIEWS.topic)
        with kafka.brokers[dead].down():
            sending.join()
            last = deployment.send(events(6, 100))
            assert last.accepted > 90 and last.unknown == 0, "two of three are enough"
            sending = threading.Thread(target=deployment.send, args=(paced(views(7, 200), 12.0),))
            sending.start()
            time.sleep(1.0)
            alive = kafka.leader(VIEWS.topic)  # it goes on leading, and could take what no other disk has
            [other] = kafka.brokers.keys() - {dead, alive}
            with kafka.brokers[other].down(), ThreadPoolExecutor(8) as threads:
                refused = list(threads.map(partial(answered, deployment), views(8, 8)))
                assert {answer.status_code for answer in refused} == {503}, "one of three is not"
                assert all(answer.headers["Retry-After"] for answer in refused)
        sending.join()
        assert audited(deployment) == ""
    assert deployment.judge() == []


def views(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Events of one topic: in one publication with others, its leader would not decide the answer."""
    return itertools.islice((event for event in events(seed, 50 * count) if event["event_type"] == VIEWS.name), count)


def answered(deployment: Deployment, event: dict[str, Any]) -> httpx.Response:
    """The answer to an event that is not sent again; it is written down as one that proves nothing."""
    answer = httpx.post(f"{deployment.url}/v1/events", json=[event], auth=(deployment.key, ""), timeout=30)
    with deployment.record.open("ab") as lines:
        lines.write(msgspec.json.encode(Attempt(event["event_id"], event["event_type"], 1, "unknown")) + b"\n")
    return answer
