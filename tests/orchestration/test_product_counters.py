from contextlib import closing
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from ingestion.errors import ViewsUnavailable
from ingestion.views import read_all
from ingestion.views.product_counters import COUNTS, NAME, READ
from ingestion.views.registry import fact_views
from ingestion.views.sqlite import SQLiteViews
from orchestration.schedules import nightly_recount
from orchestration.view_checks import SAMPLE
from sensors.attempts import RANGE_END, RANGE_START
from sensors.counters_behind import COUNTERS_KEY, VERSION, read_counted
from tests.orchestration.control import Control, repository

DAY = timedelta(days=1)
MART = """
select
    cast(sum(views) as bigint), cast(sum(adds) as bigint), cast(sum(orders) as bigint)
from analytics.mart_product_performance_daily
"""


@pytest.fixture
def counted(control: Control) -> Control:
    """Events of today and of ten days ago, loaded, built and counted."""
    for event_type in ("product_viewed", "product_added", "order_completed"):
        control.land(event_type, datetime.now(UTC) - 10 * DAY, events=4)
        control.land(event_type, events=5)
    settle(control)
    return control


def settle(control: Control) -> list[dg.ExecuteInProcessResult]:
    """Let the sensors have their way; return the runs that counted."""
    while control.run("landed_commits") or control.run("stale_dates"):
        pass
    runs = []
    while done := control.run("counters_behind"):
        runs += done
    assert all(run.success for run in runs)
    return runs


def totals(control: Control) -> tuple[int, ...]:
    with closing(SQLiteViews(control.platform.path / "views.db")) as store:
        items = [row.item for key in store.keys(NAME) for row in read_all(store, NAME, key)]
    return tuple(sum(item[name] for item in items if item) for name in COUNTS)


def said(control: Control) -> dict[str, object]:
    event = control.instance.get_latest_materialization_event(COUNTERS_KEY)
    assert event is not None and event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def dates(*days_ago: int) -> set[str]:
    return {f"{datetime.now(UTC) - days * DAY:%Y-%m-%d}" for days in days_ago}


def recount(control: Control, days_ago: int) -> dg.ExecuteInProcessResult:
    (day,) = dates(days_ago)
    return control.execute("recount_products", dg.RunRequest(tags={RANGE_START: day, RANGE_END: day}))


def test_counters_are_those_of_the_mart_and_follow_what_is_built(counted: Control) -> None:
    assert [totals(counted)] == counted.platform.warehouse.query(MART)
    assert totals(counted)[0] == 9
    marked = counted.instance.get_materialized_partitions(COUNTERS_KEY)
    assert marked >= dates(0, 10, 11, 9)
    for days in (10, 3):
        counted.land("product_viewed", datetime.now(UTC) - days * DAY, events=2)
    assert len(settle(counted)) == 1
    assert [totals(counted)] == counted.platform.warehouse.query(MART)
    assert totals(counted)[0] == 13
    assert int(str(said(counted)["dates"])) <= 7, "the dates built, those beside them, and today"
    assert counted.instance.get_materialized_partitions(COUNTERS_KEY) >= marked | dates(3)


def test_a_change_of_definitions_counts_everything_again(counted: Control) -> None:
    before = read_counted(counted.instance)
    warehouse = counted.platform.warehouse
    warehouse.record_built([], 0, "as they were")
    (day,) = dates(0)
    assert counted.execute("build_models", dg.RunRequest(tags={RANGE_START: day, RANGE_END: day})).success
    assert len(settle(counted)) == 1
    assert int(str(said(counted)["dates"])) >= 6
    assert (read_counted(counted.instance) or 0) > (before or 0)


def test_a_sample_of_every_view_is_checked_with_what_each_load_brought(counted: Control) -> None:
    counted.land("product_viewed")
    (run,) = settle(counted)
    checked = {check.asset_key.path[-1]: check for check in run.get_asset_check_evaluations()}
    assert {*checked} == {*fact_views(), NAME}
    assert {check.check_name for check in checked.values()} == {SAMPLE}
    assert all(check.passed for check in checked.values()), "what no listener has passed is only pending"


def test_a_run_that_fails_leaves_its_dates_pending(counted: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ViewsUnavailable("the views did not answer")

    counted.land("product_viewed")
    while counted.run("landed_commits") or counted.run("stale_dates"):
        pass
    with monkeypatch.context() as patched:
        patched.setattr(SQLiteViews, "replace", refuse)
        (run,) = counted.run("counters_behind")
    assert not run.success
    assert not counted.tick("counters_behind").run_requests, "it waits a little"
    assert recount(counted, 10).success, "whoever counts next counts what is pending"
    assert [totals(counted)] == counted.platform.warehouse.query(MART)
    assert not counted.tick("counters_behind").run_requests


def test_a_backfill_brings_back_what_the_store_lost(counted: Control) -> None:
    before = totals(counted)
    (counted.platform.path / "views.db").unlink()
    assert recount(counted, 10).success and recount(counted, 0).success
    assert totals(counted) == before
    assert (said(counted)["dates"], said(counted)[VERSION]) == (1, read_counted(counted.instance))


def test_a_warehouse_that_was_made_anew_is_told(counted: Control) -> None:
    counted.instance.report_runless_asset_event(dg.AssetMaterialization(COUNTERS_KEY, metadata={VERSION: 10_000}))
    run = recount(counted, 0)
    assert not run.success
    assert "made from number 10000" in str(run.failure_data_for_node("product_counters"))


def test_the_nightly_recount_is_one_run_of_the_last_dates(kept_instance: dg.DagsterInstance) -> None:
    at = datetime(2026, 5, 3, 4, 30, tzinfo=UTC)
    context = dg.build_schedule_context(kept_instance, scheduled_execution_time=at)
    assert isinstance(nightly_recount(context), dg.SkipReason)
    kept_instance.report_runless_asset_event(dg.AssetMaterialization(COUNTERS_KEY, metadata={VERSION: 1}))
    request = nightly_recount(context)
    assert isinstance(request, dg.RunRequest)
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == ("2026-05-01", "2026-05-03")


def test_counters_are_below_the_models_that_they_read() -> None:
    node = repository().asset_graph.get(COUNTERS_KEY)
    assert node.parent_keys == {dg.AssetKey(model) for model in READ}
