"""The views' lines of the status: how far each is behind the log, and what it left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from ingestion.broker import Broker
from ingestion.errors import HeadraceError
from ingestion.listened import Listened, oldest_waiting, read_listened
from ingestion.views.registry import fact_views
from sensors.conditions import WARNING, Condition

LATE_SECONDS = 300.0
LEFT_OUT = "left_out"
"""In a materialisation of `views/<name>`: events that the view could not take."""


@dataclass(frozen=True)
class ViewStatus:
    """A view: records of the log that it is made of, and those that wait for its listener (None: none has begun)."""

    name: str
    appended: int | None = None
    waiting: int | None = None
    left_out: int | None = None


def read_views(
    broker: Broker | None, instance: dg.DagsterInstance, now: datetime
) -> tuple[list[ViewStatus], list[Condition]]:
    """Every view's line, and what is wrong with them; without a log, what Dagster knows of them."""
    wrong: list[Condition] = []
    views = []
    for view in fact_views().values():
        listened: Sequence[Listened] = ()
        try:
            if broker:
                listened = read_listened(broker, view)
                wrong += _conditions(broker, view.name, listened, now)
        except HeadraceError as error:
            wrong.append(Condition("a view's topics cannot be read", view.name, str(error), ""))
        left_out = _left_out(instance, view.name)
        if listened:
            appended, waiting = sum(each.appended for each in listened), sum(each.pending for each in listened)
            views.append(ViewStatus(view.name, appended, waiting, left_out))
        else:
            views.append(ViewStatus(view.name, left_out=left_out))
    return views, wrong


def _conditions(broker: Broker, view: str, listened: Sequence[Listened], now: datetime) -> Iterator[Condition]:
    for problem in (problem for each in listened for problem in each.problems):
        yield Condition("a view lacks records", view, f"{problem}.", "Materialise it in Dagster for those hours.")
    times = [oldest for each in listened if (oldest := oldest_waiting(broker, each)) is not None]
    age = now.timestamp() - min(times, default=now.timestamp() * 1_000_000) / 1_000_000
    if age > LATE_SECONDS:
        waiting = sum(each.pending for each in listened)
        said = f"{waiting:,} records of the log wait for its listener, the oldest for {age / 60:,.0f} minutes."
        todo = "Start it: headrace up (or headrace listen), and see its log; until then Dagster fills the view."
        yield Condition("a view is behind", view, said, todo, WARNING)


def _left_out(instance: dg.DagsterInstance, view: str) -> int | None:
    """Of the last materialisation; None where there is none."""
    event = instance.get_latest_materialization_event(dg.AssetKey(["views", view]))
    found = event.asset_materialization.metadata.get(LEFT_OUT) if event and event.asset_materialization else None
    return found.value if isinstance(found, dg.IntMetadataValue) else None
