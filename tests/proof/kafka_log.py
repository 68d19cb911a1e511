"""What Kafka holds, for the checker: read with a client of its own."""

from collections.abc import Mapping
from contextlib import closing

from confluent_kafka import Consumer, TopicPartition
from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaPlace
from kafka.admin import OffsetSpec

from tests.proof.checker import Place
from tests.services.kafka import Kafka


def read_kafka(kafka: Kafka) -> Mapping[Place, bytes]:
    """Every record of Kafka's topics, up to the ends that they have now."""
    with closing(KafkaAdminClient(**kafka.kafka_python())) as admin:
        topics = admin.describe_topics([name for name in admin.list_topics() if name.startswith("events.")])
        ids = {topic["name"]: topic["topic_id"] for topic in topics}
        places = [(topic["name"], part["partition_index"]) for topic in topics for part in topic["partitions"]]
        latest = {KafkaPlace(*place): OffsetSpec.LATEST for place in places}
        left = sum(found.offset for found in admin.list_partition_offsets(latest).values())
    consumer = Consumer(kafka.librdkafka() | {"group.id": "checker", "auto.offset.reset": "error"})
    consumer.assign([TopicPartition(*place, 0) for place in places])
    found: dict[Place, bytes] = {}
    while len(found) < left:
        for message in consumer.consume(1_000, timeout=30.0):
            assert message.error() is None, message.error()
            place = Place(ids[message.topic()], message.partition() or 0, message.offset() or 0)
            found[place] = message.value() or b""
    consumer.close()
    return found
