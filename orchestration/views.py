"""The views of facts as assets, by landing hour: Dagster fills them where no listener does, and repairs them.

A run that the sensor asks for brings what the views lack, wherever that landed. Any other run names its hours on
purpose: it brings what is lacking and then those hours again. All of it may be repeated: a row is what its event and
the lookups make it, and the highest version stays.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import dagster as dg

from ingestion.broker import Broker
from ingestion.errors import HeadraceError
from ingestion.lake import Lake
from ingestion.settings import read_settings
from ingestion.steps import crash_at, run
from ingestion.tables import event_table
from ingestion.views import ViewStore
from ingestion.views.facts import Lookups, View, Written
from ingestion.views.landed import as_text
from ingestion.views.products import ProductFile
from ingestion.views.registry import fact_view, fact_views
from ingestion.views.replay import replay_files, replay_hour
from orchestration.lake import OWNERS
from orchestration.partitions import HOURS
from sensors.attempts import TABLES_TAG
from sensors.stores import Stores
from sensors.views_behind import LAKE_VERSIONS, read_lacked, read_versions

POOL = "views"
DESCRIPTIONS = {
    "user_activity": "What a visitor did last: one row per event, kept for some days after it.",
    "cart_events": "What a visitor put into the cart, took out and ordered: one row per event.",
}
NO_CATALOGUE = "none"


def fact_keys() -> list[dg.AssetKey]:
    """The keys of all views of facts."""
    return [dg.AssetKey(["views", view]) for view in fact_views()]


def fact_specs() -> list[dg.AssetSpec]:
    """One asset per view of facts."""
    return [
        dg.AssetSpec(
            ["views", view.name],
            deps=[["lake", event_type] for event_type in view.event_types],
            partitions_def=HOURS,
            group_name="serving",
            owners=OWNERS,
            kinds={views_kind(), "view"},
            description=f"{DESCRIPTIONS[view.name]} The listener keeps it up; a materialisation repairs it.",
        )
        for view in fact_views().values()
    ]


def views_kind() -> str:
    """The engine of the store, as the settings name it."""
    return read_settings().views_url.partition("://")[0]


@dg.multi_asset(
    name="fact_views", specs=fact_specs(), can_subset=True, backfill_policy=dg.BackfillPolicy.single_run(), pool=POOL
)
def facts(context: dg.AssetExecutionContext, stores: dg.ResourceParam[Stores]) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """Fills the selected views; what is wrong with one does not hold up the others."""
    again = [] if TABLES_TAG in context.run.tags else list(context.partition_keys)
    settings, lookups, failures = read_settings(), read_lookups(), []
    with closing(stores.broker()) as broker, closing(stores.views()) as store:
        for key in sorted(context.selected_asset_keys):
            view = fact_view(key.path[-1], settings.activity_days, settings.cart_days)
            try:
                filling = Filling(stores.lake(), broker, store, view, lookups)
                metadata = filling.fill(read_versions(context.instance, view.name), again)
            except HeadraceError as error:
                failures.append(f"{view.name}: {error}")
            else:
                yield dg.MaterializeResult(asset_key=key, metadata=metadata)
    if failures:
        raise dg.Failure("; ".join(failures))


def read_lookups() -> Lookups:
    """The other sources that views join with, as they are now."""
    url = read_settings().catalogue
    return Lookups(ProductFile(url).products()) if url else Lookups()


class Filling:
    """One view, and what it is filled from."""

    def __init__(self, lake: Lake, broker: Broker, store: ViewStore, view: View, lookups: Lookups) -> None:
        self._lake, self._broker, self._store, self._view, self._lookups = lake, broker, store, view, lookups
        self._reach = crash_at(read_settings().crash_at)

    def fill(self, versions: Mapping[str, int], hours: Sequence[str]) -> Mapping[str, Any]:
        """Bring what the view lacks that has the lake's `versions`, and `hours` again; say what came of it."""
        lacked, total = read_lacked(self._lake, self._broker, self._view, versions), Written()
        for event_type, missing in lacked.items():
            table = event_table(event_type)
            if missing.files:
                self._lake.table(table).sync(missing.after)
                files = [file for file in missing.files if file.landing_hour not in hours]
                steps = replay_files(self._store, self._view, table, files, self._lookups)
                total.add(run(steps, self._reach))
        for hour in hours:
            total.add(run(replay_hour(self._lake, self._store, self._view, hour, self._lookups), self._reach))
        has_all_of = {event_type: missing.version for event_type, missing in lacked.items()}
        return {LAKE_VERSIONS: has_all_of, **described(total, self._lookups)}


def described(written: Written, lookups: Lookups) -> Mapping[str, Any]:
    """What a materialisation says of the rows that it wrote."""
    version = lookups.products.version
    said: dict[str, Any] = {
        "rows": written.rows,
        "copies": written.copies,
        "left_out": written.left_out,
        "rows_changed": written.changed,
        "catalogue_version": as_text(version) if version else NO_CATALOGUE,
    }
    if written.problems:
        said["problems"] = dg.MetadataValue.table([dg.TableRecord({"problem": each}) for each in written.problems])
    return said
