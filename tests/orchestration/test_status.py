import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData
from dagster._daemon.types import DaemonHeartbeat
from rich.console import Console

from ingestion.listener import Listener
from ingestion.settings import read_settings
from ingestion.steps import run
from ingestion.views import open_views
from ingestion.views.facts import Lookups
from ingestion.views.registry import fact_views
from ingestion.warehouse import StaleDate
from orchestration import status, store_status
from orchestration.automation import SILENT
from orchestration.services import free_port
from orchestration.status import JobStatus, Status, TableStatus, read_status
from orchestration.status_report import ago, exit_code, print_status
from orchestration.view_status import ViewStatus
from sensors.conditions import ERROR, WARNING, Condition
from tests.orchestration.control import Control, repository


def beat(instance: dg.DagsterInstance, ago: timedelta = timedelta(0)) -> None:
    """What a living daemon writes."""
    for kind in instance.get_required_daemon_types():
        then = datetime.now(UTC) - ago
        instance.add_daemon_heartbeat(DaemonHeartbeat(then.timestamp(), kind, "one", []))


@pytest.fixture
def quiet(control: Control, kept_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Control:
    """Everything landed, loaded and alive."""
    control.instance = kept_instance
    monkeypatch.setattr(status, "open_instance", lambda settings: nullcontext(kept_instance))
    monkeypatch.setattr(status, "BUSY_SECONDS", 0.2)
    monkeypatch.setattr(store_status, "BUSY_SECONDS", 0.2)
    beat(control.instance)
    control.land("cart_viewed", events=4)
    control.platform.load()
    return control


def read() -> Status:
    return read_status(read_settings(), repository(), datetime.now(UTC))


def carts(read: Status) -> TableStatus:
    return next(table for table in read.tables if table.name == "cart_viewed")


def test_where_all_is_loaded_and_alive_nothing_is_wrong(quiet: Control) -> None:
    found = read()
    assert carts(found) == TableStatus("cart_viewed", 4, 0, version=1, loaded_version=1, rows=4)
    assert [stale.event_date for stale in found.stale or ()] == [f"{quiet.platform.now:%Y-%m-%d}"]
    assert found.wrong == [] and exit_code(found) == 0
    assert found.switches["landed_commits"] and found.switches["nightly_replay"]


def test_what_waits_in_each_hop_is_counted(quiet: Control) -> None:
    quiet.land("cart_viewed", events=2)
    quiet.platform.publish("cart_viewed", 3)
    found = read()
    assert (carts(found).appended, carts(found).waiting, carts(found).pending) == (9, 3, 1)
    assert found.wrong == [], "they came just now"


def test_what_the_lander_should_long_have_taken_needs_a_person(quiet: Control) -> None:
    quiet.platform.now -= timedelta(minutes=40)
    quiet.platform.publish("cart_viewed", 3)
    (late,) = read().wrong
    assert late.key == "nothing lands: cart_viewed"
    assert late.said == "3 records of the log wait for the lander, the oldest for 40 minutes."


def listen(control: Control) -> None:
    with closing(open_views(read_settings().views_url)) as store:
        listener = Listener(control.platform.broker, store, list(fact_views().values()), Lookups)
        run(listener.round(), lambda point: None)


def activity(read: Status) -> ViewStatus:
    return next(view for view in read.views if view.name == "user_activity")


def test_a_view_that_no_listener_keeps_is_no_worry(quiet: Control) -> None:
    found = read()
    assert activity(found) == ViewStatus("user_activity") and found.wrong == []


def test_what_waits_for_a_views_listener_is_counted(quiet: Control) -> None:
    listen(quiet)
    quiet.platform.publish("cart_viewed", 3)
    found = read()
    assert (activity(found).appended, activity(found).waiting) == (7, 3)
    assert found.wrong == [], "they came just now"


def test_a_listener_that_stands_still_is_told_and_can_wait(quiet: Control) -> None:
    listen(quiet)
    quiet.platform.now -= timedelta(minutes=40)
    quiet.platform.publish("cart_viewed", 3)
    quiet.platform.land()
    quiet.platform.load()
    (late,) = read().wrong
    assert (late.key, late.severity) == ("a view is behind: user_activity", WARNING)
    assert late.said == "3 records of the log wait for its listener, the oldest for 40 minutes."
    assert "headrace listen" in late.todo


def test_what_a_view_can_no_longer_hear_needs_a_person(quiet: Control) -> None:
    listen(quiet)
    quiet.land("cart_viewed", events=9)
    quiet.platform.load()
    for partition, held in quiet.platform.broker.bounds("events.cart_viewed").items():
        quiet.platform.broker.truncate("events.cart_viewed", partition, held.end)
    found = read()
    assert {condition.subject for condition in found.wrong} == {"a view lacks records"} and exit_code(found) == 1


def test_what_a_view_left_out_is_what_its_last_materialisation_says(quiet: Control) -> None:
    key = dg.AssetKey(["views", "user_activity"])
    quiet.instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata={"left_out": 2}))
    assert activity(read()).left_out == 2


