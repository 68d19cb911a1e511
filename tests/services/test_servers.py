"""Each real server: ready, on loopback only, and what it acknowledged is there after kill -9."""

from contextlib import closing

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from kafka import KafkaAdminClient

from tests.services.dynamodb import DynamoDB
from tests.services.kafka import Kafka
from tests.services.process import is_private
from tests.services.s3 import S3

TABLE = {
    "TableName": "smoke",
    "KeySchema": [{"AttributeName": "key", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "key", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}


def test_kafka_keeps_what_it_acknowledged_when_it_is_killed(kafka: Kafka) -> None:
    create(kafka, "smoke")
    produce(kafka, "smoke", [b"before"])
    with kafka.broker.down():
        pass
    produce(kafka, "smoke", [b"after"])
    assert consume(kafka, "smoke", 2) == [b"before", b"after"]
    assert all(is_private(port) for node in kafka.nodes for port in (node.port, node.controller_port))


def test_three_brokers_go_on_without_the_leader(kafka_of_three: Kafka) -> None:
    create(kafka_of_three, "smoke")
    produce(kafka_of_three, "smoke", [b"before"])
    leader = kafka_of_three.leader("smoke")
    with kafka_of_three.brokers[leader].down():
        produce(kafka_of_three, "smoke", [b"during"])
        assert kafka_of_three.leader("smoke") != leader
    assert consume(kafka_of_three, "smoke", 2) == [b"before", b"during"]


def test_who_has_no_right_to_a_topic_is_refused(kafka_with_users: Kafka) -> None:
    create(kafka_with_users, "smoke")
    produce(kafka_with_users, "smoke", [b"by the admin"])
    assert consume(kafka_with_users, "smoke", 1) == [b"by the admin"]
    with pytest.raises(AssertionError, match="AUTHORIZATION_FAILED"):
        consume(kafka_with_users, "smoke", 1, user="stranger")


def test_dynamodb_keeps_what_it_acknowledged_when_it_is_killed(dynamodb: DynamoDB) -> None:
    client = dynamodb.endpoint.client()
    client.create_table(**TABLE)
    client.put_item(TableName="smoke", Item={"key": {"S": "a"}})
    with dynamodb.down():
        pass
    assert client.get_item(TableName="smoke", Key={"key": {"S": "a"}})["Item"] == {"key": {"S": "a"}}
    assert is_private(dynamodb.endpoint.port)


def test_s3proxy_keeps_what_it_acknowledged_when_it_is_killed(s3: S3) -> None:
    assert_keeps_objects(s3)


def test_versitygw_keeps_what_it_acknowledged_when_it_is_killed(versitygw: S3) -> None:
    assert_keeps_objects(versitygw)


def assert_keeps_objects(server: S3) -> None:
    server.create_bucket("smoke")
    client = server.endpoint.client()
    client.put_object(Bucket="smoke", Key="a/b", Body=b"1", IfNoneMatch="*")
    with server.down():
        pass
    with pytest.raises(client.exceptions.ClientError, match="PreconditionFailed"):
        client.put_object(Bucket="smoke", Key="a/b", Body=b"2", IfNoneMatch="*")
    assert client.get_object(Bucket="smoke", Key="a/b")["Body"].read() == b"1"
    assert is_private(server.endpoint.port)


def create(kafka: Kafka, topic: str) -> None:
    with closing(KafkaAdminClient(**kafka.kafka_python())) as admin:
        admin.create_topics({topic: {"num_partitions": 1}}, wait_for_metadata=True)


def produce(kafka: Kafka, topic: str, values: list[bytes]) -> None:
    failed = []
    producer = Producer(kafka.librdkafka() | {"acks": "all", "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, message: failed.append(error) if error else None)
    assert producer.flush(60) == 0 and failed == []


def consume(kafka: Kafka, topic: str, count: int, user: str = "admin") -> list[bytes | None]:
    config = {"group.id": "smoke", "enable.auto.commit": False, "auto.offset.reset": "error"}
    with closing(Consumer(kafka.librdkafka(user) | config)) as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        messages = consumer.consume(count, timeout=30)
    assert all(message.error() is None for message in messages), [message.error() for message in messages]
    return [message.value() for message in messages]
