"""Reading at positions that the caller gives: one consumer fetches ahead for every partition that is being read.

librdkafka hands out what it fetched of all partitions in one queue. Here each partition has its own, so that a
reader of one waits neither for its neighbours nor for a round trip. Reading on where it stopped costs no request; a
jump asks the log what it holds, and begins anew. Nothing that was fetched outlives the topic that it came from.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ingestion.broker import Bounds, Chunk
from ingestion.errors import BrokerUnavailable, OffsetOutOfRange

log = logging.getLogger(__name__)

WAIT_SECONDS = 4.0
"""For a record that is known to be there."""
FILL_SECONDS = 0.5
"""For the next one, when there are some."""
POLL_SECONDS = 0.02
DRAINED_AT_ONCE = 5_000
AHEAD_BYTES, LEAST_AHEAD_BYTES = 48 * 1024 * 1024, 64 * 1024
"""What is fetched ahead of all partitions, and the least of each."""
RECORD_BYTES = 300
"""What a record costs in memory beside its value."""
LAST_MILLISECOND = 253_402_300_799_999  # of the year 9999: what a foreign producer may say is no limit

CONFIGURATION: Mapping[str, Any] = {
    "group.id": "headrace-reader",  # asked for by the library; nothing is committed under it
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 100,  # a partition that is asked for first waits for the running request
    "fetch.queue.backoff.ms": 10,
    "queued.max.messages.kbytes": 32 * 1024,
    "topic.metadata.refresh.interval.ms": 30_000,
}
OUT_OF_RANGE = KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE
UNKNOWN = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_ID,
)


@dataclass
class _Queue:
    """What was fetched of a partition and is not read yet: offsets `position` to `end`, gaps included."""

    topic: str
    partition: int
    position: int
    end: int
    known_end: int
    """Up to here the log has records, or had when it was asked."""
    version: int
    """Of the topic: publishing and asking for bounds raise it."""
    messages: deque[Message] = field(default_factory=deque)
    bytes: int = 0
    is_paused: bool = False
    error: KafkaError | None = None

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition, self.end)

    def add(self, message: Message) -> None:
        """Append a record; one from before `end` was fetched twice."""
        offset = message.offset()
        if offset is not None and offset >= self.end:
            self.messages.append(message)
            self.bytes += len(message) + RECORD_BYTES
            self.end = offset + 1

    def begins_at(self, offset: int) -> bool:
        return self.position == offset and not self.error

    def satisfies(self, max_records: int, max_bytes: int) -> bool:
        return len(self.messages) >= max_records or self.bytes - RECORD_BYTES * len(self.messages) >= max_bytes


class Fetcher:
    """Reads of several threads, one after the other; `bounds` asks the log what a topic's partitions hold."""

    def __init__(self, connection: Mapping[str, Any], bounds: Callable[[str], Mapping[int, Bounds]]) -> None:
        self._consumer = Consumer({**connection, **CONFIGURATION}, logger=log)
        self._bounds = bounds
        self._queues: dict[tuple[str, int], _Queue] = {}
        self._versions: dict[str, int] = {}
        self._lock = threading.RLock()

    def read(self, topic: str, partition: int, offset: int, max_records: int, max_bytes: int) -> Chunk:
        """Records from `offset` on, at least one where there is one."""
        with self._lock:
            queue = self._queue_at(topic, partition, offset)
            self._fill(queue, max_records, max_bytes)
            chunk = _take(queue, max_records, max_bytes)
            self._go_on(queue)
            return chunk

    def expect(self, topic: str) -> None:
        """The topic has news: its next reads look for them."""
        self._versions[topic] = self._versions.get(topic, 0) + 1

    def learn(self, topic: str, bounds: Mapping[int, Bounds]) -> None:
        """The log was found to hold this: the next reads find it too."""
        with self._lock:
            for partition, held in bounds.items():
                if queue := self._queues.get((topic, partition)):
                    queue.known_end = max(queue.known_end, held.end)

    def forget(self, topic: str) -> None:
        """Drop what was fetched of a topic: another one has its name now."""
        with self._lock:
            for queue in [queue for queue in self._queues.values() if queue.topic == topic]:
                self._drop(queue)

    def close(self) -> None:
        """Let go of the connections."""
        with self._lock:
            self._queues.clear()
            self._consumer.close()

    def _queue_at(self, topic: str, partition: int, offset: int) -> _Queue:
        """The partition's queue, beginning at `offset`."""
        version = self._versions.get(topic, 0)
        queue = self._queues.get((topic, partition))
        if queue and queue.begins_at(offset) and (queue.messages or queue.version == version):
            return queue
        held = self._held(topic, partition, offset)
        queue = self._queues.get((topic, partition))  # again: the topic may have been found to be another one
        if queue and queue.begins_at(offset):
            queue.known_end, queue.version = held.end, version
            return queue
        if queue:
            self._drop(queue)
        queue = self._queues[topic, partition] = _Queue(topic, partition, offset, offset, held.end, version)
        self._consumer.incremental_assign([queue.place])
        return queue

    def _held(self, topic: str, partition: int, offset: int) -> Bounds:
        held = self._bounds(topic).get(partition, Bounds(0, 0))
        if not held.start <= offset <= held.end:
            raise OffsetOutOfRange(topic, partition, offset, held.start, held.end)
        return held

    def _fill(self, queue: _Queue, max_records: int, max_bytes: int) -> None:
        """Receive until the queue has what is asked for, or all that there is."""
        begun, reached = time.monotonic(), queue.end
        while not queue.satisfies(max_records, max_bytes):
            is_idle = not self._drain(queue)
            if queue.error:
                self._raise(queue)
            if queue.end > reached:
                begun, reached = time.monotonic(), queue.end
            waited = time.monotonic() - begun
            if queue.end >= self._end(queue) or (queue.messages and waited > FILL_SECONDS):
                break
            if waited > WAIT_SECONDS:
                self._give_up(queue)
                break
            if queue.is_paused:
                self._resume(queue)
            if is_idle and (message := self._consumer.poll(POLL_SECONDS)) is not None:  # an empty record is falsy
                self._file(message)

    def _end(self, queue: _Queue) -> int:
        """Up to where there are records, as far as this client knows."""
        if not queue.messages:
            return queue.known_end
        return max(queue.known_end, self._consumer.get_watermark_offsets(queue.place, cached=True)[1])

    def _give_up(self, queue: _Queue) -> None:
        """Nothing came: what seemed to be there is not readable (yet), or the partition's broker is silent."""
        queue.known_end = self._held(queue.topic, queue.partition, queue.position).end
        if queue.position < queue.known_end:
            self._drop(queue)
            raise BrokerUnavailable(
                f"{queue.topic}/{queue.partition} did not answer within {WAIT_SECONDS:.0f} s; the others are read on"
            )

    def _raise(self, queue: _Queue) -> None:
        error = queue.error
        self._drop(queue)
        if error and error.code() in OUT_OF_RANGE:
            self._held(queue.topic, queue.partition, queue.position)
        if error and error.code() in UNKNOWN:
            self._bounds(queue.topic)
        raise BrokerUnavailable(f"{queue.topic}/{queue.partition} cannot be read now: {error}")

    def _drain(self, reading: _Queue) -> bool:
        """File what has been fetched, and say whether that was something; what runs too far ahead is paused."""
        messages = self._consumer.consume(DRAINED_AT_ONCE, 0)
        for message in messages:
            self._file(message)
        ahead = max(LEAST_AHEAD_BYTES, AHEAD_BYTES // max(1, len(self._queues)))
        full = [q for q in self._queues.values() if q.bytes > ahead and not q.is_paused and q is not reading]
        if messages and full:
            self._consumer.pause([queue.place for queue in full])
            for queue in full:
                queue.is_paused = True
        return bool(messages)

    def _file(self, message: Message) -> None:
        queue = self._queues.get((message.topic() or "", -1 if (p := message.partition()) is None else p))
        if queue is None:
            return
        error = message.error()
        if error is None:
            queue.add(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            queue.end = max(queue.end, message.offset() or 0)  # beyond records that a reader is not shown
        else:
            queue.error = error

    def _go_on(self, queue: _Queue) -> None:
        if queue.is_paused and not queue.messages:
            self._resume(queue)

    def _resume(self, queue: _Queue) -> None:
        self._consumer.resume([queue.place])
        queue.is_paused = False

    def _drop(self, queue: _Queue) -> None:
        if self._queues.get((queue.topic, queue.partition)) is not queue:
            return
        del self._queues[queue.topic, queue.partition]
        try:
            if queue.is_paused:
                self._resume(queue)  # the library remembers a pause beyond the assignment
            self._consumer.incremental_unassign([queue.place])
        except KafkaException as error:
            raise BrokerUnavailable(f"{queue.topic}/{queue.partition} cannot be let go: {error}") from error


def _take(queue: _Queue, max_records: int, max_bytes: int) -> Chunk:
    """Hand out the first record, and those after it while their values stay within `max_bytes`."""
    taken: list[Message] = []
    size = 0
    while queue.messages and len(taken) < max_records:
        size += len(queue.messages[0])
        if taken and size > max_bytes:
            break
        taken.append(queue.messages.popleft())
    queue.bytes -= sum(len(message) + RECORD_BYTES for message in taken)
    queue.position = (queue.messages[0].offset() or 0) if queue.messages else queue.end
    return Chunk(
        queue.partition,
        [message.offset() or 0 for message in taken],
        [_microseconds(message) for message in taken],
        [_value(message) for message in taken],
        queue.position,
    )


def _microseconds(message: Message) -> int:
    return min(max(message.timestamp()[1], 0), LAST_MILLISECOND) * 1_000


def _value(message: Message) -> bytes:
    return message.value() or b""