def test_a_store_of_views_that_does_not_answer_needs_a_person(quiet: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    (quiet.platform.path / "no store").write_text("no database" * 100)
    monkeypatch.setenv("HEADRACE_VIEWS", f"sqlite://{quiet.platform.path}/no store")
    found = read()
    (silent,) = [store for store in found.stores if store.problem]
    assert silent.name == "views" and "HEADRACE_VIEWS" in silent.todo
    assert found.wrong == [] and exit_code(found) == 1


def test_each_store_has_a_line_and_where_one_is_down_it_says_what_to_do(
    quiet: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()  # where nobody listens
    monkeypatch.setenv("HEADRACE_BROKER", f"kafka://somebody:secret@127.0.0.1:{port}")
    found = read()
    assert [store.name for store in found.stores if store.problem] == ["log"]
    assert (carts(found).appended, carts(found).rows) == (None, 4), "what can be known is still told"
    assert found.wrong == [], "what follows from it is not told again"
    lines = printed(found).splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["log", "lake", "views", "warehouse"]
    assert f" kafka://127.0.0.1:{port} does not answer" in lines[0] and "HEADRACE_BROKER" in lines[0]
    assert all(line.endswith(" answers") for line in lines[1:4])


def test_shares_are_those_of_the_last_checks_and_runs_those_that_succeeded(quiet: Control) -> None:
    key = dg.AssetKey(["raw", "cart_viewed"])
    for check, share, severity in (
        ("few_unfit_rows", 0.0, dg.AssetCheckSeverity.ERROR),
        ("few_duplicates", 1 / 6, dg.AssetCheckSeverity.WARN),
    ):
        evaluation = dg.AssetCheckEvaluation(key, check, share == 0, {"share": share}, severity=severity)
        quiet.instance.report_runless_asset_event(evaluation)
    quiet.instance.create_run_for_job(repository().get_job("check_raw"), status=dg.DagsterRunStatus.SUCCESS)
    found = read()
    assert carts(found).duplicates == pytest.approx(1 / 6) and carts(found).unfit == 0
    assert [job.name for job in found.jobs if job.succeeded] == ["check_raw"]
    (warns,) = found.wrong
    assert warns.subject == "a check warns" and exit_code(found) == 0, "it can wait"


def test_a_daemon_that_is_not_heard_of_needs_a_person(quiet: Control) -> None:
    beat(quiet.instance, ago=SILENT + timedelta(seconds=5))
    (silent,) = read().wrong
    assert silent.subject == "Dagster's daemon is silent" and "headrace up" in silent.todo


def test_a_sensor_that_somebody_stopped_needs_a_person(quiet: Control) -> None:
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("headrace"), "r"), "stale_dates"
    )
    quiet.instance.add_instigator_state(
        InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.STOPPED, SensorInstigatorData())
    )
    (stopped,) = read().wrong
    assert stopped.key == "switched off: stale_dates"


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process has the warehouse open."""
    code = "import duckdb, sys; db = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        yield
        other.stdin.close()


def test_a_busy_warehouse_is_not_waited_for(quiet: Control) -> None:
    with held(quiet.platform.warehouse.path):
        found = read()
    assert (carts(found).appended, carts(found).loaded_version, carts(found).pending) == (4, None, None)
    assert found.stale is None and found.wrong == []
    assert "is busy: a load or a build holds it" in printed(found)


def printed(found: Status) -> str:
    text = io.StringIO()
    print_status(Console(file=text, width=200), found, datetime(2026, 5, 1, 12, tzinfo=UTC))
    return text.getvalue()


def test_the_screen_says_what_is_wrong_and_what_to_do() -> None:
    ran = JobStatus("load_raw", datetime(2026, 5, 1, 11, 56, tzinfo=UTC), timedelta(seconds=3))
    stale = (StaleDate("2026-05-01", 4, 3), StaleDate("2026-04-28", 4, 0))
    wrong = [Condition("load_raw failed", "carts", "[full] disk", "Free some space.", ERROR)]
    views = [ViewStatus("user_activity", 9_000, 12, 0), ViewStatus("cart_events")]
    tables = [TableStatus("carts", 9, 0, 1, 1, 9)]
    text = printed(Status([], tables, stale, [ran], {"alerts": True, "off": False}, wrong, views))
    lines = [line.split() for line in text.splitlines()]
    assert ["user_activity", "9,000", "12", "0"] in lines and ["cart_events", "?", "?", "?"] in lines
    assert "2 event dates wait for a build, from 2026-04-28 to 2026-05-01." in text
    assert "Last done: load_raw 4 min ago (3 s)." in text and "Switched on: alerts." in text
    assert "load_raw failed (carts): [full] disk Free some space." in text
    assert "Somebody has to look." in text


def test_warnings_alone_need_nobody_now() -> None:
    warns = Condition("a check warns", "carts", "6 % repeat", "", WARNING)
    assert exit_code(Status([], [], (), [], {}, [warns])) == 0
    assert "All is well." in printed(Status([], [], (), [], {}, [warns]))


@pytest.mark.parametrize(
    ("age", "said"),
    [(timedelta(seconds=-1), "0 s ago"), (timedelta(seconds=90), "90 s ago"), (timedelta(hours=3), "3 h ago")],
)
def test_ages_are_said_in_the_largest_unit_that_fits_twice(age: timedelta, said: str) -> None:
    assert ago(age) == said
