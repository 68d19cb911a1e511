from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from orchestration import models
from orchestration.dbt_runner import Outcome
from orchestration.models import dbt_arguments
from sensors.attempts import RANGE_END, RANGE_START
from tests.orchestration.control import Control, repository

SESSIONS = dg.AssetKey("fct_sessions")
DAY = timedelta(days=1)


def loaded(control: Control, day: datetime | None = None) -> None:
    control.land("product_viewed", day)
    (run,) = control.run("landed_commits")
    assert run.success


def asked(result: dg.SensorResult) -> list[tuple[str, str]]:
    return [(request.tags[RANGE_START], request.tags[RANGE_END]) for request in result.run_requests or ()]


@pytest.fixture
def three_days(control: Control) -> Control:
    """Events of today and of two days that do not follow each other, loaded."""
    today = datetime.now(UTC)
    for day in (today - 30 * DAY, today - 10 * DAY):
        control.land("product_viewed", day)
    loaded(control, today)
    return control


def test_sensors_build_every_date_that_was_touched_range_by_range(three_days: Control) -> None:
    (first,) = three_days.run("stale_dates")
    assert first.success and not three_days.platform.warehouse.staleness().dates, "the first build builds everything"
    for days in (30, 10, 0):
        three_days.land("product_viewed", datetime.now(UTC) - days * DAY)
    loaded(three_days)
    ranges = []
    while build := three_days.tick("stale_dates").run_requests:
        ranges.append(build[0].tags[RANGE_START])
        assert three_days.execute("build_models", build[0]).success
    today = datetime.now(UTC).date()
    assert ranges == [str(today - days * DAY) for days in (0, 10, 30)]
    totals = "select sum(product_views), count(*) from analytics.fct_sessions"
    ((views, sessions),) = three_days.platform.warehouse.query(totals)
    assert views == 21
    event = three_days.instance.get_latest_materialization_event(SESSIONS)
    assert event is not None and event.asset_materialization is not None
    assert event.asset_materialization.metadata["dagster/row_count"].value == sessions


def test_a_build_that_fails_leaves_its_dates_stale_and_says_so(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(control)
    (request,) = control.tick("stale_dates").run_requests or ()
    with monkeypatch.context() as patched:
        patched.setattr(models, "run_dbt", lambda arguments, target: Outcome([], "dbt says no to fct_sessions"))
        run = control.execute("build_models", request)
    assert not run.success
    assert "stay stale: dbt says no to fct_sessions" in str(run.failure_data_for_node("models"))
    assert control.platform.warehouse.staleness().dates
    assert not control.tick("stale_dates").run_requests, "it waits a little"


def test_what_a_load_brings_while_dbt_runs_stays_stale(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(control)
    (request,) = control.tick("stale_dates").run_requests or ()

    def build_and_load(arguments: Sequence[str], target: Path) -> Outcome:
        control.land("product_viewed")
        control.platform.load()
        return Outcome()

    with monkeypatch.context() as patched:
        patched.setattr(models, "run_dbt", build_and_load)
        assert control.execute("build_models", request).success
    assert asked(control.tick("stale_dates")) == asked(dg.SensorResult([request]))


def test_a_build_of_some_models_leaves_its_dates_stale(control: Control) -> None:
    loaded(control)
    (request,) = control.tick("stale_dates").run_requests or ()
    some = dg.RunRequest(asset_selection=[SESSIONS], asset_check_keys=[], tags=request.tags)
    control.execute("build_models", dg.RunRequest(tags=request.tags))
    control.land()
    control.run("landed_commits")
    run = control.execute("build_models", some)
    assert run.success
    assert [e.asset_key for e in run.get_asset_materialization_events()].count(SESSIONS) == 1
    assert control.platform.warehouse.staleness().dates


def test_a_build_that_a_sensor_asks_for_runs_no_test_and_frees_the_file(control: Control) -> None:
    loaded(control)
    (run,) = control.run("stale_dates")
    assert run.success and not run.get_asset_check_evaluations()
    path = control.platform.warehouse.path
    with duckdb.connect(str(path), config={"threads": 1}):
        pass  # another configuration in this process is refused where anything still holds the file


def test_dbt_tests_are_checks_that_run_by_themselves(control: Control) -> None:
    assert control.execute("check_models").success, "there is nothing to test yet"
    loaded(control)
    control.run("stale_dates")
    run = control.execute("check_models")
    assert run.success
    checks = run.get_asset_check_evaluations()
    assert all(check.passed for check in checks)
    assert len({check.check_name for check in checks}) > 50
    assert not run.get_asset_materialization_events()


def test_what_holds_only_when_all_is_built_is_tested_only_then(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[str]] = []

    def keep(arguments: Sequence[str], target: Path) -> Outcome:
        asked.append(arguments)
        return Outcome()

    loaded(control)
    monkeypatch.setattr(models, "run_dbt", keep)
    warehouse, day = control.platform.warehouse, f"{datetime.now(UTC):%Y-%m-%d}"
    warehouse.record_built([day], 0)
    models.check(warehouse, Path())
    warehouse.record_built([day], warehouse.staleness().load_seq)
    models.check(warehouse, Path())
    assert ["tag:when_drained" in arguments for arguments in asked] == [True, False]


def test_dates_in_days_to_come_wait_without_harm(control: Control) -> None:
    loaded(control, datetime.now(UTC) + 3 * DAY)
    assert not control.tick("stale_dates").run_requests
    assert control.platform.warehouse.staleness().dates


def test_every_model_has_a_description_columns_a_group_and_an_owner() -> None:
    graph = repository().asset_graph
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.description, key
        assert node.group_name in {"warehouse", "staging", "intermediate", "marts", "funnels", "reports", "serving"}, (
            key
        )
        assert node.owners == ["team:data-engineering"], key
        assert node.kinds, key


def test_the_command_names_dates_models_and_whether_to_test() -> None:
    assert dbt_arguments(None, [], with_tests=True)[:2] == ["build", "--full-refresh"]
    everything = dbt_arguments(["2026-05-01"], [], with_tests=True)
    assert everything == ["build", "--vars", '{"dates": ["2026-05-01"]}', "--exclude-resource-type", "unit_test"]
    some = dbt_arguments(["2026-05-01"], ["marts.fct_sessions"], with_tests=False)
    assert some[len(everything) :][:4] == ["--exclude-resource-type", "test", "--select", "marts.fct_sessions"]
