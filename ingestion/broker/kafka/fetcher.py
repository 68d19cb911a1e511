"""Reading at positions that the caller gives: one consumer fetches ahead for every partition that is being read.

librdkafka hands out what it fetched of all partitions in one queue. Here each partition has its own, so that a
reader of one waits neither for its neighbours nor for a round trip. Reading on costs no request, for several readers
of a partition that are near each other too; a jump asks the log what it holds, and begins anew. Nothing that was
fetched outlives the topic that it came from.
"""

import logging
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ingestion.broker import Bounds, Chunk
from ingestion.broker.kafka.connection import complain
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
KEPT_RECORDS = 5_000
"""Records that stay when they have been read."""
READER_SECONDS = 60.0
"""A partition that nobody has read for so long has gone to another member."""
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


class _Queue:
    """What was fetched of a partition: offsets `start` to `end`, gaps included. What was read stays for a while.

    `known_end` is up to where the log has records, or had when it was asked; publishing and asking for bounds raise
    the topic's `version`.
    """

    def __init__(self, topic: str, partition: int, offset: int, known_end: int, version: int) -> None:
        self.topic, self.partition = topic, partition
        self.start = self.end = offset
        self.known_end, self.version = known_end, version
        self.is_paused, self.read_at = False, time.monotonic()
        self.error: KafkaError | None = None
        self._messages: list[Message] = []
        self._offsets: list[int] = []
        self._sizes: list[int] = [0]
        """Bytes of values up to each record, and of the last one."""

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition, self.end)

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self._sizes[-1] - self._sizes[0] + RECORD_BYTES * len(self._messages)

    def covers(self, offset: int) -> bool:
        return self.start <= offset <= self.end and not self.error

    def add(self, message: Message) -> None:
        """Append a record; one from before `end` was fetched twice."""
        offset = message.offset()
        if offset is not None and offset >= self.end:
            self._messages.append(message)
            self._offsets.append(offset)
            self._sizes.append(self._sizes[-1] + len(message))
            self.end = offset + 1

    def has(self, offset: int, records: int, size: int) -> bool:
        """Whether so many records, or so many bytes, follow from `offset` on."""
        first = bisect_left(self._offsets, offset)
        return len(self._offsets) - first >= records or self._sizes[-1] - self._sizes[first] >= size

    def take(self, offset: int, records: int, size: int, keep: int) -> Chunk:
        """The first record from `offset` on, and those after it while their values stay within `size`.

        Of what has been read, `keep` bytes stay for another reader.
        """
        first = bisect_left(self._offsets, offset)
        fitting = bisect_right(self._sizes, self._sizes[first] + size) - 1
        last = min(len(self._offsets), first + records, max(fitting, first + 1))
        taken, offsets = self._messages[first:last], self._offsets[first:last]
        following = self._offsets[last] if last < len(self._offsets) else self.end
        self.read_at = time.monotonic()
        self._forget(max(bisect_left(self._sizes, self._sizes[last] - keep, 0, last), last - KEPT_RECORDS))
        values = [message.value() or b"" for message in taken]
        return Chunk(self.partition, offsets, [_microseconds(message) for message in taken], values, following)

    def _forget(self, count: int) -> None:
        if count:
            self.start = self._offsets[count - 1] + 1
            del self._messages[:count], self._offsets[:count], self._sizes[:count]


