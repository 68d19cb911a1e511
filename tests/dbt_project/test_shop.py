"""What analysts ask of carts, orders, products and retention, on a handful of events."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.dbt_project.conftest import Shop
from tests.dbt_project.histories import event

NOON = datetime(2025, 10, 6, 12, 0, tzinfo=UTC)
"""A Monday."""


def happened(hours: float, event_type: str, number: int, product: str = "p1", **who: Any) -> dict[str, Any]:
    one = event(number, event_type, NOON + timedelta(hours=hours), **(who or {"user_id": "u1"}))
    properties = one["properties"]
    if "products" in properties:
        properties["products"][0]["product_id"] = product
    properties["product_id"] = product
    return one


def ask(shop: Shop, sql: str) -> list[tuple[object, ...]]:
    return shop.analytics.warehouse.query(sql)


@pytest.mark.parametrize(
    ("then", "outcome"),
    [
        ([], "abandoned"),
        ([(2, "order_completed", "p1")], "ordered"),
        ([(0, "order_completed", "p1")], "ordered"),
        ([(2, "order_completed", "p2")], "abandoned"),
        ([(24 * 3, "order_completed", "p1")], "recovered"),
        ([(24 * 7, "order_completed", "p1")], "recovered"),
        ([(24 * 8, "order_completed", "p1")], "abandoned"),
        ([(1, "product_removed", "p1"), (2, "order_completed", "p1")], "removed"),
        ([(2, "order_completed", "p1"), (3, "product_removed", "p1")], "ordered"),
    ],
)
def test_a_cart_line_ends_as_the_first_thing_that_happens_to_it(
    then: list[tuple[float, str, str]], outcome: str, shop: Shop
) -> None:
    events = [happened(0, "product_added", 1)]
    shop.receive(events + [happened(hours, kind, 2 + n, product) for n, (hours, kind, product) in enumerate(then)])
    shop.analytics.build()
    assert ask(shop, "select outcome, line_value from analytics.fct_cart_lines") == [(outcome, Decimal("10.10"))]


def test_orders_revenue_products_and_retention(shop: Shop) -> None:
    shop.receive(
        [
            happened(0, "product_viewed", 1, anonymous_id="b1"),
            happened(24, "product_viewed", 2, user_id="u1", anonymous_id="b1"),
            happened(25, "order_completed", 3),
            happened(26, "order_refunded", 4),
            happened(26, "product_viewed", 5, user_id="u2"),
            happened(24 * 14, "order_completed", 6),
        ]
    )
    shop.analytics.build()
    touches = "select first_touch_at, last_touch_at, units from analytics.fct_orders order by ordered_at"
    first, day, week = NOON.replace(tzinfo=None), timedelta(days=1), timedelta(days=14)
    assert ask(shop, touches) == [(first, first + day + timedelta(hours=1), 2), (first, first + week, 2)]
    revenue = "select gross_revenue, refunds, net_revenue from analytics.mart_revenue_daily order by event_date"
    assert ask(shop, revenue) == [(Decimal("20.20"), Decimal("20.20"), 0), (Decimal("20.20"), 0, Decimal("20.20"))]
    product = "select views, viewers, orders, units, units_refunded from analytics.mart_product_performance_daily"
    assert ask(shop, f"{product} where event_date = '2025-10-07'") == [(2, 2, 1, 2, 2)]
    retention = "select week, cohort_visitors, active_visitors from analytics.mart_retention_weekly order by week"
    assert ask(shop, retention) == [(0, 2, 2), (2, 2, 1)]


def test_copies_count_once_within_a_day_of_each_other_whatever_their_delay(shop: Shop) -> None:
    one = happened(0, "product_viewed", 1)
    for days, skew in enumerate((0, 6, 14, 30, 24 * 5)):
        at = NOON + timedelta(days=30 * (days + 1))
        shop.publish({"sent_at": (at - timedelta(hours=skew)).isoformat(), "batch": [one]}, at)
    shop.platform.publish("product_viewed", [b"not an event"])
    shop.load()
    shop.analytics.build()
    dates = ask(shop, "select event_date from analytics.stg_events order by 1")
    assert [str(day) for (day,) in dates] == ["2025-10-06", "2025-10-11"]
    assert ask(shop, "select sum(duplicates)::integer from analytics.agg_event_copies_daily") == [(3,)]
    assert ask(shop, "select count(*) from analytics.stg_unfit_records") == [(1,)]
