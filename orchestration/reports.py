"""The report of the last weeks as an asset: its page in a folder, and the funnels as a table and a picture in Dagster.

It is an asset of its own because a build is recorded once per date, and a picture is too much for that.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from ingestion.settings import read_settings
from orchestration import marts
from orchestration.funnels import published
from orchestration.lake import OWNERS
from sensors.stores import Stores

DAYS = 28
EVERY_MINUTES = 15
FUNNELS = dg.AssetKey("agg_funnel_daily")


@dg.asset(
    key=["reports", "shop"],
    deps=[dg.AssetKey(name) for name in marts.READ],
    group_name="reports",
    owners=OWNERS,
    kinds={"html"},
)
def shop_report(context: dg.AssetExecutionContext, stores: dg.ResourceParam[Stores]) -> dg.MaterializeResult[None]:
    """Funnels, retention, products and revenue of the last four weeks, from the copy for readers."""
    from orchestration.charts import funnel_markdown  # matplotlib: a second of imports that only this run needs
    from orchestration.report import write_report

    today = datetime.now(UTC).date()
    first = today - timedelta(days=DAYS - 1)
    page = report_folder() / "shop.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    with published(stores.warehouse()) as query:
        page.write_text(write_report(query, first, today), encoding="utf-8")
        funnels = funnel_markdown(query)
    return dg.MaterializeResult(
        metadata={
            "funnels": dg.MetadataValue.md(funnels),
            "page": dg.MetadataValue.path(page),
            "from": str(first),
            "to": str(today),
        }
    )


def report_folder() -> Path:
    """Where reports are written."""
    return read_settings().home.resolve() / "reports"


WRITE_REPORT = dg.define_asset_job(
    "write_report", dg.AssetSelection.assets(shop_report), description="Writes the report of the last four weeks."
)


@dg.schedule(
    job=WRITE_REPORT,
    cron_schedule=f"*/{EVERY_MINUTES} * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def report_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Writes the report anew while there is something to report."""
    if context.instance.get_latest_materialization_event(FUNNELS) is None:
        return dg.SkipReason("no model is built yet")
    return dg.RunRequest()
