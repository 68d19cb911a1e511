"""What Kafka holds, for the checker: read with a client of its own."""

import time
from contextlib import closing

from confluent_kafka import Consumer, TopicPartition
from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaPlace
from kafka.admin import OffsetSpec

from tests.proof.checker import Place
from tests.services.kafka import Kafka

PATIENCE_SECONDS = 60.0


def read_kafka(kafka: Kafka) -> dict[Place, bytes]:
    """Every record of Kafka's topics that retention has left, up to the ends that they have now."""
    with closing(KafkaAdminClient(**kafka.kafka_python())) as admin:
        topics = admin.describe_topics([name for name in admin.list_topics() if name.startswith("events.")])
        ids = {topic["name"]: topic["topic_id"] for topic in topics}
        held = [KafkaPlace(topic["name"], part["partition_index"]) for topic in topics for part in topic["partitions"]]
        starts = admin.list_partition_offsets(dict.fromkeys(held, OffsetSpec.EARLIEST))
        ends = admin.list_partition_offsets(dict.fromkeys(held, OffsetSpec.LATEST))
    left = sum(ends[place].offset - starts[place].offset for place in held)
    consumer = Consumer(kafka.librdkafka() | {"group.id": "checker", "auto.offset.reset": "error"})
    consumer.assign([TopicPartition(place.topic, place.partition, starts[place].offset) for place in held])
    found: dict[Place, bytes] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < left:
        assert time.monotonic() < deadline, f"{len(found)} of {left} records came"
        for message in consumer.consume(1_000, timeout=0.2):  # waits for as many, or for as long
            assert message.error() is None, message.error()
            place = Place(ids[message.topic()], message.partition() or 0, message.offset() or 0)
            found[place] = message.value() or b""
    consumer.close()
    return found
