"""The proof on real engines: processes killed with -9 over Kafka, S3 and DynamoDB lose and double nothing."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.proof.deployment import Deployment
from tests.proof.kafka_log import read_kafka
from tests.proof.test_kills import events
from tests.services.fixtures import or_skipped
from tests.services.stack import Stack, running_stack

POINTS = [
    ("collector.published:3", "lander.committed:2", "loader.appended", "facts.claimed:2"),
    ("collector.mapped:3", "lander.encoded:2", "loader.recorded:3", "listener.written:2"),
]
ROUNDS = POINTS if os.environ.get("HEADRACE_LONG") else POINTS[:1]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Servers of its own: a deployment's topics have fixed names."""
    yield from or_skipped(running_stack)


def test_kills_at_points_over_real_engines_lose_and_double_nothing(stack: Stack, tmp_path: Path) -> None:
    read_log = partial(read_kafka, stack.kafka)
    for number, points in enumerate(ROUNDS):  # one after another in one stack: each goes on where the last ended
        crashes = dict(zip(("collector", "lander", "loader", "listener"), points, strict=True))
        with Deployment(tmp_path, crashes, read_log, **stack.environment) as deployment:
            assert deployment.run("views", "apply").returncode == 0
            deployment.start("listener")
            summary = deployment.send(events(seed=number, count=300))
            assert summary.unknown == 0, "every event has an answer in the end"
            deployment.wait_for_deaths(crashes, 60)
            audit = deployment.run("audit", "--wait", "90", "--sent", str(deployment.record))
            assert audit.returncode == 0, audit.stdout + audit.stderr
        assert deployment.judge() == []
