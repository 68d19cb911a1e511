"""Commits of the lake that are not loaded: pending = lake version - loaded version, one run for all that is pending.

The loaded version is what the last materialisation of a raw table says, or unknown; a run that finds nothing to load
says it again. So nothing that a crash took between the warehouse's commit and Dagster's is missed.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg

from ingestion.errors import ConfigurationError, HeadraceError
from ingestion.lake import Lake
from ingestion.tables import Table, all_tables, table_named
from sensors.attempts import RANGE_END, RANGE_START, TABLES_TAG, Attempt, is_due, read_attempts
from sensors.stores import Stores

LOADED_VERSION = "loaded_version"
DATA_VERSION_TAG = "dagster/data_version"
INTERVAL_SECONDS = 3
MARKED_HOURS = 168


@dataclass(frozen=True)
class LakeState:
    """A lake table beside what Dagster knows of its raw table: version (None: nothing), and since when."""

    name: str
    version: int
    loaded: int | None
    loaded_at: float = 0.0
    hours: tuple[str, ...] = ()
    """Landing hours of the pending commits, as far as they can be listed."""

    @property
    def is_pending(self) -> bool:
        """Whether there are commits to load, or it is not known."""
        return self.loaded is None or self.version > self.loaded


@dataclass(frozen=True)
class Loads:
    """One run: its tables, and the range of landing hours that it is shown under."""

    tables: tuple[str, ...]
    first: str
    last: str
    unmarked: tuple[str, ...] = ()
    """Hours that are loaded too, but have no partition (a log with a wrong clock) or lie far before the others."""


def decide(states: Sequence[LakeState], attempts: Sequence[Attempt], now: float, recent: Sequence[str]) -> Loads | None:
    """The run to ask for, if any; `recent` are the last partitions, in order."""
    due = [state for state in states if state.is_pending and is_due(state.name, attempts, now, state.loaded_at)]
    if not due:
        return None
    pending = {hour for state in due for hour in state.hours}
    marked = sorted(pending.intersection(recent)) or [recent[-1]]
    return Loads(tuple(state.name for state in due), marked[0], marked[-1], tuple(sorted(pending.difference(recent))))


def build_landed_commits(job_name: str, hours: dg.TimeWindowPartitionsDefinition) -> dg.SensorDefinition:
    """The sensor, for the job that loads raw tables and their partitions."""

    @dg.sensor(
        job_name=job_name, minimum_interval_seconds=INTERVAL_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING
    )
    def landed_commits(context: dg.SensorEvaluationContext, stores: dg.ResourceParam[Stores]) -> dg.SensorResult:
        """Asks for one load of all commits that are not in the warehouse yet."""
        lake, seen = stores.lake(), json.loads(context.cursor or "{}")
        states = [lake_state(context, lake, table, seen.get(table.name, -1)) for table in all_tables()]
        landed = [landing(lake, state) for state in states if seen.get(state.name) != state.version]
        cursor = json.dumps({state.name: state.version for state in states})
        attempts = read_attempts(context.instance, job_name)
        if attempts is None:
            return dg.SensorResult(skip_reason="a load is under way", asset_events=landed, cursor=cursor)
        loads = decide(states, attempts, time.time(), recent_keys(hours))
        if loads is None:
            return dg.SensorResult(skip_reason="nothing to load now", asset_events=landed, cursor=cursor)
        if loads.unmarked:
            context.log.warning("hours %s are loaded, and shown under no partition", ", ".join(loads.unmarked))
        return dg.SensorResult([request(loads)], asset_events=landed, cursor=cursor)

    return landed_commits


def lake_state(context: dg.SensorEvaluationContext, lake: Lake, table: Table, seen: int) -> LakeState:
    """A lake table, which had version `seen` already, beside the last materialisation of its raw table."""
    lake_table = lake.table(table)
    version = lake_table.latest(seen)
    event = context.instance.get_latest_materialization_event(dg.AssetKey(["raw", table.name]))
    said = event.asset_materialization.metadata.get(LOADED_VERSION) if event and event.asset_materialization else None
    if event is None or said is None or not isinstance(said.value, int):
        return LakeState(table.name, version, None)
    try:
        commits = list(lake_table.commits(said.value, until=version))
    except HeadraceError as error:  # the load fails of it too, and says so in a run
        context.log.warning("%s", error)
        commits = []
    landing_hours = {file.landing_hour for commit in commits for file in commit.files}
    return LakeState(table.name, version, said.value, event.timestamp, tuple(sorted(landing_hours)))


def landing(lake: Lake, state: LakeState) -> dg.AssetMaterialization:
    """What Dagster is told of a new version of a lake table; it plots the numbers."""
    size = lake.table(table_named(state.name)).snapshot(state.version).size()
    return dg.AssetMaterialization(
        ["lake", state.name],
        metadata={"version": state.version, "dagster/row_count": size.rows, "files": size.files, "bytes": size.bytes},
        tags={DATA_VERSION_TAG: str(state.version)},
    )


def request(loads: Loads) -> dg.RunRequest:
    """The run that loads what is pending, shown under a range of hours."""
    return dg.RunRequest(
        asset_selection=[dg.AssetKey(["raw", name]) for name in loads.tables],
        asset_check_keys=[],  # else every check of these tables would run with each load
        tags={RANGE_START: loads.first, RANGE_END: loads.last, TABLES_TAG: ",".join(loads.tables)},
    )


def recent_keys(hours: dg.TimeWindowPartitionsDefinition) -> Sequence[str]:
    """The last partitions, as many as a run is shown under at most."""
    last = hours.get_last_partition_window()
    if last is None:
        raise ConfigurationError("this machine's clock is before the first landing hour")
    window = dg.TimeWindow(last.start - timedelta(hours=MARKED_HOURS - 1), last.end)
    return hours.get_partition_keys_in_time_window(window)
