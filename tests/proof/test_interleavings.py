"""Random interleavings of the real lander, loader and reload: stopped at any point, killed, resumed as zombies.

Landers and loaders are generators that stop at every point at which a crash would matter, so the machine decides who
goes on next, and for how many steps. Dropping a generator is kill -9; leaving one alone and going on later is a
process that was paused. Meanwhile events come in, are repeated, do not fit; retention passes; topics are recreated;
new fields appear; hours are loaded again. At the end everything drains, and checker and audit must agree.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ingestion.audit import BALANCED, audit
from ingestion.broker import Broker, Record
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.broker.members import LEASE_US
from ingestion.contracts.native import Limits, Reception, map_body
from ingestion.errors import ReloadRefused, WarehouseBusy
from ingestion.events import topic
from ingestion.lake import Lake
from ingestion.lander import GROUP, Lander, Rotation
from ingestion.loader import load, reload
from ingestion.steps import Steps, run
from ingestion.tables import REJECTED, Column, Table, table_named
from ingestion.warehouse import Warehouse
from ingestion.warehouse.duckdb import DuckDBWarehouse
from tests.proof import checker
from tests.proof.checker import Answers, Place

LONG = bool(os.environ.get("HEADRACE_LONG"))
RUNS, STEPS = (300, 60) if LONG else (30, 50)
PHASES = [Phase.generate] if os.environ.get("HEADRACE_NO_SHRINK") else [Phase.reuse, Phase.generate, Phase.shrink]

pytestmark = pytest.mark.timeout(3_600 if LONG else 300)

TYPES = ("product_viewed", "order_completed")
JUNK = (b"", b"junk", b"\xff\xfe", b"{}", b'{"a":1}{"b":2}', b'{"event_id":', b'"}', b"x" * 70_000)
START = datetime(2026, 11, 1, 10, 50, tzinfo=UTC)


def tables(extended: bool, names: Sequence[str] = (*TYPES, REJECTED)) -> list[Table]:
    """The tables of the run; an `extended` one comes from an event class that has a field more."""
    found = [table_named(name) for name in names]
    if extended:
        new = Column("campaign", ("properties", "campaign"), pa.string(), False, 64, "a field that came later")
        found[0] = replace(found[0], columns=(*found[0].columns, new))
    return found


def explored(runs: int, steps: int) -> settings:
    """How a state machine of the proof is explored."""
    return settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


def quietly(point: str) -> None:
    """Go on, whatever the point."""


class Actor:
    """A process: what it is doing now, and how its next piece of work begins."""

    def __init__(self, name: str, begin: Callable[[], Steps[Any]], broker: EmbeddedBroker | None = None) -> None:
        self.name, self._begin, self._broker = name, begin, broker
        self._work: Steps[Any] | None = None

    def go(self, steps: int) -> None:
        """Go on for so many points, beginning anew where the work is over."""
        for _ in range(steps):
            self._work = self._work or self._begin()
            try:
                next(self._work)
            except (StopIteration, WarehouseBusy, ReloadRefused):
                self._work = None

    def finish(self) -> None:
        """End what it is doing, and begin nothing."""
        with suppress(WarehouseBusy, ReloadRefused):
            for _ in self._work or ():
                pass
        self._work = None
        if self._broker:
            self._broker.close()

    def die(self) -> None:
        """End here and now; what it had of the log stays its own until its lease ends."""
        self._work = None
        if self._broker:
            self._broker._db.close()


class Pipeline(RuleBasedStateMachine):
    """Everything between the collector's mapping and the raw tables."""

    ROTATION = Rotation(rows=20, seconds=60)

    def __init__(self, names: Sequence[str] = (*TYPES, REJECTED)) -> None:
        super().__init__()
        self.names = names
        self.path = Path(tempfile.mkdtemp(prefix="headrace-"))
        self.now, self.seconds = START, 0.0
        self.broker = self.client()
        self.lake = Lake(f"file://{self.path}/lake")
        self.warehouse: Warehouse = DuckDBWarehouse(self.path / "warehouse.duckdb", wait=0)
        self.log(self.broker).ensure_topics([table.topic for table in self.tables(False)])
        self.actors: list[Actor] = []
        self.sent: list[tuple[str, bytes]] = []
        self.answers: dict[str, Answers] = {}
        self.appended: dict[Place, bytes] = {}
        self.destroyed: set[Place] = set()
        self.dead: set[str] = set()

    def client(self) -> EmbeddedBroker:
        """A client of the log, which is a member of its own."""
        return EmbeddedBroker(self.path / "log", partitions=2, clock=lambda: int(self.now.timestamp() * 1e6))

    def log(self, broker: EmbeddedBroker) -> Broker:
        """The log as a process of this pipeline has it."""
        return broker

    def topic(self, name: str) -> str:
        """The topic that holds what is for a table."""
        return topic(name)

    def whose(self, place: Place) -> str | None:
        """Which of the tables that share a topic a record is for."""
        return None

    def tables(self, extended: bool) -> list[Table]:
        """The tables of this pipeline."""
        return tables(extended, self.names)

    # -- the world ---------------------------------------------------------------------------------------------------

    @initialize(whole=st.booleans())
    def two_of_each(self, whole: bool) -> None:
        for _ in range(2):
            self.a_lander_starts(False, whole)
            self.a_loader_starts(False)

    @rule(count=st.integers(1, 6), event_type=st.sampled_from(TYPES), visitor=st.integers(0, 5))
    def events_are_sent(self, count: int, event_type: str, visitor: int) -> None:
        for _ in range(count):
            event_id = f"e{len(self.sent)}"
            properties = {"product_id": "p", "order_id": "o", "campaign": "spring", "price": "1.5"}
            event = {"event_id": event_id, "event_type": event_type, "user_id": f"u{visitor}", "properties": properties}
            self.sent.append((event_id, msgspec.json.encode(event)))
        self._receive(self.sent[-count:])

    @precondition(lambda self: self.sent)
    @rule(choice=st.integers(0, 10_000))
    def an_event_is_repeated(self, choice: int) -> None:
        self._receive([self.sent[choice % len(self.sent)]])

    @rule()
    def a_malformed_event_is_sent(self) -> None:
        event_id = f"bad{len(self.appended)}"
        self._receive([(event_id, msgspec.json.encode({"event_id": event_id, "event_type": "product_viewed"}))])

    @rule(value=st.sampled_from(JUNK), name=st.sampled_from((*TYPES, REJECTED)))
    def another_producer_writes_junk(self, value: bytes, name: str) -> None:
        self._publish([Record(topic(name), str(len(self.appended)).encode(), value)])

    @rule(minutes=st.sampled_from((0.05, 0.5, 7, 61)))
    def time_passes(self, minutes: float) -> None:
        self.now += timedelta(minutes=minutes)
        self.seconds += minutes * 60

    @rule(name=st.sampled_from(TYPES), partition=st.integers(0, 1), share=st.floats(0, 1))
    def retention_passes_the_landers(self, name: str, partition: int, share: float) -> None:
        held = self.broker.bounds(self.topic(name))[partition]
        before = held.start + round((held.end - held.start) * share)
        topic_id = self.broker.topic(self.topic(name)).id
        self.destroyed |= {Place(topic_id, partition, offset) for offset in range(held.start, before)}
        self.broker.truncate(self.topic(name), partition, before)

    @rule()
    def the_log_forgets_what_has_landed(self) -> None:
        self.broker.expire(GROUP, int(self.now.timestamp() * 1e6) + 1)

    @rule(name=st.sampled_from(TYPES))
    def a_topic_is_recreated(self, name: str) -> None:
        self.dead.add(self.broker.topic(self.topic(name)).id)
        self.broker.recreate(self.topic(name))

    @rule(name=st.sampled_from(TYPES))
    def the_consumer_group_is_deleted(self, name: str) -> None:
        self.broker.commit(GROUP, self.broker.topic(self.topic(name)), {0: 0, 1: 0})

    # -- the processes -----------------------------------------------------------------------------------------------

    @rule(extended=st.booleans(), whole=st.booleans())
    def a_lander_starts(self, extended: bool, whole: bool) -> None:
        broker, tables = self.client(), self.tables(extended)
        lander = Lander(self.log(broker), self.lake, tables, self.ROTATION, lambda: self.seconds, whole)
        self.actors.append(Actor("lander", lander.round, broker))

    @rule(extended=st.booleans())
    def a_loader_starts(self, extended: bool) -> None:
        self.actors.append(Actor("loader", lambda: self._load(self.tables(extended))))

    @rule(hours=st.integers(0, 3), which=st.integers(0, 2))
    def an_hour_is_loaded_again(self, hours: int, which: int) -> None:
        hour = (self.now - timedelta(hours=hours)).strftime("%Y-%m-%d-%H")
        self.actors.append(Actor("reload", lambda: reload(self.lake, self.warehouse, self.tables(False)[which], hour)))

    @precondition(lambda self: self.actors)
    @rule(choice=st.integers(0, 10_000), steps=st.integers(1, 12))
    def a_process_goes_on(self, choice: int, steps: int) -> None:
        self.actors[choice % len(self.actors)].go(steps)

    @precondition(lambda self: self.actors)
    @rule(choice=st.integers(0, 10_000), steps=st.integers(1, 12))
    def another_process_goes_on(self, choice: int, steps: int) -> None:
        self.actors[choice % len(self.actors)].go(steps)

    @precondition(lambda self: self.actors)
    @rule(choice=st.integers(0, 10_000))
    def a_process_is_killed(self, choice: int) -> None:
        self.actors.pop(choice % len(self.actors)).die()

    @precondition(lambda self: self.actors)
    @rule(choice=st.integers(0, 10_000))
    def a_process_ends_in_good_order(self, choice: int) -> None:
        self.actors.pop(choice % len(self.actors)).finish()

    # -- the verdict -------------------------------------------------------------------------------------------------

    @rule()
    def everything_drains(self) -> None:
        """All die, and when their leases are over one lander has all that they had."""
        self.everybody_dies()
        self.now += timedelta(microseconds=LEASE_US)
        with closing(self.client()) as broker:
            lander = Lander(self.log(broker), self.lake, self.tables(True), Rotation(seconds=0), lambda: self.seconds)
            for _ in range(3):
                run(lander.round(flush=True), quietly)
        run(self._load(self.tables(True)), quietly)
        self._judge()

    def everybody_dies(self) -> None:
        """Kill every process."""
        while self.actors:
            self.actors.pop().die()

    def teardown(self) -> None:
        try:
            self.everything_drains()
        finally:
            self.everybody_dies()
            self.broker.close()
            shutil.rmtree(self.path)

    def found(self) -> checker.Found:
        """What the warehouse holds."""
        return checker.read_warehouse(self.path / "warehouse.duckdb", self.whose)

    def _judge(self) -> None:
        rows, unread = self.found()
        lost = self.destroyed | {place for place in self.appended if place.topic_id in self.dead}
        excused = frozenset(self._event_id(self.appended[place]) for place in lost if place in self.appended)
        violations = [
            *checker.judge_answers(self.answers, rows, excused),
            *checker.judge_places(self.appended, rows, unread, self.destroyed, self.dead),
            *checker.judge_tables(rows, self.whose),
            *checker.judge_contents(self.appended, rows),
        ]
        assert violations == []
        balance = audit(self.log(self.broker), self.lake, self.warehouse, self.tables(True))
        assert balance.status == BALANCED, balance.findings

    def _load(self, among: Sequence[Table]) -> Steps[None]:
        for table in among:
            yield from load(self.lake, self.warehouse, table)

    def _receive(self, events: Sequence[tuple[str, bytes]]) -> None:
        body = b"[" + b",".join(payload for _, payload in events) + b"]"
        results = map_body(body, Reception("shop", self.now), Limits())
        for (event_id, _), result in zip(events, results, strict=True):
            answer, accepted = self.answers.get(event_id, Answers()), isinstance(result, Record)
            self.answers[event_id] = answer._replace(
                accepted=answer.accepted + accepted, rejected=answer.rejected + (not accepted)
            )
        self._publish(
            [r if isinstance(r, Record) else Record(topic(REJECTED), b"shop", msgspec.json.encode(r)) for r in results]
        )

    def _publish(self, records: Sequence[Record]) -> None:
        self.log(self.broker).publish(records)
        self.appended |= checker.read_log(self.broker.path)

    @staticmethod
    def _event_id(value: bytes) -> str:
        return checker._names(value.decode(errors="replace"))[0] or ""


Pipeline.TestCase.settings = explored(RUNS, STEPS)
TestPipeline = Pipeline.TestCase
