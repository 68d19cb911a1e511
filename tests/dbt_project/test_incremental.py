"""Builds of the touched dates equal a full build, whatever arrives when: late events, copies, logins that re-key."""

import itertools
import random
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.warehouse.duckdb import DuckDBWarehouse
from tests.dbt_project.analytics import Analytics
from tests.dbt_project.conftest import Shop

FIRST = datetime(2025, 10, 1, 22, 0, tzinfo=UTC)
DAYS = 40
Sent = tuple[str, dict[str, Any]]
TYPES = (
    "product_viewed",
    "product_viewed",
    "product_added",
    "product_removed",
    "checkout_started",
    "order_completed",
    "order_refunded",
)


def event(number: int, event_type: str, at: datetime, **fields: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {"product_id": f"p{number % 3}", "price": "10.10", "currency": "EUR"}
    if event_type in ("order_completed", "order_refunded", "checkout_started"):
        product = {"product_id": f"p{number % 3}", "quantity": 2, "price": "10.10"}
        properties = {"order_id": f"o{number}", "total": "20.20", "currency": "EUR", "products": [product]}
    return {
        "event_id": f"e{number}",
        "event_type": event_type,
        "occurred_at": at.isoformat(),
        "properties": properties,
        "device": {"type": "phone" if number % 2 else "desktop"},
        **fields,
    }


def history(chance: random.Random, bursts: int) -> list[list[dict[str, Any]]]:
    """Bursts of few visitors with pauses around half an hour and across midnight; in some the visitor is known."""
    numbers = itertools.count()
    return [burst(chance, numbers) for _ in range(bursts)]


def burst(chance: random.Random, numbers: Iterator[int]) -> list[dict[str, Any]]:
    at = FIRST + timedelta(days=chance.randrange(DAYS), minutes=chance.randrange(240))
    who = {"anonymous_id": f"b{chance.randrange(4)}"}
    if chance.random() < 0.25:
        who["user_id"] = f"u{chance.randrange(3)}"
    events = []
    for _ in range(chance.randint(1, 8)):
        events.append(event(next(numbers), chance.choice(TYPES), at, **who))
        at += timedelta(minutes=chance.choice((0, 0, 1, 5, 30, 31, 200)), microseconds=chance.randrange(2))
    return events


def pieces_of(chance: random.Random, bursts: list[list[dict[str, Any]]]) -> list[tuple[list[Sent], datetime]]:
    """Most bursts, then one at a time: a build that many dates ask for would hide what one of them misses.

    Events stand again in later pieces. What was received first does not come first, and the skew of a sending moves an
    event, also to the next date: so a late copy may be the one that counts.
    """
    pieces = []
    late = 10
    for piece in [list(itertools.chain(*bursts[:-late])), *bursts[-late:]]:
        at = datetime(2026, 6, 1, tzinfo=UTC) + timedelta(hours=chance.randrange(1000))
        copies = chance.sample(list(itertools.chain(*bursts)), 2)
        pieces.append(([sent(chance, one, at) for one in piece + copies], at))
    return pieces


def sent(chance: random.Random, one: dict[str, Any], at: datetime) -> Sent:
    """The event with a sending time from which the collector will take a device clock that is some hours off."""
    return (at - timedelta(hours=chance.choice((0, 0, 0, 5, -5, 30)))).isoformat(), one


def built_at_once(shop: Shop, folder: Path) -> Analytics:
    """The models built from nothing on a copy of the shop's raw tables."""
    folder.mkdir()
    copy = Path(shutil.copy(shop.analytics.warehouse.path, folder))
    analytics = Analytics(DuckDBWarehouse(copy))
    analytics.warehouse.query("drop schema analytics cascade")
    analytics.build()
    return analytics


def assert_same(one: Analytics, other: Analytics) -> None:
    assert one.tables() == other.tables()
    for table in one.tables():
        assert table == "int_rekeyed_dates" or one.rows(table) == other.rows(table), table


@pytest.mark.parametrize("seed", range(2))
def test_builds_of_touched_dates_equal_one_full_build(seed: int, shop: Shop, tmp_path: Path) -> None:
    chance = random.Random(seed)
    for piece, at in pieces_of(chance, history(chance, 60)):
        for sent_at in {sent_at for sent_at, _ in piece}:
            batch = [one for stamp, one in piece if stamp == sent_at]
            shop.publish({"sent_at": sent_at, "batch": batch}, at)
        shop.load()
        shop.build_stale()
    assert_same(shop.analytics, built_at_once(shop, tmp_path / "copy"))
    assert all(shop.analytics.rows(table) for table in shop.analytics.tables() if table != "int_rekeyed_dates")


def test_a_login_makes_earlier_dates_stale_until_they_are_built(shop: Shop) -> None:
    shop.receive([event(1, "product_viewed", FIRST, anonymous_id="b1")])
    shop.build_stale()
    later = FIRST + timedelta(days=20)
    shop.receive([event(2, "product_viewed", later, anonymous_id="b1", user_id="u1")])
    assert stale_dates(shop) == [later.date()]
    shop.analytics.build(stale_dates(shop))
    assert stale_dates(shop) == [FIRST.date(), later.date()], "a crash of this build would not lose the date"
    assert shop.build_stale() == 1
    visitors = shop.analytics.warehouse.query("select distinct visitor_id from analytics.fct_sessions")
    assert visitors == [("user:u1",)]


def test_a_tie_after_more_than_the_stitch_days_re_keys_nothing(shop: Shop) -> None:
    shop.receive([event(1, "product_viewed", FIRST, anonymous_id="b1")])
    at = FIRST + timedelta(days=30, microseconds=1)
    shop.receive([event(2, "product_viewed", at, anonymous_id="b1", user_id="u1")])
    shop.build_stale()
    visitors = shop.analytics.warehouse.query("select distinct visitor_id from analytics.fct_events order by 1")
    assert visitors == [("anonymous:b1",), ("user:u1",)]


def test_dates_built_twice_change_nothing_and_a_build_of_no_dates_builds_nothing(shop: Shop) -> None:
    chance = random.Random(7)
    shop.receive(list(itertools.chain(*history(chance, 30))))
    shop.analytics.build()
    before = shop.analytics.contents()
    dates: list[date] = [FIRST.date() + timedelta(days=day) for day in chance.sample(range(DAYS), 5)]
    shop.analytics.build(dates)
    shop.analytics.build(dates)
    shop.analytics.build([])
    assert shop.analytics.contents() == before


def added(number: int, at: datetime) -> dict[str, Any]:
    return event(number, "product_added", at, user_id="u1") | {"properties": {"product_id": "p0"}}


EARLY = FIRST - timedelta(days=5)
LATE_ARRIVALS = {
    "an order decides a line added days before": (
        [added(1, FIRST)],
        event(3, "order_completed", FIRST + timedelta(days=5), user_id="u1"),
        "select outcome from analytics.fct_cart_lines",
        "recovered",
    ),
    "a session is the first touch of an order days after it": (
        [event(3, "order_completed", FIRST, user_id="u1")],
        event(4, "product_viewed", EARLY, user_id="u1"),
        "select first_touch_at from analytics.fct_orders",
        EARLY.replace(tzinfo=None),
    ),
    "an event before midnight joins what follows it to its session": (
        [event(5, "product_viewed", FIRST + timedelta(minutes=121), user_id="u1")],
        event(6, "product_viewed", FIRST + timedelta(minutes=110), user_id="u1"),
        "select max(event_in_session) from analytics.fct_events",
        2,
    ),
}


@pytest.mark.parametrize("case", LATE_ARRIVALS)
def test_what_arrives_late_reaches_the_dates_that_hang_on_it(case: str, shop: Shop) -> None:
    before, late, question, answer = LATE_ARRIVALS[case]
    shop.receive(before)
    shop.build_stale()
    assert shop.analytics.warehouse.query(question) != [(answer,)]
    shop.receive([late])
    shop.build_stale()
    assert shop.analytics.warehouse.query(question) == [(answer,)]


def stale_dates(shop: Shop) -> list[date]:
    return [date.fromisoformat(stale.event_date) for stale in shop.staleness().dates]
