"""A Kafka that lost records it had confirmed: what it lost is named, and nothing is read at positions that lie."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from os import truncate
from pathlib import Path

import pytest

from ingestion.audit import BROKEN
from ingestion.lander import Landed, Lander
from ingestion.steps import run
from tests.ingestion.broker.cluster import operating
from tests.proof import checker
from tests.proof.kafka_log import read_kafka
from tests.proof.test_kafka_faults import VIEWS, KafkaPlatform, insist
from tests.services.fixtures import or_skipped
from tests.services.kafka import Kafka, kafka_cluster

CUT, WHOLE = 0, 1
"""The partition whose end goes back, and the other one."""


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    """A broker of its own: its disk is harmed."""
    yield from or_skipped(kafka_cluster)


@pytest.fixture
def platform(tmp_path: Path, kafka: Kafka) -> Iterator[KafkaPlatform]:
    with operating(kafka) as operator, closing(KafkaPlatform(tmp_path, kafka, operator)) as platform:
        operator.create(VIEWS.topic)
        yield platform


def cut_in_half(kafka: Kafka, partition: int) -> None:
    """What a power failure does to a segment whose end the disk never got."""
    [node] = kafka.nodes
    [segment] = (node.folder / "data" / f"{VIEWS.topic}-{partition}").glob("*.log")
    truncate(segment, segment.stat().st_size // 2)


def land(lander: Lander) -> Landed:
    return run(lander.round(flush=True), lambda point: None)


def complaint(lander: Lander) -> list[str]:
    """What a lander has to say that finds nothing to land; one whose broker was away needs some rounds to see it."""
    deadline = time.monotonic() + 20
    while not (landed := land(lander)).problems:
        assert landed.rows == 0 and time.monotonic() < deadline
        time.sleep(0.1)
    return landed.problems


def test_of_a_partition_whose_end_went_back_nothing_is_read_and_the_other_goes_on(platform: KafkaPlatform) -> None:
    with ExitStack() as stack:
        lander = platform.whole_lander(stack)
        for _ in range(10):  # batches, of which a cut leaves the first ones
            platform.publish("product_viewed", 20)
        platform.land_all(lander)
        ends, held = platform.operator.ends(VIEWS.topic), read_kafka(platform.kafka)
        with platform.kafka.broker.down():
            cut_in_half(platform.kafka, CUT)
        with operating(platform.kafka) as operator:
            shorter = operator.ends(VIEWS.topic)
            assert 0 < shorter[CUT] < ends[CUT] and shorter[WHOLE] == ends[WHOLE]
            problem = (
                f"{VIEWS.topic}/{CUT} ends at {shorter[CUT]}, but the lake holds it up to {ends[CUT]}: the log lost"
            )
            for each in (lander, platform.whole_lander(stack)):  # one that had read ahead, and one that starts now
                assert [said[: len(problem)] for said in complaint(each)] == [problem]
            insist(lambda: platform.publish("product_viewed", 14))
            news = operator.ends(VIEWS.topic)
        assert shorter[CUT] < news[CUT] < ends[CUT]
        assert land(lander).rows == news[WHOLE] - ends[WHOLE] > 0
    platform.load()
    rows = {row.place for row in checker.read_raw(platform.path / "warehouse.duckdb")}
    now = read_kafka(platform.kafka)
    assert rows == held.keys() | {place for place in now if place.partition == WHOLE}
    balance = platform.audit()
    assert balance.status == BROKEN
    assert f"{VIEWS.topic}/{CUT} ends at {news[CUT]}, the lake holds it up to {ends[CUT]}" in {
        finding.message for finding in balance.findings
    }
