"""The engines beneath a deployment: Kafka, S3 and DynamoDB, each a real server, as settings and as a checker reads."""

import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field

from confluent_kafka import Consumer, TopicPartition
from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaPlace
from kafka.admin import OffsetSpec

from tests.proof.checker import Place
from tests.services.dynamodb import DynamoDB
from tests.services.kafka import Kafka
from tests.services.s3 import S3


@dataclass(frozen=True)
class Stack:
    """Servers of which a deployment has the topics, a bucket and tables with a prefix of its own."""

    kafka: Kafka
    s3: S3
    dynamodb: DynamoDB
    name: str = field(default_factory=lambda: f"headrace-{uuid.uuid4()}")

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings of every process."""
        return {
            "HEADRACE_BROKER": f"kafka://{self.kafka.bootstrap_servers}",
            "HEADRACE_KAFKA_CREATE_TOPICS": "true",
            "HEADRACE_LAKE": f"s3://{self.name}/lake",
            "HEADRACE_VIEWS": f"dynamodb://{self.s3.endpoint.environment['AWS_REGION']}/{self.name}",
            **self.s3.endpoint.environment,
            **self.dynamodb.endpoint.environment,
        }

    def read_log(self) -> Mapping[Place, bytes]:
        """Every record of Kafka's topics, up to the ends that they have now."""
        with closing(KafkaAdminClient(**self.kafka.kafka_python())) as admin:
            topics = admin.describe_topics([name for name in admin.list_topics() if name.startswith("events.")])
            ids = {topic["name"]: topic["topic_id"] for topic in topics}
            places = [(topic["name"], part["partition_index"]) for topic in topics for part in topic["partitions"]]
            latest = {KafkaPlace(*place): OffsetSpec.LATEST for place in places}
            left = sum(found.offset for found in admin.list_partition_offsets(latest).values())
        consumer = Consumer(self.kafka.librdkafka() | {"group.id": "checker", "auto.offset.reset": "error"})
        consumer.assign([TopicPartition(*place, 0) for place in places])
        found: dict[Place, bytes] = {}
        while len(found) < left:
            for message in consumer.consume(1_000, timeout=30.0):
                assert message.error() is None, message.error()
                place = Place(ids[message.topic()], message.partition() or 0, message.offset() or 0)
                found[place] = message.value() or b""
        consumer.close()
        return found
