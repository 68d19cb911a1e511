"""The collector process against parsing the same bytes with msgspec alone, and the log's own share of it."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import msgspec
from rich.table import Table

from benchmarks.workload import bodies, cpu_seconds, process_cpu_seconds, records
from ingestion.broker import Record
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.keys import KeyFile
from ingestion.tables import all_tables
from orchestration.services import free_port, wait_until_ready

CONNECTIONS = 64
SECONDS_OF_LOAD = {1: 20_000, 20: 100_000, 100: 200_000}
"""Events sent per batch size: some seconds of work each."""


def measure() -> Table:
    """A row per batch size, in thousand events per CPU-second of the collector's process."""
    table = Table("batch", "k events/CPU-s", "without the log", "msgspec alone", "cost ratio", title="collector")
    for batch, events in SECONDS_OF_LOAD.items():
        requests = bodies(min(events, 20_000), batch)
        collector = collect(list(islice(cycle(requests), events // batch)), batch)
        log = _log(batch)
        parsing, _ = cpu_seconds(partial(_parse, requests))
        parse = len(requests) * batch / parsing
        without_log = 1 / (1 / collector - 1 / log)
        table.add_row(
            str(batch),
            *(f"{rate / 1000:.1f}" for rate in (collector, without_log, parse)),
            f"{parse / collector:.1f}",
        )
    return table


def collect(requests: Sequence[bytes], batch: int, **settings: str) -> float:
    """Events per CPU-second of a collector with these settings that answers `requests`."""
    with tempfile.TemporaryDirectory() as folder:
        port, key = free_port(), KeyFile(Path(folder) / "keys.json").add("bench")
        environment = {**os.environ, "HEADRACE_HOME": folder, "HEADRACE_PORT": str(port), **settings}
        process = subprocess.Popen([sys.executable, "-m", "ingestion", "collect"], env=environment)
        try:
            wait_until_ready(f"http://127.0.0.1:{port}")
            asyncio.run(_send(port, key, requests[: len(requests) // 10]))
            before = process_cpu_seconds(process.pid)
            asyncio.run(_send(port, key, requests))
            return len(requests) * batch / (process_cpu_seconds(process.pid) - before)
        finally:
            process.terminate()
            process.wait()


async def _send(port: int, key: str, requests: Sequence[bytes]) -> None:
    waiting = iter(requests)
    await asyncio.gather(*(_send_over_one_connection(port, key, waiting) for _ in range(CONNECTIONS)))


async def _send_over_one_connection(port: int, key: str, waiting: Iterator[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for body in waiting:
        head = f"POST /v1/events HTTP/1.1\r\nHost: bench\r\nX-Write-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the collector answered {answer[:200]!r}")
        length = next(int(line[15:]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length"))
        await reader.readexactly(length)
    writer.close()


def _log(batch: int) -> float:
    """Events per CPU-second of the embedded log alone, in groups as large as the collector makes them."""
    group, appended = CONNECTIONS * batch // 2, records(20_000)
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker(Path(folder) / "log")
        broker.ensure_topics([table.topic for table in all_tables()])
        groups = [appended[start : start + group] for start in range(0, len(appended), group)]
        seconds, _ = cpu_seconds(lambda: _publish(broker, groups))
        broker.close()
    return len(appended) / seconds


def _publish(broker: EmbeddedBroker, groups: Sequence[Sequence[Record]]) -> None:
    for group in groups:
        broker.publish(group)


def _parse(requests: Sequence[bytes]) -> None:
    for body in requests:
        msgspec.json.decode(body)
