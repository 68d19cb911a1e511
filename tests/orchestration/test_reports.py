from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from orchestration.reports import FUNNELS
from tests.orchestration.control import Control, repository

REPORT = dg.AssetKey(["reports", "shop"])


def asks(instance: dg.DagsterInstance) -> bool:
    """Whether the schedule asks for a report now."""
    context = dg.build_schedule_context(instance, scheduled_execution_time=datetime.now(UTC))
    return bool(repository().get_schedule_def("report_schedule").evaluate_tick(context).run_requests)


def test_the_report_is_asked_for_once_there_is_something_to_report() -> None:
    with dg.instance_for_test() as instance:
        assert not asks(instance)
        instance.report_runless_asset_event(dg.AssetMaterialization(FUNNELS))
        assert asks(instance)


def test_the_report_shows_the_funnels_in_dagster_and_lies_in_a_folder(control: Control, tmp_path: Path) -> None:
    control.land("product_viewed")
    control.run("landed_commits")
    control.run("stale_dates")
    assert control.execute("write_report").success
    event = control.instance.get_latest_materialization_event(REPORT)
    assert event is not None and event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert "entered → converted" in str(metadata["funnels"].value)
    assert "data:image/png;base64," in str(metadata["funnels"].value)
    assert Path(str(metadata["page"].value)) == tmp_path / "reports" / "shop.html"
    assert "<svg" in (tmp_path / "reports" / "shop.html").read_text()
