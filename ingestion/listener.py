"""The listener: reads the topics of its views, converts, joins, and saves; a view is seconds behind the log.

One round reads what is new of every topic and writes it batch by batch. The group's position moves after the write
and is where reading goes on: what a crash leaves between the two is written again, which changes nothing. So several
listeners may run at once; they divide the partitions, and it does no harm where two have the same for a while. Each
view has a group of its own: a new view begins at offset 0, and says what of the log retention had taken before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ingestion.broker import Broker, Chunk, Topic
from ingestion.broker.shared import only
from ingestion.encoding import Block, encode
from ingestion.errors import BrokerUnavailable, OffsetOutOfRange, UnknownTopic
from ingestion.listened import group, heard_together
from ingestion.steps import Steps
from ingestion.tables import Table, event_table
from ingestion.views import ViewStore
from ingestion.views.facts import Lookups, View, Written, write
from ingestion.views.landed import landed_events

BATCH_RECORDS, BATCH_BYTES = 2_000, 4 * 1024 * 1024


@dataclass
class Heard:
    """What one round did."""

    read: int = 0
    """Records that it went forward in the log."""
    is_behind: bool = False
    """Something was read: there may be more."""
    unread: int = 0
    """Records that retention took before they were read; a replay from the lake brings them."""
    written: Written = field(default_factory=Written)
    problems: list[str] = field(default_factory=list)


class Listener:
    """Keeps `views` in `store` up with the log: this listener's share of the partitions, or with `whole` all of them.

    `lookups` is asked for every batch.
    """

    def __init__(
        self,
        broker: Broker,
        store: ViewStore,
        views: Sequence[View],
        lookups: Callable[[], Lookups],
        whole: bool = False,
    ) -> None:
        self._broker, self._store, self._lookups, self._whole = broker, store, lookups, whole
        self._views = views
        self._share: Mapping[str, Sequence[int]] = {}

    def round(self) -> Steps[Heard]:
        """Bring one batch of every partition into the views.

        What is wrong with one topic or partition is told in the result and does not hold up the others.
        """
        heard = Heard()
        for view in self._views:
            self._ask(view)
            for event_type in view.event_types:
                try:
                    yield from self._round(view, event_type, heard)
                except (UnknownTopic, OffsetOutOfRange) as error:
                    heard.problems.append(str(error))
        heard.problems += heard.written.problems
        return heard

    def _round(self, view: View, event_type: str, heard: Heard) -> Steps[None]:
        topic = self._broker.topic(event_table(event_type).topic)
        tables = [event_table(name) for name in heard_together(view, event_type, topic)]
        if not tables:
            return
        positions = self._broker.positions(group(view), topic)
        for partition in topic.partitions:
            if not (self._whole or partition in self._share[topic.name]):
                continue
            try:
                chunk = self._read(view, topic, partition, positions.get(partition, 0), heard)
            except BrokerUnavailable as error:  # a partition without a leader holds up no other
                heard.problems.append(str(error))
                continue
            if chunk.next_offset != positions.get(partition, 0):
                yield from self._listen(view, tables, topic, chunk, heard)
                self._ask(view)  # a round with a backlog may outlast a lease

    def _ask(self, view: View) -> None:
        """Take this listener's share of the view's partitions as it is now."""
        if not self._whole:
            self._share = self._broker.share(group(view), [event_table(name).topic for name in view.event_types])

    def _read(self, view: View, topic: Topic, partition: int, position: int, heard: Heard) -> Chunk:
        """What follows; from the log's start where retention was faster, or where the position is beyond the end."""
        try:
            return self._broker.read(topic.name, partition, position, BATCH_RECORDS, BATCH_BYTES)
        except OffsetOutOfRange as held:
            if position < held.start:
                heard.unread += held.start - position
                heard.problems.append(
                    f"{topic.name}/{partition}: retention took {held.start - position} records before {view.name} read"
                    " them; replay the view from the lake"
                )
            else:
                heard.problems.append(
                    f"{topic.name}/{partition} ends at {held.end}, but {view.name} had read it up to {position}: the"
                    " log lost records; it is read again from its start"
                )
            return self._broker.read(topic.name, partition, held.start, BATCH_RECORDS, BATCH_BYTES)

    def _listen(self, view: View, tables: Sequence[Table], topic: Topic, chunk: Chunk, heard: Heard) -> Steps[None]:
        yield "listener.read"
        if self._broker.topic(topic.name).id != topic.id:
            return  # recreated while we read: its offsets are no positions in this one
        blocks = [(table, _block(topic, only(table.name, topic, chunk))) for table in tables]
        events = [event for table, block in blocks for event in landed_events(table, encode(table, [block]))]
        heard.written.add((yield from write(self._store, view, events, self._lookups())))
        yield "listener.written"
        self._broker.commit(group(view), topic, {chunk.partition: chunk.next_offset})
        heard.read += len(chunk.offsets)
        heard.is_behind |= bool(chunk.offsets)
        yield "listener.noted"


def _block(topic: Topic, chunk: Chunk) -> Block:
    return Block(topic.id, topic.name, chunk.partition, chunk.offsets, chunk.timestamps, chunk.values)
