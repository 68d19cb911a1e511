from contextlib import nullcontext
from datetime import UTC, datetime

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from ingestion.errors import ConfigurationError, PermanentError
from ingestion.settings import read_settings
from ingestion.warehouse import StaleDate, Staleness
from orchestration import instance, warehouse
from orchestration.cli import cli
from orchestration.instance import open_instance
from orchestration.partitions import DATES, HOUR_FORMAT
from orchestration.runs import builds, hours_between
from sensors.attempts import RANGE_END, RANGE_START
from sensors.stale_dates import Build
from tests.orchestration.control import Control

NOW = datetime(2026, 5, 3, 12, 20, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_other_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def headrace(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_hours_are_taken_as_they_are_and_dates_as_all_their_hours() -> None:
    assert hours_between("2026-05-01-10", "2026-05-01-11", NOW) == ("2026-05-01-10", "2026-05-01-11")
    assert hours_between("2026-05-01", "2026-05-02", NOW) == ("2026-05-01-00", "2026-05-02-23")
    assert hours_between("2026-1-2-3", "2026-1-2-3", NOW) == ("2026-01-02-03", "2026-01-02-03")


def test_today_ends_with_the_hour_that_runs() -> None:
    assert hours_between("2026-05-03", "2026-05-03", NOW) == ("2026-05-03-00", "2026-05-03-12")


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("yesterday", "2026-05-01", "'yesterday' is no hour like 2026-11-22-14 and no date"),
        ("2025-12-31", "2026-05-01", "2025-12-31-00 is no landing hour: the first is 2026-01-01-00"),
        ("2026-05-01", "2026-05-03-13", "2026-05-03-13 is no landing hour: .* the last 2026-05-03-12"),
        ("2026-05-01", "2026-05-04", "2026-05-04-23 is no landing hour"),
        ("2026-05-02", "2026-05-01", "2026-05-02 comes after 2026-05-01"),
    ],
)
def test_a_range_that_is_none_is_refused_and_says_why(first: str, last: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        hours_between(first, last, NOW)


def test_every_stale_date_is_built_once_however_often_it_is_touched_meanwhile() -> None:
    touched, built, load_seq = {"2026-05-01": 7, "2026-05-02": 7, "2026-04-01": 3}, {"2026-04-01": 1}, 7

    def staleness() -> Staleness:
        dates = [StaleDate(day, seq, built.get(day, 0)) for day, seq in touched.items() if seq > built.get(day, 0)]
        return Staleness(load_seq, tuple(dates), "as they are")

    asked = []
    for build in builds(staleness, "as they are"):
        asked.append(build)
        for day in {build.first, build.last}:
            built[day] = load_seq
            touched[day] = load_seq = load_seq + 2  # a load brings more of it before the run ends
    assert asked == [Build("2026-05-01", "2026-05-02"), Build("2026-04-01", "2026-04-01")]


def test_where_definitions_have_changed_the_first_run_builds_everything() -> None:
    today = DATES.get_last_partition_key() or ""
    assert list(builds(lambda: Staleness(7, (), "as they were"), "as they are")) == [Build(today, today)]
    assert list(builds(lambda: Staleness(0, ()), "as they are")) == [], "nothing was ever loaded"


def test_a_replay_is_one_run_that_dagster_shows(control: Control) -> None:
    control.land("cart_viewed", events=4)
    control.platform.load()
    control.platform.warehouse.query("delete from raw.cart_viewed where kafka_offset = 0 returning 1")
    hour = f"{control.platform.now:{HOUR_FORMAT}}"
    done = headrace("replay", "--from", hour, "--to", hour, "--table", "cart_viewed", "--no-build")
    assert done.exit_code == 0, done.output
    assert "  cart_viewed: 4 rows\n" in done.output
    assert control.platform.audit().status == 0
    with open_instance(read_settings()) as kept:
        (run,) = kept.get_runs()
        assert (run.job_name, run.is_success) == ("replay_raw", True)
        assert (run.tags[RANGE_START], run.tags[RANGE_END]) == (hour, hour)
        assert kept.get_materialized_partitions(dg.AssetKey(["raw", "cart_viewed"])) == {hour}


def test_views_are_repaired_by_landing_hours_and_counters_by_their_dates(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance, "open_instance", lambda settings: nullcontext(control.instance))
    control.land("product_added", events=4)
    control.platform.load()
    today = f"{control.platform.now:%Y-%m-%d}"
    early = headrace("views", "repair", "--from", today, "--to", today, "--view", "product_counters")
    assert early.exit_code == 1 and "headrace build" in " ".join(early.output.split())
    assert headrace("build").exit_code == 0
    for changed in (4, 0):
        done = headrace("views", "repair", "--from", today, "--to", today)
        assert done.exit_code == 0, done.output
        assert f"  user_activity: 4 rows, {changed} of them changed\n" in done.output
        assert f"  cart_events: 4 rows, {changed} of them changed\n" in done.output
        assert "  product_counters: 4 products of " in done.output
    only = headrace("views", "repair", "--from", today, "--to", today, "--view", "cart_events")
    assert "cart_events" in only.output and "user_activity" not in only.output


def test_what_is_stale_is_built_without_a_daemon(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "open_instance", lambda settings: nullcontext(control.instance))
    control.land("cart_viewed", events=4)
    control.platform.load()
    assert control.platform.warehouse.staleness().dates
    done = headrace("build")
    assert done.exit_code == 0, done.output
    assert "building event dates" in done.output and "every event date is built" in done.output
    assert control.platform.warehouse.staleness().dates == ()
    assert headrace("build").output == "every event date is built\n"


def test_a_replay_that_fails_says_what_and_ends_with_1(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermanentError("the lake holds 3 rows of 4; restore its files")

    monkeypatch.setattr(instance, "open_instance", lambda settings: nullcontext(control.instance))
    monkeypatch.setattr(warehouse, "load_table", refuse)
    failed = headrace("replay", "--from", "2026-05-01-10", "--to", "2026-05-01-10", "--table", "cart_viewed")
    assert failed.exit_code == 1
    assert "failed: cart_viewed: the lake holds 3 rows of 4; restore its files" in " ".join(failed.output.split())
    assert "event dates" not in failed.output, "nothing is built on it"
