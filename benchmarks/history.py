"""A shop's history, made inside the warehouse: raw rows of many days by SQL, as loads would have left them."""

from ingestion.tables import Table, all_tables
from ingestion.warehouse.duckdb import DuckDBWarehouse

FIRST_DAY = "2025-01-01"
EVENTS_OF_A_VISIT = 8
SHARES = {
    "product_viewed": 70,
    "product_added": 12,
    "category_viewed": 5,
    "products_searched": 5,
    "checkout_started": 3,
    "order_completed": 3,
    "product_removed": 2,
}
"""Of a hundred events, so many are of a type."""

PRODUCT = "{'product_id': product_id, 'category': category, 'price': price, 'currency': 'EUR', 'quantity': 1}"
PROPERTIES = {
    "product_id": "product_id",
    "category": "category",
    "price": "price",
    "currency": "'EUR'",
    "quantity": "1",
    "order_id": "'order-' || number",
    "total": "price",
    "products": f"[{PRODUCT}]",
}
"""What the columns of a type hold, where it has them."""

ENVELOPE = {
    "event_id": "'event-' || number",
    "contract_version": "1",
    "occurred_at": "occurred_at",
    "received_at": "occurred_at + interval 2 second",
    "source": "case when visitor % 3 = 0 then 'app' else 'web' end",
    "anonymous_id": "'browser-' || visitor",
    "user_id": "case when visitor % 2 = 0 and place > 3 then 'user-' || visitor end",
    "app_name": "'shop'",
    "device_type": "case when visitor % 3 = 0 then 'phone' else 'desktop' end",
    "checksum": "number",
    "topic_id": "'history'",
    "kafka_partition": "0",
    "kafka_offset": "number",
    "kafka_timestamp": "occurred_at + interval 2 second",
    "landing_hour": "strftime(occurred_at + interval 2 second, '%Y-%m-%d-%H')",
}

EVENTS = f"""
with numbered as (
    select number, number // $events as day, number % $events // {EVENTS_OF_A_VISIT} as visit,
        number % {EVENTS_OF_A_VISIT} as place
    from (select unnest(range($events * $first, $events * $days)) as number)
),
visits as (  -- most visitors come again on other days
    select number, day, place,
        cast(hash(day, visit) % ($events // {EVENTS_OF_A_VISIT} * 20) as bigint) as visitor,
        cast(hash(visit, day) % 80000 as bigint) as second
    from numbered
)
select number, visitor, place,
    timestamp '{FIRST_DAY}' + to_days(cast(day as integer)) + to_seconds(second + place * 40) as occurred_at,
    cast(hash(number, 1) % 100 as integer) as lot,
    'P-' || cast(hash(number, 2) % 1000 as varchar) as product_id,
    'category-' || cast(hash(number, 2) % 20 as varchar) as category,
    cast(10 + hash(number, 2) % 90 as decimal(18, 4)) as price
from visits
"""


def add_days(warehouse: DuckDBWarehouse, first: int, days: int, events: int) -> list[str]:
    """Raw rows of the days from `first` up to `days`, `events` a day, touched by one load; returns their dates."""
    for table in all_tables():
        with warehouse.load(table):
            pass  # its raw table is made
    make = f"create or replace table headrace.made as {EVENTS.replace('$events', str(events))}"
    warehouse.query(make.replace("$first", str(first)).replace("$days", str(days)))
    drawn = 0
    for table in all_tables():
        if share := SHARES.get(table.name):
            warehouse.query(insert(table, drawn, drawn + share))
            drawn += share
    warehouse.query(
        "insert into headrace.touched select distinct 'product_viewed', cast(occurred_at as date), loads"
        " from headrace.made cross join headrace.load_lock"
    )
    dates = warehouse.query("select distinct cast(occurred_at as date) from headrace.made order by 1")
    warehouse.query("drop table headrace.made")
    return [str(day) for (day,) in dates]


def insert(table: Table, low: int, high: int) -> str:
    """The rows of a type: those events whose lot is from `low` up to `high`."""
    names = table.schema.names
    columns = ENVELOPE | {name: value for name, value in PROPERTIES.items() if name in names}
    columns |= {"event_type": f"'{table.name}'", "kafka_topic": f"'{table.topic}'"}
    values = ", ".join(f"{value} as {name}" for name, value in columns.items())
    return (
        f"insert into raw.{table.name} by name select {values} from headrace.made where lot >= {low} and lot < {high}"
    )
