import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ingestion.tables import event_table
from ingestion.views import Row
from ingestion.views.sqlite import SQLiteViews
from orchestration.retention import ROUTINE_JOBS, prune
from sensors.landed_commits import lake_state
from sensors.stale_dates import REPORT_KEY
from sensors.stores import Stores
from tests.conftest import MakePlatform
from tests.orchestration.control import Control, repository

VIEWS = event_table("product_viewed")
RAW, LAKE = dg.AssetKey(["raw", VIEWS.name]), dg.AssetKey(["lake", VIEWS.name])
MONTH, FORTNIGHT = timedelta(days=30), timedelta(days=14)


@pytest.fixture
def kept(
    tmp_path: Path, kept_instance: dg.DagsterInstance, make_platform: MakePlatform, monkeypatch: pytest.MonkeyPatch
) -> Control:
    """An instance on disk beside a platform of one table."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    return Control(kept_instance, make_platform(VIEWS))


def load(control: Control, job: str = "replay_raw") -> str:
    """Land something and load it; the run's id."""
    control.land()
    control.tick("landed_commits")
    hour = f"{control.platform.now:%Y-%m-%d-%H}"
    tags = {"headrace/pending": VIEWS.name, "dagster/asset_partition_range_start": hour}
    tags |= {"dagster/asset_partition_range_end": hour}
    run = control.execute(job, dg.RunRequest(asset_selection=[RAW], asset_check_keys=[], tags=tags))
    assert run.success
    return run.run_id


def later(age: timedelta) -> datetime:
    return datetime.now(UTC) + age


def count(control: Control, database: str, sql: str) -> int:
    path = Path(control.instance.root_directory) / "history" / database
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(sql).fetchone()[0])


def files(control: Control, run_id: str) -> list[Path]:
    return list(Path(control.instance.root_directory).rglob(f"*{run_id}*"))


def test_an_old_run_goes_with_its_messages_its_file_and_its_logs(kept: Control) -> None:
    old = load(kept)
    assert files(kept, old)
    assert prune(kept.instance, later(MONTH), FORTNIGHT).runs == 1
    assert kept.instance.get_run_by_id(old) is None and files(kept, old) == []
    assert count(kept, "runs.db", "select count(*) from run_tags") == 0


def test_what_is_young_or_under_way_stays(kept: Control) -> None:
    young = load(kept)
    waiting = kept.instance.create_run_for_job(repository().get_job("load_raw"), status=dg.DagsterRunStatus.STARTED)
    assert prune(kept.instance, later(timedelta(days=13)), FORTNIGHT).runs == 0
    assert kept.instance.get_run_by_id(young) is not None
    prune(kept.instance, later(MONTH), FORTNIGHT)
    assert kept.instance.get_run_by_id(young) is None
    assert kept.instance.get_run_by_id(waiting.run_id) is not None


def test_what_runs_all_day_and_succeeded_goes_after_hours(kept: Control) -> None:
    by_hand, routine = load(kept), load(kept, "load_raw")
    assert prune(kept.instance, later(timedelta(hours=5)), FORTNIGHT).runs == 0
    assert prune(kept.instance, later(timedelta(hours=7)), FORTNIGHT).runs == 1
    assert [run.run_id for run in kept.instance.get_runs()] == [by_hand] and files(kept, routine) == []


def test_sensors_go_on_from_what_stays(kept: Control) -> None:
    load(kept)
    load(kept)
    before = kept.tick("stale_dates")
    assert before.run_requests
    assert prune(kept.instance, later(MONTH), FORTNIGHT).runs == 2
    state = lake_state(dg.build_sensor_context(kept.instance), Stores().lake(), VIEWS, -1)
    assert (state.loaded, state.version) == (2, 2), "what is loaded is still known"
    after = kept.tick("stale_dates")
    assert after.run_requests and after.run_requests[0].tags == before.run_requests[0].tags
    kept.land()
    (request,) = kept.tick("landed_commits").run_requests or ()
    assert RAW in (request.asset_selection or ())


def test_one_materialisation_of_each_partition_stays_for_the_screen(kept: Control) -> None:
    load(kept)
    load(kept)
    hours = kept.instance.get_materialized_partitions(RAW)
    prune(kept.instance, later(MONTH), FORTNIGHT)
    assert kept.instance.get_materialized_partitions(RAW) == hours and len(hours) in (1, 2)
    records = kept.instance.fetch_materializations(RAW, limit=9).records
    assert len(records) == len(hours)
    last = records[0].asset_materialization
    assert last is not None and last.metadata["loaded_version"].value == 2, "the last one, not the first"
    assert len(kept.instance.fetch_materializations(REPORT_KEY, limit=9).records) == 1
    tags = "select count(*) from asset_event_tags where event_id not in (select id from event_logs)"
    assert count(kept, "runs/index.db", tags) == 0


def test_of_what_is_reported_without_a_run_the_last_stays(kept: Control) -> None:
    for version in range(3):
        kept.instance.report_runless_asset_event(dg.AssetMaterialization(LAKE, metadata={"version": version}))
    done = prune(kept.instance, later(MONTH), FORTNIGHT)
    assert done.reports == 2
    (last,) = kept.instance.fetch_materializations(LAKE, limit=9).records
    assert last.asset_materialization is not None and last.asset_materialization.metadata["version"].value == 2


def test_the_last_answer_of_a_check_stays(kept: Control) -> None:
    key = dg.AssetCheckKey(RAW, "few_duplicates")
    for passed in (True, False):
        kept.instance.report_runless_asset_event(dg.AssetCheckEvaluation(RAW, key.name, passed, {}))
    assert prune(kept.instance, later(MONTH), FORTNIGHT).answers == 1
    record = kept.instance.get_latest_asset_check_evaluation_record(key)
    assert record is not None and record.evaluation is not None and not record.evaluation.passed


def test_an_hour_deletes_so_many_and_the_next_goes_on(kept: Control) -> None:
    job = repository().get_job("prune_history")
    for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE):
        for _ in range(2):
            kept.instance.create_run_for_job(job, status=status)
    assert [prune(kept.instance, later(MONTH), FORTNIGHT, max_runs=2).runs for _ in range(3)] == [2, 2, 0]


def test_the_job_keeps_what_the_setting_says(kept: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_RUN_RETENTION_DAYS", "3")
    old = kept.instance.create_run_for_job(repository().get_job("prune_history"), status=dg.DagsterRunStatus.FAILURE)
    assert kept.execute("prune_history").success
    assert kept.instance.get_run_by_id(old.run_id) is not None


def test_the_job_deletes_rows_of_views_that_expired(kept: Control) -> None:
    """Where Dagster fills the views no listener does it."""
    store = SQLiteViews(kept.platform.path / "views.db")
    store.upsert(
        "cart_events", [Row("user:u1", sort, 1, {}, expires_at) for sort, expires_at in (("a", 1), ("b", None))]
    )
    assert kept.execute("prune_history").success
    assert store._db.execute("select sort from rows").fetchall() == [("b",)]
    store.close()


def test_the_jobs_that_run_all_day_are_there() -> None:
    assert set(ROUTINE_JOBS) <= {job.name for job in repository().get_all_jobs()}
