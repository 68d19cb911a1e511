"""The lander: reads every topic of the log from where the lake says, and commits typed rows with the new positions.

One round reads what is new into a buffer per table and commits the buffers that are due. What holds exactly-once is
in `_land`: the position of each partition is read from the very snapshot that is committed from, a buffer that does
not begin there is dropped, and so is one whose topic is no longer the one it was read from. The group's position in
the log is written last; it tells lag and retention how far the lake has come, and never where to read on. Several
landers divide the partitions, only so that they need not do the same work: a buffer outlives the share it was read in.
Of a topic that tables share each reads all and lands its own; the group is where the last of them is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ingestion.broker import Broker, Topic
from ingestion.broker.shared import only
from ingestion.encoding import Block, encode
from ingestion.errors import BrokerUnavailable, LakeConflict, OffsetOutOfRange, UnknownTopic
from ingestion.lake import Lake, LakeTable, Range, Snapshot
from ingestion.steps import Steps
from ingestion.tables import Table

GROUP = "lander"
UNSYNCED_AT_MOST = 10
"""Commits of other landers, before our first, that may not be on the disk yet when ours is."""


@dataclass(frozen=True)
class Rotation:
    """When a buffer is due: whichever comes first. `seconds` count from its first record."""

    rows: int = 100_000
    bytes: int = 32 * 1024 * 1024
    seconds: float = 15.0


@dataclass
class Buffer:
    """What was read of one topic and is not in the lake yet."""

    topic: Topic
    since: float
    blocks: list[Block] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0

    def add(self, block: Block, covered: Range) -> None:
        """Append records and the range that they cover; a range without records is one that retention took."""
        self.blocks.append(block)
        self.ranges.append(covered)
        self.rows += len(block.values)
        self.bytes += sum(map(len, block.values))

    def is_due(self, now: float, rotation: Rotation) -> bool:
        """Whether it is time to commit."""
        return self.rows >= rotation.rows or self.bytes >= rotation.bytes or now - self.since >= rotation.seconds


@dataclass
class Landed:
    """What one round did."""

    read: int = 0
    """Offsets that it went forward in the log."""
    is_behind: bool = False
    """A partition gave as much as it was asked for: there is more."""
    rows: int = 0
    commits: int = 0
    unfit: int = 0
    unread: int = 0
    problems: list[str] = field(default_factory=list)


class Lander:
    """Lands the topics of `tables`: this lander's share of their partitions, or with `whole` all of them.

    `clock` is monotonic seconds; it only decides when a buffer is due.
    """

    def __init__(
        self,
        broker: Broker,
        lake: Lake,
        tables: Sequence[Table],
        rotation: Rotation,
        clock: Callable[[], float],
        whole: bool = False,
    ) -> None:
        self._broker, self._rotation, self._clock, self._whole = broker, rotation, clock, whole
        self._tables = [(table, lake.table(table)) for table in tables]
        self._topics = [table.topic for table in tables]
        self._share: Mapping[str, Sequence[int]] = {}
        self._buffers: dict[str, Buffer] = {}
        self._reached: dict[tuple[str, str], dict[int, int]] = {}
        """Positions in the lake as they were last known, by table and topic id."""
        self._synced: dict[str, int] = {}

    def round(self, flush: bool = False) -> Steps[Landed]:
        """Read what is new, commit what is due; with `flush`, commit whatever was read.

        What is wrong with one topic or partition is told in the result and does not hold up the others.
        """
        landed = Landed()
        self._ask()
        for table, lake_table in self._tables:
            try:
                yield from self._round(table, lake_table, flush, landed)
            except (UnknownTopic, OffsetOutOfRange) as error:
                landed.problems.append(str(error))
        return landed

    def _round(self, table: Table, lake_table: LakeTable, flush: bool, landed: Landed) -> Steps[None]:
        buffer = self._buffers.pop(table.name, None) or Buffer(self._broker.topic(table.topic), self._clock())
        self._read(lake_table, buffer, landed)
        yield "lander.read"
        if buffer.ranges and (flush or buffer.is_due(self._clock(), self._rotation)):
            yield from self._land(lake_table, buffer, landed)
            self._ask()  # a round with a backlog may outlast a lease
        elif buffer.ranges:
            self._buffers[table.name] = buffer

    def _read(self, lake_table: LakeTable, buffer: Buffer, landed: Landed) -> None:
        """Fill the buffer from the end of its ranges, or from where the lake stood when it was asked last."""
        ends = {covered.partition: covered.end for covered in buffer.ranges}
        own = self._own(buffer.topic)
        each = max(1, len(own))  # a partition with a backlog must not starve its neighbours
        room = max(1, self._rotation.rows // each), max(1, self._rotation.bytes // each)
        for partition in own:
            position = ends[partition] if partition in ends else self._position(lake_table, buffer.topic, partition)
            if buffer.rows < self._rotation.rows and buffer.bytes < self._rotation.bytes:
                self._read_partition(lake_table.table, buffer, partition, position, room, landed)

    def _ask(self) -> None:
        """Take this lander's share of the partitions as it is now."""
        share = {} if self._whole else self._broker.share(GROUP, self._topics)
        if share != self._share:  # what is ours now may have been landed further by others
            self._share, self._reached = share, {}

    def _own(self, topic: Topic) -> Sequence[int]:
        if self._whole:
            return topic.partitions
        return [partition for partition in topic.partitions if partition in self._share[topic.name]]

    def _position(self, lake_table: LakeTable, topic: Topic, partition: int) -> int:
        """Where to read on: the lake's position as it was last known; `_land` asks whether it still holds."""
        key = lake_table.table.name, topic.id
        if partition not in self._reached.get(key, {}):
            snapshot = lake_table.snapshot()
            if topic.shared_by:  # the group's position will rest on it, whoever committed it
                self._sync(lake_table, snapshot)
            self._reached[key] = {each: snapshot.position(topic.id, each) for each in topic.partitions}
        return self._reached[key][partition]

    def _read_partition(
        self, table: Table, buffer: Buffer, partition: int, position: int, room: tuple[int, int], landed: Landed
    ) -> None:
        topic, unread = buffer.topic, 0
        try:
            chunk = self._broker.read(topic.name, partition, position, *room)
        except OffsetOutOfRange as error:
            if position > error.end:
                landed.problems.append(
                    f"{topic.name}/{partition} ends at {error.end}, but the lake holds it up to {position}: the log"
                    " lost records or is another one; nothing is read from it"
                )
                return
            unread = error.start - position
            chunk = self._broker.read(topic.name, partition, error.start, *room)
        except BrokerUnavailable as error:  # a partition without a leader holds up no other
            landed.problems.append(str(error))
            return
        if chunk.next_offset > position:
            landed.read += len(chunk.offsets) + unread
            landed.is_behind |= len(chunk.offsets) == room[0] or 2 * sum(map(len, chunk.values)) > room[1]
            own = only(table.name, topic, chunk)
            buffer.add(
                Block(topic.id, topic.name, partition, own.offsets, own.timestamps, own.values),
                Range(topic.id, partition, position, own.next_offset, len(own.offsets), unread),
            )

    def _land(self, lake_table: LakeTable, buffer: Buffer, landed: Landed) -> Steps[None]:
        self._reached.pop((lake_table.table.name, buffer.topic.id), None)
        snapshot = lake_table.snapshot()
        buffer = _still_ahead(buffer, snapshot)
        yield "lander.positioned"
        if self._broker.topic(buffer.topic.name).id != buffer.topic.id:
            return  # recreated while we read: these may be another topic's records at this topic's offsets
        if not buffer.ranges:
            return
        rows = encode(lake_table.table, buffer.blocks)
        yield "lander.encoded"
        try:
            snapshot.append(rows, buffer.ranges)
        except LakeConflict:
            return  # another lander was first: the next round reads on from its position
        yield "lander.committed"
        self._sync(lake_table, snapshot)
        yield "lander.synced"
        positions = {covered.partition: covered.end for covered in buffer.ranges}
        standing = {each: snapshot.position(buffer.topic.id, each) for each in buffer.topic.partitions}
        self._reached[lake_table.table.name, buffer.topic.id] = standing | positions
        try:
            self._broker.commit(GROUP, buffer.topic, self._passed(buffer.topic, positions))
        except BrokerUnavailable as error:  # the lake knows better; the next commit notes it again
            landed.problems.append(str(error))
        landed.rows += rows.num_rows
        landed.commits += 1
        landed.unfit += rows.num_rows - rows.column("landing_error").null_count
        if unread := sum(covered.unread for covered in buffer.ranges):
            landed.unread += unread
            landed.problems.append(f"{buffer.topic.name}: retention took {unread} records before they were read")
        yield "lander.noted"

    def _sync(self, lake_table: LakeTable, snapshot: Snapshot) -> None:
        """See that what the table had at `snapshot`, and what was added since, is on the disk."""
        name = lake_table.table.name
        lake_table.sync(self._synced.get(name, snapshot.version - UNSYNCED_AT_MOST))
        self._synced[name] = snapshot.version

    def _passed(self, topic: Topic, reached: Mapping[int, int]) -> Mapping[int, int]:
        """How far every table of a topic has come: where several share it, as far as the last of them."""
        passed = dict(reached)
        for table, lake_table in self._tables:
            if table.name in topic.shared_by:
                for partition, end in passed.items():
                    passed[partition] = min(end, self._position(lake_table, topic, partition))
        return passed


def _still_ahead(buffer: Buffer, snapshot: Snapshot) -> Buffer:
    """The buffer without the partitions that another lander has moved on since."""
    kept = Buffer(buffer.topic, buffer.since)
    ends: dict[int, int] = {}
    for block, covered in zip(buffer.blocks, buffer.ranges, strict=True):
        partition = covered.partition
        if ends.get(partition, snapshot.position(covered.topic_id, partition)) == covered.start:
            ends[partition] = covered.end
            kept.add(block, covered)
    return kept
