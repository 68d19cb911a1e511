"""What the marts say of a shop in a date range: visitors, orders, money, carts, products and retention.

Distinct visitors and currencies are never added up; what may still change `as_of` the data is told apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby

from ingestion.errors import ModelsNotBuilt
from orchestration.funnels import Query, share

WEEK = timedelta(days=7)
READ = (
    "agg_funnel_daily",
    "fct_cart_lines",
    "fct_events",
    "fct_funnel_attempts",
    "funnel_steps",
    "funnels",
    "int_funnel_definitions",
    "mart_daily_kpis",
    "mart_product_performance_daily",
    "mart_retention_weekly",
    "mart_revenue_daily",
    "stg_events",
    "stg_product_viewed",
)
"""The models that a report reads."""


@dataclass(frozen=True)
class Day:
    """What happened on a date."""

    day: date
    visitors: int
    sessions: int
    converting_sessions: int
    orders: int

    @property
    def conversion(self) -> float | None:
        """The share of its sessions that have an order."""
        return share(self.converting_sessions, self.sessions)


@dataclass(frozen=True)
class Revenue:
    """Money of one currency; None is what came without one."""

    currency: str | None
    orders: int
    gross: Decimal
    refunds: Decimal
    net: Decimal


@dataclass(frozen=True)
class Carts:
    """Cart lines: of those whose outcome can no longer change how many were abandoned, and how many are still open."""

    decided: int
    abandoned: int
    recovered: int
    open: int


@dataclass(frozen=True)
class Product:
    """A product, with its net revenue per currency."""

    product_id: str
    name: str | None
    views: int
    adds: int
    orders: int
    revenue: tuple[tuple[str | None, Decimal], ...]


@dataclass(frozen=True)
class Returned:
    """The visitors of a cohort that were there in a later week; a week that runs is not final."""

    visitors: int
    is_final: bool


@dataclass(frozen=True)
class Cohort:
    """The visitors first seen in a week, and who of them came back in each week after it."""

    week: date
    visitors: int
    returned: tuple[Returned, ...]


TABLES = "select table_name from information_schema.tables where table_schema = 'analytics'"

STALE_DATES = """
with touched as (
    select event_date, max(load_seq) as load_seq from headrace.touched
    where table_name <> 'rejected' and event_date between ? and ?
    group by event_date
),

built as (
    select event_date, max(load_seq) as load_seq from headrace.built group by event_date
)

select touched.event_date
from touched
left join built on built.event_date = touched.event_date
where built.load_seq is null or built.load_seq < touched.load_seq
order by touched.event_date
"""

DAYS = """
select event_date, visitors, sessions, converting_sessions, orders
from analytics.mart_daily_kpis
where event_date between ? and ?
order by event_date
"""

REVENUE = """
select
    currency, cast(sum(orders) as bigint), cast(sum(gross_revenue) as decimal(28, 4)),
    cast(sum(refunds) as decimal(28, 4)), cast(sum(net_revenue) as decimal(28, 4))
from analytics.mart_revenue_daily
where event_date between ? and ?
group by currency
order by 2 desc, currency
"""

CARTS = """
with lines as (
    select outcome, case when decided_at > ? then 1 else 0 end as is_open
    from analytics.fct_cart_lines
    where added_date between ? and ?
)

select
    cast(coalesce(sum(1 - is_open), 0) as bigint),
    cast(coalesce(sum(case when is_open = 0 and outcome = 'abandoned' then 1 else 0 end), 0) as bigint),
    cast(coalesce(sum(case when is_open = 0 and outcome = 'recovered' then 1 else 0 end), 0) as bigint),
    cast(coalesce(sum(is_open), 0) as bigint)
from lines
"""

TOP_PRODUCTS = """
select
    product_id, cast(sum(views) as bigint) as views, cast(sum(adds) as bigint) as adds,
    cast(sum(orders) as bigint) as orders
from analytics.mart_product_performance_daily
where event_date between ? and ?
group by product_id
order by orders desc, adds desc, views desc, product_id
limit ?
"""

PRODUCT_REVENUE = """
select product_id, currency, cast(sum(net_revenue) as decimal(28, 4)) as net_revenue
from analytics.mart_product_performance_daily
where event_date between ? and ? and product_id in ({})
group by product_id, currency
having sum(gross_revenue) <> 0 or sum(refunds) <> 0
order by product_id, net_revenue desc, currency
"""

PRODUCT_NAMES = """
with named as (
    select
        product_id, name,
        row_number() over (partition by product_id order by occurred_at desc, name) as place
    from analytics.stg_product_viewed
    where name is not null and event_date <= ? and product_id in ({})
)

