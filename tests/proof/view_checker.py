"""What the views have to hold, in SQL over the lake's files; shares no code with `ingestion/views` or the models."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable

CART_TYPES = ("product_added", "product_removed", "order_completed")
SHOWN = {
    "user_activity": (
        "product_id", "name", "category", "brand", "variant", "price", "currency", "quantity", "query", "cart_id",
        "order_id", "total",
    ),
    "cart_events": ("product_id", "name", "quantity", "price", "currency", "cart_id", "order_id"),
}  # fmt: skip

RECORDS = """
select * from read_parquet(?, union_by_name = true, hive_partitioning = false) where landing_error is null
"""

COUNTING = """
select
    case when nullif(mine.user_id, '') is not null then 'user:' || mine.user_id
        else 'anonymous:' || mine.anonymous_id end as visitor,
    strftime(mine.occurred_at at time zone 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ') as occurred_text,
    date_diff('day', date '1970-01-01', cast(mine.occurred_at as date)) as day,
    mine.*
from records as mine
where coalesce(nullif(mine.user_id, ''), nullif(mine.anonymous_id, '')) is not null
    and not exists (
        from records as copy
        where copy.event_type = mine.event_type and copy.event_id = mine.event_id and copy.source = mine.source
            and copy.user_id is not distinct from mine.user_id
            and copy.anonymous_id is not distinct from mine.anonymous_id
            and copy.device_occurred_at is not distinct from mine.device_occurred_at
            and abs(date_diff('day', cast(copy.occurred_at as date), cast(mine.occurred_at as date))) <= 1
            and (copy.received_at, copy.kafka_partition, copy.kafka_offset, copy.topic_id)
                < (mine.received_at, mine.kafka_partition, mine.kafka_offset, mine.topic_id)
    )
"""

COUNTED = """
select mine.*
from records as mine
where not exists (
    from records as copy
    where copy.event_id = mine.event_id and copy.source = mine.source
        and copy.user_id is not distinct from mine.user_id
        and copy.anonymous_id is not distinct from mine.anonymous_id
        and copy.device_occurred_at is not distinct from mine.device_occurred_at
        and abs(date_diff('day', cast(copy.occurred_at as date), cast(mine.occurred_at as date))) <= 1
        and (copy.received_at, copy.kafka_partition, copy.kafka_offset, copy.topic_id)
            < (mine.received_at, mine.kafka_partition, mine.kafka_offset, mine.topic_id)
)
"""
PRODUCTS = {
    "product_viewed": "[product_id]",
    "product_added": "[product_id]",
    "order_completed": "list_distinct(list_transform(products, lambda line: line.product_id))",
}
PER_HOUR = """
select product, strftime(occurred_at at time zone 'UTC', '%Y-%m-%dT%H:00:00Z') as hour, count(*) as times
from (select occurred_at, unnest({products}) as product from ({counted})) where product is not null
group by all
"""

Counter = tuple[str, str, int, int, int]
"""A product and hour with its views, adds and purchases."""
Shown = tuple[str, str]
"""A row's key, and its item as JSON."""


def due(
    lake: Path,
    types: Sequence[str],
    view: str,
    now: float,
    catalogue: Mapping[str, Mapping[str, str]],
    catalogue_version: str | None,
    days: int = 90,
) -> list[Shown]:
    """The rows that a view must show at `now`, sorted."""
    wanted = [name for name in types if view == "user_activity" or name in CART_TYPES]
    found = []
    for row in _asked(lake, wanted, COUNTING):
        if (row["day"] + days) * 86_400 <= now:
            continue
        item = {name: row[name] for name in SHOWN[view] if row.get(name) is not None}
        item |= {"event_id": row["event_id"], "event_type": row["event_type"], "occurred_at": row["occurred_text"]}
        if catalogue_version and "product_id" in item:
            item["catalogue_version"] = catalogue_version
            if item["product_id"] in catalogue:
                item["product"] = dict(catalogue[item["product_id"]])
        found.append((row["visitor"], json.dumps(item, sort_keys=True, default=str)))
    return sorted(found)


def due_counters(lake: Path) -> list[Counter]:
    """The counters that the view must show, sorted."""
    counts: dict[tuple[str, str], list[int]] = {}
    for place, (name, products) in enumerate(PRODUCTS.items()):
        for row in _asked(lake, [name], PER_HOUR.format(products=products, counted=COUNTED)):
            counts.setdefault((row["product"], row["hour"]), [0, 0, 0])[place] = row["times"]
    return sorted((*of, views, adds, purchases) for of, (views, adds, purchases) in counts.items())


def held_counters(views: Path) -> list[Counter]:
    """The counters that the view shows, sorted."""
    with sqlite3.connect(views) as db:
        rows = db.execute("select key, item from rows where view = 'product_counters' and item is not null").fetchall()
    db.close()
    found = []
    for key, text in rows:
        item, (product, _, day) = json.loads(text), key.rpartition("/")
        assert item["hour"].startswith(day)
        found.append((product, item["hour"], item["views"], item["adds"], item["purchases"]))
    return sorted(found)


def held(views: Path, view: str, now: float) -> list[Shown]:
    """The rows that a view shows, sorted: the newest of each key may be anywhere."""
    with sqlite3.connect(views) as db:
        rows = db.execute(
            "select key, item from rows where view = ? and item is not null and (expires_at is null or expires_at > ?)",
            [view, now],
        ).fetchall()
    db.close()
    return sorted((key, json.dumps(json.loads(item), sort_keys=True)) for key, item in rows)


def held_in_dynamodb(client: Any, table: str, now: float) -> list[Shown]:
    """The same of a table of DynamoDB."""
    pages = client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    found = [item for page in pages for item in page["Items"] if "item" in item]
    shown = [item for item in found if "expires_at" not in item or int(item["expires_at"]["N"]) > now]
    return sorted((item["key"]["S"], json.dumps(json.loads(item["item"]["S"]), sort_keys=True)) for item in shown)


def _asked(lake: Path, types: Sequence[str], sql: str) -> Iterator[dict[str, Any]]:
    with duckdb.connect(config={"threads": 1}) as db:
        db.execute("set timezone = 'UTC'")
        for name in types:
            files = DeltaTable(lake / name).file_uris() if (lake / name / "_delta_log").exists() else []
            if files:
                db.execute(f"create or replace temp table records as {RECORDS}", [files])
                yield from db.sql(sql).to_arrow_table().to_pylist()
