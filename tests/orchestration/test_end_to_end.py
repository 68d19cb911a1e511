"""The real daemon: what lands is in the warehouse and in a mart, and only sensors asked for it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ingestion.errors import WarehouseBusy
from tests.orchestration.control import Control, repository

ROOT = Path(__file__).parents[2]
SECONDS = 240.0
"""Some 35 on two idle cores."""


@contextmanager
def daemon(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Dagster's daemon with this repository's workspace, ended with the block."""
    home.mkdir()
    shutil.copy(ROOT / "orchestration" / "dagster.yaml", home)
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", str(ROOT / "workspace.yaml")]
    environment = {**os.environ, "DAGSTER_HOME": str(home)}
    with (home / "daemon.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=home)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):  # code server and runs are in the daemon's own process group
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def built(control: Control) -> int:
    """The product views that sessions count; 0 where there is no such table yet, or somebody writes."""
    with suppress(WarehouseBusy):
        tables = control.platform.warehouse.query(
            "from information_schema.tables where table_name = 'fct_sessions' and table_schema = 'analytics'"
        )
        if tables and not control.platform.warehouse.staleness().dates:
            return int(
                str(control.platform.warehouse.query("select sum(product_views) from analytics.fct_sessions")[0][0])
            )
    return 0


@pytest.mark.timeout(400)
def test_sensors_alone_bring_landed_events_into_a_mart(control: Control, tmp_path: Path) -> None:
    repository()  # parses the dbt project, as an installation does once
    control.land("product_viewed", events=5)
    with daemon(tmp_path / "dagster") as process:
        wait_for(5, control, process, tmp_path)
    assert control.platform.audit().status == 0


def wait_for(views: int, control: Control, process: subprocess.Popen[bytes], home: Path) -> None:
    started = time.monotonic()
    while built(control) != views:
        log = home / "dagster" / "daemon.log"
        assert process.poll() is None and time.monotonic() - started < SECONDS, log.read_text()[-5000:]
        time.sleep(1)
    print(f"{views} views after {time.monotonic() - started:.1f} s")