select product_id, name from named where place = 1
"""

RETENTION = """
select cohort_week, cohort_visitors, week, active_visitors
from analytics.mart_retention_weekly
where cohort_week between ? and ?
order by cohort_week, week
"""


def check_built(query: Query) -> None:
    """ModelsNotBuilt where the warehouse lacks a model that is read."""
    present = {name for (name,) in query(TABLES, [])}
    if missing := [name for name in READ if name not in present]:
        raise ModelsNotBuilt(
            f"the warehouse has no analytics.{missing[0]} ({len(missing)} of {len(READ)} models are missing);"
            " build them with `headrace build`, or run the platform with `headrace up`"
        )


def read_as_of(query: Query) -> datetime | None:
    """When the last event that the models have seen was received, UTC; None before the first."""
    ((as_of,),) = query("select max(received_at) from analytics.stg_events", [])
    return as_of if isinstance(as_of, datetime) else None


def read_stale_dates(query: Query, first: date, last: date) -> list[date]:
    """Dates of which more is loaded than their models have seen."""
    return [day for (day,) in query(STALE_DATES, [first, last])]


def count_visitors(query: Query, first: date, last: date) -> int:
    """Distinct visitors; those of the days would count whoever came back again."""
    sql = "select cast(count(distinct visitor_id) as bigint) from analytics.fct_events where event_date between ? and ?"
    return int(query(sql, [first, last])[0][0])


def read_days(query: Query, first: date, last: date, as_of: datetime) -> list[Day]:
    """Every date up to the last that the data can know, or none where nothing happened on any."""
    known = {row[0]: Day(*row) for row in query(DAYS, [first, last])}
    if not known:
        return []
    until = max(min(last, as_of.date()), *known)
    dates = [first + timedelta(days=n) for n in range((until - first).days + 1)]
    return [known.get(day, Day(day, 0, 0, 0, 0)) for day in dates]


def read_revenue(query: Query, first: date, last: date) -> list[Revenue]:
    """Revenue per currency; the one of most orders comes first."""
    return [Revenue(*row) for row in query(REVENUE, [first, last])]


def read_carts(query: Query, first: date, last: date, as_of: datetime) -> Carts:
    """What became of the lines added in the range."""
    return Carts(*query(CARTS, [as_of, first, last])[0])


def read_products(query: Query, first: date, last: date, limit: int = 15) -> list[Product]:
    """The products ordered most often."""
    top = query(TOP_PRODUCTS, [first, last, limit])
    ids = [row[0] for row in top]
    names = read_names(query, ids, last)
    money: dict[str, list[tuple[str | None, Decimal]]] = {}
    if ids:
        for product_id, currency, net in query(PRODUCT_REVENUE.format(_marks(ids)), [first, last, *ids]):
            money.setdefault(product_id, []).append((currency, net))
    return [
        Product(product_id, names.get(product_id), views, adds, orders, tuple(money.get(product_id, ())))
        for product_id, views, adds, orders in top
    ]


def read_names(query: Query, product_ids: Sequence[str], last: date) -> dict[str, str]:
    """The names that products had when they were last viewed, up to a date."""
    return dict(query(PRODUCT_NAMES.format(_marks(product_ids)), [last, *product_ids])) if product_ids else {}


def read_cohorts(query: Query, first: date, last: date, as_of: datetime) -> list[Cohort]:
    """The cohorts of the weeks of the range; a week in which nobody came back is 0, one that did not begin is left out.

    Weeks are whole, from Monday, also where the range begins or ends within one.
    """
    until = min(last, as_of.date())
    rows = query(RETENTION, [first - timedelta(days=first.weekday()), last])
    cohorts = []
    for (week, visitors), group in groupby(rows, key=lambda row: (row[0], row[1])):
        active = {number: count for _, _, number, count in group}
        weeks = range(1, (until - week) // WEEK + 1)
        ends = {number: datetime.combine(week + (number + 1) * WEEK, datetime.min.time()) for number in weeks}
        cells = tuple(Returned(active.get(number, 0), ends[number] <= as_of) for number in weeks)
        cohorts.append(Cohort(week, visitors, cells))
    return cohorts


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" for _ in values)
