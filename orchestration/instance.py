"""Dagster's own state in one folder, DAGSTER_HOME: its configuration, its workspace, and what a crash left in it."""

import json
import logging
import os
import shutil
import time
from pathlib import Path

import dagster as dg

from ingestion.settings import Settings

CONFIGURATION = Path(__file__).with_name("dagster.yaml")
LOCATION = "headrace"
"""The code location's name, as in workspace.yaml."""

LOOK_AGAIN_SECONDS = 0.2
CRASHED = "its process was gone when Headrace started; what it left undone is asked for again"
UNDER_WAY = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def prepare_instance(home: Path) -> None:
    """Make the folder; a dagster.yaml that is there is somebody's own and stays."""
    home.mkdir(parents=True, exist_ok=True)
    if not (home / CONFIGURATION.name).exists():
        shutil.copy(CONFIGURATION, home)


def dagster_home(settings: Settings) -> Path:
    """The folder of Dagster's state: DAGSTER_HOME where it is set."""
    return Path(os.environ.get("DAGSTER_HOME") or settings.dagster_home)


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The instance that `headrace up` runs."""
    logging.getLogger("alembic").setLevel(logging.WARNING)  # how Dagster makes its tables is no news
    home = dagster_home(settings)
    prepare_instance(home)
    return dg.DagsterInstance.from_config(str(home))


def write_workspace(home: Path, port: int) -> Path:
    """A workspace with one code server for web server and daemon, instead of one each."""
    server = {"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": LOCATION}}
    workspace = home / "workspace.yaml"
    workspace.write_text(json.dumps({"load_from": [server]}))
    return workspace


def wait_for_runs(home: Path, seconds: float) -> None:
    """Return when no run is under way any more, or after `seconds`; whatever is cut off then is asked for again."""
    deadline = time.monotonic() + seconds
    with dg.DagsterInstance.from_config(str(home)) as instance:
        while instance.get_runs(dg.RunsFilter(statuses=list(UNDER_WAY)), limit=1) and time.monotonic() < deadline:
            time.sleep(LOOK_AGAIN_SECONDS)


def end_crashed_runs(home: Path) -> int:
    """End the runs whose processes are gone, and return how many.

    Call it while no run can be alive: to Dagster such a run looks under way, so its place stays taken and sensors wait.
    """
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = instance.get_runs(dg.RunsFilter(statuses=list(UNDER_WAY)))
        for run in runs:
            instance.report_run_failed(run, CRASHED)
        return len(runs)
