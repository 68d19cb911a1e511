"""The proof on real engines: processes killed with -9 over Kafka, S3 and DynamoDB lose and double nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proof.deployment import Deployment
from tests.proof.stack import Stack
from tests.proof.test_kills import events
from tests.services.dynamodb import DynamoDB
from tests.services.fixtures import _or_skipped
from tests.services.kafka import Kafka, kafka_cluster
from tests.services.s3 import S3

POINTS = [
    ("collector.published:3", "lander.committed:2", "loader.appended", "facts.claimed:2"),
    ("collector.mapped:3", "lander.encoded:2", "loader.recorded:3", "listener.written:2"),
]
ROUNDS = POINTS if os.environ.get("HEADRACE_LONG") else POINTS[:1]


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[Kafka]:
    """A cluster of its own: a deployment's topics have fixed names."""
    yield from _or_skipped(kafka_cluster)


@pytest.fixture(scope="module")
def stack(own_kafka: Kafka, s3: S3, dynamodb: DynamoDB) -> Stack:
    stack = Stack(own_kafka, s3, dynamodb)
    s3.create_bucket(stack.name)
    return stack


def test_kills_at_points_over_real_engines_lose_and_double_nothing(stack: Stack, tmp_path: Path) -> None:
    for number, points in enumerate(ROUNDS):  # one after another in one stack: each goes on where the last ended
        crashes = dict(zip(("collector", "lander", "loader", "listener"), points, strict=True))
        with Deployment(tmp_path, crashes, stack.read_log, **stack.environment) as deployment:
            assert deployment.run("views", "apply").returncode == 0
            deployment.start("listener")
            summary = deployment.send(events(seed=number, count=300))
            assert summary.unknown == 0, "every event has an answer in the end"
            deployment.wait_for_deaths(crashes, 60)
            audit = deployment.run("audit", "--wait", "90", "--sent", str(deployment.record))
            assert audit.returncode == 0, audit.stdout + audit.stderr
        assert deployment.judge() == []
