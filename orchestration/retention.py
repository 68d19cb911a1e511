"""What Dagster forgets, so that its folder does not grow for ever: a load and a build leave a megabyte of messages.

Finished runs go, with their messages and logs: what runs all day and succeeded after six hours, all others after
HEADRACE_RUN_RETENTION_DAYS. The last materialisation of every asset and partition stays, and the last answer of
every check: sensors and screens go on from them.

Dagster has no call for this: its `delete_run` takes the materialisations too, and leaves an empty file per run.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy import text

from ingestion.settings import read_settings
from ingestion.views import open_views

ROUTINE = timedelta(hours=6)
ROUTINE_JOBS = (
    "load_raw",
    "build_models",
    "fill_views",
    "count_products",
    "check_raw",
    "check_recent",
    "check_models",
    "write_report",
    "prune_history",
)
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
BATCH, MAX_RUNS = 100, 2_000
"""Runs that are looked up at once, and that one hour deletes at most."""

RUN_EVENTS = """
delete from event_logs where run_id = :run_id and not (
    dagster_event_type = 'ASSET_MATERIALIZATION' and not exists (
        select 1 from event_logs as later
        where later.asset_key = event_logs.asset_key and later.dagster_event_type = 'ASSET_MATERIALIZATION'
        and later.partition is not distinct from event_logs.partition and later.id > event_logs.id
    )
)"""
REPORTED = """
delete from event_logs where run_id = '' and timestamp < :before and id not in (
    select max(id) from event_logs where run_id = '' group by asset_key, dagster_event_type, partition
)"""
"""Events without a run: what sensors and the daemon report of the lake, of freshness, and by hand."""

ANSWERS = """
delete from asset_check_executions where create_timestamp < :before and id not in (
    select max(id) from asset_check_executions where execution_status <> 'PLANNED' group by asset_key, check_name
)"""
EVENT_TAGS = "delete from asset_event_tags where event_id not in (select id from event_logs)"
RUN_TAGS = "delete from run_tags where run_id not in (select run_id from runs)"


@dataclass(frozen=True)
class Pruned:
    """How many were deleted: runs, events without a run, answers of checks."""

    runs: int
    reports: int
    answers: int


def prune(instance: dg.DagsterInstance, now: datetime, keep: timedelta, max_runs: int = MAX_RUNS) -> Pruned:
    """Delete what is older than it has to be kept, the oldest first, and at most so many runs."""
    runs = 0
    for some in _filters(now, keep):
        while runs < max_runs and (
            found := instance.get_run_records(some, min(BATCH, max_runs - runs), ascending=True)
        ):
            _delete_runs(instance, [record.dagster_run.run_id for record in found])
            runs += len(found)
    before = {"before": f"{now - keep:%Y-%m-%d %H:%M:%S}"}
    with _events(instance) as db:
        reports = db.execute(text(REPORTED), before).rowcount
        answers = db.execute(text(ANSWERS), before).rowcount
        db.execute(text(EVENT_TAGS))
    return Pruned(runs, reports, answers)


def _filters(now: datetime, keep: timedelta) -> Iterator[dg.RunsFilter]:
    succeeded, routine_before = [dg.DagsterRunStatus.SUCCESS], now - min(ROUTINE, keep)
    yield from (dg.RunsFilter(job_name=job, statuses=succeeded, updated_before=routine_before) for job in ROUTINE_JOBS)
    yield dg.RunsFilter(statuses=FINISHED, updated_before=now - keep)


def _delete_runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Delete runs with their messages and logs; SQLite has a file of messages per run."""
    with _events(instance) as db:
        for run_id in run_ids:
            db.execute(text(RUN_EVENTS), {"run_id": run_id})
    root = Path(instance.root_directory)
    for run_id in run_ids:
        for shard in (root / "history" / "runs").glob(f"{run_id}.db*"):
            shard.unlink()
        shutil.rmtree(root / "storage" / run_id, ignore_errors=True)
        instance.run_storage.delete_run(run_id)  # last: a run that is there is deleted again after a crash
    runs: Any = instance.run_storage
    with runs.connect() as db:
        db.execute(text(RUN_TAGS))  # SQLite leaves them


def _events(instance: dg.DagsterInstance) -> AbstractContextManager[Any]:
    """A transaction on the events of all runs; every storage of Dagster's that is a database has it."""
    events: Any = instance.event_log_storage
    connection: AbstractContextManager[Any] = events.index_connection()
    return connection


@dg.op
def prune_runs(context: dg.OpExecutionContext) -> None:
    """Deletes what is old."""
    keep = timedelta(days=read_settings().run_retention_days)
    done = prune(context.instance, datetime.now(UTC), keep)
    context.log.info("deleted: %d runs, %d reports, %d answers of checks", done.runs, done.reports, done.answers)


@dg.op
def prune_views(context: dg.OpExecutionContext) -> None:
    """Deletes the views' rows that expired: a listener does so too, where one runs."""
    with closing(open_views(read_settings().views_url)) as store:
        context.log.info("deleted: %d rows of views", store.expire())


@dg.job(
    description="Deletes old runs with their messages and logs, and the views' rows that expired.",
    executor_def=dg.in_process_executor,
)
def prune_history() -> None:
    """Two ops that do not wait for each other."""
    prune_runs()
    prune_views()
