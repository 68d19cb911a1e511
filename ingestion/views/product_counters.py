"""How often a product was viewed, added to a cart and bought, per hour: recomputed as a whole, and never counted up.

The rows of a product and event date are one key, which is replaced; so the cost is that of the dates that were built,
whatever came before them. The version is the number of the warehouse's publication that was read, which names one
content: an older recomputation that writes late changes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Any

import pyarrow as pa

from ingestion.steps import Steps
from ingestion.views import Item, Row, ViewStore, read_all

NAME = "product_counters"
READ = ("int_event_products", "stg_event_products", "stg_event_records", "stg_events")
"""The models that the counters are made of."""
COUNTS = ("views", "adds", "purchases")
COPIES_REACH_DAYS = 1
"""A build of a date may change which copy counts on the dates beside it."""

COUNTERS = """
with counted as (  -- every event once
    select event_key, event_type, product_id, occurred_at
    from analytics.stg_events
    where event_date = cast(? as date) and event_type in ('product_viewed', 'product_added', 'order_completed')
),

bought as (  -- an order counts once for each of its products, as in mart_product_performance_daily.orders
    select distinct counted.event_key, lines.product_id, counted.occurred_at
    from analytics.int_event_products as lines
    inner join counted on counted.event_key = lines.event_key
    where lines.event_date = cast(? as date) and lines.event_type = 'order_completed'
),

happenings as (
    select product_id, occurred_at, event_type from counted where event_type <> 'order_completed'
    union all
    select product_id, occurred_at, 'order_completed' as event_type from bought
),

hours as (
    select
        product_id,
        date_trunc('hour', occurred_at) as hour,
        cast(sum(case when event_type = 'product_viewed' then 1 else 0 end) as bigint) as views,
        cast(sum(case when event_type = 'product_added' then 1 else 0 end) as bigint) as adds,
        cast(sum(case when event_type = 'order_completed' then 1 else 0 end) as bigint) as purchases
    from happenings
    group by product_id, date_trunc('hour', occurred_at)
),

recorded as (  -- copies that do not count too: of these products the view may have rows that have to go
    select product_id
    from analytics.stg_event_records
    where event_date = cast(? as date) and event_type in ('product_viewed', 'product_added')
    union
    select product_id
    from analytics.stg_event_products
    where event_date = cast(? as date) and event_type = 'order_completed'
)

select recorded.product_id, hours.hour, hours.views, hours.adds, hours.purchases
from recorded
left join hours on hours.product_id = recorded.product_id
where recorded.product_id is not null
order by recorded.product_id, hours.hour
"""

VERSION = "select loads from headrace.load_lock"
PUBLISHED = "select distinct event_date from headrace.published where load_seq > ? order by event_date"
EVER_BUILT = """
select event_date from headrace.built union select event_date from headrace.published order by event_date
"""

Query = Callable[[str, Sequence[object]], pa.Table]
"""Asks one publication of the warehouse, the same for as long as the work lasts."""


@dataclass
class Recounted:
    """What a recomputation wrote: products of a date, those of them that have no counted event, and hours."""

    version: int
    products: int = 0
    emptied: int = 0
    hours: int = 0


def counters_key(product_id: str, day: date) -> str:
    """The key under which the hours of a product and event date are."""
    return f"{product_id}/{day.isoformat()}"


def read_days(store: ViewStore, product_id: str, last: date, days: int) -> list[Item]:
    """The hours of a product in the `days` days that end with `last`, newest first; an hour without events has none."""
    dates = (last - timedelta(days=back) for back in range(days))
    return [row.item for day in dates for row in read_all(store, NAME, counters_key(product_id, day)) if row.item]


def read_version(query: Query) -> int:
    """The number of the publication."""
    return int(query(VERSION, [])["loads"][0].as_py())


def dates_published(query: Query, since: int | None) -> list[date]:
    """The event dates that may be others than in the publication `since` (None: every date that was ever built)."""
    found = query(EVER_BUILT, []) if since is None else query(PUBLISHED, [since])
    days = {day.toordinal() + shift for day in found["event_date"].to_pylist() for shift in _REACH}
    return [date.fromordinal(day) for day in sorted(days) if date.min.toordinal() <= day <= date.max.toordinal()]


def recount(query: Query, store: ViewStore, dates: Sequence[date]) -> Steps[Recounted]:
    """Replace the counters of every product that the warehouse has a record of on `dates`."""
    recounted = Recounted(read_version(query))
    for day in dates:
        products = list(_products(query(COUNTERS, [day] * 4)))
        yield "counters.read"
        for product_id, hours in products:
            key = counters_key(product_id, day)
            rows = [Row(key, str(hour["hour"]), recounted.version, hour) for hour in hours]
            store.replace(NAME, key, recounted.version, rows)
            recounted.products, recounted.hours = recounted.products + 1, recounted.hours + len(rows)
            recounted.emptied += not rows
            yield "counters.replaced"
    return recounted


def _products(found: pa.Table) -> Iterator[tuple[str, list[Item]]]:
    """Each product with its hours."""
    for product_id, rows in groupby(found.to_pylist(), key=lambda row: row["product_id"]):
        yield product_id, [_hour(row) for row in rows if row["hour"] is not None]


def _hour(row: dict[str, Any]) -> Item:
    return {"hour": f"{row['hour']:%Y-%m-%dT%H}:00:00Z", **{name: row[name] for name in COUNTS}}


_REACH = range(-COPIES_REACH_DAYS, COPIES_REACH_DAYS + 1)
