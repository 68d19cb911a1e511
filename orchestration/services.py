"""The services of one machine as processes: started in order, started again when one ends by itself, ended in order."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from ingestion.errors import PermanentError

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
GRACE_SECONDS = 20.0
POLL_SECONDS = 0.2
SHOWN_BYTES = 2_000


@dataclass(frozen=True)
class Service:
    """A process: what it is called, how it is started, when it is ready, and where a person looks."""

    name: str
    command: Sequence[str]
    where: str = ""
    is_ready: Callable[[], bool] = lambda: True
    before_start: Callable[[], object] = lambda: None
    """Runs while no process of the service is alive."""
    before_stop: Callable[[], object] = lambda: None
    """Runs before the service is told to end."""


class RunningService:
    """A service, with its process and its log. The process leads a group: who ends it ends its children too."""

    def __init__(self, service: Service, environment: Mapping[str, str], log: Path, lock: int) -> None:
        self.service, self.log = service, log
        self._environment, self._lock = dict(environment), lock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at, self._pause = time.monotonic(), FIRST_PAUSE

    @property
    def pid(self) -> int:
        """The process id; 0 before the first start."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start the process; its output is appended to the log."""
        self.service.before_start()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  (our own command line)
                self.service.command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in the terminal is for us; services end in our order
                pass_fds=[self._lock],  # held as long as any service lives
            )
        self._started_at = time.monotonic()

    def has_ended(self) -> bool:
        """Whether the process ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def pause(self) -> float:
        """Seconds to wait before the next start: twice as long each time, unless it ran for a while."""
        ran_well = time.monotonic() - self._started_at > 2 * LONGEST_PAUSE
        pause = FIRST_PAUSE if ran_well else self._pause
        self._pause = min(LONGEST_PAUSE, pause * 2)
        return pause

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        """End the process and its group; what does not end in time is killed, which nothing minds."""
        if self._process is None:
            return
        self._signal(signal_number)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def last_words(self) -> str:
        """The end of the log."""
        return self.log.read_bytes()[-SHOWN_BYTES:].decode(errors="replace")

    def _signal(self, number: int) -> None:
        assert self._process is not None  # noqa: S101
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


class Services:
    """All of them. Use it as a context: at its end every process has ended."""

    def __init__(self, services: Sequence[Service], environment: Mapping[str, str], logs: Path, lock: int) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.running = [RunningService(one, environment, logs / f"{one.name}.log", lock) for one in services]

    def __enter__(self) -> "Services":
        try:
            for one in self.running:
                one.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until_ready(self, seconds: float, started: Callable[[Service], object] = lambda _: None) -> None:
        """Return when every service is ready; PermanentError with the end of its log where one is not."""
        deadline = time.monotonic() + seconds
        for one in self.running:
            while not one.service.is_ready():
                if one.has_ended() or time.monotonic() > deadline:
                    why = "ended at once" if one.has_ended() else f"was not ready within {seconds:.0f} s"
                    raise PermanentError(f"{one.service.name} {why}; the end of {one.log}:\n{one.last_words()}")
                time.sleep(POLL_SECONDS)
            started(one.service)

    def restart_ended(self, tell: Callable[[str], object]) -> None:
        """Start again what ended by itself."""
        for one in self.running:
            if one.has_ended():
                pause = one.pause()
                tell(f"{one.service.name} ended; starting it again in {pause:.0f} s (its log: {one.log})")
                one.stop(signal.SIGKILL)  # its children, if any
                time.sleep(pause)
                one.start()

    def stop(self) -> None:
        """End all, the last one first: what feeds a service ends after it."""
        for one in reversed(self.running):
            one.service.before_stop()
            one.stop()


def answers(url: str) -> bool:
    """Whether a server says that it is ready."""
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def wait_until_ready(url: str, seconds: float = 30.0) -> None:
    """Return when the collector at `url` is ready; TimeoutError where it is not in time."""
    deadline = time.monotonic() + seconds
    while not answers(f"{url}/ready"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the collector at {url} was not ready within {seconds:.0f} s; see its log")
        time.sleep(POLL_SECONDS)


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
