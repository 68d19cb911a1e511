from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState

from sensors.conditions import ERROR, FORGOTTEN_AFTER, WARNING, Condition, read_conditions
from tests.sensors.shop import Shop


def wrong(shop: Shop, later: timedelta = timedelta()) -> list[Condition]:
    return read_conditions(shop.instance, shop.repository, datetime.now(UTC) + later)


def keys(shop: Shop) -> list[str]:
    return [condition.key for condition in wrong(shop)]


def test_where_nothing_failed_nothing_is_wrong(shop: Shop) -> None:
    assert shop.load()
    shop.check(None)
    assert wrong(shop) == []


def test_a_failed_run_is_wrong_until_a_later_one_did_what_it_was_asked_for(shop: Shop) -> None:
    assert not shop.load(failure="a file is missing; restore it")
    (failed,) = wrong(shop)
    assert failed.key == "load_raw failed: carts"
    assert failed.said.startswith("a file is missing; restore it (run ")
    assert "asked for again by itself" in failed.todo and failed.severity == ERROR
    assert shop.load()
    assert wrong(shop) == []


def test_a_failure_is_of_each_table_that_it_was_to_load_and_not_loaded_by_any_run(shop: Shop) -> None:
    shop.load("carts,views", failure="the disk is full")
    assert keys(shop) == ["load_raw failed: carts", "load_raw failed: views"]
    shop.load("views")  # the run makes the table `carts` of this shop too
    assert keys(shop) == []


def test_failing_again_is_the_same_condition(shop: Shop) -> None:
    shop.load(failure="the disk is full")
    before = keys(shop)
    shop.load("carts", failure="the disk is still full")
    assert keys(shop) == before
    assert "still full" in wrong(shop)[0].said


def test_a_failed_range_is_made_good_by_later_runs_that_cover_both_its_ends(shop: Shop) -> None:
    shop.build("2026-05-01", "2026-05-03", failure="dbt says no to fct_sessions")
    shop.build("2026-05-02", "2026-05-03")
    assert keys(shop) == ["build_models failed: "]
    shop.build("2026-05-01", "2026-05-01")
    assert keys(shop) == []


def test_a_failure_that_nobody_repeats_is_history_after_a_day(shop: Shop) -> None:
    shop.build("2026-05-01", "2026-05-03", failure="dbt says no to fct_sessions")
    assert wrong(shop)
    assert not wrong(shop, later=FORGOTTEN_AFTER + timedelta(minutes=1))


def test_an_error_of_the_code_is_told_without_its_stack(shop: Shop) -> None:
    assert not shop.execute("check_both")
    (failed,) = wrong(shop)
    assert failed.subject == "check_both failed"
    assert failed.said.startswith("ValueError: the warehouse is not there (run ")


def test_a_check_is_red_until_it_passes(shop: Shop) -> None:
    shop.check(dg.AssetCheckSeverity.ERROR)
    (red,) = wrong(shop)
    assert red == Condition("a check is red", "raw/carts: whole", "3 rows are lost.", "", ERROR)
    shop.check(None)
    assert wrong(shop) == []


def test_a_warning_is_told_as_one(shop: Shop) -> None:
    shop.check(dg.AssetCheckSeverity.WARN)
    (warns,) = wrong(shop)
    assert (warns.subject, warns.severity) == ("a check warns", WARNING)


def test_a_check_that_was_interrupted_keeps_its_last_answer(shop: Shop) -> None:
    shop.check(dg.AssetCheckSeverity.ERROR)
    job = shop.repository.get_job("check_raw")
    shop.instance.create_run_for_job(job)  # it plans the check's evaluation, and never comes to it
    planned = shop.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        list(shop.repository.asset_graph.asset_check_keys)
    )
    assert "PLANNED" in {record.status.value for record in planned.values()}
    assert keys(shop) == ["a check is red: raw/carts: whole"]


def test_a_table_is_too_old_once_a_machine_that_woke_up_has_had_time_to_catch_up(shop: Shop) -> None:
    shop.age(FreshnessState.FAIL, timedelta(minutes=5))
    assert wrong(shop) == []
    shop.age(FreshnessState.FAIL, timedelta(minutes=20))
    (old,) = wrong(shop)
    assert old.key == "a table is too old: raw/carts" and "headrace status" in old.todo
    shop.age(FreshnessState.PASS, timedelta(minutes=20))
    assert wrong(shop) == []
