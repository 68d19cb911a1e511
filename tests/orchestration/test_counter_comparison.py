"""The product counters beside the lake: exact where everything had its time, and never red for what is on its way."""

import shutil
import sqlite3
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pytest

from ingestion.steps import run
from ingestion.tables import all_tables
from ingestion.views.product_counters import dates_published, recount
from ingestion.views.sqlite import SQLiteViews
from orchestration.counter_comparison import CounterView, settled_until
from orchestration.view_comparison import Comparison, Difference, Sample, Scope
from tests.dbt_project.conftest import Shop
from tests.ingestion.views.landing import later, stored
from tests.platform import NOON, Platform, Stored

EVENING = later(hours=6)
"""When everything that was appended at noon has been counted."""
EVERYTHING = Scope(date(2026, 4, 1))


class CountedShop:
    """A shop whose products are counted, with a view of the counters that a test may damage."""

    def __init__(self, folder: Path) -> None:
        self.platform = Platform(folder, all_tables())
        self.path = folder / "views.db"
        self.store = SQLiteViews(self.path, clock=NOON.timestamp)

    def view(self, version: int | None = 1_000) -> CounterView:
        """The counters, after a publication."""
        return CounterView(self.platform.lake, self.store, self.platform.warehouse.snapshot, version)

    def compare(self, now: datetime = EVENING, scope: Scope = EVERYTHING, version: int | None = 1_000) -> Comparison:
        """What one look finds."""
        return self.view(version).compare(scope, now)

    def land(self, *events: Stored, at: datetime = NOON) -> None:
        """Events that the log appends at a time and that nobody loads."""
        self.platform.now = at
        self.platform.publish(events[0]["event_type"], list(events))
        self.platform.land()

    def load(self) -> None:
        """Load, and show it to readers, but build nothing."""
        self.platform.load()
        self.platform.warehouse.publish()

    def damage(self, change: str) -> None:
        """Change the file behind everybody's back."""
        with sqlite3.connect(self.path) as db:
            assert db.execute(change).rowcount == 1
        db.close()

    def close(self) -> None:
        """Close the log and the views."""
        self.store.close()
        self.platform.close()


def anywhere(point: str) -> None:
    """Go on, whatever the point."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A shop of two dates, with copies that name other products and hours; built by dbt, counted by the product."""
    shop = Shop(tmp_path_factory.mktemp("counted"))
    platform = shop.platform
    again = stored(received_at=later(seconds=1), occurred_at=later(hours=1), product_id="p2")
    viewed = [stored(), again, stored(event_id="e2"), stored(event_id="e3", product_id="p/3")]
    platform.publish("product_viewed", [*viewed, stored(event_id="e4", occurred_at=later(days=-1)), b"\xff"])
    platform.publish("product_added", [stored("product_added", "e5"), stored("product_added", "e6", product_id=None)])
    lines = [{"product_id": name} for name in ("p1", "p1", "p2")]
    platform.publish("order_completed", [stored("order_completed", "e7", order_id="o1", products=lines)])
    shop.load()
    shop.build_stale()
    platform.warehouse.publish(["2026-04-30", "2026-05-01"])
    store = SQLiteViews(platform.path / "views.db")
    with platform.warehouse.snapshot() as query:
        run(recount(query, store, dates_published(query, None)), anywhere)
    store.close()
    yield platform.path
    platform.close()


@pytest.fixture
def shop(built: Path, tmp_path: Path) -> Iterator[CountedShop]:
    """The shop, a test's own."""
    shutil.copytree(built, tmp_path / "shop")
    shop = CountedShop(tmp_path / "shop")
    yield shop
    shop.close()


def test_counters_of_everything_that_was_built_are_what_the_lake_says(shop: CountedShop) -> None:
    assert shop.compare() == Comparison(same=4, pending=0, different=0)


@pytest.mark.parametrize(
    ("change", "lake", "view"),
    [
        ("replace(item, '\"views\":2', '\"views\":3')", "views:2", "views:3"),
        ("replace(item, '\"purchases\":1', '\"purchases\":2')", "purchases:1", "purchases:2"),
    ],
)
def test_a_counter_that_was_incremented_is_a_difference(shop: CountedShop, change: str, lake: str, view: str) -> None:
    shop.damage(f"update rows set item = {change} where key = 'p1/2026-05-01'")
    (difference,) = shop.compare().differences
    assert (difference.key, difference.sort) == ("p1/2026-05-01", "2026-05-01T12:00:00Z")
    assert lake in str(difference.lake_says) and view in str(difference.view_says)


