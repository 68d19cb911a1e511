"""Real listeners killed with -9 at every named point: the views hold what SQL finds in the lake."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from ingestion.broker import Record
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.contracts.native import Limits, Reception, map_body
from ingestion.events import EVENT_TYPES
from ingestion.lake import Lake
from ingestion.lander import Lander, Rotation
from ingestion.simulation import every, traffic
from ingestion.steps import run
from ingestion.tables import all_tables
from tests.proof.view_checker import due, held

POINTS = (
    "listener.read:3",
    "facts.claimed:2",
    "facts.judged:5",
    "facts.written:4",
    "listener.written:6",
    "listener.noted",
)
EVENTS = 600


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose log and lake hold an hour's traffic, with events that came again and events that do not fit."""
    home = tmp_path_factory.mktemp("shop")
    broker = EmbeddedBroker(home / "log.sqlite")
    broker.ensure_topics([table.topic for table in all_tables()])
    start = datetime.now(UTC) - timedelta(hours=2)
    simulated = [each.event for each in islice(traffic(7, every(start, timedelta(seconds=1))), EVENTS)]
    again = [event | {"sent_at": (start + timedelta(seconds=40)).isoformat()} for event in simulated[::5]]
    for number, batch in enumerate((simulated, again)):
        received = start + timedelta(hours=1, seconds=90 * number)
        results = map_body(msgspec.json.encode(batch), Reception("shop", received), Limits())
        broker.publish([result for result in results if isinstance(result, Record)])
    broker.publish([Record("events.product_viewed", b"junk", b"\xff")])
    lander = Lander(broker, Lake(f"file://{home}/lake"), all_tables(), Rotation(), time.monotonic)
    run(lander.round(flush=True), lambda point: None)
    broker.close()
    return home


def listen(home: Path, log: Path, views: str, crash_at: str = "") -> int:
    """`headrace listen --once` to its end, and its exit code."""
    environment = {
        **os.environ,
        "HEADRACE_HOME": str(home),
        "HEADRACE_BROKER": f"embedded://{log}",
        "HEADRACE_VIEWS": views,
        "HEADRACE_CRASH_AT": crash_at,
    }
    return subprocess.run(
        [sys.executable, "-m", "ingestion", "listen", "--once"], env=environment, check=False
    ).returncode


def copied_log(home: Path, to: Path) -> Path:
    """The log with nobody's position in it."""
    log = to / "log.sqlite"
    log.write_bytes((home / "log.sqlite").read_bytes())
    return log


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_a_point_loses_and_doubles_nothing(shop: Path, tmp_path: Path, point: str) -> None:
    log, views = copied_log(shop, tmp_path), tmp_path / "views.db"
    assert listen(shop, log, f"sqlite://{views}", point) == -signal.SIGKILL
    assert listen(shop, log, f"sqlite://{views}") == 0
    now = time.time()
    for view in ("user_activity", "cart_events"):
        owed = due(shop / "lake", tuple(EVENT_TYPES), view, now, {}, None)
        assert held(views, view, now) == owed
        assert owed
