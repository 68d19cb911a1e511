"""Everything that Dagster knows, in one list."""

import dagster as dg

from orchestration import schedules
from orchestration.checks import CHECK_RAW, CHECK_RECENT, raw_checks
from orchestration.dbt_runner import hash_definitions, prepare_manifest
from orchestration.freshness import keep_fresh
from orchestration.lake import lake_assets
from orchestration.models import build_models
from orchestration.partitions import DATES, HOURS
from orchestration.product_counters import product_counters
from orchestration.reports import WRITE_REPORT, report_schedule, shop_report
from orchestration.retention import prune_history
from orchestration.view_checks import CHECK_VIEWS, view_checks
from orchestration.views import facts
from orchestration.warehouse import event_dates, raw
from sensors.alerts import alerts
from sensors.consumer_lag import consumer_lag
from sensors.counters_behind import build_counters_behind
from sensors.landed_commits import build_landed_commits
from sensors.stale_dates import build_stale_dates
from sensors.stores import Stores
from sensors.views_behind import build_views_behind


@dg.definitions
def definitions() -> dg.Definitions:
    """Assets, checks, jobs, sensors and schedules; the dbt project is parsed where it has changed."""
    tables, models = dg.map_asset_specs(keep_fresh, [raw, build_models(prepare_manifest())])
    build = dg.define_asset_job(
        "build_models",
        dg.AssetSelection.assets(models).without_checks(),
        description="Builds event dates that are stale.",
        tags=schedules.FIRST,
    )
    check_models = dg.define_asset_job(
        "check_models", dg.AssetSelection.checks_for_assets(models), description="Runs every test of dbt."
    )
    return dg.Definitions(
        assets=[*lake_assets(), tables, event_dates, models, facts, product_counters, shop_report],
        asset_checks=[raw_checks, view_checks],
        jobs=[
            schedules.load_raw,
            schedules.replay_raw,
            schedules.fill_views,
            schedules.repair_views,
            schedules.count_products,
            schedules.recount_products,
            build,
            CHECK_RAW,
            CHECK_RECENT,
            CHECK_VIEWS,
            check_models,
            WRITE_REPORT,
            prune_history,
        ],
        sensors=[
            build_landed_commits("load_raw", HOURS),
            build_stale_dates("build_models", DATES, hash_definitions),
            build_views_behind("fill_views", HOURS),
            build_counters_behind("count_products", DATES),
            consumer_lag,
            alerts,
        ],
        schedules=[
            schedules.nightly_replay,
            schedules.nightly_repair,
            schedules.nightly_recount,
            schedules.by_clock("check_recent", "20 * * * *"),
            schedules.by_clock("check_raw", "0 4 * * *"),
            schedules.by_clock("check_models", "15 4 * * *"),
            schedules.by_clock("check_views", "30 4 * * *"),
            schedules.by_clock("prune_history", "50 * * * *"),
            report_schedule,
        ],
        resources={"stores": Stores()},
        executor=dg.in_process_executor,
    )
