"""What the last runs of a job say about asking again: not while one is under way, and later after each failure.

Back-off is per table or date, so that one that cannot succeed does not hold up the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dagster as dg

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0
LOOK_BACK = 50
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

TABLES_TAG = "headrace/pending"
"""On a run that is to load what is pending of these tables, and to reload nothing."""


@dataclass(frozen=True)
class Attempt:
    """A finished run: what it was asked for."""

    started: float
    ended: float
    succeeded: bool
    covers: Callable[[str], bool]


def is_due(name: str, attempts: Sequence[Attempt], now: float, done_at: float = 0.0) -> bool:
    """Whether to ask for `name` again: the pause doubles with each failure since it was last done, at `done_at` or by
    a run that succeeded."""
    mine = [attempt for attempt in attempts if attempt.covers(name)]
    done_at = max([done_at, *(attempt.started for attempt in mine if attempt.succeeded)])
    failed = [attempt.ended for attempt in mine if not attempt.succeeded and attempt.started > done_at]
    return not failed or now >= max(failed) + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (len(failed) - 1))


def read_attempts(instance: dg.DagsterInstance, job: str) -> list[Attempt] | None:
    """The job's last finished runs; None while one is under way."""
    records = instance.get_run_records(dg.RunsFilter(job_name=job), limit=LOOK_BACK)
    if any(not record.dagster_run.is_finished for record in records):
        return None
    return [
        Attempt(
            record.start_time or record.create_timestamp.timestamp(),
            record.end_time or record.update_timestamp.timestamp(),
            record.dagster_run.is_success,
            covered(record.dagster_run),
        )
        for record in records
    ]


def covered(run: dg.DagsterRun) -> Callable[[str], bool]:
    """Whether a run was asked for a table, or for a partition key."""
    tables = run.tags.get(TABLES_TAG, "").split(",")
    first, last = run.tags.get(RANGE_START, ""), run.tags.get(RANGE_END, "")
    return lambda name: name in tables or first <= name <= last
