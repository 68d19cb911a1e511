"""What arrives late, or re-keys events, makes the dates stale that hang on it; dates built again stay as they are."""

import itertools
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.dbt_project.conftest import Shop
from tests.dbt_project.histories import DAYS, FIRST, burst, event


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
    chance, numbers = random.Random(7), itertools.count()
    shop.receive([one for _ in range(30) for one in burst(chance, numbers, FIRST, "")])
    shop.analytics.build()
    before = shop.analytics.contents()
    dates: list[date] = [FIRST.date() + timedelta(days=day) for day in chance.sample(range(DAYS), 5)]
    shop.analytics.build(dates)
    shop.analytics.build(dates)
    shop.analytics.build([])
    assert shop.analytics.contents() == before


def added(number: int, at: datetime) -> dict[str, Any]:
    return event(number, "product_added", at, user_id="u1") | {"properties": {"product_id": "p0"}}


def at(days: float = 0, minutes: float = 0) -> datetime:
    return FIRST + timedelta(days=days, minutes=minutes)


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
    "an event after midnight belongs to the session of the evening": (
        [event(7, "product_viewed", at(minutes=110), user_id="u1")],
        event(8, "product_viewed", at(minutes=121), user_id="u1"),
        "select bounces from analytics.mart_daily_kpis where event_date = '2025-10-01'",
        0,
    ),
    "an order converts an attempt that was entered days before": (
        [event(9, "product_viewed", at(), user_id="u1"), event(10, "product_added", at(minutes=5), user_id="u1")],
        event(11, "order_completed", at(days=6), user_id="u1"),
        "select max(level) from analytics.fct_funnel_attempts where funnel_id = 'view_to_purchase'",
        3,
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


def test_a_session_that_ends_where_the_built_dates_begin_stays_whole(shop: Shop) -> None:
    shop.receive([event(1, "product_viewed", at(minutes=110), user_id="u1")])
    shop.receive([event(2, "product_viewed", at(minutes=130), user_id="u1")])
    shop.build_stale()
    shop.receive([event(3, "product_viewed", at(days=2), user_id="u1")])
    shop.build_stale()
    places = "select event_in_session from analytics.fct_events order by occurred_at"
    assert shop.analytics.warehouse.query(places) == [(1,), (2,), (1,)]


def test_a_copy_that_was_received_before_takes_the_place_of_one_on_the_next_date(shop: Shop) -> None:
    noon, one = datetime(2026, 1, 1, 12, tzinfo=UTC), event(1, "product_viewed", at(), user_id="u1")
    shop.publish({"sent_at": (noon - timedelta(hours=3)).isoformat(), "batch": [one]}, noon)
    shop.load()
    shop.build_stale()
    assert dates_of_events(shop) == ["2025-10-02"]
    shop.publish({"sent_at": (noon - timedelta(hours=1)).isoformat(), "batch": [one]}, noon - timedelta(hours=1))
    shop.load()
    shop.build_stale()
    assert dates_of_events(shop) == ["2025-10-01"]


def dates_of_events(shop: Shop) -> list[str]:
    return [str(day) for (day,) in shop.analytics.warehouse.query("select event_date from analytics.stg_events")]


def stale_dates(shop: Shop) -> list[date]:
    return [date.fromisoformat(stale.event_date) for stale in shop.staleness().dates]
