from pathlib import Path

import dagster as dg
import pytest

from ingestion.settings import read_settings
from orchestration.instance import (
    CONFIGURATION,
    UNDER_WAY,
    end_crashed_runs,
    open_instance,
    prepare_instance,
    wait_for_runs,
)
from tests.orchestration.control import repository


@pytest.fixture
def home(tmp_path: Path) -> Path:
    prepare_instance(tmp_path / "dagster")
    return tmp_path / "dagster"


def make_run(home: Path, status: dg.DagsterRunStatus) -> str:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run = instance.create_run_for_job(repository().get_job("load_raw"), status=status)
        return run.run_id


def status_of(home: Path, run_id: str) -> dg.DagsterRunStatus:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        return run.status


def test_a_dagster_yaml_of_ones_own_stays(home: Path) -> None:
    assert (home / "dagster.yaml").read_text() == CONFIGURATION.read_text()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    prepare_instance(home)
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_a_run_that_a_crash_left_under_way_is_ended(home: Path, status: dg.DagsterRunStatus) -> None:
    run_id = make_run(home, status)
    assert end_crashed_runs(home) == 1
    assert status_of(home, run_id) is dg.DagsterRunStatus.FAILURE


def test_a_run_that_is_over_or_waits_is_left_alone(home: Path) -> None:
    run_id = make_run(home, dg.DagsterRunStatus.SUCCESS)
    assert end_crashed_runs(home) == 0
    assert status_of(home, run_id) is dg.DagsterRunStatus.SUCCESS
    assert dg.DagsterRunStatus.QUEUED not in UNDER_WAY, "the daemon launches it"


def test_a_run_that_does_not_end_is_waited_for_only_so_long(home: Path) -> None:
    make_run(home, dg.DagsterRunStatus.STARTED)
    wait_for_runs(home, 0.0)
    end_crashed_runs(home)
    wait_for_runs(home, 60.0)


def test_the_instance_is_the_one_that_is_named_or_that_of_headrace_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    for named, home in ((None, tmp_path / "dagster"), (str(tmp_path / "other"), tmp_path / "other")):
        monkeypatch.setenv("DAGSTER_HOME", named) if named else monkeypatch.delenv("DAGSTER_HOME", raising=False)
        with open_instance(read_settings()) as instance:
            assert instance.root_directory == str(home)
