"""Jobs and what starts them by the clock."""

from datetime import datetime, timedelta

import dagster as dg

from orchestration.partitions import HOUR_FORMAT
from orchestration.product_counters import product_counters
from orchestration.view_checks import SAMPLE, check_keys
from orchestration.views import fact_keys
from orchestration.warehouse import raw_keys
from sensors.attempts import RANGE_END, RANGE_START

REPLAYED_HOURS = 48
RECOUNTED_DATES = 3

FIRST = {"dagster/priority": "1"}
"""Tags of what brings events to analysts: it does not queue behind checks and reports."""

load_raw = dg.define_asset_job(
    "load_raw",
    dg.AssetSelection.assets(*raw_keys()).without_checks(),
    description="Loads what is pending.",
    tags=FIRST,
)
replay_raw = dg.define_asset_job(
    "replay_raw",
    dg.AssetSelection.assets(*raw_keys()).without_checks(),
    description="Loads a range of landing hours again from the lake, as one run; the models follow.",
)

fill_views = dg.define_asset_job(
    "fill_views",
    dg.AssetSelection.assets(*fact_keys()).without_checks(),
    description="Brings what landed into the views that no listener keeps up.",
    tags=FIRST,
)
repair_views = dg.define_asset_job(
    "repair_views",
    dg.AssetSelection.assets(*fact_keys()).without_checks(),
    description="Brings a range of landing hours into the views again from the lake, as one run.",
)

count_products = dg.define_asset_job(
    "count_products",
    dg.AssetSelection.assets(product_counters).without_checks() | dg.AssetSelection.checks(*check_keys([SAMPLE])),
    description="Recounts products on the dates that were built since, and checks a sample of every view.",
    tags=FIRST,
)
recount_products = dg.define_asset_job(
    "recount_products",
    dg.AssetSelection.assets(product_counters).without_checks(),
    description="Recounts products on a range of event dates, as one run.",
)


def replayed_range(at: datetime, hours: int = REPLAYED_HOURS) -> tuple[str, str]:
    """The last whole hours before `at`, as the first and the last partition."""
    return tuple(f"{at - timedelta(hours=n):{HOUR_FORMAT}}" for n in (hours, 1))  # type: ignore[return-value]


def hours_again(name: str, job_name: str, cron: str, description: str) -> dg.ScheduleDefinition:
    """Runs a job by the clock (UTC) for the last whole landing hours."""

    @dg.schedule(
        name=name,
        job_name=job_name,
        cron_schedule=cron,
        execution_timezone="UTC",
        description=description,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def again(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        first, last = replayed_range(context.scheduled_execution_time)
        return dg.RunRequest(run_key=first, tags={RANGE_START: first, RANGE_END: last})

    return again


nightly_replay = hours_again(
    "nightly_replay",
    replay_raw.name,
    "30 3 * * *",
    "Loads the last two days again, so that what was lost in the warehouse comes back without a person.",
)
nightly_repair = hours_again(
    "nightly_repair",
    repair_views.name,
    "45 3 * * *",
    "Brings the last two days into the views again, so that what was lost in their store comes back.",
)


@dg.schedule(
    job=recount_products,
    cron_schedule="30 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def nightly_recount(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Recounts the products of the last dates, so that what was lost in the views' store comes back."""
    if context.instance.get_latest_materialization_event(product_counters.key) is None:
        return dg.SkipReason("products were never counted yet")
    at = context.scheduled_execution_time
    first, last = (f"{at - timedelta(days=days):%Y-%m-%d}" for days in (RECOUNTED_DATES - 1, 0))
    return dg.RunRequest(run_key=last, tags={RANGE_START: first, RANGE_END: last})


def by_clock(job_name: str, cron: str) -> dg.ScheduleDefinition:
    """Runs a job by the clock (UTC). What reads whole tables runs at night: its cost grows with them."""
    return dg.ScheduleDefinition(
        job_name=job_name, cron_schedule=cron, execution_timezone="UTC", default_status=dg.DefaultScheduleStatus.RUNNING
    )
