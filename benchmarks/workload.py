"""The events that every benchmark uses, and how CPU time is taken."""

import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import msgspec

from ingestion.broker import Record
from ingestion.contracts.native import Limits, Reception, map_body
from ingestion.simulation import Faults, every, traffic

T = TypeVar("T")
NO_FAULTS = Faults(repeated=0, late=0, malformed=0, wrong_clock=0)
RECEPTION = Reception("shop", datetime(2026, 11, 22, 12, tzinfo=UTC))


def events(count: int) -> list[dict[str, Any]]:
    """Simulated traffic without faults: events about one product, without context, some 620 bytes as stored."""
    moments = every(RECEPTION.received_at - timedelta(hours=6), timedelta(milliseconds=200))
    sent = (simulated.event | {"context": {}} for simulated in traffic(7, moments, NO_FAULTS))
    return list(islice((event for event in sent if "product_id" in event["properties"]), count))


def bodies(count: int, batch: int) -> list[bytes]:
    """The same traffic as request bodies of `batch` events."""
    sent = events(count)
    return [msgspec.json.encode(sent[start : start + batch]) for start in range(0, count, batch)]


def records(count: int) -> list[Record]:
    """The same traffic as the log's records."""
    found: list[Record] = []
    for body in bodies(count, 500):
        found += [result for result in map_body(body, RECEPTION, Limits()) if isinstance(result, Record)]
    return found


def cpu_seconds(work: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds of this process, all threads, user and system, and the result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def process_cpu_seconds(pid: int) -> float:
    """CPU seconds that another process has used."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """What the figures were taken on."""
    model = "unknown CPU"
    with open("/proc/cpuinfo") as lines:
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} x {model}, Python {platform.python_version()}, load {load:.1f}"
