"""Event types that share a topic: the lake, the audit, the views and the lags are as if each had its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion import lander
from ingestion.audit import BALANCED, BROKEN, PENDING
from ingestion.broker import Broker, Chunk
from ingestion.broker.shared import SharedTopics
from ingestion.lander import GROUP
from ingestion.listened import read_listened
from ingestion.listener import Heard, Listener
from ingestion.steps import run
from ingestion.tables import event_table
from ingestion.views.facts import Lookups
from ingestion.views.registry import fact_view
from ingestion.views.sqlite import SQLiteViews
from sensors.consumer_lag import lags
from tests.ingestion.views.landing import event_ids, stored
from tests.platform import NOON, Platform, event, steps_until

CARTS = "events.carts"
VIEWED, ADDED, ORDERED = TYPES = ("product_viewed", "product_added", "order_completed")
TABLES = [event_table(name) for name in TYPES]
CART_EVENTS = fact_view("cart_events")


class SharedPlatform(Platform):
    """A platform whose event types share a topic."""

    @property
    def log(self) -> Broker:
        return SharedTopics(self.broker, {CARTS: TYPES})

    def noted(self) -> dict[int, int]:
        """How far the landers are, as their group noted it."""
        return dict(self.broker.positions(GROUP, self.broker.topic(CARTS)))

    def ends(self) -> dict[int, int]:
        """How far the log is."""
        return {partition: held.end for partition, held in self.broker.bounds(CARTS).items()}

    def counts(self) -> list[int]:
        """The rows of each lake table."""
        return [sum(file.rows for file in self.lake.table(table).snapshot().files()) for table in self.tables]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[SharedPlatform]:
    platform = SharedPlatform(tmp_path, TABLES)
    yield platform
    platform.close()


@pytest.fixture
def filled(platform: SharedPlatform) -> SharedPlatform:
    """Eight views, five carts and two orders in the log."""
    for name, number in zip(TYPES, (8, 5, 2), strict=True):
        platform.publish(name, number)
    return platform


def test_every_event_lands_in_the_table_of_its_type_once(filled: SharedPlatform) -> None:
    landed = filled.land()
    assert (landed.rows, landed.unfit, filled.counts()) == (15, 0, [8, 5, 2])
    assert filled.land().rows == 0
    filled.load()
    balance = filled.audit()
    assert (balance.status, balance.unread) == (BALANCED, 0)
    assert [line.log.rows for line in balance.lines] == [line.raw.rows for line in balance.lines] == [8, 5, 2]


def test_what_is_nobodys_lands_with_the_first_and_says_why(platform: SharedPlatform) -> None:
    platform.publish(ADDED, [b"junk", b"", event("cart_viewed", 1), event(ORDERED, 2)])
    assert (platform.land().unfit, platform.counts()) == (3, [3, 0, 1])
    platform.load()
    assert platform.audit().status == BALANCED


def test_commits_cover_the_offsets_of_other_types_too(filled: SharedPlatform) -> None:
    filled.land()
    for table, rows in zip(TABLES, (8, 5, 2), strict=True):
        covered = [each for commit in filled.lake.table(table).commits(0) for each in commit.ranges]
        assert {each.partition: each.end for each in covered} == filled.ends()
        assert sum(each.rows for each in covered) == rows


def test_the_group_is_where_the_last_of_its_tables_is(filled: SharedPlatform) -> None:
    landing = filled.lander(whole=True).round(flush=True)
    steps_until(landing, "lander.noted")
    steps_until(landing, "lander.noted")
    assert filled.counts()[2] == 0
    assert filled.noted() == {0: 0, 1: 0}
    assert filled.broker.expire(GROUP, filled.now_us() + 1) == 0
    steps_until(landing, "lander.noted")
    assert filled.noted() == filled.ends()
    assert filled.broker.expire(GROUP, filled.now_us() + 1) == 15


def test_what_some_tables_have_not_landed_is_pending(filled: SharedPlatform) -> None:
    steps_until(filled.lander(whole=True).round(flush=True), "lander.noted")
    filled.load()
    balance = filled.audit()
    assert (balance.status, balance.findings) == (PENDING, [])


@pytest.mark.parametrize(
    ("taken", "found"), [(lambda chunk: chunk, "45"), (lambda chunk: Chunk(0, (), (), (), chunk.next_offset), "0")]
)
def test_a_lander_that_divides_otherwise_is_found_out(
    filled: SharedPlatform, monkeypatch: pytest.MonkeyPatch, taken: object, found: str
) -> None:
    monkeypatch.setattr(lander, "only", lambda name, topic, chunk: taken(chunk))  # type: ignore[operator]
    filled.land()
    filled.load()
    balance = filled.audit()
    assert balance.status == BROKEN
    told = [finding.message for finding in balance.findings if finding.message.startswith(CARTS)]
    assert len(told) == 2 and all("the tables that share it have" in each for each in told)


def test_a_division_that_leaves_records_out_is_found_out_though_all_agree_on_it(
    platform: SharedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(value: bytes, event_types: tuple[str, ...]) -> str:
        return "" if value == b"junk" else VIEWED

    monkeypatch.setattr("ingestion.broker.shared.taker", forgetful)
    platform.publish(VIEWED, [b"junk", event(VIEWED, 1)])
    platform.land()
    platform.load()
    [finding] = platform.audit().findings
    assert (finding.hop, finding.table) == ("log → lake", VIEWED)
    assert "holds 1 records from offset 0 to 0, and the tables that share it have 0" in finding.message


def test_what_retention_took_is_counted_once(filled: SharedPlatform) -> None:
    for partition, end in filled.ends().items():
        filled.broker.truncate(CARTS, partition, end - 1)
    filled.land()
    filled.load()
    balance = filled.audit()
    assert (balance.status, balance.unread, sum(filled.counts())) == (BALANCED, 13, 2)


def test_what_one_table_had_landed_before_retention_came_is_not_lost(filled: SharedPlatform) -> None:
    steps_until(filled.lander(whole=True).round(flush=True), "lander.noted")
    for partition, end in filled.ends().items():
        filled.broker.truncate(CARTS, partition, end)
    filled.land()
    filled.load()
    balance = filled.audit()
    assert filled.counts() == [8, 0, 0]
    assert (balance.status, balance.unread) == (BALANCED, 7)


def test_an_audit_of_some_tables_says_nothing_of_the_whole(filled: SharedPlatform) -> None:
    filled.land()
    filled.load()
    filled.tables = TABLES[:2]
    assert filled.audit().status == BALANCED


def test_a_topic_that_was_made_anew_is_another_one(filled: SharedPlatform) -> None:
    filled.land()
    filled.broker.recreate(CARTS)
    filled.publish(ADDED, 3)
    assert filled.land().rows == 3
    filled.load()
    assert (filled.audit().status, filled.counts()) == (BALANCED, [8, 8, 2])


def listen(platform: SharedPlatform, store: SQLiteViews) -> Heard:
    return run(Listener(platform.log, store, [CART_EVENTS], Lookups).round(), lambda point: None)


def test_a_view_hears_its_types_once_whatever_else_is_in_the_topic(platform: SharedPlatform) -> None:
    platform.log.ensure_topics([event_table(name).topic for name in CART_EVENTS.event_types])
    store = SQLiteViews(platform.path / "views.db", clock=NOON.timestamp)
    platform.publish(VIEWED, [stored(VIEWED, "v1"), b"junk"])
    platform.publish(ADDED, [stored(ADDED, "a1")])
    platform.publish(ORDERED, [stored(ORDERED, "o1", order_id="O-1")])
    assert listen(platform, store).read == 4
    assert sorted(event_ids(store, "cart_events")) == ["a1", "o1"]
    assert listen(platform, store).read == 0
    platform.publish(ADDED, [stored(ADDED, "a2")])
    told = {each.topic: (each.appended, each.pending) for each in read_listened(platform.log, CART_EVENTS)}
    assert told[CARTS] == (5, 1) and len(told) == len(read_listened(platform.log, CART_EVENTS))
    assert listen(platform, store).written.rows == 1
    store.close()


def test_a_lag_is_that_of_the_whole_topic(filled: SharedPlatform) -> None:
    assert [lags(filled.log, table, [GROUP]) for table in TABLES] == [{GROUP: 15}] * 3
    filled.land()
    assert [lags(filled.log, table, [GROUP]) for table in TABLES] == [{GROUP: 0}] * 3
