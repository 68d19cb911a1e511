"""The raw tables as assets, by landing hour, and the report of which event dates are stale.

A run that the sensor asks for loads what is pending, wherever that landed. Any other run names its hours on purpose:
it loads what is pending and then those hours again, each in a transaction of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from ingestion.errors import HeadraceError
from ingestion.lake import Lake
from ingestion.loader import load, reload
from ingestion.settings import read_settings
from ingestion.steps import crash_at, run
from ingestion.tables import all_tables, table_named
from ingestion.warehouse import Warehouse
from orchestration.lake import OWNERS, column_metadata
from orchestration.partitions import HOURS
from orchestration.preview import preview
from sensors.attempts import TABLES_TAG
from sensors.landed_commits import LOADED_VERSION
from sensors.stale_dates import REPORT_KEY, report
from sensors.stores import Stores

KIND = read_settings().warehouse_url.partition(":")[0]
"""DuckDB or Redshift, as its tag in the UI."""
POOL = "warehouse"
"""Of everything that writes the warehouse. It keeps many runs from waiting for each other in it; it guards nothing."""

event_dates = dg.AssetSpec(
    REPORT_KEY,
    group_name="warehouse",
    owners=OWNERS,
    kinds={KIND},
    description="Which event dates were touched after their models were built. Every load and every build reports it.",
)


def raw_keys() -> list[dg.AssetKey]:
    """The keys of all raw tables."""
    return [dg.AssetKey(["raw", table.name]) for table in all_tables()]


def raw_specs() -> list[dg.AssetSpec]:
    """One asset per raw table."""
    return [
        dg.AssetSpec(
            ["raw", table.name],
            deps=[["lake", table.name]],
            partitions_def=HOURS,
            group_name="warehouse",
            owners=OWNERS,
            kinds={KIND, "table"},
            description=f"{table.description} Every record of its lake table, once.",
            metadata=column_metadata(table),
        )
        for table in all_tables()
    ]


@dg.multi_asset(
    name="raw", specs=raw_specs(), can_subset=True, backfill_policy=dg.BackfillPolicy.single_run(), pool=POOL
)
def raw(context: dg.AssetExecutionContext, stores: dg.ResourceParam[Stores]) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """Loads the selected tables; what is wrong with one table does not hold up the others."""
    lake, warehouse = stores.lake(), stores.warehouse()
    hours = list(context.partition_keys)
    again = [] if TABLES_TAG in context.run.tags else hours
    loaded: dict[str, int] = {}
    failures: list[str] = []
    for name in sorted(key.path[-1] for key in context.selected_asset_keys):
        try:
            loaded[name] = load_table(lake, warehouse, name, again)
        except HeadraceError as error:
            failures.append(f"{name}: {error}")
    context.log_event(report(warehouse.staleness()))
    for name, rows in loaded.items():
        ledger = read_ledger(warehouse, name, hours)
        for hour in hours:
            row_count = {"dagster/partition_row_count": ledger.rows_by_hour.get(hour, 0)}
            context.add_asset_metadata(row_count, ["raw", name], hour)
        if rows and ledger.rows_by_hour:  # once, because what a result carries is kept again with every hour
            last = max(ledger.rows_by_hour)
            shown = dg.MetadataValue.md(preview(warehouse, table_named(name), last))
            context.add_asset_metadata({"preview": shown}, ["raw", name], last)
        metadata = {LOADED_VERSION: ledger.version, "rows_loaded": rows, "dagster/row_count": ledger.rows}
        yield dg.MaterializeResult(asset_key=["raw", name], metadata=metadata)
    if failures:
        raise dg.Failure("; ".join(failures))


def load_table(lake: Lake, warehouse: Warehouse, name: str, hours: Sequence[str]) -> int:
    """Load the pending commits of a table, then `hours` of it again, and return how many rows that were."""
    table, reach = table_named(name), crash_at(read_settings().crash_at)
    rows = run(load(lake, warehouse, table), reach).rows
    held = read_ledger(warehouse, name, hours).rows_by_hour if hours else {}
    return rows + sum(run(reload(lake, warehouse, table, hour), reach).rows for hour in sorted(held))


@dataclass(frozen=True)
class Ledger:
    """What the ledger has of a table: the last version of the lake table, and rows."""

    version: int
    rows: int
    rows_by_hour: Mapping[str, int]


def read_ledger(warehouse: Warehouse, name: str, hours: Sequence[str]) -> Ledger:
    """The ledger of a table, with the rows of `hours`, which are in order."""
    entries = warehouse.query(
        "select landing_hour, cast(sum(rows) as bigint), max(version) from headrace.load_ledger"
        " where table_name = ? group by landing_hour",
        [name],
    )
    rows = {str(hour): int(str(count)) for hour, count, _ in entries if hour is not None}
    version = max((int(str(version)) for _, _, version in entries), default=-1)
    wanted = {hour: count for hour, count in rows.items() if hours[0] <= hour <= hours[-1] and count}
    return Ledger(version, sum(rows.values()), wanted)
