"""How long the read service takes to answer while a listener writes the same file. Wall time: two idle cores help.

Requests are sent by the clock and timed from when they were due, so an answer that is late makes those behind it late.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle
from pathlib import Path
from typing import TypeAlias

from rich.table import Table

from benchmarks.workload import process_cpu_seconds, records
from ingestion.broker import Record
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.keys import KeyFile
from ingestion.tables import all_tables
from ingestion.views.sqlite import SQLiteViews
from orchestration.services import free_port, wait_until_ready

HISTORY, REQUESTS_PER_SECOND, EVENTS_PER_SECOND = 100_000, 200, 200
SECONDS, CONNECTIONS = 30, 16
Service: TypeAlias = "subprocess.Popen[bytes]"


def measure() -> Table:
    """Percentiles of the answers' milliseconds, with and without a listener that writes beside it."""
    table = Table("beside it", "p50 ms", "p99 ms", "longest ms", "its CPU ms", "load", title="read service")
    appended = records(HISTORY + EVENTS_PER_SECOND * SECONDS * 4)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        broker = stack.enter_context(closing(EmbeddedBroker(home / "log.sqlite")))
        broker.ensure_topics([each.topic for each in all_tables()])
        for start in range(0, HISTORY, 5_000):
            broker.publish(appended[start : start + 5_000])
        _ingestion(home, 0, "listen", "--once").wait()
        port, key = free_port(), KeyFile(home / "keys.json").add("bench", scope="read")
        service = stack.enter_context(_service(home, port, "serve"))
        wait_until_ready(f"http://127.0.0.1:{port}")
        paths = _paths(home)
        asyncio.run(_ask(port, key, paths[: REQUESTS_PER_SECOND * 2]))
        table.add_row("nothing", *_answers(service, port, key, paths))
        stack.enter_context(_service(home, port, "listen"))
        stack.enter_context(_traffic(broker, appended[HISTORY:]))
        table.add_row(f"{EVENTS_PER_SECOND} events/s", *_answers(service, port, key, paths))
    table.caption = f"{REQUESTS_PER_SECOND} requests/s for {SECONDS} s, a third of them carts to be folded"
    return table


def _paths(home: Path) -> list[str]:
    """What is asked for: visitors in turn, their activity twice and their cart once."""
    with closing(SQLiteViews(home / "views.db")) as store:
        visitors = cycle([key for key, _ in zip(store.keys("user_activity"), range(5_000), strict=False)])
    views = cycle(("user_activity", "user_activity", "open_cart"))
    return [f"/v1/views/{next(views)}/{next(visitors)}" for _ in range(REQUESTS_PER_SECOND * SECONDS)]


async def _ask(port: int, key: str, paths: Sequence[str]) -> list[float]:
    """Send requests by the clock, over a few connections; seconds from when each was due to its answer."""
    begin = time.perf_counter()
    delays: list[float] = []
    waiting = iter([(begin + n / REQUESTS_PER_SECOND, path) for n, path in enumerate(paths)])
    await asyncio.gather(*(_ask_over_one_connection(port, key, waiting, delays) for _ in range(CONNECTIONS)))
    return sorted(delays)


async def _ask_over_one_connection(
    port: int, key: str, waiting: Iterator[tuple[float, str]], delays: list[float]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for due, path in waiting:
        await asyncio.sleep(due - time.perf_counter())
        writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-Read-Key: {key}\r\n\r\n".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the read service answered {answer[:200]!r}")
        length = next(int(line[15:]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length"))
        await reader.readexactly(length)
        delays.append(time.perf_counter() - due)
    writer.close()


def _answers(service: Service, port: int, key: str, paths: Sequence[str]) -> list[str]:
    """How long the answers took, and what one of them cost the service."""
    before = process_cpu_seconds(service.pid)
    delays = asyncio.run(_ask(port, key, paths))
    cpu = (process_cpu_seconds(service.pid) - before) / len(delays)
    shares = (delays[int(len(delays) * share)] for share in (0.5, 0.99))
    return [*(f"{seconds * 1000:.1f}" for seconds in (*shares, delays[-1], cpu)), f"{os.getloadavg()[0]:.1f}"]


@contextmanager
def _traffic(broker: EmbeddedBroker, appended: Sequence[Record]) -> Iterator[None]:
    """New events for the listener, by the clock."""
    ended = threading.Event()

    def publish() -> None:
        batch = EVENTS_PER_SECOND // 10
        for start in range(0, len(appended), batch):
            broker.publish(appended[start : start + batch])
            if ended.wait(0.1):
                return

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _service(home: Path, port: int, command: str) -> Iterator[Service]:
    process = _ingestion(home, port, command)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _ingestion(home: Path, port: int, *command: str) -> Service:
    environment = {**os.environ, "HEADRACE_HOME": str(home), "HEADRACE_READ_PORT": str(port)}
    command_line = [sys.executable, "-m", "ingestion", *command]
    return subprocess.Popen(command_line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
