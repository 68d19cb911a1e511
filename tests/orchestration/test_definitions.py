import ast
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from ingestion.tables import all_tables
from tests.orchestration.control import repository

ROOT = Path(__file__).parents[2]


def test_both_files_name_the_same_location() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert entry["python_module"]["location_name"] == project["code_location_name"]
    assert entry["python_module"]["module_name"] == project["code_location_target_module"]


def test_sensors_and_schedules_run_without_being_switched_on() -> None:
    sensors, schedules = repository().sensor_defs, repository().schedule_defs
    assert {sensor.name for sensor in sensors} == {
        "landed_commits",
        "stale_dates",
        "views_behind",
        "counters_behind",
        "alerts",
        "consumer_lag",
    }
    assert {schedule.name for schedule in schedules} == {
        "nightly_replay",
        "nightly_repair",
        "nightly_recount",
        "check_raw_schedule",
        "check_recent_schedule",
        "check_models_schedule",
        "check_views_schedule",
        "report_schedule",
        "prune_history_schedule",
    }
    assert all(sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in sensors)
    assert all(schedule.default_status is dg.DefaultScheduleStatus.RUNNING for schedule in schedules)


def test_every_record_type_is_a_lake_asset_above_a_raw_asset_above_a_model() -> None:
    graph = repository().asset_graph
    for table in all_tables():
        lake, raw = dg.AssetKey(["lake", table.name]), dg.AssetKey(["raw", table.name])
        assert graph.get(raw).parent_keys == {lake}
        assert not graph.get(lake).is_materializable
        assert graph.get(raw).child_keys or table.name == "rejected"
        assert len(graph.get(raw).metadata["dagster/column_schema"].columns) == len(table.schema)


def test_what_writes_the_warehouse_is_in_one_pool_and_what_writes_the_views_in_another() -> None:
    graph = repository().asset_graph
    for key in graph.materializable_asset_keys - {dg.AssetKey(["reports", "shop"])}:
        assert graph.get(key).pools == ({"views"} if key.path[0] == "views" else {"warehouse"}), key


def test_jobs_run_in_their_own_process_only() -> None:
    assert {job.executor_def.name for job in repository().get_all_jobs()} == {"in_process"}


@pytest.mark.parametrize("path", [*ROOT.glob("orchestration/*.py"), *ROOT.glob("sensors/*.py")], ids=str)
def test_annotations_are_evaluated(path: Path) -> None:
    """Dagster reads them when a module is imported."""
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    assert "__future__" not in [node.module for node in imports]


def test_the_instance_file_is_one_that_dagster_takes(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text((ROOT / "orchestration" / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        concurrency = instance.get_concurrency_config()
        assert concurrency.pool_config.default_pool_limit == 2
