"""A view of facts beside the lake. A row is no difference while one side is ahead of the other.

The view may be ahead: a listener reads the log before the lander does. It may be behind: what no listener has passed
and Dagster has not brought in is not due. A row's sort says where the log held it, so both can be told of each row.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from ingestion.broker import Broker, Topic
from ingestion.errors import PermanentError, UnknownTopic
from ingestion.events import EVENT_TYPES
from ingestion.lake import Lake, LakeTable, Snapshot
from ingestion.tables import event_table
from ingestion.views import ViewStore
from orchestration.view_comparison import (
    FIRST_DATE,
    Comparison,
    Sample,
    Scope,
    Scratch,
    draw_keys,
    landed_in,
    read_rows,
    scratch,
)

CART_TYPES = ("product_added", "product_removed", "order_completed")


@dataclass(frozen=True)
class Sides:
    """What is compared: the view's store with the lake; the log says how far each of them is."""

    broker: Broker
    lake: Lake
    store: ViewStore


@dataclass(frozen=True)
class FactView:
    """A view of facts: the group of its listeners, and the days for which rows are kept (None: for ever).

    `replayed` is the version of each lake table up to which Dagster has brought its rows in.
    """

    sides: Sides
    name: str
    group: str
    days: int | None = None
    replayed: Mapping[str, int] = field(default_factory=dict)

    @property
    def event_types(self) -> tuple[str, ...]:
        """The types that it is made of."""
        return CART_TYPES if self.name == "cart_events" else tuple(EVENT_TYPES)

    def first_date(self, now: datetime) -> date:
        """The first event date of which no row expires within the hour."""
        if self.days is None:
            return FIRST_DATE
        return (now + timedelta(hours=1)).date() - timedelta(days=self.days - 1)

    def sample(self, sample: Sample, now: datetime) -> list[str]:
        """Some of the visitors of whom the running landing hour and the one before have events."""
        hours = (now, now - timedelta(hours=1))
        tables = [self.sides.lake.table(event_table(event_type)) for event_type in self.event_types]
        files = [file for table in tables for file in sample.draw(landed_in(table.snapshot(), sample.since, hours))]
        return draw_keys("recent_visitors", sample, files)

    def compare(self, scope: Scope, now: datetime) -> Comparison:
        """Look once."""
        with scratch(scope) as work:
            work.set("of_wanted", scope.keys is not None)  # copies of an event are of one visitor
            topics = [self._recompute(work, event_type) for event_type in self.event_types]
            work.hold(self._held(scope))
            for topic in topics:
                work.insert("ends", self._ends(topic))
            return work.compare("fact_differences")

    def _recompute(self, work: Scratch, event_type: str) -> Topic | None:
        """Write down what the view owes to the events of one type, and how far everybody has come in its topic."""
        table = event_table(event_type)
        try:
            topic = self.sides.broker.topic(table.topic)
            positions = self.sides.broker.positions(self.group, topic)  # before the view is read, which then has it all
        except UnknownTopic:
            topic, positions = None, {}
        lake_table = self.sides.lake.table(table)
        snapshot = lake_table.snapshot()
        if topic:
            replayed = _replayed(lake_table, self.replayed.get(event_type))
            work.insert("reach", _reach(topic, positions, snapshot, replayed))
        work.recompute("owed", self.name, snapshot)
        return topic

    def _held(self, scope: Scope) -> Iterator[tuple[str, str, str]]:
        first = scope.since.isoformat()
        for key in self.sides.store.keys(self.name) if scope.keys is None else scope.keys:
            yield from itertools.takewhile(lambda row: row[1] >= first, read_rows(self.sides.store, self.name, key))

    def _ends(self, topic: Topic | None) -> Iterator[tuple[str, int, int]]:
        """Where the log ends: what the view shows beyond cannot have come from it."""
        if topic:
            for partition, held in self.sides.broker.bounds(topic.name).items():
                yield topic.id, partition, held.end


def _replayed(table: LakeTable, version: int | None) -> Snapshot | None:
    """The table as Dagster brought it in; None where it did not, or so long ago that the table forgot it."""
    try:
        return None if version is None else table.snapshot(version)
    except PermanentError:
        return None


def _reach(
    topic: Topic, positions: Mapping[int, int], snapshot: Snapshot, replayed: Snapshot | None
) -> Iterator[tuple[str, int, int, int]]:
    """The offsets up to which the view has everything, by a listener or by Dagster, and up to which the lake has."""
    for partition in topic.partitions:
        passed = max(positions.get(partition, 0), replayed.position(topic.id, partition) if replayed else 0)
        yield topic.id, partition, passed, snapshot.position(topic.id, partition)
