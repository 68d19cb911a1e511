"""Real processes killed with -9, at every named point and at random, and paused: nothing is lost or doubled."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ingestion.simulation import every, traffic
from tests.proof.deployment import Deployment

SEEDS = range(20) if os.environ.get("HEADRACE_LONG") else range(2)
RANDOM_SECONDS = 8.0

POINTS = (
    ("collector.mapped:2", "lander.read:20", "loader.locked:3"),
    ("collector.published:2", "lander.positioned:2", "loader.listed:16"),
    ("collector.mapped:7", "lander.encoded:2", "loader.appended"),
    ("collector.published:6", "lander.committed", "loader.recorded"),
    ("collector.published", "lander.synced:2", "loader.recorded:3"),
    ("collector.mapped", "lander.noted:3", "loader.committed:16"),
)


def events(seed: int, count: int) -> Iterator[dict[str, Any]]:
    moments = every(datetime.now(UTC) - timedelta(hours=1), timedelta(seconds=1))
    return (simulated.event for simulated in islice(traffic(seed, moments), count))


@pytest.mark.parametrize("points", POINTS, ids=" ".join)
def test_a_kill_at_a_point_loses_and_doubles_nothing(points: tuple[str, str, str], tmp_path: Path) -> None:
    crashes = dict(zip(("collector", "lander", "loader"), points, strict=True))
    with Deployment(tmp_path, crashes) as deployment:
        summary = deployment.send(events(seed=1, count=400))
        deployment.wait_for_deaths(crashes)
        assert summary.unknown == 0, "every event has an answer in the end"
        audit = deployment.run("audit", "--wait", "60", "--sent", str(deployment.record))
        assert audit.returncode == 0, audit.stdout + audit.stderr
    assert deployment.judge() == []


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_and_pauses_at_random_lose_and_double_nothing(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    with Deployment(tmp_path) as deployment:
        for name in ("second lander", "listener", "second listener"):
            deployment.start(name)
        sending = threading.Thread(target=deployment.send, args=(paced(events(seed, 1_500), RANDOM_SECONDS),))
        sending.start()
        while sending.is_alive():
            time.sleep(chance.uniform(0.2, 1.2))
            strike(deployment, chance)
        sending.join()
        assert sum(deployment.deaths.values()) > 0
        audit = deployment.run("audit", "--wait", "60", "--sent", str(deployment.record))
        assert audit.returncode == 0, audit.stdout + audit.stderr
    assert deployment.run("listen", "--once").returncode == 0
    assert (deployment.judge(), deployment.judge_views()) == ([], [])


def strike(deployment: Deployment, chance: random.Random) -> None:
    name = chance.choice(("collector", "lander", "second lander", "listener", "second listener", "loader"))
    if chance.random() < 0.6:
        deployment.signal(name, signal.SIGKILL)
    else:
        deployment.signal(name, signal.SIGSTOP)
        time.sleep(chance.uniform(0.2, 1.0))
        deployment.signal(name, signal.SIGCONT)


def paced(source: Iterator[dict[str, Any]], seconds: float) -> Iterator[dict[str, Any]]:
    """The events spread over some seconds, so that there is traffic while processes die."""
    for number, event in enumerate(source):
        if number % 20 == 0:
            time.sleep(seconds / 75)
        yield event
