"""What tests do to a cluster behind Headrace's back: create, delete and cut topics, as operators and retention do."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError

from tests.services.kafka import ADMIN, Kafka

APPENDED: Mapping[str, str] = {"message.timestamp.type": "LogAppendTime"}
"""How every topic of Headrace is set; tests that want another topic say so."""


class Operator:
    """An operator with every right, at the console of a cluster."""

    def __init__(self, kafka: Kafka) -> None:
        self.admin = KafkaAdminClient(**kafka.kafka_python(ADMIN))
        self._replication = min(3, len(kafka.nodes))

    def create(self, *topics: str, partitions: int = 2, configs: Mapping[str, str] = APPENDED) -> None:
        """Create topics, and wait until they can be used."""
        wanted = {"num_partitions": partitions, "replication_factor": self._replication, "configs": dict(configs)}
        self.admin.create_topics(dict.fromkeys(topics, wanted), wait_for_metadata=True)

    def delete(self, *topics: str) -> None:
        """Delete those of `topics` that exist."""
        there = self._listed()
        if found := [topic for topic in topics if topic in there]:
            self.admin.delete_topics(found)
            wait_until_gone(self.admin, found)

    def _listed(self, seconds: float = 20.0) -> set[str]:
        """The topics; a client that saw its broker go needs some attempts."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return set(self.admin.list_topics())
            except KafkaError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def recreate(self, topic: str) -> None:
        """Delete a topic and create it again with as many partitions."""
        [described] = self.admin.describe_topics([topic])
        self.delete(topic)
        self.create(topic, partitions=len(described["partitions"]))

    def truncate(self, topic: str, partition: int, before: int) -> None:
        """Delete the records before an offset, as retention does."""
        self.admin.delete_records({TopicPartition(topic, partition): before})

    def ends(self, topic: str) -> Mapping[int, int]:
        """Where the partitions end."""
        [described] = self.admin.describe_topics([topic])
        places = {TopicPartition(topic, p["partition_index"]): OffsetSpec.LATEST for p in described["partitions"]}
        return {place.partition: found.offset for place, found in self.admin.list_partition_offsets(places).items()}

    def close(self) -> None:
        """Let go of the connection."""
        self.admin.close()


def wait_until_gone(admin: KafkaAdminClient, topics: list[str], seconds: float = 10.0) -> None:
    """A deleted topic is listed for some milliseconds."""
    deadline = time.monotonic() + seconds
    while set(topics) & set(admin.list_topics()):
        assert time.monotonic() < deadline, f"{topics} are still there"
        time.sleep(0.01)


@contextmanager
def operating(kafka: Kafka) -> Iterator[Operator]:
    """An operator until the end of the block."""
    operator = Operator(kafka)
    try:
        yield operator
    finally:
        operator.close()
