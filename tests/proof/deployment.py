"""Collector, lander, listener and loader as real processes that a test may kill, pause and have restarted."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from ingestion.events import EVENT_TYPES
from ingestion.keys import KeyFile
from ingestion.sender import Patience, Sender, Summary, batched
from orchestration.services import free_port, wait_until_ready
from tests.proof import checker, view_checker

VIEWS = ("user_activity", "cart_events")
PATIENT = Patience(tries=40)
"""A killed collector is back in a second, or in many on a busy machine."""
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "collector": ("collect",),
    "lander": ("land",),
    "second lander": ("land",),
    "listener": ("listen",),
    "second listener": ("listen",),
    "loader": ("load", "--every", "0.2"),
}


ReadLog = Callable[[], Mapping[checker.Place, bytes]]
"""Every record of the log, read by a client that is not the product's."""
ReadWarehouse = Callable[[], checker.Found]
"""What the warehouse holds, read likewise."""


class Deployment:
    """Processes under one home. Whoever is killed is started again, without the point at which it crashed."""

    def __init__(
        self,
        home: Path,
        crashes: Mapping[str, str] | None = None,
        read_log: ReadLog | None = None,
        **environment: str,
    ) -> None:
        self.home = home
        self._read_log = read_log or partial(checker.read_log, home / "log.sqlite")
        self.read_warehouse: ReadWarehouse = partial(checker.read_warehouse, home / "warehouse.duckdb")
        self.record = home / "sent.jsonl"
        self.deaths: Counter[str] = Counter()
        self._crashes = dict(crashes or {})
        self._port = free_port()
        self._environment = {
            **os.environ,
            "HEADRACE_HOME": str(home),
            "HEADRACE_PORT": str(self._port),
            "HEADRACE_ROTATE_SECONDS": "0.5",
            **environment,
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.key = KeyFile(home / "keys.json").add("shop")
        self._ending = threading.Event()
        self._watch = threading.Thread(target=self._restart_the_dead)

    def __enter__(self) -> Self:
        for name in ("collector", "lander", "loader"):
            self.start(name)
        self._watch.start()
        wait_until_ready(self.url)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ending.set()
        self._watch.join()
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def url(self) -> str:
        """Where the collector listens."""
        return f"http://127.0.0.1:{self._port}"

    def start(self, name: str) -> None:
        """Start a process, with its crash point where it has one left."""
        crash = self._crashes.pop(name, "")
        with (self.home / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "ingestion", *COMMANDS[name]],
                env={**self._environment, "HEADRACE_CRASH_AT": crash},
                stdout=log,
                stderr=log,
            )

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process; SIGKILL has it restarted."""
        self._processes[name].send_signal(number)

    def resident_bytes(self, name: str) -> int:
        """The memory that a process takes now."""
        pages = int(Path(f"/proc/{self._processes[name].pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def send(self, events: Iterable[dict[str, Any]], batch: int = 20) -> Summary:
        """Send events until each has an answer, writing down every attempt."""
        with ExitStack() as stack:
            client = stack.enter_context(httpx.Client(timeout=5))
            lines = stack.enter_context(self.record.open("a", encoding="utf-8"))
            return Sender(client, self.url, self.key, record=lines, patience=PATIENT).send_all(
                batched(events, batch), concurrency=3
            )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a `headrace` command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "ingestion", *command],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def wait_for_deaths(self, names: Iterable[str], seconds: float = 30.0) -> None:
        """Return when each of `names` has been killed at least once."""
        deadline = time.monotonic() + seconds
        while not all(self.deaths[name] for name in names):
            assert time.monotonic() < deadline, f"only {dict(self.deaths)} were killed, not all of {list(names)}"
            time.sleep(0.05)

    def judge(self) -> list[str]:
        """The checker's violations, with the log that this deployment never lets expire as what was owed."""
        appended = self._read_log()
        rows, unread = self.read_warehouse()
        answers = checker.read_answers(self.record.read_text().splitlines())
        return [
            *checker.judge_answers(answers, rows),
            *checker.judge_places(appended, rows, unread, set(), set()),
            *checker.judge_contents(appended, rows),
        ]

    def judge_views(self) -> list[str]:
        """The views that do not hold what SQL finds in the lake."""
        now, views = time.time(), self.home / "views.db"
        owed = {name: view_checker.due(self.home / "lake", tuple(EVENT_TYPES), name, now, {}, None) for name in VIEWS}
        return [name for name in VIEWS if not owed[name] or view_checker.held(views, name, now) != owed[name]]

    def _restart_the_dead(self) -> None:
        while not self._ending.wait(0.05):
            for name, process in list(self._processes.items()):
                if process.poll() is not None:
                    assert process.returncode == -signal.SIGKILL, (
                        f"{name} ended with {process.returncode}: {(self.home / f'{name}.log').read_text()[-4_000:]}"
                    )
                    self.deaths[name] += 1
                    self.start(name)
