"""Membership of a consumer group that carries no records: it says which partitions are whose, and shows it to tools.

Records are fetched elsewhere, at positions of their own, so the partitions that the group assigns are paused at once.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ingestion.broker.kafka.connection import complain
from ingestion.errors import BrokerUnavailable

log = logging.getLogger(__name__)

COMMIT_SECONDS = 4.0
SESSION_MS, ASKING_MS = 10_000, 60_000
"""How long the partitions of a member that died, or that asks no more, are nobody's."""

CONFIGURATION: Mapping[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": SESSION_MS,
    "max.poll.interval.ms": ASKING_MS,
    "heartbeat.interval.ms": 1_000,
    "topic.metadata.refresh.interval.ms": 30_000,
}
REJOINING = (
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._ASSIGNMENT_LOST,
    KafkaError._STATE,
)


class Member:
    """One member of `group`; it joins when it is asked first, and has its share some rounds later."""

    def __init__(self, connection: Mapping[str, Any], group: str) -> None:
        self.group = group
        self._lock = threading.RLock()
        self._topics: set[str] = set()
        self._owned: set[tuple[str, int]] = set()
        self._consumer = Consumer({**connection, **CONFIGURATION, "group.id": group, "error_cb": complain(log)})

    def share(self, topics: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """The partitions of `topics` that the group has assigned to this member by now."""
        with self._lock, self._told("be asked"):
            self._subscribe(self._topics.union(topics))
            self._poll(0.0)
            return {topic: sorted(p for name, p in self._owned if name == topic) for topic in topics}

    def commit(self, offsets: list[TopicPartition]) -> None:
        """Note positions of the group; during a rebalance that waits for its end."""
        deadline = time.monotonic() + COMMIT_SECONDS
        with self._lock, self._told("note its position"):
            while not self._noted(offsets, deadline):
                self._poll(0.1)

    def close(self) -> None:
        """Leave the group: the others take over at once."""
        with self._lock:
            self._consumer.close()

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Whatever the client raises, in a callback too, is a group that does not answer."""
        try:
            yield
        except KafkaException as error:
            raise BrokerUnavailable(f"group {self.group} cannot {what} now: {error.args[0].str()}") from error

    def _noted(self, offsets: list[TopicPartition], deadline: float) -> bool:
        """Whether the positions are noted, or a rebalance is under way."""
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() not in REJOINING or time.monotonic() > deadline:
                raise
            return False
        return True

    def _subscribe(self, topics: set[str]) -> None:
        if topics != self._topics:
            self._consumer.subscribe(sorted(topics), on_assign=self._gain, on_revoke=self._lose, on_lost=self._lose)
            self._topics = topics

    def _poll(self, seconds: float) -> None:
        """Serve what the group has to say; errors are told, and joining goes on."""
        while (message := self._consumer.poll(seconds)) is not None:
            if error := message.error():
                log.warning("group %s: %s", self.group, error.str())
            seconds = 0.0

    def _gain(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = [TopicPartition(each.topic, each.partition, 0) for each in partitions]
        consumer.incremental_assign(places)
        consumer.pause(places)
        self._owned |= {(each.topic, each.partition) for each in partitions}

    def _lose(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_unassign(partitions)
        self._owned -= {(each.topic, each.partition) for each in partitions}
