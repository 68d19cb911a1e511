"""The funnels on random histories full of ties, against an exhaustive search that shares nothing with the SQL."""

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.dbt_project.conftest import Shop
from tests.dbt_project.histories import event

FIRST = datetime(2025, 10, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
TYPES = ("product_viewed", "product_added", "product_removed", "checkout_started", "order_completed")
Moments = list[tuple[datetime, str]]
Levels = dict[tuple[str, date], int]


def level_of(entry: datetime, moments: Moments, steps: tuple[str, ...], strict: bool, ends: str | None) -> int:
    """How far the earliest chain from `entry` gets; an `ends` between the first two steps ends it."""
    at, level = entry, 1
    for step in steps[1:]:
        following = [when for when, kind in moments if kind == step and (when > at or (when == at and not strict))]
        if not following or min(following) > entry + WEEK:
            return level
        if level == 1 and any(kind == ends and at < when < min(following) for when, kind in moments):
            return level
        at, level = min(following), level + 1
    return level


def searched(histories: dict[str, Moments], steps: tuple[str, ...], strict: bool, ends: str | None) -> Levels:
    levels: Levels = defaultdict(int)
    for visitor, moments in histories.items():
        for when, kind in moments:
            if kind == steps[0]:
                key = (f"user:{visitor}", when.date())
                levels[key] = max(levels[key], level_of(when, moments, steps, strict, ends))
    return dict(levels)


def stored(shop: Shop, funnel_id: str) -> Levels:
    sql = (
        "select visitor_id, entry_date, max(level) from analytics.fct_funnel_attempts where funnel_id = ? group by 1, 2"
    )
    rows: list[Any] = shop.analytics.warehouse.query(sql, [funnel_id])
    return {(visitor, day): level for visitor, day, level in rows}


def test_levels_are_those_of_an_exhaustive_search(shop: Shop) -> None:
    chance = random.Random(11)
    histories: dict[str, Moments] = {}
    for number in range(400):
        hours = [chance.randrange(12) * chance.choice((1, 7, 24)) for _ in range(chance.randint(1, 12))]
        histories[f"u{number}"] = [(FIRST + timedelta(hours=hour), chance.choice(TYPES)) for hour in hours]
    happened = [(visitor, *moment) for visitor, moments in histories.items() for moment in moments]
    shop.receive([event(number, kind, when, user_id=who) for number, (who, when, kind) in enumerate(happened)])
    shop.analytics.build()
    purchase = ("product_viewed", "product_added", "order_completed")
    checkout = ("product_added", "checkout_started", "order_completed")
    assert stored(shop, "view_to_purchase") == searched(histories, purchase, strict=True, ends=None)
    assert stored(shop, "cart_to_order") == searched(histories, checkout, strict=False, ends="product_removed")
    assert set(stored(shop, "cart_to_order").values()) == {1, 2, 3}
