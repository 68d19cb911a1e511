"""Counters on a handful of rows as the models have them; that the models have them so, tests/proof shows."""

import itertools
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import duckdb
import pyarrow as pa
import pytest

from ingestion.steps import run
from ingestion.views import Item, ViewStore
from ingestion.views.product_counters import (
    COUNTS,
    NAME,
    Recounted,
    counters_key,
    dates_published,
    read_days,
    read_version,
    recount,
)
from tests.ingestion.views.landing import everything
from tests.platform import steps_until

DAY = date(2026, 5, 1)
MODELS = """
create schema analytics; create schema headrace;
create table analytics.stg_events (
    event_key varchar, event_date date, event_type varchar, product_id varchar, occurred_at timestamp
);
create table analytics.stg_event_records as from analytics.stg_events;
create table analytics.stg_event_products (event_type varchar, event_date date, product_id varchar);
create table analytics.int_event_products (event_key varchar, event_type varchar, event_date date, product_id varchar);
create table headrace.load_lock as select 1 as loads;
create table headrace.published (event_date date, load_seq bigint);
create table headrace.built (event_date date, load_seq bigint);
"""


class Publication:
    """What the warehouse shows its readers, in a test's hand."""

    def __init__(self) -> None:
        self.db = duckdb.connect()
        self.db.execute(MODELS)
        self._numbers = itertools.count()

    def __call__(self, sql: str, parameters: Sequence[object]) -> pa.Table:
        return self.db.sql(sql, params=list(parameters)).to_arrow_table()

    def happen(self, event_type: str, time: str, product: str | None = "p1", *lines: str, counts: bool = True) -> None:
        """An event, which counts or is a copy of another; an order has lines."""
        key, at = f"e{next(self._numbers)}", f"2026-05-{time}"
        row = [key, at[:10], event_type, None if lines else product, at]
        self.db.execute("insert into analytics.stg_event_records values (?, ?, ?, ?, ?)", row)
        if counts:
            self.db.execute("insert into analytics.stg_events values (?, ?, ?, ?, ?)", row)
        for line in lines:
            self.db.execute("insert into analytics.stg_event_products values (?, ?, ?)", [event_type, at[:10], line])
            if counts:
                values = [key, event_type, at[:10], line]
                self.db.execute("insert into analytics.int_event_products values (?, ?, ?, ?)", values)

    def discount(self) -> None:
        """None of the events counts any more."""
        self.db.execute("delete from analytics.stg_events")
        self.db.execute("delete from analytics.int_event_products")

    def publish(self, number: int, *dates: date) -> None:
        """The next publication, which shows a build of some dates."""
        self.db.execute("update headrace.load_lock set loads = ?", [number])
        for day in dates:
            self.db.execute("insert into headrace.published values (?, ?)", [day, number])


@pytest.fixture
def publication() -> Iterator[Publication]:
    publication = Publication()
    yield publication
    publication.db.close()


def count(publication: Publication, store: ViewStore, *dates: date) -> Recounted:
    return run(recount(publication, store, dates or [DAY]), lambda point: None)


def counters(store: ViewStore, product: str = "p1", day: date = DAY) -> list[tuple[object, ...]]:
    return [(item["hour"], *(item[name] for name in COUNTS)) for item in read_days(store, product, day, 1)]


def test_views_adds_and_purchases_are_counted_per_product_and_hour(publication: Publication, store: ViewStore) -> None:
    publication.happen("product_viewed", "01 09:59:59.999999")
    publication.happen("product_viewed", "01 10:00")
    publication.happen("product_viewed", "01 10:20")
    publication.happen("product_added", "01 10:30")
    publication.happen("product_added", "01 10:30", "p2")
    publication.happen("order_completed", "01 23:00", None, "p1", "p2")
    publication.happen("product_removed", "01 10:30", "p3")
    recounted = count(publication, store)
    assert counters(store) == [
        ("2026-05-01T23:00:00Z", 0, 0, 1),
        ("2026-05-01T10:00:00Z", 2, 1, 0),
        ("2026-05-01T09:00:00Z", 1, 0, 0),
    ]
    assert counters(store, "p2") == [("2026-05-01T23:00:00Z", 0, 0, 1), ("2026-05-01T10:00:00Z", 0, 1, 0)]
    assert recounted == Recounted(1, products=2, emptied=0, hours=5)
    assert sorted(store.keys(NAME)) == [counters_key("p1", DAY), counters_key("p2", DAY)]


