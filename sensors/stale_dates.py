"""Event dates that a load touched after their models were built: stale = touched - built, by load_seq.

What is stale comes from the last report that a load or a build left; of several the one that saw the most loads holds.
A failed build leaves its dates stale, so they are asked for again. Nothing here remembers what was asked for. Where the
definitions of the models have changed since, one run builds everything; it is shown under the newest dates.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import dagster as dg

from ingestion.warehouse import StaleDate, Staleness
from sensors.attempts import RANGE_END, RANGE_START, Attempt, is_due, read_attempts

REPORT_KEY = dg.AssetKey(["headrace", "event_dates"])
LOAD_SEQ, STALE_DATES, DEFINITIONS, PUBLISHED = "load_seq", "stale_dates", "definitions", "published"
INTERVAL_SECONDS = 3
MAX_DATES = 31
REPORTS = 5


@dataclass(frozen=True)
class Build:
    """One run: the dates from `first` to `last`, every one of them stale."""

    first: str
    last: str


def report(staleness: Staleness) -> dg.AssetMaterialization:
    """What a load or a build leaves for the sensor."""
    dates = [[stale.event_date, stale.touched, stale.built] for stale in staleness.dates]
    return dg.AssetMaterialization(
        REPORT_KEY,
        metadata={
            LOAD_SEQ: staleness.load_seq,
            "stale": len(dates),
            STALE_DATES: dg.MetadataValue.json(dates),
            DEFINITIONS: staleness.definitions,
            PUBLISHED: staleness.published,
        },
    )


def read_reports(reports: Iterable[dg.AssetMaterialization]) -> Staleness:
    """The report that saw the most loads; reports come latest first."""
    best = Staleness(-1, ())
    for said in reports:
        load_seq, dates = said.metadata.get(LOAD_SEQ), said.metadata.get(STALE_DATES)
        if not isinstance(load_seq, dg.IntMetadataValue) or not isinstance(dates, dg.JsonMetadataValue):
            continue  # somebody reported one by hand
        if (load_seq.value or 0) > best.load_seq and isinstance(dates.data, list):
            definitions, published = said.metadata.get(DEFINITIONS), said.metadata.get(PUBLISHED)
            best = Staleness(
                load_seq.value or 0,
                tuple(StaleDate(*stale) for stale in dates.data),
                str(definitions.value) if definitions else "",
                int(str(published.value)) if published else 0,
            )
    return best


def decide(stale: Sequence[StaleDate], attempts: Sequence[Attempt], now: float, limit: int = MAX_DATES) -> Build | None:
    """The run to ask for, if any: around the date that waits longest since it was built, newest first, so that each
    gets its turn however often others are touched."""
    due = {s.event_date: s for s in stale if is_due(s.event_date, attempts, now)}
    if not due:
        return None
    first = last = min(due.values(), key=lambda s: (s.built, -date.fromisoformat(s.event_date).toordinal())).event_date
    for _ in range(limit - 1):
        if (before := _shifted(first, -1)) in due:
            first = before
        elif (after := _shifted(last, 1)) in due:
            last = after
        else:
            break
    return Build(first, last)


def decide_everything(
    stale: Sequence[StaleDate], attempts: Sequence[Attempt], now: float, otherwise: str | None
) -> Build | None:
    """The run to ask for that builds everything, if any: shown under the newest stale dates, or under `otherwise` where
    none is stale. A run that failed was shown under the newest date too, so its pause holds."""
    unbuilt = [replace(s, built=0) for s in stale] or [StaleDate(day, 1, 0) for day in [otherwise] if day]
    newest = max((s.event_date for s in unbuilt), default="")
    return decide(unbuilt, attempts, now) if is_due(newest, attempts, now) else None


def split(stale: Sequence[StaleDate], exists: Callable[[str], bool]) -> tuple[list[StaleDate], list[str]]:
    """The stale dates that have a partition, and those that have none (a wrong clock, or a day that begins soon)."""
    known = [s for s in stale if exists(s.event_date)]
    return known, [s.event_date for s in stale if not exists(s.event_date)]


def build_stale_dates(
    job_name: str, dates: dg.TimeWindowPartitionsDefinition, definitions: Callable[[], str]
) -> dg.SensorDefinition:
    """The sensor, for the job that builds the models, their partitions, and what hashes their definitions now."""

    @dg.sensor(
        job_name=job_name, minimum_interval_seconds=INTERVAL_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING
    )
    def stale_dates(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Asks for one build of event dates that were touched after they were built."""
        records = context.instance.fetch_materializations(REPORT_KEY, limit=REPORTS).records
        staleness = read_reports(r.asset_materialization for r in records if r.asset_materialization)
        known, unknown = split(staleness.dates, dates.has_partition_key)
        if unknown:
            context.log.warning("dates without a partition wait: %s", ", ".join(unknown))
        attempts = read_attempts(context.instance, job_name)
        if attempts is None:
            return dg.SensorResult(skip_reason="a build is under way")
        if staleness.definitions == definitions():
            build = decide(known, attempts, time.time())
        else:
            today = dates.get_last_partition_key() if staleness.definitions else None
            build = decide_everything(known, attempts, time.time(), today)
        if build is None:
            return dg.SensorResult(skip_reason="no date to build now")
        return dg.SensorResult([dg.RunRequest(tags={RANGE_START: build.first, RANGE_END: build.last})])

    return stale_dates


def _shifted(day: str, days: int) -> str:
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()
