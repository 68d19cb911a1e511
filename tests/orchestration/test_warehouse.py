from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from ingestion.errors import PermanentError
from ingestion.loader import load
from ingestion.tables import Table, all_tables, event_table
from orchestration import warehouse
from orchestration.partitions import HOUR_FORMAT
from sensors import landed_commits
from sensors.attempts import RANGE_END, RANGE_START
from tests.orchestration.control import Control

VIEWS, CARTS = dg.AssetKey(["raw", "product_viewed"]), dg.AssetKey(["raw", "cart_viewed"])


@pytest.fixture
def few(control: Control, monkeypatch: pytest.MonkeyPatch) -> Control:
    """The sensor sees two tables: to load all of them, empty, costs most of a test's time."""
    monkeypatch.setattr(
        landed_commits, "all_tables", lambda: [event_table("product_viewed"), event_table("cart_viewed")]
    )
    return control


def this_hour(control: Control) -> str:
    return control.platform.now.strftime(HOUR_FORMAT)


def said(control: Control, key: dg.AssetKey) -> dict[str, object]:
    event = control.instance.get_latest_materialization_event(key)
    assert event is not None and event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def reloaded(control: Control, first: str, last: str) -> dg.ExecuteInProcessResult:
    tags = {RANGE_START: first, RANGE_END: last}
    return control.execute("replay_raw", dg.RunRequest(asset_selection=[CARTS], asset_check_keys=[], tags=tags))


def test_one_run_loads_everything_that_is_pending_and_no_more_is_asked_for(control: Control) -> None:
    control.land("product_viewed", events=5)
    control.land("cart_viewed", events=2)
    (run,) = control.run("landed_commits")
    assert run.success
    assert control.platform.audit().status == 0
    assert said(control, VIEWS)["dagster/row_count"] == said(control, VIEWS)["dagster/partition_row_count"] == 5
    assert not control.tick("landed_commits").run_requests


def test_a_load_shows_a_few_rows_without_saying_whose_they_are(few: Control) -> None:
    few.land("product_viewed", events=12)
    few.run("landed_commits")
    lines = str(said(few, VIEWS)["preview"]).splitlines()
    assert len(lines) == 2 + 10
    assert lines[0].startswith("| occurred_at | source | product_id | ")
    for personal in ("user_id", "anonymous_id", "context", "kafka_value", "visitor-", "session_id", "device"):
        assert personal not in "\n".join(lines)


def test_a_load_runs_no_check(few: Control) -> None:
    few.land()
    (run,) = few.run("landed_commits")
    assert not run.get_asset_check_evaluations()


def test_only_tables_with_new_commits_are_loaded_again(few: Control) -> None:
    few.run("landed_commits")
    few.land("cart_viewed")
    (request,) = few.tick("landed_commits").run_requests or ()
    assert request.asset_selection == [CARTS]
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (this_hour(few), this_hour(few))


def test_lake_assets_carry_the_version_of_their_table_as_data_version(few: Control) -> None:
    few.land("cart_viewed")
    few.tick("landed_commits")
    event = few.instance.get_latest_materialization_event(dg.AssetKey(["lake", "cart_viewed"]))
    assert event is not None and event.asset_materialization is not None
    assert (event.asset_materialization.tags or {})["dagster/data_version"] == "1"
    size = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert (size["dagster/row_count"], size["files"], size["version"]) == (3, 1, 1)
    assert int(str(size["bytes"])) > 1_000
    assert not few.tick("landed_commits").asset_events, "nothing new is nothing to say"


def test_what_a_loader_without_dagster_has_loaded_is_found_by_a_run_that_loads_nothing(few: Control) -> None:
    few.land("cart_viewed")
    few.platform.load()
    (run,) = few.run("landed_commits")
    assert run.success and said(few, CARTS)["rows_loaded"] == 0
    assert not few.tick("landed_commits").run_requests
    assert few.tick("stale_dates").run_requests, "its dates are known now"


def test_a_named_range_of_hours_is_loaded_again_in_one_run(few: Control) -> None:
    few.land("cart_viewed", events=4)
    few.run("landed_commits")
    few.platform.warehouse.query("delete from raw.cart_viewed where kafka_offset = 0 returning 1")
    assert few.platform.audit().status == 1
    hour = datetime.now(UTC)
    run = reloaded(few, f"{hour - timedelta(hours=2):{HOUR_FORMAT}}", f"{hour:{HOUR_FORMAT}}")
    assert run.success
    assert few.platform.audit().status == 0
    assert said(few, CARTS)["rows_loaded"] == 4


def test_a_backfill_in_the_ui_loads_exactly_its_range_again(few: Control) -> None:
    """With a single-run policy it launches this run."""
    few.land("cart_viewed", events=4)
    few.platform.now -= timedelta(hours=5)
    few.platform.publish("cart_viewed", 3)
    few.platform.land()
    few.run("landed_commits")
    first, last = few.platform.now - timedelta(hours=1), few.platform.now + timedelta(hours=1)
    tags = {RANGE_START: f"{first:{HOUR_FORMAT}}", RANGE_END: f"{last:{HOUR_FORMAT}}"}
    run = few.execute("__ASSET_JOB", dg.RunRequest(asset_selection=[CARTS], asset_check_keys=[], tags=tags))
    assert run.success
    assert said(few, CARTS)["rows_loaded"] == 3, "those of now are not in the range"
    assert few.platform.audit().status == 0


def test_a_replay_twice_while_new_data_lands_changes_nothing(few: Control) -> None:
    few.land("cart_viewed", events=4)
    few.run("landed_commits")
    rows = few.platform.rows(table("cart_viewed"))
    for _ in range(2):
        reloaded(few, this_hour(few), this_hour(few))
    assert few.platform.rows(table("cart_viewed")) == rows
    few.land("cart_viewed", events=1)
    assert reloaded(few, this_hour(few), this_hour(few)).success
    assert few.platform.audit().status == 0, "what had landed meanwhile is loaded, once"
    assert not few.tick("landed_commits").run_requests


def test_a_table_that_cannot_be_loaded_fails_the_run_and_holds_up_no_other(
    few: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_for_carts(lake: Any, store: Any, one: Table) -> Any:
        if one.name == "cart_viewed":
            raise PermanentError("a file is missing; restore it")
        return load(lake, store, one)

    monkeypatch.setattr(warehouse, "load", fails_for_carts)
    few.land("product_viewed", events=5)
    (run,) = few.run("landed_commits")
    assert not run.success
    assert said(few, VIEWS)["rows_loaded"] == 5
    assert "a file is missing; restore it" in str(run.failure_data_for_node("raw"))
    assert not few.tick("landed_commits").run_requests, "carts wait a little after a failure"


def table(name: str) -> Table:
    return next(one for one in all_tables() if one.name == name)
