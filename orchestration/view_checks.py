"""Checks of the views: each equals what the lake's events come to, by SQL that shares no code with the views.

Two depths. Runs that start anyway, after each build to count products and every hour for other checks, take a sample
of what the last loads touched and compare its latest event dates: what that costs depends on recent traffic alone. A
nightly run compares all rows.
What differs is looked at again after a while, and counts only where it still differs.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import dagster as dg

from ingestion.listened import group
from ingestion.settings import read_settings
from ingestion.views.product_counters import NAME
from ingestion.views.registry import fact_view, fact_views
from orchestration.counter_comparison import CounterView
from orchestration.fact_comparison import FactView, Sides
from orchestration.view_comparison import ComparedView, Comparison, Difference, Sample, Scope
from sensors.counters_behind import read_counted
from sensors.stores import Stores
from sensors.views_behind import read_versions

WHOLE, SAMPLE = "equals_the_lake", "latest_rows_equal_the_lake"
SAMPLED_KEYS, SAMPLED_FILES, SAMPLED_DATES = 200, 10, 2
LOOK_AGAIN_SECONDS = 30.0
"""Longer than a lander gathers rows: what only races with it is over by then."""
SHOWN = 20

DESCRIBED = {
    WHOLE: "Every row is what the lake says, and there is no other.",
    SAMPLE: f"The same of {SAMPLED_KEYS} keys that landed lately, on the last {SAMPLED_DATES} event dates.",
}
Clock = Callable[[], datetime]
Pause = Callable[[float], None]
REPAIR = (
    "Bring the rows again from the lake: headrace views repair --from {first} --to {last} --view {view}, or materialise"
    " views/{view} for that range (it names when events landed: go on to later hours where an app sends late). A row"
    " too many that no copy of an event explains stays: tell the developers, with this table."
)
UNCOMPARED = "What rows were joined with (the catalogue) is not compared."


@dataclass(frozen=True)
class Found:
    """What a check found: the last comparison, and how many rows only seemed to differ."""

    comparison: Comparison
    keys: int | None
    settled: int = 0


def check_specs() -> list[dg.AssetCheckSpec]:
    """Both depths of every view."""
    return [
        dg.AssetCheckSpec(depth, asset=["views", view], description=description)
        for view in (*fact_views(), NAME)
        for depth, description in DESCRIBED.items()
    ]


@dg.multi_asset_check(name="view_checks", specs=check_specs(), can_subset=True)
def view_checks(
    context: dg.AssetCheckExecutionContext, stores: dg.ResourceParam[Stores]
) -> Iterator[dg.AssetCheckResult]:
    """Compares the views whose checks are selected, one after the other."""
    with closing(stores.broker()) as broker, closing(stores.views()) as store:
        sides = Sides(broker, stores.lake(), store)
        for key in sorted(context.selected_asset_check_keys):
            name = key.asset_key.path[-1]
            view = counters(context.instance, sides, stores) if name == NAME else facts(context.instance, sides, name)
            look = look_at_all if key.name == WHOLE else look_at_sample
            yield judge(name, key.name, look(view, lambda: datetime.now(UTC), time.sleep))


def facts(instance: dg.DagsterInstance, sides: Sides, name: str) -> FactView:
    """A view of facts, and how far Dagster brought it."""
    settings = read_settings()
    view = fact_view(name, settings.activity_days, settings.cart_days)
    return FactView(sides, name, group(view), view.days, read_versions(instance, name))


def counters(instance: dg.DagsterInstance, sides: Sides, stores: Stores) -> CounterView:
    """The counters, and what they have seen."""
    return CounterView(sides.lake, sides.store, stores.warehouse().snapshot, read_counted(instance))


def look_at_all(view: ComparedView, clock: Clock, pause: Pause) -> Found:
    """Compare every row that does not expire meanwhile."""
    return look_twice(view, Scope(view.first_date(clock())), clock, pause)


def look_at_sample(view: ComparedView, clock: Clock, pause: Pause) -> Found:
    """Compare the latest event dates of some keys that landed lately, others each time."""
    now = clock()
    since = max(now.date() - timedelta(days=SAMPLED_DATES - 1), view.first_date(now))
    keys = view.sample(Sample(since, now.isoformat(), SAMPLED_FILES, SAMPLED_KEYS), now)
    if not keys:
        return Found(Comparison(0, 0, 0), keys=0)
    return look_twice(view, Scope(since, tuple(keys)), clock, pause)


def look_twice(view: ComparedView, scope: Scope, clock: Clock, pause: Pause) -> Found:
    """Look again where something differs, and keep what still does: at its keys; at everything where it is too much."""
    first = view.compare(scope, clock())
    keys = None if scope.keys is None else len(scope.keys)
    if not first.different:
        return Found(first, keys)
    pause(LOOK_AGAIN_SECONDS)
    now = clock()
    since = max(scope.since, view.first_date(now))
    if first.different > len(first.differences):
        return Found(view.compare(replace(scope, since=since), now), keys)
    again = Scope(since, tuple({each.key for each in first.differences}))
    seen = {(each.key, each.sort) for each in view.compare(again, now).differences}
    still = tuple(each for each in first.differences if (each.key, each.sort) in seen)
    settled = first.different - len(still)
    return Found(replace(first, different=len(still), differences=still), keys, settled)


def judge(view: str, depth: str, found: Found) -> dg.AssetCheckResult:
    """Red where anything differs: what, and what to do."""
    comparison, different = found.comparison, found.comparison.different
    compared = f"{comparison.same:,} rows are what the lake says, {comparison.pending:,} wait for the other side"
    where = "" if found.keys is None else f" of {found.keys:,} keys"
    said = f"{compared}{where}, {different:,} differ. {UNCOMPARED}"
    metadata: dict[str, dg.RawMetadataValue] = {
        "rows_equal": comparison.same,
        "rows_pending": comparison.pending,
        "rows_different": different,
        "rows_settled_meanwhile": found.settled,
    }
    if different:
        metadata["differences"] = dg.MetadataValue.md(difference_table(view, comparison.differences[:SHOWN]))
    return dg.AssetCheckResult(
        asset_key=["views", view],
        check_name=depth,
        passed=not different,
        description=f"{said} {what_to_do(view, comparison.differences)}" if different else said,
        metadata=metadata,
    )


def what_to_do(view: str, differences: Sequence[Difference]) -> str:
    """How to repair the event dates of the differences that are listed."""
    dates = sorted(each.key.rpartition("/")[2] if view == NAME else each.sort[:10] for each in differences)
    return REPAIR.format(view=view, first=dates[0], last=dates[-1])


def difference_table(view: str, differences: Sequence[Difference]) -> str:
    """The differences as Markdown."""
    head = ["| view | key | sort | the lake says | the view says |", "|---|---|---|---|---|"]
    cells = (
        (view, each.key, each.sort.replace("\x1f", " "), each.lake_says or "nothing", each.view_says or "nothing")
        for each in differences
    )
    return "\n".join([*head, *(f"| {' | '.join(map(_cell, row))} |" for row in cells)])


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def check_keys(depths: Collection[str]) -> list[dg.AssetCheckKey]:
    """The checks of some depths."""
    return [spec.key for spec in check_specs() if spec.name in depths]


CHECK_VIEWS = dg.define_asset_job(
    "check_views",
    dg.AssetSelection.checks(*check_keys([WHOLE])),
    description="Compares every row of the views with the lake.",
)