def test_an_order_is_one_purchase_of_each_of_its_products(publication: Publication, store: ViewStore) -> None:
    publication.happen("order_completed", "01 10:00", None, "p1", "p1", "p2")
    publication.happen("order_completed", "01 10:30", None, "p1")
    count(publication, store)
    assert counters(store) == [("2026-05-01T10:00:00Z", 0, 0, 2)]
    assert counters(store, "p2") == [("2026-05-01T10:00:00Z", 0, 0, 1)]


def test_another_date_is_left_alone(publication: Publication, store: ViewStore) -> None:
    publication.happen("product_viewed", "01 10:00")
    publication.happen("product_viewed", "02 10:00")
    count(publication, store, DAY + timedelta(days=1))
    assert counters(store) == [] and len(counters(store, day=DAY + timedelta(days=1))) == 1


def test_a_product_that_lost_its_last_event_of_a_date_becomes_empty(publication: Publication, store: ViewStore) -> None:
    publication.happen("product_viewed", "01 10:00")
    publication.happen("order_completed", "01 11:00", None, "p2")
    count(publication, store)
    assert len(everything(store, NAME)) == 2
    publication.discount()
    publication.publish(2)
    assert count(publication, store) == Recounted(2, products=2, emptied=2, hours=0)
    assert everything(store, NAME) == []


def test_an_hour_that_is_gone_is_not_kept(publication: Publication, store: ViewStore) -> None:
    publication.happen("product_viewed", "01 10:00")
    count(publication, store)
    publication.discount()
    publication.happen("product_viewed", "01 12:00")
    publication.publish(2)
    count(publication, store)
    assert counters(store) == [("2026-05-01T12:00:00Z", 1, 0, 0)]


def test_an_older_recomputation_that_writes_late_changes_nothing(publication: Publication, store: ViewStore) -> None:
    publication.happen("product_viewed", "01 10:00")
    publication.happen("product_viewed", "01 11:00", "gone")
    late = recount(publication, store, [DAY])
    steps_until(late, "counters.read")
    publication.discount()
    publication.happen("product_viewed", "01 12:00")
    publication.publish(2)
    count(publication, store)
    for _ in late:
        pass
    assert counters(store) == [("2026-05-01T12:00:00Z", 1, 0, 0)] and counters(store, "gone") == []


def test_products_without_an_id_and_odd_ones_break_nothing(publication: Publication, store: ViewStore) -> None:
    for product in (None, "ä 🛒", "a/2026-05-01", "", "'; drop"):
        publication.happen("product_viewed", "01 10:00", product)
    assert count(publication, store).products == 4
    for product in ("ä 🛒", "a/2026-05-01", "", "'; drop"):
        assert counters(store, product) == [("2026-05-01T10:00:00Z", 1, 0, 0)]


def test_what_was_published_since_is_counted_with_the_dates_beside_it(publication: Publication) -> None:
    publication.publish(4, date(2026, 5, 1))
    publication.publish(7, date(2026, 5, 10), date(2026, 5, 11))
    publication.publish(9)
    assert read_version(publication) == 9
    assert dates_published(publication, 9) == dates_published(publication, 7) == []
    assert dates_published(publication, 4) == [date(2026, 5, day) for day in (9, 10, 11, 12)]
    assert dates_published(publication, 3) == [date(2026, 4, 30), *(date(2026, 5, d) for d in (1, 2, 9, 10, 11, 12))]


def test_at_first_every_date_that_was_ever_built_is_counted(publication: Publication) -> None:
    publication.publish(4, date(2026, 5, 10), date.max)
    publication.db.execute("insert into headrace.built values ('2026-05-01', 1)")
    found = dates_published(publication, None)
    assert found[:6] == [date(2026, 4, 30), *(date(2026, 5, day) for day in (1, 2, 9, 10, 11))]
    assert found[6:] == [date.max - timedelta(days=1), date.max]


def test_days_are_read_newest_first(publication: Publication, store: ViewStore) -> None:
    for day in range(1, 6):
        publication.happen("product_viewed", f"{day:02} 10:00")
        publication.happen("product_viewed", f"{day:02} 12:00")
    count(publication, store, *(date(2026, 5, day) for day in range(1, 6)))
    read: list[Item] = read_days(store, "p1", date(2026, 5, 4), 2)
    assert [item["hour"][5:13] for item in read] == ["05-04T12", "05-04T10", "05-03T12", "05-03T10"]
