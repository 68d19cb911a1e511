"""Builds that the product counters have not seen: pending = published - counted, by the numbers of publications.

What was published comes from the last report that a load or a build left, what was counted from the view's last
materialisation. Which dates that are, the run asks the publication itself. A change of the models' definitions is a
publication like any other.
"""

import time
from collections.abc import Sequence

import dagster as dg

from ingestion.views.product_counters import NAME
from sensors.attempts import RANGE_END, RANGE_START, TABLES_TAG, Attempt, is_due, read_attempts
from sensors.stale_dates import REPORT_KEY, REPORTS, read_reports

COUNTERS_KEY = dg.AssetKey(["views", NAME])
VERSION = "version"
"""In a materialisation of the counters: the publication whose every build they have seen."""
INTERVAL_SECONDS = 5
MATERIALISATIONS = 20


def decide(published: int, counted: int | None, attempts: Sequence[Attempt], now: float) -> bool:
    """Whether to ask for a run."""
    return published > (counted or 0) and is_due(NAME, attempts, now)


def read_counted(instance: dg.DagsterInstance) -> int | None:
    """The publication that the counters' last materialisation names; None where there is none."""
    for record in instance.fetch_materializations(COUNTERS_KEY, limit=MATERIALISATIONS).records:
        said = record.asset_materialization.metadata.get(VERSION) if record.asset_materialization else None
        if isinstance(said, dg.IntMetadataValue):
            return said.value
    return None  # or somebody reported one by hand


def build_counters_behind(job_name: str, dates: dg.TimeWindowPartitionsDefinition) -> dg.SensorDefinition:
    """The sensor, for the job that recounts products and its partitions."""

    @dg.sensor(
        job_name=job_name, minimum_interval_seconds=INTERVAL_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING
    )
    def counters_behind(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Asks for one run that recounts every date that was built since the counters were last counted."""
        attempts = read_attempts(context.instance, job_name)
        if attempts is None:
            return dg.SensorResult(skip_reason="products are being counted")
        records = context.instance.fetch_materializations(REPORT_KEY, limit=REPORTS).records
        published = read_reports(r.asset_materialization for r in records if r.asset_materialization).published
        if not decide(published, read_counted(context.instance), attempts, time.time()):
            return dg.SensorResult(skip_reason="nothing to count now")
        today = dates.get_last_partition_key() or ""
        return dg.SensorResult([dg.RunRequest(tags={RANGE_START: today, RANGE_END: today, TABLES_TAG: NAME})])

    return counters_behind
