"""One server process: started on loopback, waited for, paused, killed, started again, ended by its own pid."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

PORTS = range(17_000, 27_000)
"""Below the ports of outgoing connections, which would take one between its choice and its use."""
MEMORY = Path("/dev/shm")  # noqa: S108
MEMORY_NEEDED = 2 << 30
START_SECONDS = 90.0
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
"""A test's server lives for minutes: a quick start is worth more than peak speed."""

_starter = ThreadPoolExecutor(1, thread_name_prefix="servers")
"""Starts every server: the kernel ends a server with the *thread* that started it, and this one lives to the end."""


class ServerFailed(Exception):
    """A server did not start, or was not ready in time; the message ends with its log."""


class Server:
    """A process that may end and be started again with the same command and files: what a crash test needs."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        ready: Callable[[], object],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`ready` raises as long as the server does not answer."""
        self.log = folder / "server.log"
        self._command, self._folder, self._ready = [*_ends_with_parent(), *command], folder, ready
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The pid of the running process."""
        return self._running().pid

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start it and wait until it is ready."""
        self.spawn()
        self.wait(timeout)

    def spawn(self) -> None:
        """Start it, ready or not."""
        with self.log.open("ab") as log:
            self._process = _starter.submit(
                subprocess.Popen,
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._folder,
            ).result()

    def wait(self, timeout: float = START_SECONDS) -> None:
        """Until it is ready; ServerFailed with its log where that takes longer, or where it ends."""
        deadline, reason = time.monotonic() + timeout, "it was not asked"
        while time.monotonic() < deadline:
            if (code := self._running().poll()) is not None:
                raise ServerFailed(f"{self._command[-1]} ended with {code}\n{self.log_tail()}")
            try:
                self._ready()
                return
            except Exception as error:  # each server's client has errors of its own for "not yet"
                reason = repr(error)
            time.sleep(0.1)
        raise ServerFailed(f"{self._command[-1]} was not ready after {timeout} s: {reason}\n{self.log_tail()}")

    def stop(self, timeout: float = 30) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """End it with kill -9."""
        self._end(signal.SIGKILL, 10)

    def pause(self) -> None:
        """It keeps its connections and does not answer any more."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on, with what was sent to it meanwhile too."""
        self._running().send_signal(signal.SIGCONT)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Killed inside the block, ready again after it."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Silent inside the block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def close(self) -> None:
        """End it, if it runs. Its files go with their folder."""
        if self.runs:
            self.kill()

    def log_tail(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-3_000:] if self.log.exists() else ""

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerFailed(f"{self._command[-1]} does not run; start it first")
        return self._process

    def _end(self, how: signal.Signals, timeout: float) -> None:
        process = self._running()
        process.send_signal(how)
        process.wait(timeout)
        self._process = None


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses; by chance, so that two test runs on one machine rarely meet."""
    found: list[int] = []
    with ExitStack() as held:
        for port in random.sample(PORTS, len(PORTS)):
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise ServerFailed(f"fewer than {count} of the ports {PORTS} are free")


@contextmanager
def scratch_folder(name: str, in_memory: bool = False) -> Iterator[Path]:
    """A folder that goes with the block.

    In memory, where the system has room there, an fsync costs nothing, and files outlive a killed process all the same.
    A server that fills /dev/shm dies of SIGBUS, and containers often have 64 MB of it: little room means the disk.
    """
    roomy = in_memory and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED
    folder = Path(tempfile.mkdtemp(prefix=f"headrace-{name}-", dir=MEMORY if roomy else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def accepts(port: int) -> None:
    """A bare connect is the cheapest question: a client waits longer and longer after each refusal."""
    socket.create_connection(("127.0.0.1", port), timeout=1).close()


def is_private(port: int) -> bool:
    """Whether it listens on 127.0.0.1 alone: on every interface it would take a call to another address of ours."""
    try:
        socket.create_connection(("127.0.0.2", port), timeout=1).close()
    except OSError:
        return True
    return False


def _ends_with_parent() -> list[str]:
    """A killed test run takes its servers along, where the kernel can do that."""
    return ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
