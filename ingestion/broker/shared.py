"""A log in which event types share topics: each type's own topic name leads to the topic that holds its events.

Whoever reads such a topic sees the records of every type in it and takes its own: `only` says which those are. Every
record is exactly one type's, whatever it holds, because that is decided by its bytes and by the topic's list alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ingestion.broker import Bounds, Broker, Chunk, Record, Topic
from ingestion.events import topic as own_topic

EVENT_TYPE = re.compile(rb'"event_type"\s*:\s*"(\w*)"')
"""Of an event the first thing after its id. A parser would say more of what no collector wrote, and not always the
same: how deep it can go depends on who calls it."""


def taker(value: bytes, event_types: Sequence[str]) -> str:
    """Which of the types that share a topic takes a record; the first takes what is nobody's."""
    found = EVENT_TYPE.search(value)
    name = found[1].decode() if found else ""
    return name if name in event_types else event_types[0]


def only(event_type: str, topic: Topic, chunk: Chunk) -> Chunk:
    """The records of a chunk that are of this type; its end stays. All of them, where the topic is the type's own."""
    if not topic.shared_by:
        return chunk
    taken = [i for i, value in enumerate(chunk.values) if taker(value, topic.shared_by) == event_type]
    return replace(
        chunk,
        offsets=[chunk.offsets[i] for i in taken],
        timestamps=[chunk.timestamps[i] for i in taken],
        values=[chunk.values[i] for i in taken],
    )


class SharedTopics:
    """The log `log`, in which the topics of `shared` hold the events of several types each."""

    def __init__(self, log: Broker, shared: Mapping[str, Sequence[str]]) -> None:
        self._log = log
        self._shared_by = {name: tuple(event_types) for name, event_types in shared.items()}
        self._names = {own_topic(each): name for name, event_types in shared.items() for each in event_types}

    def ensure_topics(self, names: Iterable[str]) -> None:
        """Create the topics that do not exist."""
        self._log.ensure_topics(dict.fromkeys(map(self._name, names)))

    def topic(self, name: str) -> Topic:
        """The topic that holds what is asked for under this name, under its own."""
        found = self._log.topic(self._name(name))
        return replace(found, shared_by=self._shared_by.get(found.name, ()))

    def publish(self, records: Sequence[Record]) -> None:
        """Append `records`, each to the topic that holds its type."""
        self._log.publish([record._replace(topic=self._name(record.topic)) for record in records])

    def bounds(self, topic: str) -> Mapping[int, Bounds]:
        """What each partition holds, of every type."""
        return self._log.bounds(self._name(topic))

    def read(self, topic: str, partition: int, offset: int, max_records: int, max_bytes: int) -> Chunk:
        """Records from `offset` on, of every type."""
        return self._log.read(self._name(topic), partition, offset, max_records, max_bytes)

    def commit(self, group: str, topic: Topic, positions: Mapping[int, int]) -> None:
        """Note how far `group` has come with every type that it reads of the topic."""
        self._log.commit(group, topic, positions)

    def positions(self, group: str, topic: Topic) -> Mapping[int, int]:
        """What `commit` noted."""
        return self._log.positions(group, topic)

    def share(self, group: str, topics: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """The partitions that this member should work on now, by the topics' own names."""
        return self._log.share(group, list(dict.fromkeys(map(self._name, topics))))

    def expire(self, group: str, older_than_us: int) -> int:
        """Delete what is older and behind the position of `group`."""
        return self._log.expire(group, older_than_us)

    def close(self) -> None:
        """Leave every group, and give back connections and files."""
        self._log.close()

    def _name(self, name: str) -> str:
        return self._names.get(name, name)