class Fetcher:
    """Reads of several threads, one after the other; `held` asks the log what a partition holds."""

    def __init__(self, connection: Mapping[str, Any], held: Callable[[str, int], Bounds]) -> None:
        self._consumer = Consumer({**connection, **CONFIGURATION, "error_cb": complain(log)})
        self._ask_held = held
        self._queues: dict[tuple[str, int], _Queue] = {}
        self._versions: dict[str, int] = {}
        self._lock = threading.RLock()

    def read(self, topic: str, partition: int, offset: int, max_records: int, max_bytes: int) -> Chunk:
        """Records from `offset` on, at least one where there is one."""
        with self._lock:
            try:
                return self._read(topic, partition, offset, max_records, max_bytes)
            except KafkaException as error:
                raise BrokerUnavailable(f"{topic}/{partition} cannot be read now: {error.args[0].str()}") from error

    def _read(self, topic: str, partition: int, offset: int, max_records: int, max_bytes: int) -> Chunk:
        queue = self._queue_at(topic, partition, offset)
        self._fill(queue, offset, max_records, max_bytes)
        chunk = queue.take(offset, max_records, max_bytes, self._ahead // 2)
        if queue.is_paused and chunk.next_offset == queue.end:
            self._resume(queue)
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
        if queue and queue.covers(offset) and (offset < queue.end or queue.version == version):
            return queue
        held = self._held(topic, partition, offset)
        queue = self._queues.get((topic, partition))  # again: the topic may have been found to be another one
        if queue and queue.covers(offset):
            queue.known_end, queue.version = held.end, version
            return queue
        if queue:
            self._drop(queue)
        queue = _Queue(topic, partition, offset, held.end, version)
        self._consumer.incremental_assign([queue.place])
        self._queues[topic, partition] = queue
        return queue

    def _held(self, topic: str, partition: int, offset: int) -> Bounds:
        held = self._ask_held(topic, partition)
        if not held.start <= offset <= held.end:
            raise OffsetOutOfRange(topic, partition, offset, held.start, held.end)
        return held

    def _fill(self, queue: _Queue, offset: int, max_records: int, max_bytes: int) -> None:
        """Receive until the queue has what is asked for, or all that there is."""
        begun, reached = time.monotonic(), queue.end
        while not queue.has(offset, max_records, max_bytes):
            is_idle = not self._drain(queue)
            if queue.error:
                self._raise(queue, offset)
            if queue.end > reached:
                begun, reached = time.monotonic(), queue.end
            waited, has_some = time.monotonic() - begun, queue.end > offset
            if queue.end >= self._end(queue, has_some) or (has_some and waited > FILL_SECONDS):
                break
            if waited > WAIT_SECONDS:
                self._give_up(queue, offset)
                break
            if queue.is_paused:
                self._resume(queue)
            if is_idle and (message := self._consumer.poll(POLL_SECONDS)) is not None:  # an empty record is falsy
                self._file(message)

    @property
    def _ahead(self) -> int:
        """Bytes that are fetched ahead of each partition."""
        return max(LEAST_AHEAD_BYTES, AHEAD_BYTES // max(1, len(self._queues)))

    def _end(self, queue: _Queue, has_some: bool) -> int:
        """Up to where there are records, as far as this client knows."""
        if not has_some:
            return queue.known_end
        return max(queue.known_end, self._consumer.get_watermark_offsets(queue.place, cached=True)[1])

    def _give_up(self, queue: _Queue, offset: int) -> None:
        """Nothing came: what seemed to be there is not readable (yet), or the partition's broker is silent."""
        queue.known_end = self._held(queue.topic, queue.partition, offset).end
        if offset < queue.known_end:
            self._drop(queue)
            raise BrokerUnavailable(
                f"{queue.topic}/{queue.partition} did not answer within {WAIT_SECONDS:.0f} s; the others are read on"
            )

    def _raise(self, queue: _Queue, offset: int) -> None:
        error = queue.error
        self._drop(queue)
        if error and error.code() in OUT_OF_RANGE:
            self._held(queue.topic, queue.partition, offset)
        if error and error.code() in UNKNOWN:
            self._ask_held(queue.topic, queue.partition)
        raise BrokerUnavailable(f"{queue.topic}/{queue.partition} cannot be read now: {error}")

    def _drain(self, reading: _Queue) -> bool:
        """File what has been fetched, and say whether that was something; what runs too far ahead is paused."""
        messages = self._consumer.consume(DRAINED_AT_ONCE, 0)
        for message in messages:
            self._file(message)
        if messages:
            self._rein(reading)
        return bool(messages)

    def _rein(self, reading: _Queue) -> None:
        """Pause what runs too far ahead of its readers, and drop what has none any more."""
        full = [q for q in self._queues.values() if q.bytes > self._ahead and not q.is_paused and q is not reading]
        for queue in full:
            if time.monotonic() - queue.read_at > READER_SECONDS:
                self._drop(queue)
            else:
                self._consumer.pause([queue.place])
                queue.is_paused = True

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


def _microseconds(message: Message) -> int:
    return min(max(message.timestamp()[1], 0), LAST_MILLISECOND) * 1_000
