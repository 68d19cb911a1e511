"""The proof of landers and loaders on Kafka and S3: the same interleavings, judged by what Kafka shows another client.

S3 fails now and then when it is written to. A process that is killed here gives its share of the partitions back at
once, for its client's threads live on in this one; `test_stack` kills processes.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, takewhile
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from ingestion.broker import Broker, Record
from ingestion.broker.kafka.broker import KafkaBroker
from ingestion.broker.kafka.connection import Connection, KafkaOptions
from ingestion.errors import TransientError
from ingestion.events import topic
from ingestion.lake import Lake
from ingestion.lander import GROUP, Lander, Rotation
from ingestion.loader import reload
from ingestion.steps import Steps, run
from tests.ingestion.broker.cluster import Operator
from tests.ingestion.lake.test_bucket import Connect, bucket_of, connect
from tests.proof.checker import Place
from tests.proof.kafka_log import read_kafka
from tests.proof.test_interleavings import TYPES, Actor, Pipeline, explored, quietly, tables
from tests.proof.test_kafka_faults import operator
from tests.services.fault_proxy import FaultProxy
from tests.services.faults import Fault, Plan, at_random, calm
from tests.services.kafka import Kafka
from tests.services.s3 import S3

__all__ = ["connect", "operator"]

LONG = bool(os.environ.get("HEADRACE_LONG"))
RUNS, STEPS = (40, 50) if LONG else (6, 40)
FAULTS = {Fault.THROTTLE: 0.1, Fault.RESET: 0.1, Fault.LOSE_ANSWER: 0.2}
MOST_ROUNDS = 20
JOINING_SECONDS = 2.5
NUMBERS = count()
Turns = Sequence[tuple[int, int]]
"""Of which process, and how many steps."""
TURNS = st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 12)), min_size=2, max_size=8)
TOPICS = [table.topic for table in tables(False)]
pytestmark = pytest.mark.timeout(3_600 if LONG else 600)


class Patient(Actor):
    """A process that begins again after what passes; with a client of Kafka that is its own."""

    def __init__(
        self, name: str, begin: Callable[[], Steps[Any]], client: Broker | None = None, is_member: bool = False
    ) -> None:
        super().__init__(name, begin)
        self._client, self._is_member = client, is_member

    def ask(self) -> None:
        """Ask for its share, as it does when it goes on."""
        if self._is_member and self._client:
            self._client.share(GROUP, TOPICS)

    def go(self, steps: int) -> None:
        try:
            super().go(steps)
        except TransientError:
            self._work = None

    def finish(self) -> None:
        with suppress(TransientError):
            super().finish()
        self.die()

    def die(self) -> None:
        super().die()
        if self._client:
            self._client.close()


class PipelineOnKafkaAndS3(Pipeline):
    """The pipeline with its log in Kafka and its lake in S3. Kafka's clock is the only one: all lands in this hour."""

    def __init__(self, kafka: Kafka, operator: Operator, bucket: str, proxy: FaultProxy, failing: Plan) -> None:
        self.kafka, self.operator, self.proxy, proxy.plan = kafka, operator, proxy, failing
        operator.delete(*TOPICS)
        operator.create(*TOPICS)  # as set as any of their predecessors, whose settings Kafka may not have forgotten
        super().__init__()
        self.lake = Lake(f"{bucket}/{next(NUMBERS)}")

    def client(self) -> KafkaBroker:  # type: ignore[override]
        """A client of Kafka, that waits for a busy machine."""
        return KafkaBroker(Connection(self.kafka.bootstrap_servers, KafkaOptions(delivery_timeout_ms=30_000)))

    # -- the world: a step costs a hundred of the embedded log's, so more happens in it ------------------------------

    @rule(count=st.integers(1, 30), event_type=st.sampled_from(TYPES), visitor=st.integers(0, 5), turns=TURNS)
    def events_are_sent(self, count: int, event_type: str, visitor: int, turns: Turns = ()) -> None:
        super().events_are_sent(count, event_type, visitor)
        self.time_passes(1.0)
        self.a_process_goes_on(turns)

    @rule(name=st.sampled_from(TYPES), partition=st.integers(0, 1), share=st.floats(0, 1))
    def retention_passes_the_landers(self, name: str, partition: int, share: float) -> None:
        self.remember()
        held = self.broker.bounds(topic(name))[partition]
        before = held.start + round((held.end - held.start) * share)
        topic_id = self.broker.topic(topic(name)).id
        self.destroyed |= {Place(topic_id, partition, offset) for offset in range(held.start, before)}
        self.operator.truncate(topic(name), partition, before)

    @rule()
    def the_log_forgets_what_has_landed(self) -> None:
        self.remember()
        for name in TOPICS:
            for partition, position in self.broker.positions(GROUP, self.broker.topic(name)).items():
                self.operator.truncate(name, partition, max(position, self.broker.bounds(name)[partition].start))

    @rule(name=st.sampled_from(TYPES))
    def a_topic_is_recreated(self, name: str) -> None:
        self.remember()
        self.dead.add(self.broker.topic(topic(name)).id)
        self.operator.recreate(topic(name))

    @rule(name=st.sampled_from(TYPES))
    def the_consumer_group_is_deleted(self, name: str) -> None:
        """Kafka refuses it while the group has members."""
        self.operator.admin.delete_groups([GROUP])

    # -- the processes -----------------------------------------------------------------------------------------------

    @rule(extended=st.booleans(), whole=st.booleans(), seconds=st.sampled_from((0, 60)))
    def a_lander_starts(self, extended: bool, whole: bool, seconds: float = 0) -> None:
        broker, rotation = self.client(), Rotation(rows=20, seconds=seconds)
        lander = Lander(broker, self.lake, self.tables(extended), rotation, lambda: self.seconds, whole)
        self.actors.append(Patient("lander", lander.round, broker, not whole))
        if not whole:
            self.await_a_share(broker)

    def await_a_share(self, broker: Broker) -> None:
        """It comes when every member of the group has asked; one that was killed while joining is waited for longer."""
        members = [actor for actor in self.actors if isinstance(actor, Patient)]
        deadline = time.monotonic() + JOINING_SECONDS
        while not any(broker.share(GROUP, TOPICS).values()) and time.monotonic() < deadline:
            for member in members:
                member.ask()
            time.sleep(0.02)

    @rule(extended=st.booleans())
    def a_loader_starts(self, extended: bool) -> None:
        self.actors.append(Patient("loader", lambda: self._load(self.tables(extended))))

    @rule(hours=st.integers(0, 1), which=st.integers(0, 2))
    def an_hour_is_loaded_again(self, hours: int, which: int) -> None:
        hour = (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%d-%H")
        self.actors.append(
            Patient("reload", lambda: reload(self.lake, self.warehouse, self.tables(False)[which], hour))
        )

    @precondition(lambda self: self.actors)
    @rule(turns=TURNS)
    def a_process_goes_on(self, turns: Turns) -> None:
        """One after the other, each for some steps."""
        for choice, steps in turns:
            if self.actors:
                self.actors[choice % len(self.actors)].go(steps)

    @precondition(lambda self: self.actors)
    @rule(turns=TURNS)
    def another_process_goes_on(self, turns: Turns) -> None:
        self.a_process_goes_on(turns)

    # -- the verdict -------------------------------------------------------------------------------------------------

    def everything_drains(self) -> None:
        """Only at the end: all die, S3 fails no more, and one lander lands all that there is."""
        self.everybody_dies()
        self.remember()
        self.proxy.plan = calm
        with closing(self.client()) as broker:
            lander = Lander(broker, self.lake, self.tables(True), Rotation(seconds=0), lambda: self.seconds, whole=True)
            rounds = takewhile(lambda _: run(lander.round(flush=True), quietly).read, range(MOST_ROUNDS + 1))
            assert len([*rounds]) <= MOST_ROUNDS, "what is read lands"
        run(self._load(self.tables(True)), quietly)
        self._judge()

    def remember(self) -> None:
        """Note what Kafka holds: the next step may take it away."""
        self.appended |= read_kafka(self.kafka)

    def _publish(self, records: Sequence[Record]) -> None:
        self.broker.publish(records)


def test_interleavings_on_kafka_and_s3_lose_and_double_nothing(
    kafka: Kafka, operator: Operator, s3: S3, connect: Connect
) -> None:
    failing = at_random(7, FAULTS, frozenset({"PUT"}))
    with FaultProxy(s3.endpoint) as proxy:
        connect(proxy.endpoint.environment)
        run_state_machine_as_test(
            partial(PipelineOnKafkaAndS3, kafka, operator, bucket_of(s3), proxy, failing),  # type: ignore[arg-type]  # called without arguments
            settings=explored(RUNS, STEPS),
        )
        assert any(proxy.counts[fault] for fault in FAULTS), proxy.counts
