"""`headrace up` as a whole: what it is sent reaches a mart by itself, whatever is killed on the way."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from ingestion.audit import BALANCED, audit_when_settled
from ingestion.broker import open_broker
from ingestion.errors import ConfigurationError, HeadraceError
from ingestion.keys import KeyFile
from ingestion.lake import Lake
from ingestion.settings import Settings
from ingestion.tables import all_tables
from ingestion.warehouse import open_warehouse, read
from orchestration.deployment import only_one
from orchestration.services import free_port, wait_until_ready

SECONDS = 300.0
"""For what takes some 30 on two idle cores."""
HEADRACE = str(Path(sys.executable).with_name("headrace"))


class Machine:
    """One machine's `headrace up`, as its user sees it."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, port=free_port(), dagster_port=free_port(), read_port=free_port())
        self.environment = {
            **os.environ,
            "HEADRACE_HOME": str(home),
            "HEADRACE_PORT": str(self.settings.port),
            "HEADRACE_DAGSTER_PORT": str(self.settings.dagster_port),
            "HEADRACE_READ_PORT": str(self.settings.read_port),
            "HEADRACE_ROTATE_SECONDS": "1",
            "HEADRACE_URL": f"http://127.0.0.1:{self.settings.port}",
            "HEADRACE_WRITE_KEY": KeyFile(self.settings.key_file).add("shop"),
        }
        self.warehouse = open_warehouse(self.settings.warehouse_url)

    @contextmanager
    def up(self) -> Iterator[subprocess.Popen[bytes]]:
        """`headrace up`; whatever is left of it is killed at the end."""
        with (self.settings.home / "up.log").open("ab") as log:
            process = subprocess.Popen([HEADRACE, "up"], env=self.environment, stdout=log, stderr=log)
            try:
                wait_until_ready(self.environment["HEADRACE_URL"], SECONDS)
                yield process
            finally:
                for pid in family(process.pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()

    def simulate(self, events: int) -> None:
        """Shoppers send so many events at once."""
        command = [HEADRACE, "simulate", "--events", str(events), "--rate", "5000", "--seed", "1"]
        command += ["--record", str(self.settings.home / "sent.jsonl")]
        subprocess.run(command, env=self.environment, check=True, capture_output=True, timeout=SECONDS)

    def statuses(self, job: str) -> list[str]:
        """The states of a job's runs, as Dagster's file has them, the last one first."""
        path = self.settings.dagster_home / "history" / "runs.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=30)) as runs:
            sql = "select status from runs where pipeline_name = ? order by id desc"
            with suppress(sqlite3.OperationalError):
                return [status for (status,) in runs.execute(sql, [job])]
        return []

    def visitors(self) -> int:
        """The visitors that the KPIs count; 0 before the first build."""
        with suppress(HeadraceError):
            (visitors,) = read(self.warehouse, "select sum(sessions) as n from analytics.mart_daily_kpis")[
                "n"
            ].to_pylist()
            return int(visitors or 0)
        return 0

    def is_balanced(self) -> bool:
        """Whether every hop has everything, counted again."""
        lake = Lake(self.settings.lake_url)
        balance = audit_when_settled(open_broker(self.settings.broker_url), lake, self.warehouse, all_tables(), 60)
        return balance.status == BALANCED

    def wait_for(self, condition: Callable[[], bool], every: float = 0.5) -> None:
        """Return when something holds; the end of the log where it does not in time."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            log = self.settings.home / "up.log"
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(every)


def family(pid: int) -> list[int]:
    """A process and all that descend from it, whatever groups they are in."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there that has not ended; one that nobody asked for its exit code has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.timeout(900)
def test_events_reach_a_mart_by_themselves_though_everything_is_killed_in_the_middle_of_a_load(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    with machine.up() as process:
        machine.simulate(2_000)
        machine.wait_for(lambda: machine.statuses("load_raw")[:1] == ["STARTED"], every=0.02)
        for pid in family(process.pid):
            os.kill(pid, signal.SIGKILL)
    assert machine.statuses("load_raw") == ["STARTED"], "to Dagster the run is still under way"
    with machine.up() as process:
        machine.wait_for(lambda: machine.visitors() > 0 and not machine.warehouse.staleness().dates)
        assert machine.statuses("load_raw")[-1] == "FAILURE"
        everybody = family(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
        machine.wait_for(lambda: not any(map(is_running, everybody)))
    assert set(machine.statuses("build_models")) == {"SUCCESS"}, "what was under way was let go on"
    assert machine.is_balanced()
    audit = [HEADRACE, "audit", "--sent", str(tmp_path / "sent.jsonl")]
    assert subprocess.run(audit, env=machine.environment, capture_output=True, check=False).returncode == 0


def test_a_folder_has_one_headrace_at_a_time(tmp_path: Path) -> None:
    with only_one(tmp_path) as lock:
        lock.write("collector 123")
        lock.flush()
        with pytest.raises(ConfigurationError, match="collector 123"), only_one(tmp_path):
            pass
    with only_one(tmp_path):
        pass
