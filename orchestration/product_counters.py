"""The product counters as an asset, by event date: a summary that is recounted whole from the last publication.

Every run recounts what was built since the counters were last counted, and then its own dates. So what its
materialisation says, that every build up to a publication is in the counters, holds for a backfill too.
"""

from collections.abc import Sequence
from contextlib import closing
from datetime import date

import dagster as dg

from ingestion.settings import read_settings
from ingestion.steps import crash_at, run
from ingestion.views.product_counters import NAME, READ, Recounted, dates_published, read_version, recount
from orchestration.lake import OWNERS
from orchestration.partitions import DATES
from orchestration.views import POOL, views_kind
from sensors.counters_behind import COUNTERS_KEY, VERSION, read_counted
from sensors.stores import Stores

STARTED_ANEW = (
    "the warehouse counts {version} loads, builds and publications, and the counters were made from number {counted}:"
    " it was made anew, and whatever is counted now would lose to what the view has. Point HEADRACE_VIEWS to an empty"
    f" store (or delete the rows of {NAME}), and wipe the materialisations of views/{NAME} in Dagster"
)


@dg.multi_asset(
    name="product_counters",
    specs=[
        dg.AssetSpec(
            COUNTERS_KEY,
            deps=[dg.AssetKey(model) for model in READ],
            partitions_def=DATES,
            group_name="serving",
            owners=OWNERS,
            kinds={views_kind(), "view"},
            description="How often a product was viewed, added to a cart and bought, per hour; recounted after builds.",
        )
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=POOL,
)
def product_counters(context: dg.AssetExecutionContext, stores: dg.ResourceParam[Stores]) -> dg.MaterializeResult[None]:
    """Recounts what was built since, and the dates of the run."""
    named, counted = [date.fromisoformat(key) for key in context.partition_keys], read_counted(context.instance)
    with stores.warehouse().snapshot() as query, closing(stores.views()) as store:
        if counted is not None and (version := read_version(query)) < counted:
            raise dg.Failure(STARTED_ANEW.format(version=version, counted=counted))
        dates = sorted({*dates_published(query, counted), *named})
        recounted = run(recount(query, store, dates), crash_at(read_settings().crash_at))
    mark(context, sorted(set(dates).difference(named)), recounted)
    return dg.MaterializeResult(
        metadata={
            VERSION: recounted.version,
            "dates": len(dates),
            "first_date": str(dates[0]),
            "last_date": str(dates[-1]),
            "products": recounted.products,
            "emptied": recounted.emptied,
            "rows": recounted.hours,
        }
    )


def mark(context: dg.AssetExecutionContext, dates: Sequence[date], recounted: Recounted) -> None:
    """Show dates as materialised that the run was not asked for by name."""
    for day in map(str, dates):
        if DATES.has_partition_key(day):
            context.log_event(
                dg.AssetMaterialization(COUNTERS_KEY, partition=day, metadata={VERSION: recounted.version})
            )
