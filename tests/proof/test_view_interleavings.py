"""Random interleavings of listeners and replays, stopped at any point, killed, resumed as zombies.

Meanwhile events come in, are repeated with other times, do not fit; the log forgets; the catalogue changes. In the
end the views hold what SQL finds in the lake.
"""

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ingestion.broker import Record
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.broker.members import LEASE_US
from ingestion.contracts.native import Limits, Reception, map_body
from ingestion.events import topic
from ingestion.lake import Lake
from ingestion.lander import GROUP, Lander, Rotation
from ingestion.listened import group
from ingestion.listener import Listener
from ingestion.steps import run
from ingestion.tables import event_table
from ingestion.views import ViewStore
from ingestion.views.facts import Lookups, View
from ingestion.views.landed import as_text
from ingestion.views.products import Products
from ingestion.views.registry import fact_views
from ingestion.views.replay import replay_hour
from ingestion.views.sqlite import SQLiteViews
from tests.proof.test_interleavings import JUNK, START, Actor, explored, quietly
from tests.proof.view_checker import Shown, due, held

LONG = bool(os.environ.get("HEADRACE_LONG"))
RUNS, STEPS = (300, 60) if LONG else (30, 40)
pytestmark = pytest.mark.timeout(3_600 if LONG else 300)

TYPES = ("product_viewed", "product_added", "order_completed")
PROPERTIES = {"product_id": "p1", "order_id": "o", "price": "1.5", "quantity": 2}


