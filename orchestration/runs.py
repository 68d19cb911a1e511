"""Runs that a person starts from the command line: executed in this process, and shown in Dagster like any other."""

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from rich.console import Console
from rich.markup import escape

from ingestion.errors import ConfigurationError
from ingestion.warehouse import Staleness
from orchestration.dbt_runner import hash_definitions
from orchestration.partitions import DATES, HOUR_FORMAT, HOURS
from orchestration.views import fact_keys
from sensors.attempts import RANGE_END, RANGE_START
from sensors.conditions import why_it_failed
from sensors.counters_behind import COUNTERS_KEY
from sensors.stale_dates import Build, decide, decide_everything, split
from sensors.stores import Stores

DAY, DAY_FORMAT = "2026-11-22", "%Y-%m-%d"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
MAX_SECONDS = str(24 * 3600)
"""What run monitoring lets such a run take: a replay of a year is one run."""


def hours_between(first: str, last: str, now: datetime) -> tuple[str, str]:
    """The first and the last partition of a range of landing hours; a date stands for its hours, as far as they are.

    Raises ConfigurationError for what is no hour, has no partition, or ends before it begins.
    """
    (start, _), (_, end) = _hours(first), _hours(last)
    earliest, running = HOURS.get_first_partition_key() or "", f"{now:{HOUR_FORMAT}}"
    if end.startswith(running[: len(DAY)]) and len(last) == len(DAY):
        end = running
    for hour in (start, end):
        if not earliest <= hour <= running:
            raise ConfigurationError(f"{hour} is no landing hour: the first is {earliest}, the last {running} (UTC)")
    if start > end:
        raise ConfigurationError(f"{first} comes after {last}; --from names the first hour, --to the last")
    return start, end


def replay(instance: dg.DagsterInstance, console: Console, first: str, last: str, tables: Collection[str]) -> bool:
    """Load hours of some tables (or of all) again, and say what that brought; whether it succeeded."""
    job = _job("replay_raw")
    if tables:
        job = job.get_subset(asset_selection={dg.AssetKey(["raw", table]) for table in tables})
    result = _execute(instance, console, job, first, last, f"loading hours {first} to {last} again")
    for event in result.get_asset_materialization_events():
        rows = event.materialization.metadata.get("rows_loaded")
        if event.partition in (None, first) and event.asset_key and rows:  # one event per partition, all alike
            console.print(f"  {event.asset_key.path[-1]}: {rows.value:,} rows")
    return result.success


def repair(instance: dg.DagsterInstance, console: Console, first: str, last: str, views: Collection[str]) -> bool:
    """Bring landing hours into some views (or into all) again, and say what that changed; whether all succeeded."""
    named = {dg.AssetKey(["views", view]) for view in views} or {*fact_keys(), COUNTERS_KEY}
    is_done = True
    if facts := named.difference({COUNTERS_KEY}):
        job = _job("repair_views").get_subset(asset_selection=facts)
        result = _execute(instance, console, job, first, last, f"bringing hours {first} to {last} into the views again")
        is_done = result.success
        for name, said in _said(result, first):
            console.print(f"  {name}: {said['rows']:,} rows, {said['rows_changed']:,} of them changed")
    if COUNTERS_KEY in named:
        first, last = first[: len(DAY)], last[: len(DAY)]
        doing = f"counting products of {first} to {last} again"
        result = _execute(instance, console, _job("recount_products"), first, last, doing)
        is_done &= result.success
        for name, said in _said(result, first):
            console.print(f"  {name}: {said['products']:,} products of {said['dates']:,} dates")
    return is_done


def _said(result: dg.ExecuteInProcessResult, first: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a run says of each of its views: of its partitions the first, since all say the same."""
    for event in result.get_asset_materialization_events():
        metadata = event.materialization.metadata
        if event.partition == first and event.asset_key and len(metadata) > 1:
            yield event.asset_key.path[-1], {name: value.value for name, value in metadata.items()}


def build(instance: dg.DagsterInstance, console: Console) -> bool:
    """Build what is stale, run by run; whether all of it succeeded."""
    job = _job("build_models")
    for one in builds(Stores().warehouse().staleness, hash_definitions()):
        doing = f"building event dates {one.first} to {one.last}"
        if not _execute(instance, console, job, one.first, one.last, doing).success:
            return False
    console.print("every event date is built")
    return True


def builds(staleness: Callable[[], Staleness], definitions: str) -> Iterator[Build]:
    """The runs that build every date that is stale, one after the other; asked for again after each. Where the
    definitions of the models have changed, the first one builds everything.

    A date is built once, however often loads touch it meanwhile: else this would never end while a shop is open.
    """
    began = staleness()
    if began.definitions != definitions:
        known, _ = split(began.dates, DATES.has_partition_key)
        today = DATES.get_last_partition_key() if began.definitions else None
        if everything := decide_everything(known, [], 0.0, today):
            yield everything
    while True:
        behind = [stale for stale in staleness().dates if stale.built < began.load_seq]
        known, _ = split(behind, DATES.has_partition_key)
        build = decide(known, [], 0.0)
        if build is None:
            return
        yield build


def _job(name: str) -> dg.JobDefinition:
    from orchestration.definitions import definitions  # imports dbt

    return definitions().get_repository_def().get_job(name)


def _execute(
    instance: dg.DagsterInstance, console: Console, job: dg.JobDefinition, first: str, last: str, doing: str
) -> dg.ExecuteInProcessResult:
    """Execute a job for a range of partitions as one run, and say how it ended."""
    tags = {RANGE_START: first, RANGE_END: last, dg.MAX_RUNTIME_SECONDS_TAG: MAX_SECONDS}
    started = time.monotonic()
    with quietly(doing):
        result = job.execute_in_process(run_config=QUIET, tags=tags, instance=instance, raise_on_error=False)
    outcome = "done" if result.success else f"[red]failed[/]: {escape(why_it_failed(instance, result.run_id))}"
    console.print(f"{doing}: {outcome} ({time.monotonic() - started:.1f} s, run {result.run_id[:8]})")
    return result


@contextmanager
def quietly(message: str) -> Iterator[None]:
    """Show that something goes on instead of what dbt prints: the run keeps that, and Dagster shows it."""
    kept = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as nothing, os.fdopen(os.dup(2), "w") as stderr:
        try:
            for stream in (1, 2):
                os.dup2(nothing.fileno(), stream)
            with Console(file=stderr).status(message):
                yield
        finally:
            for stream, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, stream)
                os.close(copy)


def _hours(named: str) -> tuple[str, str]:
    """The first and the last hour of an hour, or of a date."""
    for form, length in ((HOUR_FORMAT, timedelta(0)), (DAY_FORMAT, timedelta(hours=23))):
        try:
            start = datetime.strptime(named, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return f"{start:{HOUR_FORMAT}}", f"{start + length:{HOUR_FORMAT}}"
    raise ConfigurationError(f"{named!r} is no hour like 2026-11-22-14 and no date like 2026-11-22")
