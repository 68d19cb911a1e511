"""The product counters beside the lake: what the last hours brought is left out, the rest has to be exact.

Between the lake and the counters are a load, a build and a recount, so a product and date is compared where nothing of
it, and no copy of its events, was appended to the log lately. Dates that were not built since older events were loaded
wait too, and everything does where the counters have not seen those loads.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pyarrow as pa

from ingestion.lake import Lake
from ingestion.tables import event_table
from ingestion.views import ViewStore
from orchestration.view_comparison import (
    FIRST_DATE,
    Comparison,
    Sample,
    Scope,
    draw_keys,
    landed_in,
    read_rows,
    scratch,
)

LATELY = timedelta(minutes=30)
"""At least so long, from the log to the counters, is no difference; counted from whole landing hours."""
RECOMPUTED_BY = {
    "product_viewed": "counted_products",
    "product_added": "counted_products",
    "order_completed": "counted_orders",
}
LOADED = """
select table_name, max(version) as version, coalesce(max(load_seq) filter (where landing_hour < ?), 0) as load_seq
from headrace.load_ledger where table_name in ('product_viewed', 'product_added', 'order_completed') group by table_name
"""
UNBUILT = """
select distinct touched.event_date
from headrace.touched left join headrace.built using (event_date)
where touched.table_name <> 'rejected'
    and touched.load_seq > coalesce(built.load_seq, 0) and coalesce(built.load_seq, 0) < ?
"""

Query = Callable[[str, Sequence[object]], pa.Table]


@dataclass(frozen=True)
class Settled:
    """What the counters must have seen: everything appended before `until`, but for the dates that are not built."""

    until: datetime
    unbuilt: tuple[date, ...] = ()


@dataclass(frozen=True)
class CounterView:
    """The counters; `version` is the number of the publication that they have seen as a whole, None for none."""

    lake: Lake
    store: ViewStore
    published: Callable[[], AbstractContextManager[Query]]
    version: int | None
    name: str = "product_counters"

    def first_date(self, now: datetime) -> date:
        """They do not expire."""
        return FIRST_DATE

    def sample(self, sample: Sample, now: datetime) -> list[str]:
        """Some products and dates of which the last two settled landing hours have events."""
        last = settled_until(now) - timedelta(hours=1)
        hours = (last, last - timedelta(hours=1))
        tables = [self.lake.table(event_table(name)) for name in ("product_viewed", "product_added")]
        files = [file for table in tables for file in sample.draw(landed_in(table.snapshot(), sample.since, hours))]
        return draw_keys("recent_products", sample, files)

    def compare(self, scope: Scope, now: datetime) -> Comparison:
        """Look once."""
        settled = self._settled(now)
        with scratch(scope) as work:
            work.set("of_wanted", False)  # copies of an event may name different products
            work.set("settled_until", settled.until if settled else None)
            work.insert("unbuilt", ([day] for day in settled.unbuilt) if settled else ())
            for event_type, name in RECOMPUTED_BY.items():
                work.recompute("happenings", name, self.lake.table(event_table(event_type)).snapshot())
            work.recompute("owed", self.name)
            work.hold(self._held(scope))
            return work.compare("counter_differences")

    def _settled(self, now: datetime) -> Settled | None:
        """None where the counters, or the loads, are further behind than is waited for."""
        if self.version is None:
            return None
        until = settled_until(now)
        with self.published() as query:
            loaded = {row["table_name"]: row for row in query(LOADED, [_hour(until)]).to_pylist()}
            load_seq = max((row["load_seq"] for row in loaded.values()), default=0)
            unbuilt = query(UNBUILT, [load_seq])["event_date"].to_pylist()
        versions = {name: row["version"] for name, row in loaded.items()}
        is_behind = self.version < load_seq or any(
            self._has_landed(name, versions.get(name, -1), until) for name in RECOMPUTED_BY
        )
        return None if is_behind else Settled(until, tuple(unbuilt))

    def _has_landed(self, event_type: str, loaded: int, until: datetime) -> bool:
        """Whether the lake has rows from before `until` that are not loaded."""
        commits = self.lake.table(event_table(event_type)).commits(loaded)
        return any(file.landing_hour < _hour(until) for commit in commits for file in commit.files)

    def _held(self, scope: Scope) -> Iterator[tuple[str, str, str]]:
        first = scope.since.isoformat()
        for key in self.store.keys(self.name) if scope.keys is None else scope.keys:
            if key.rpartition("/")[2] >= first:
                yield from read_rows(self.store, self.name, key)


def settled_until(now: datetime) -> datetime:
    """The beginning of the landing hour of which, and of those after it, nothing is compared."""
    return (now - LATELY).replace(minute=0, second=0, microsecond=0)


def _hour(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d-%H}"
