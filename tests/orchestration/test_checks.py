import dagster as dg
import pytest

from ingestion.tables import REJECTED_TABLE, event_table
from orchestration.checks import DUPLICATES, REJECTIONS, UNFIT, judge_share
from orchestration.view_checks import SAMPLE
from tests.orchestration.control import Control

CARTS = dg.AssetKey(["raw", "cart_viewed"])


def red(control: Control) -> dict[tuple[str, str], str]:
    """The checks that are not passed, with what they say."""
    run = control.execute("check_raw")
    assert run.success
    evaluations = run.get_asset_check_evaluations()
    assert len(evaluations) == 4 * 14
    return {(e.asset_key.path[-1], e.check_name): e.description or "" for e in evaluations if not e.passed}


@pytest.fixture
def loaded(control: Control) -> Control:
    control.land("cart_viewed", events=10)
    control.land("cart_viewed", events=10)
    control.platform.load()
    return control


def test_all_is_green_where_everything_is_loaded(loaded: Control) -> None:
    assert red(loaded) == {}


def test_what_is_pending_is_not_wrong(loaded: Control) -> None:
    loaded.land("cart_viewed")
    assert red(loaded) == {}


def test_a_row_lost_in_the_warehouse_is_red_and_says_how_to_load_it_again(loaded: Control) -> None:
    loaded.platform.warehouse.query("delete from raw.cart_viewed where kafka_offset = 0 returning 1")
    found = red(loaded)
    assert set(found) == {("cart_viewed", "lake_equals_raw")}
    assert "headrace reload --table cart_viewed --hour 20" in found["cart_viewed", "lake_equals_raw"]


def test_duplicates_and_unfit_rows_beyond_their_bound_are_red_and_within_it_are_not(loaded: Control) -> None:
    platform = loaded.platform
    (again,) = platform.publish("cart_viewed", 1)
    platform.publish("cart_viewed", [again, again])
    platform.publish("cart_viewed", [b"no JSON"])
    platform.land()
    platform.load()
    found = red(loaded)
    assert set(found) == {("cart_viewed", "few_duplicates"), ("cart_viewed", "few_unfit_rows")}
    assert "2 of 23 rows repeat an event" in found["cart_viewed", "few_duplicates"]
    assert "select landing_error" in found["cart_viewed", "few_unfit_rows"]


def test_many_rejected_events_are_red(loaded: Control) -> None:
    loaded.land("rejected", events=2)
    loaded.platform.load()
    assert set(red(loaded)) == {("rejected", "few_rejected_events")}


def test_a_share_is_judged_by_its_bound_and_nothing_is_no_share() -> None:
    table = event_table("cart_viewed")
    assert judge_share(table, DUPLICATES, 5, 100).passed
    assert not judge_share(table, DUPLICATES, 6, 100).passed
    assert judge_share(table, UNFIT, 0, 0).passed
    assert judge_share(REJECTED_TABLE, REJECTIONS, 6, 100).severity is dg.AssetCheckSeverity.WARN


def test_what_is_checked_every_hour_reads_no_whole_table(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("orchestration.checks.audit")
    control.land("product_viewed")
    control.run("landed_commits")
    run = control.execute("check_recent")
    assert run.success
    names = {check.check_name for check in run.get_asset_check_evaluations()}
    assert names == {"few_duplicates", "few_unfit_rows", "few_rejected_events", SAMPLE}