class Views(RuleBasedStateMachine):
    """Log, lake and views, and everybody who writes the views."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="headrace-"))
        self.now = START
        self.broker = self.client()
        self.broker.ensure_topics(map(topic, TYPES))
        self.lake = Lake(f"file://{self.path}/lake")
        self.store = self.open_store()
        self.views = [
            View(view.name, tuple(name for name in view.event_types if name in TYPES), view.rows, view.days)
            for view in fact_views().values()
        ]
        self.products, self.unread = Products(), False
        self.actors: list[Actor] = []
        self.sent: list[dict[str, object]] = []

    def client(self) -> EmbeddedBroker:
        """A client of the log, which is a member of its own."""
        return EmbeddedBroker(self.path / "log", partitions=2, clock=lambda: int(self.now.timestamp() * 1e6))

    def open_store(self) -> ViewStore:
        """The store that is to be proved."""
        return SQLiteViews(self.path / "views.db", clock=lambda: self.now.timestamp())

    def held(self, view: str, now: float) -> list[Shown]:
        """What it shows, found without it."""
        return held(self.path / "views.db", view, now)

    # -- the world ---------------------------------------------------------------------------------------------------

    @initialize(changes=st.sampled_from((False, False, True)), forgets=st.sampled_from((False, True)))
    def some_listen(self, changes: bool, forgets: bool) -> None:
        """In most runs the listeners are enough; in some a replay has to bring what they have not seen."""
        self.changes, self.forgets = changes, forgets
        self.a_listener_starts(False)
        self.a_listener_starts(False)

    @rule(count=st.integers(1, 4), name=st.sampled_from(TYPES), user=st.integers(0, 2), clock=st.booleans())
    def events_are_sent(self, count: int, name: str, user: int, clock: bool) -> None:
        for _ in range(count):
            event: dict[str, object] = {"event_id": f"e{len(self.sent)}", "event_type": name, "properties": PROPERTIES}
            event |= {"occurred_at": self.now.isoformat()} if clock else {}
            self.sent.append(event | ({"user_id": f"u{user}"} if user else {"anonymous_id": "u1"}))
        self._receive(self.sent[-count:])

    @precondition(lambda self: self.sent)
    @rule(choice=st.integers(0, 10_000), skew=st.integers(-90, 90), days=st.integers(0, 1), quantity=st.integers(2, 3))
    def events_are_repeated(self, choice: int, skew: int, days: int, quantity: int) -> None:
        """Up to four of them, with another sending time, some the day after, some with other properties."""
        self.now += timedelta(days=days)
        first = choice % len(self.sent)
        changed = {
            "properties": PROPERTIES | {"quantity": quantity},
            "sent_at": (self.now + timedelta(seconds=skew)).isoformat(),
        }
        self._receive([event | changed for event in self.sent[first : first + 4]])

    @rule(value=st.sampled_from(JUNK), name=st.sampled_from(TYPES))
    def another_producer_writes_junk(self, value: bytes, name: str) -> None:
        self.broker.publish([Record(topic(name), b"junk", value)])

    @rule(minutes=st.sampled_from((0.05, 0.5, 7, 61, 24 * 60)))
    def time_passes(self, minutes: float) -> None:
        self.now += timedelta(minutes=minutes)

    @precondition(lambda self: self.changes)
    @rule(title=st.sampled_from(("red", "blue")))
    def the_catalogue_changes(self, title: str) -> None:
        self.products = Products(self.products.version + 1_000, {"p1": {"title": title}})

    @rule()
    def the_lander_lands(self) -> None:
        tables = [event_table(name) for name in TYPES]
        lander = Lander(self.broker, self.lake, tables, Rotation(), lambda: 0.0, whole=True)
        run(lander.round(flush=True), quietly)

    @precondition(lambda self: self.forgets)
    @rule()
    def the_log_forgets_what_has_landed(self) -> None:
        self.broker.expire(GROUP, int(self.now.timestamp() * 1e6) + 1)
        for view in self.views:
            for name in view.event_types:
                passed = self.broker.positions(group(view), self.broker.topic(topic(name)))
                bounds = self.broker.bounds(topic(name))
                self.unread |= any(passed.get(partition, 0) < there.start for partition, there in bounds.items())

    @rule()
    def what_expired_is_deleted(self) -> None:
        self.store.expire()

    # -- the processes -----------------------------------------------------------------------------------------------

    @rule(whole=st.booleans())
    def a_listener_starts(self, whole: bool) -> None:
        broker = self.client()
        listener = Listener(broker, self.store, self.views, lambda: Lookups(self.products), whole)
        self.actors.append(Actor("listener", listener.round, broker))

    @rule(hours=st.integers(0, 3), which=st.integers(0, 1))
    def an_hour_is_replayed(self, hours: int, which: int) -> None:
        hour = (self.now - timedelta(hours=hours)).strftime("%Y-%m-%d-%H")
        view, lookups = self.views[which], Lookups(self.products)
        self.actors.append(Actor("replay", lambda: replay_hour(self.lake, self.store, view, hour, lookups)))

    @precondition(lambda self: self.actors)
    @rule(choice=st.integers(0, 10_000), steps=st.integers(1, 12))
    def a_process_goes_on(self, choice: int, steps: int) -> None:
        self.actors[choice % len(self.actors)].go(steps)

    @precondition(lambda self: self.actors)
    @rule(choice=st.integers(0, 10_000), steps=st.integers(1, 12))
    def another_process_goes_on(self, choice: int, steps: int) -> None:
        self.actors[choice % len(self.actors)].go(steps)

    @precondition(lambda self: self.actors)
    @rule(choice=st.integers(0, 10_000), steps=st.integers(0, 6))
    def a_process_is_killed(self, choice: int, steps: int) -> None:
        actor = self.actors.pop(choice % len(self.actors))
        actor.go(steps)
        actor.die()

    @rule(name=st.sampled_from(TYPES), steps=st.integers(1, 6))
    def a_listener_is_killed_over_what_just_came(self, name: str, steps: int) -> None:
        """Kills by chance alone seldom meet a listener that has something in its hands."""
        self.events_are_sent(2, name, 1, True)
        self.a_listener_starts(True)
        self.a_process_is_killed(len(self.actors) - 1, steps)

    @precondition(lambda self: self.actors)
    @rule(choice=st.integers(0, 10_000))
    def a_process_ends_in_good_order(self, choice: int) -> None:
        self.actors.pop(choice % len(self.actors)).finish()

    # -- the verdict -------------------------------------------------------------------------------------------------

    @rule()
    def everything_drains(self) -> None:
        """When the leases of all are over, one listener has all that they had."""
        self.the_lander_lands()
        self.now += timedelta(microseconds=LEASE_US)
        with closing(self.client()) as broker:
            listener = Listener(broker, self.store, self.views, lambda: Lookups(self.products))
            while run(listener.round(), quietly).read:
                pass
        if not self.products.version and not self.unread:
            self._judge()
        else:  # what was joined with an older catalogue, or forgotten before a view read it, comes from the lake
            for view in self.views:
                run(replay_hour(self.lake, self.store, view, None, Lookups(self.products)), quietly)
        for zombie in self.actors:
            zombie.finish()
        self.actors.clear()
        self._judge()

    def teardown(self) -> None:
        try:
            self.everything_drains()
        finally:
            for actor in self.actors:
                actor.die()
            self.broker.close()
            self.store.close()
            shutil.rmtree(self.path)

    def _judge(self) -> None:
        now, version = self.now.timestamp(), as_text(self.products.version) if self.products.version else None
        for view in ("user_activity", "cart_events"):
            owed = due(self.path / "lake", TYPES, view, now, self.products.rows, version)
            assert self.held(view, now) == owed

    def _receive(self, events: list[dict[str, object]]) -> None:
        results = map_body(msgspec.json.encode(events), Reception("shop", self.now), Limits())
        self.broker.publish([result for result in results if isinstance(result, Record)])


Views.TestCase.settings = explored(RUNS, STEPS)
TestViews = Views.TestCase


def test_the_checker_sees_a_row_that_is_missing_one_too_many_and_one_that_differs(tmp_path: Path) -> None:
    """The checker is only worth what it notices."""
    machine = Views()
    machine.some_listen(False, False)
    machine.events_are_sent(3, "product_viewed", 1, True)
    machine.everything_drains()
    now = machine.now.timestamp()
    owed = due(machine.path / "lake", TYPES, "user_activity", now, {}, None)
    database = machine.path / "views.db"
    for change in (
        "delete from rows where sort = (select min(sort) from rows where view = 'user_activity')",
        "insert into rows select view, key, sort || 'x', version, item, expires_at from rows"
        " where view = 'user_activity' limit 1",
        "update rows set item = replace(item, 'p1', 'p2') where view = 'user_activity'",
    ):
        copy = tmp_path / "views.db"
        copy.unlink(missing_ok=True)
        _copy(database, copy)
        _change(copy, change)
        assert held(copy, "user_activity", now) != owed, change
    assert held(database, "user_activity", now) == owed and len(owed) == 3
    machine.teardown()


def _copy(database: Path, to: Path) -> None:
    with sqlite3.connect(database) as db:
        db.execute(f"vacuum into '{to}'")
    db.close()


def _change(database: Path, sql: str) -> None:
    with sqlite3.connect(database) as db:
        assert db.execute(sql).rowcount
    db.close()