def test_a_product_that_was_lost_and_one_that_nobody_saw_are_differences(shop: CountedShop) -> None:
    shop.damage("update rows set key = 'p9/2026-05-01' where key = 'p/3/2026-05-01'")
    found = shop.compare()
    assert [(each.key, each.lake_says is None) for each in found.differences] == [
        ("p/3/2026-05-01", False),
        ("p9/2026-05-01", True),
    ]
    assert (found.same, found.pending) == (3, 0)


def test_what_was_appended_lately_waits(shop: CountedShop) -> None:
    shop.damage("delete from rows where key = 'p1/2026-05-01'")
    assert shop.compare(now=later(minutes=20)) == Comparison(same=3, pending=1, different=0)
    assert shop.compare(now=later(minutes=60)).different == 1
    assert settled_until(later(minutes=59)) == NOON.replace(minute=0)


def test_only_the_products_that_something_happened_to_lately_wait(shop: CountedShop) -> None:
    shop.land(stored(event_id="late", product_id="p2"), at=EVENING)
    shop.damage("delete from rows where key = 'p2/2026-05-01'")
    shop.damage("delete from rows where key = 'p/3/2026-05-01'")
    found = shop.compare()
    assert [difference.key for difference in found.differences] == ["p/3/2026-05-01"]
    assert found.pending == 1


def test_a_copy_that_came_lately_makes_its_events_product_wait(shop: CountedShop) -> None:
    copy = stored(event_id="e3", product_id="p4", received_at=later(seconds=-1), occurred_at=later(hours=12))
    shop.land(copy, at=EVENING)
    assert shop.compare() == Comparison(same=3, pending=2, different=0)


def test_where_older_events_are_not_loaded_everything_waits(shop: CountedShop) -> None:
    shop.land(stored(event_id="late"))
    assert shop.compare() == Comparison(same=3, pending=1, different=0)
    shop.damage("delete from rows where key = 'p1/2026-05-01'")
    assert shop.compare().different == 0


def test_a_date_that_is_not_built_waits_and_with_it_those_beside_it(shop: CountedShop) -> None:
    shop.land(stored(event_id="late", occurred_at=later(days=2)))
    shop.load()
    shop.damage("delete from rows where key = 'p1/2026-05-01'")
    shop.damage("delete from rows where key = 'p1/2026-04-30'")
    assert [difference.key for difference in shop.compare().differences] == ["p1/2026-04-30", "p1/2026-05-01"]
    shop.land(stored(event_id="later", occurred_at=later(days=1)))
    shop.load()
    assert [difference.key for difference in shop.compare().differences] == ["p1/2026-04-30"]


@pytest.mark.parametrize("version", [None, 0])
def test_where_the_counters_have_not_seen_the_loads_everything_waits(shop: CountedShop, version: int | None) -> None:
    shop.damage("delete from rows where key = 'p1/2026-05-01'")
    assert shop.compare(version=version) == Comparison(same=3, pending=1, different=0)


def test_only_the_dates_and_keys_that_are_asked_for_are_compared(shop: CountedShop) -> None:
    assert shop.compare(scope=Scope(date(2026, 5, 1))).same == 3
    assert shop.compare(scope=Scope(date(2026, 4, 1), ("p1/2026-05-01", "p1/2026-04-30"))).same == 2
    assert shop.compare(scope=Scope(date(2026, 5, 1), ("p8/2026-05-01",))) == Comparison(0, 0, 0)


def test_the_sample_is_of_products_of_the_last_hours_that_are_settled(shop: CountedShop) -> None:
    def sample(now: datetime, keys: int = 9) -> list[str]:
        return sorted(shop.view().sample(Sample(date(2026, 5, 1), "x", files=9, keys=keys), now))

    assert sample(later(hours=1)) == ["p/3/2026-05-01", "p1/2026-05-01", "p2/2026-05-01"]
    assert len(sample(later(hours=2), keys=2)) == 2
    assert sample(NOON) == [] == sample(later(hours=3))


def test_a_key_that_names_no_date_is_a_difference(shop: CountedShop) -> None:
    shop.damage("update rows set key = 'p1' where key = 'p1/2026-05-01'")
    found = shop.compare()
    assert Difference("p1", "2026-05-01T12:00:00Z", None, found.differences[0].view_says or "") in found.differences
