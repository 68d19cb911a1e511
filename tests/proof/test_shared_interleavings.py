"""The interleavings of landers, loaders and reloads, where the event types share a topic."""

import pytest
from hypothesis.stateful import invariant

from ingestion.broker import Broker
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.broker.shared import SharedTopics
from ingestion.events import topic
from ingestion.lander import GROUP, Rotation
from ingestion.tables import REJECTED, table_named
from tests.proof import checker
from tests.proof.checker import Place
from tests.proof.test_interleavings import LONG, RUNS, STEPS, TYPES, Pipeline, explored

pytestmark = pytest.mark.timeout(3_600 if LONG else 300)


class SharedPipeline(Pipeline):
    """Everything between the collector's mapping and the raw tables of types that share a topic."""

    ROTATION = Rotation(rows=1)
    """Tables that share a topic are often at different places then."""
    SHARED = "events.shared"

    def log(self, broker: EmbeddedBroker) -> Broker:
        return SharedTopics(broker, {self.SHARED: TYPES})

    def topic(self, name: str) -> str:
        return topic(REJECTED) if name == REJECTED else self.SHARED

    def whose(self, place: Place) -> str | None:
        if place.topic_id == self.broker.topic(topic(REJECTED)).id:
            return None
        return checker.taker(self.appended.get(place, b""), TYPES)

    @invariant()
    def the_group_has_passed_nothing_that_a_table_lacks(self) -> None:
        """The log's retention goes by it."""
        held = self.log(self.broker).topic(self.SHARED)
        for name in TYPES:
            snapshot = self.lake.table(table_named(name)).snapshot()
            for partition, noted in self.broker.positions(GROUP, held).items():
                assert noted <= snapshot.position(held.id, partition)


SharedPipeline.TestCase.settings = explored(RUNS // 3, STEPS)
TestSharedPipeline = SharedPipeline.TestCase
