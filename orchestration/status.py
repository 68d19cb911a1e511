"""What one screen has to tell an operator: which stores answer, how far each table came, what runs, what is wrong.

It asks the stores for positions and versions and Dagster for its last runs, never for what grows with the history.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import dagster as dg

from ingestion.broker import Broker
from ingestion.errors import HeadraceError, WarehouseBusy
from ingestion.lake import Lake
from ingestion.settings import Settings
from ingestion.tables import Table, all_tables
from ingestion.warehouse import StaleDate, open_warehouse
from orchestration.automation import failing_ticks, read_switches, silent_daemons, switched_off
from orchestration.checks import DUPLICATES, UNFIT
from orchestration.instance import open_instance
from orchestration.store_status import BUSY_SECONDS, LAKE, LOG, WAREHOUSE, StoreStatus, open_log, read_stores
from orchestration.view_status import LATE_SECONDS, ViewStatus, read_views
from sensors.conditions import Condition, latest_evaluations, read_conditions

JOBS = (
    "load_raw", "build_models", "fill_views", "count_products", "check_recent", "check_raw", "check_models",
    "check_views", "replay_raw", "repair_views", "recount_products", "prune_history",
)  # fmt: skip
LEDGER = "select table_name, max(version), cast(sum(rows) as bigint) from headrace.load_ledger group by table_name"


@dataclass(frozen=True)
class TableStatus:
    """How far a record type came: records of the log, versions of the lake, rows of the warehouse (None: unknown)."""

    name: str
    appended: int | None = None
    waiting: int | None = None
    version: int | None = None
    loaded_version: int | None = None
    rows: int | None = None
    unfit: float | None = None
    duplicates: float | None = None

    @property
    def pending(self) -> int | None:
        """Commits that are not loaded."""
        return None if self.version is None or self.loaded_version is None else self.version - self.loaded_version


@dataclass(frozen=True)
class JobStatus:
    """A job: when it last succeeded, and how long that took."""

    name: str
    succeeded: datetime | None
    took: timedelta


@dataclass(frozen=True)
class Status:
    """Everything that the screen shows; `stale` is None where the warehouse is busy or does not answer."""

    stores: list[StoreStatus]
    tables: list[TableStatus]
    stale: tuple[StaleDate, ...] | None
    jobs: list[JobStatus]
    switches: Mapping[str, bool]
    wrong: list[Condition] = field(default_factory=list)
    views: list[ViewStatus] = field(default_factory=list)


def read_status(settings: Settings, repository: dg.RepositoryDefinition, now: datetime) -> Status:
    """The status of this environment."""
    stores = read_stores(settings)
    down = {store.name for store in stores if store.problem}
    with ExitStack() as stack:
        instance = stack.enter_context(open_instance(settings))
        broker = None if LOG in down else stack.enter_context(open_log(settings))
        ledger, stale = (None, None) if WAREHOUSE in down else _read_warehouse(settings)
        hops, wrong = _read_tables(settings, broker, now) if broker and LAKE not in down else ({}, [])
        shares = _shares(instance, repository)
        tables = []
        for table in all_tables():
            appended, waiting, version = hops.get(table.name, (None, None, None))
            loaded, rows = (None, None) if ledger is None else ledger.get(table.name, (-1, 0))
            tables.append(TableStatus(table.name, appended, waiting, version, loaded, rows, *shares[table.name]))
        views, amiss = read_views(broker, instance, now)
        switches = read_switches(instance, repository)
        wrong += [*amiss, *silent_daemons(instance, now), *failing_ticks(instance), *switched_off(switches)]
        wrong += read_conditions(instance, repository, now)
        return Status(stores, tables, stale, [_job(instance, name) for name in JOBS], switches, wrong, views)


Hops = tuple[int, int, int]
"""Records appended, records that wait for the lander, and the lake's version."""


def _read_tables(settings: Settings, broker: Broker, now: datetime) -> tuple[Mapping[str, Hops], list[Condition]]:
    """How far each table came that can be read, and what is wrong."""
    hops: dict[str, Hops] = {}
    wrong: list[Condition] = []
    for table in all_tables():
        try:
            hops[table.name], oldest = _read_hops(broker, Lake(settings.lake_url), table)
            wrong += _late(table.name, hops[table.name][1], oldest, settings.rotate_seconds + LATE_SECONDS, now)
        except HeadraceError as error:
            wrong.append(Condition("a table cannot be read", table.name, str(error), ""))
    return hops, wrong


def _read_hops(broker: Broker, lake: Lake, table: Table) -> tuple[Hops, int | None]:
    """How far a table came, and when the oldest record that waits was appended."""
    snapshot, topic = lake.table(table).snapshot(), broker.topic(table.topic)
    ends = {partition: bounds.end for partition, bounds in broker.bounds(table.topic).items()}
    positions = {partition: snapshot.position(topic.id, partition) for partition in ends}
    oldest = [
        appended_at
        for partition, end in ends.items()
        if positions[partition] < end
        for appended_at in broker.read(table.topic, partition, positions[partition], 1, 1).timestamps
    ]
    waiting = sum(end - positions[partition] for partition, end in ends.items())
    return (sum(ends.values()), waiting, snapshot.version), min(oldest, default=None)


def _late(table: str, waiting: int, oldest: int | None, seconds: float, now: datetime) -> Iterator[Condition]:
    """A record that the lander should have taken long ago."""
    if oldest is not None and (age := now.timestamp() - oldest / 1_000_000) > seconds:
        said = f"{waiting:,} records of the log wait for the lander, the oldest for {age / 60:,.0f} minutes."
        yield Condition("nothing lands", table, said, "Start it: headrace up (or headrace land), and see its log.")


def _read_warehouse(
    settings: Settings,
) -> tuple[Mapping[str, tuple[int, int]] | None, tuple[StaleDate, ...] | None]:
    """Version and rows of each loaded table, and the stale dates; None where somebody holds the warehouse."""
    warehouse = open_warehouse(settings.warehouse_url, BUSY_SECONDS, settings.redshift)
    try:
        ledger = {str(name): (int(str(v)), int(str(rows))) for name, v, rows in warehouse.query(LEDGER)}
        return ledger, warehouse.staleness().dates
    except WarehouseBusy:
        return None, None


def _shares(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition
) -> Mapping[str, tuple[float | None, float | None]]:
    """The shares of unfit rows and duplicates that the last checks of each table found."""
    found = {
        (key.asset_key.path[-1], key.name): evaluation.metadata["share"].value
        for key, evaluation in latest_evaluations(instance, repository).items()
        if "share" in evaluation.metadata
    }

    def share(table: str, check: str) -> float | None:
        value = found.get((table, check))
        return value if isinstance(value, float) else None

    return {table.name: (share(table.name, UNFIT.check), share(table.name, DUPLICATES.check)) for table in all_tables()}


def _job(instance: dg.DagsterInstance, name: str) -> JobStatus:
    succeeded = dg.RunsFilter(job_name=name, statuses=[dg.DagsterRunStatus.SUCCESS])
    for record in instance.get_run_records(succeeded, limit=1):
        started, ended = record.start_time or 0.0, record.end_time or 0.0
        return JobStatus(name, record.update_timestamp, timedelta(seconds=max(0.0, ended - started)))
    return JobStatus(name, None, timedelta(0))
