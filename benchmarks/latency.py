"""Seconds from the answer to a shopper until analysts see the event in a mart, with everything running as in `up`.

Wall time, so it says something about two idle cores only; the load of the machine is printed beside it.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from rich.table import Table

from ingestion.keys import KeyFile
from ingestion.settings import Settings
from orchestration.deployment import READY_SECONDS, run_services
from orchestration.services import free_port

EVENTS_PER_SECOND = 50
WARM_UP_SECONDS = 60.0
SECONDS = 240.0
RECEIVED = """
select received_at from analytics.stg_events inner join analytics.fct_events using (event_key)
where received_at > ? order by received_at
"""


def measure() -> Table:
    """A row of percentiles over the events that became visible within `SECONDS`, after the first builds."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), port=free_port(), dagster_port=free_port(), read_port=free_port())
        with run_services(settings, settings.dagster_home) as services, shoppers(settings):
            services.wait_until_ready(READY_SECONDS)
            delays = sorted(watch(settings.home / "read" / "warehouse.duckdb"))
    table = Table("events", "median s", "p95 s", "longest s", "load", title="event → mart")
    shares = (delays[int(len(delays) * share)] for share in (0.5, 0.95))
    table.add_row(f"{len(delays):,}", *(f"{s:.0f}" for s in shares), f"{delays[-1]:.0f}", f"{os.getloadavg()[1]:.1f}")
    return table


@contextmanager
def shoppers(settings: Settings) -> Iterator[None]:
    """`headrace simulate`, for as long as the block runs."""
    key = KeyFile(settings.key_file).add("bench")
    url = ["--url", f"http://127.0.0.1:{settings.port}", "--key", key]
    command = [sys.executable, "-m", "ingestion", "simulate", "--rate", str(EVENTS_PER_SECOND), *url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def watch(copy: Path) -> list[float]:
    """How old each event was when a new copy showed it first; from the second copy after the warm-up."""
    delays: list[float] = []
    seen, newest, begin = 0, datetime.min.replace(tzinfo=UTC), time.monotonic()
    while time.monotonic() - begin < WARM_UP_SECONDS + SECONDS:
        with suppress(FileNotFoundError):
            if (inode := copy.stat().st_ino) != seen:
                seen, shown_at = inode, datetime.now(UTC)
                with duckdb.connect(str(copy), read_only=True) as db:
                    fresh = [
                        at.replace(tzinfo=UTC)
                        for (at,) in db.execute(RECEIVED, [newest.replace(tzinfo=None)]).fetchall()
                    ]
                if time.monotonic() - begin > WARM_UP_SECONDS:
                    delays += [(shown_at - at).total_seconds() for at in fresh]
                newest = max([newest, *fresh])
        time.sleep(0.2)
    return delays
