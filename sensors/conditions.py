"""What is wrong now, as Dagster's instance knows it: failed runs, red checks, tables that are too old.

A condition lasts until what it names is well again: a later run did what the failed one was asked for, the check
passes, a run made the table.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from sensors.attempts import LOOK_BACK, RANGE_END, RANGE_START, TABLES_TAG, covered

ERROR, WARNING = "error", "warning"
FORGOTTEN_AFTER = timedelta(days=1)
"""A failed run that nobody repeated is told once, and is history then; what is still undone is asked for again."""

CATCHING_UP = timedelta(minutes=15)
"""A machine that just woke up finds old tables; what it missed runs first."""

TODO = {
    "load_raw": "What is pending is asked for again by itself. If the message names a file, restore it.",
    "build_models": "Its dates stay stale and are asked for again by themselves; dbt's message is in the run's stdout.",
    "fill_views": "What the views lack is asked for again by itself.",
    "count_products": "It is asked for again by itself.",
    "repair_views": "Run it again: headrace views repair --from {first} --to {last}",
    "replay_raw": "Nothing was changed where it failed. Then: headrace replay --from {first} --to {last}",
}
RUNS_AGAIN = "It runs again at its next hour; to run it now, launch the job in Dagster."
LOOK_AT_CHECK = "Open the check in Dagster: its last run has what dbt found."
LOOK_AT_RUNS = "Run: headrace status. Either nothing asks for its runs, or they fail."


@dataclass(frozen=True)
class Condition:
    """Something that is wrong until it ends: what it is of, what happened, and what to do next."""

    subject: str
    name: str
    said: str
    todo: str
    severity: str = ERROR

    @property
    def key(self) -> str:
        """The same for as long as it lasts, whatever it says meanwhile."""
        return f"{self.subject}: {self.name}"


def read_conditions(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, now: datetime
) -> list[Condition]:
    """Everything that is wrong now, the gravest kind first."""
    return [*failed_runs(instance, now), *red_checks(instance, repository), *old_tables(instance, repository, now)]


def failed_runs(instance: dg.DagsterInstance, now: datetime) -> Iterator[Condition]:
    """Jobs whose last failure no later run made good; of loads, table by table."""
    since = now - FORGOTTEN_AFTER
    failures = _runs(instance, dg.DagsterRunStatus.FAILURE, since)
    done = _runs(instance, dg.DagsterRunStatus.SUCCESS, since) if failures else []
    told: set[str] = set()
    for failure in failures:
        for name, asked in _asked_for(failure.dagster_run):
            key = f"{failure.dagster_run.job_name} {name}"
            if key not in told and not _is_made_good(instance, failure, name, asked, done):
                yield _failed(instance, failure.dagster_run, name)
            told.add(key)


def red_checks(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition) -> Iterator[Condition]:
    """Checks whose last evaluation did not pass."""
    for key, evaluation in latest_evaluations(instance, repository).items():
        if not evaluation.passed:
            is_warning = evaluation.severity is dg.AssetCheckSeverity.WARN
            yield Condition(
                "a check warns" if is_warning else "a check is red",
                f"{key.asset_key.to_user_string()}: {key.name}",
                evaluation.description or "It does not pass.",
                "" if evaluation.description else LOOK_AT_CHECK,
                WARNING if is_warning else ERROR,
            )


def latest_evaluations(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition
) -> Mapping[dg.AssetCheckKey, dg.AssetCheckEvaluation]:
    """The last evaluation of each check. One that is under way, or was interrupted, leaves the one before."""
    keys = list(repository.asset_graph.asset_check_keys)
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    found = {key: record.evaluation if _is_over(record) else _last(instance, key) for key, record in records.items()}
    return {key: evaluation for key, evaluation in found.items() if evaluation is not None}


def old_tables(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, now: datetime) -> Iterator[Condition]:
    """Tables that their freshness policy calls failed, for longer than a machine needs to catch up."""
    graph = repository.asset_graph
    kept = [key for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy]
    for key, record in sorted(instance.get_freshness_state_records(kept).items()):
        if record.freshness_state.value == "FAIL" and record.updated_at < now - CATCHING_UP:
            said = f"No run has made it for too long; too old since {record.updated_at:%Y-%m-%d %H:%M} UTC."
            yield Condition("a table is too old", key.to_user_string(), said, LOOK_AT_RUNS)


def _runs(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, since: datetime) -> Sequence[dg.RunRecord]:
    return instance.get_run_records(dg.RunsFilter(statuses=[status], created_after=since), limit=4 * LOOK_BACK)


def _asked_for(run: dg.DagsterRun) -> Iterator[tuple[str, Sequence[str]]]:
    """The things that a run can fail at, each with the names that a later run has to cover."""
    if tables := run.tags.get(TABLES_TAG):
        yield from ((table, [table]) for table in tables.split(","))
    else:
        yield "", [run.tags.get(RANGE_START, ""), run.tags.get(RANGE_END, "")]


def _is_made_good(
    instance: dg.DagsterInstance, failure: dg.RunRecord, name: str, asked: Sequence[str], done: Iterable[dg.RunRecord]
) -> bool:
    """Whether later runs of the job did all that was asked for, or any run the table."""
    job, since = failure.dagster_run.job_name, failure.create_timestamp
    later = [run.dagster_run for run in done if run.dagster_run.job_name == job and run.create_timestamp > since]
    if all(any(covered(run)(one) for run in later) for one in asked):
        return True
    made = instance.get_latest_materialization_event(dg.AssetKey(["raw", name])) if name else None
    return made is not None and made.timestamp > since.timestamp()


def _failed(instance: dg.DagsterInstance, run: dg.DagsterRun, name: str) -> Condition:
    first, last = run.tags.get(RANGE_START, "?"), run.tags.get(RANGE_END, "?")
    todo = TODO.get(run.job_name, RUNS_AGAIN).format(first=first, last=last)
    return Condition(
        f"{run.job_name} failed", name, f"{why_it_failed(instance, run.run_id)} (run {run.run_id[:8]})", todo
    )


def why_it_failed(instance: dg.DagsterInstance, run_id: str) -> str:
    """The message of a run's failure, without its stack."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    records = instance.get_records_for_run(run_id, of_type=kinds, limit=1).records
    event = records[0].event_log_entry.dagster_event if records else None
    if event is None:
        return "It ended without a message."
    if not event.is_step_failure:
        return event.message or "Its process ended."
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error.cause or failure.error if failure.error else None
    return error.message.strip() if error else "It ended without a message."


def _last(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> dg.AssetCheckEvaluation | None:
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=LOOK_BACK)
    return next((record.evaluation for record in history if _is_over(record)), None)


def _is_over(record: Any) -> bool:
    """Whether a check has come to its evaluation."""
    return str(record.status.value) != "PLANNED"
