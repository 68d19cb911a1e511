"""Random interleavings of builds and recounts of products, stopped at any point, killed, resumed as zombies.

Meanwhile events come in late, are repeated with other times and received out of order, hours are loaded again, and the
definitions of the models change. In the end the counters are what SQL finds in the lake. A build runs the SQL that dbt
compiles from the models, without dbt: that takes milliseconds.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ingestion.broker import Record
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.contracts.native import Limits, Reception, map_body
from ingestion.events import topic
from ingestion.lake import Lake
from ingestion.lander import Lander, Rotation
from ingestion.loader import load, reload
from ingestion.steps import Steps, run
from ingestion.tables import event_table
from ingestion.views.product_counters import dates_published, recount
from ingestion.views.sqlite import SQLiteViews
from ingestion.warehouse.duckdb import DuckDBWarehouse, connect
from tests.dbt_project.conftest import Shop
from tests.proof.test_interleavings import JUNK, START, Actor, explored, quietly
from tests.proof.view_checker import due_counters, held_counters

LONG = bool(os.environ.get("HEADRACE_LONG"))
RUNS, STEPS = (150, 50) if LONG else (5, 30)
pytestmark = pytest.mark.timeout(7_200 if LONG else 600)

TYPES = ("product_viewed", "product_added", "order_completed")
TABLES = [event_table(name) for name in TYPES]
FAR = timedelta(days=40)


@cache
def built_once() -> tuple[Path, str]:
    """A warehouse whose models dbt has built on nothing, and the SQL of all counted events."""
    path = Path(tempfile.mkdtemp(prefix="headrace-"))
    shop = Shop(path)
    shop.load()
    shop.analytics.build()
    shop.platform.close()
    (compiled,) = (path / "dbt" / "compiled").rglob("stg_events.sql")
    return path / "warehouse.duckdb", compiled.read_text()


class Counters(RuleBasedStateMachine):
    """Log, lake, warehouse and views, and everybody who builds and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="headrace-"))
        self.now, self.readers = START, 0
        self.broker = EmbeddedBroker(self.path / "log", partitions=2, clock=lambda: int(self.now.timestamp() * 1e6))
        self.broker.ensure_topics(map(topic, TYPES))
        self.lake = Lake(f"file://{self.path}/lake")
        template, self.counted_events = built_once()
        shutil.copy(template, self.path / "warehouse.duckdb")
        self.warehouse = DuckDBWarehouse(self.path / "warehouse.duckdb", wait=0)
        self.store = SQLiteViews(self.path / "views.db")
        self.counted: int | None = None
        self.actors: list[Actor] = []
        self.sent: list[dict[str, object]] = []

    # -- the world ---------------------------------------------------------------------------------------------------

    @initialize()
    def some_work(self) -> None:
        self.a_builder_starts(True)
        self.a_counter_starts()
        for hours, name in enumerate(TYPES):
            self.events_are_sent(name, product=hours, late=False, hours=hours)

    @rule(
        name=st.sampled_from(TYPES),
        product=st.integers(0, 2),
        late=st.booleans(),
        hours=st.integers(0, 30),
        loaded=st.booleans(),
    )
    def events_are_sent(
        self, name: str, product: int, late: bool, hours: int = 0, loaded: bool = False, count: int = 2
    ) -> None:
        """Of the last hours; some are late by forty days. An order has a product twice, and another one."""
        at = self.now - timedelta(hours=hours) - (FAR if late else timedelta(0))
        for _ in range(count):
            lines = [{"product_id": f"p{product}"}, {"product_id": f"p{product}"}, {"product_id": "p9"}]
            properties = {"product_id": f"p{product}", "order_id": "o"} | {"products": lines}
            event_id = f"e{len(self.sent)}"
            event: dict[str, object] = {
                "event_id": event_id,
                "event_type": name,
                "user_id": "u",
                "properties": properties,
            }
            self.sent.append(event | {"occurred_at": at.isoformat()})
        self.broker.publish([Record(topic(name), b"junk", JUNK[len(self.sent) % len(JUNK)])])
        self._receive(self.sent[-count:], loaded=loaded)

    @precondition(lambda self: self.sent)
    @rule(
        choice=st.integers(0, 10_000),
        skew=st.sampled_from((0, 61, -61, 1_441)),
        lag=st.integers(0, 2),
        loaded=st.booleans(),
    )
    def events_are_repeated(self, choice: int, skew: int, lag: int, loaded: bool) -> None:
        """Up to four, with another sending time, so that they lie in other hours or dates; some were received before
        those that are there and come only now: then what counted does not count any more."""
        first, before = choice % len(self.sent), timedelta(hours=12 * lag)
        sent_at = {"sent_at": (self.now - before - timedelta(minutes=skew)).isoformat()}
        self._receive([event | sent_at for event in self.sent[first : first + 4]], before, loaded)

    @rule(minutes=st.sampled_from((7, 61, 24 * 60)))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def what_came_is_loaded(self) -> None:
        run(Lander(self.broker, self.lake, TABLES, Rotation(), lambda: 0.0).round(flush=True), quietly)
        for table in TABLES:
            run(load(self.lake, self.warehouse, table), quietly)

    @rule(hours=st.integers(0, 3))
    def an_hour_is_loaded_again(self, hours: int) -> None:
        for table in TABLES:
            run(reload(self.lake, self.warehouse, table, f"{self.now - timedelta(hours=hours):%Y-%m-%d-%H}"), quietly)

    # -- the processes -----------------------------------------------------------------------------------------------

    @rule(everything=st.booleans())
    def a_builder_starts(self, everything: bool) -> None:
        self.actors.append(Actor("builder", lambda: self._build(everything)))

    @rule()
    def the_definitions_change(self) -> None:
        self.warehouse.forget_built()

    @rule()
    def a_counter_starts(self) -> None:
        self.actors.append(Actor("counter", self._count))

    @rule(days=st.sampled_from((0, 1, 40)))
    def a_date_is_counted_again(self, days: int) -> None:
        day = self.now.date() - timedelta(days=days)
        self.actors.append(Actor("counter", lambda: self._count(day)))

    @precondition(lambda self: self.actors)
    @rule(choice=st.integers(0, 10_000), steps=st.integers(1, 8))
    def a_process_goes_on(self, choice: int, steps: int) -> None:
        self.actors[choice % len(self.actors)].go(steps)

    @precondition(lambda self: self.actors)
    @rule(choice=st.integers(0, 10_000), steps=st.integers(1, 8))
    def another_process_goes_on(self, choice: int, steps: int) -> None:
        self.actors[choice % len(self.actors)].go(steps)

    @precondition(lambda self: self.actors)
    @rule(choice=st.integers(0, 10_000), steps=st.integers(0, 4))
    def a_process_is_killed(self, choice: int, steps: int) -> None:
        self.actors.pop(choice % len(self.actors)).go(steps)

    # -- the verdict -------------------------------------------------------------------------------------------------

    @rule()
    def everything_drains(self) -> None:
        """What the sensors ask for is done, until they ask for nothing. Counters that wake up then write what is old,
        which changes nothing; what builders leave is counted."""
        self.what_came_is_loaded()
        self._settle()
        for zombie in self.actors:
            if zombie.name == "counter":
                zombie.finish()
        self._judge()
        for zombie in self.actors:
            zombie.finish()
        self.actors.clear()
        self._settle()

    def teardown(self) -> None:
        try:
            self.everything_drains()
            self._change_the_past()
        finally:
            self.actors.clear()
            self.broker.close()
            self.store.close()
            shutil.rmtree(self.path)

    def _change_the_past(self) -> None:
        """Of every event comes a copy that was received before it and lies in another hour, while a counter sleeps."""
        days = {date.fromisoformat(hour[:10]) for _, hour, *_ in due_counters(self.path / "lake")}
        sleeping = Actor("counter", lambda: self._count(*days))
        sleeping.go(3)
        self.actors.append(sleeping)
        for start in range(0, len(self.sent), 4):
            self.events_are_repeated(start, skew=61, lag=2, loaded=False)
        self.everything_drains()

    def _settle(self) -> None:
        while (staleness := self.warehouse.staleness()).dates or staleness.published > (self.counted or 0):
            run(self._build(True) if staleness.dates else self._count(), quietly)
        self._judge()

    def _judge(self) -> None:
        assert held_counters(self.path / "views.db") == due_counters(self.path / "lake")

    # -- what the processes do, as the assets do it -------------------------------------------------------------------

    def _build(self, everything: bool) -> Steps[None]:
        seen = self.warehouse.staleness()
        dates = [stale.event_date for stale in seen.dates][: None if everything else 1]
        yield "builder.seen"
        if dates:
            self._replace_partitions(dates)
            yield "builder.built"
            self.warehouse.publish(dates)
            yield "builder.published"
            self.warehouse.record_built(dates, seen.load_seq)
        yield "builder.recorded"

    def _replace_partitions(self, dates: Sequence[str]) -> None:
        """As dbt does where these dates were touched: they and those beside them."""
        days = [str(date.fromisoformat(day) + timedelta(days=shift)) for day in dates for shift in (-1, 0, 1)]
        where = "where event_date in (select unnest(?)::date)"
        db = connect(self.path / "warehouse.duckdb", 0)
        db.execute("begin")
        db.execute(f"delete from analytics.stg_events {where}", [days])
        db.execute(f"insert into analytics.stg_events by name from ({self.counted_events}) {where}", [days])
        db.execute("commit")
        db.close()

    def _count(self, *named: date) -> Steps[None]:
        yield "counter.begun"
        if not self.warehouse.copy.exists():
            return
        counted = self.counted
        with self._reader().snapshot() as query:
            dates = sorted({*dates_published(query, counted), *named})
            yield "counter.opened"
            recounted = yield from recount(query, self.store, dates)
        yield "counter.counted"
        self.counted = recounted.version

    def _reader(self) -> DuckDBWarehouse:
        """As another process opens the publication: in one process two openings of a path are one database."""
        self.readers += 1
        folder = self.path / f"reader{self.readers}"
        (folder / "read").mkdir(parents=True)
        os.link(self.warehouse.copy, folder / "read" / self.warehouse.copy.name)
        return DuckDBWarehouse(folder / "warehouse.duckdb")

    def _receive(self, events: list[dict[str, object]], lag: timedelta = timedelta(0), loaded: bool = False) -> None:
        results = map_body(msgspec.json.encode(events), Reception("shop", self.now - lag), Limits())
        self.broker.publish([result for result in results if isinstance(result, Record)])
        if loaded:
            self.what_came_is_loaded()


Counters.TestCase.settings = explored(RUNS, STEPS)
TestCounters = Counters.TestCase


def test_the_checker_sees_a_counter_that_is_missing_one_too_many_and_one_that_differs(tmp_path: Path) -> None:
    """The checker is only worth what it notices."""
    machine = Counters()
    machine.events_are_sent("order_completed", 1, late=False, loaded=True)
    machine.events_are_sent("product_viewed", 0, late=True, loaded=False, count=3)
    machine.everything_drains()
    due = due_counters(machine.path / "lake")
    assert sorted(counter[2:] for counter in due) == [(0, 0, 2), (0, 0, 2), (3, 0, 0)]
    for number, change in enumerate(
        (
            "delete from rows where key like 'p9%'",
            "insert into rows select view, 'p7' || key, sort, version, item, expires_at from rows limit 1",
            "update rows set item = replace(item, '\"views\":3', '\"views\":4') where key like 'p0%'",
        )
    ):
        copy = tmp_path / f"{number}.db"
        machine.store._db.execute(f"vacuum into '{copy}'")
        with sqlite3.connect(copy) as db:
            assert db.execute(change).rowcount
        db.close()
        assert held_counters(copy) != due, change
    machine.teardown()
