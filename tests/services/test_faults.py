"""Each fault of the proxy, seen by a client that does not try again."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.services.dynamodb import DynamoDB
from tests.services.fault_proxy import FaultProxy
from tests.services.faults import Fault, at_random, first
from tests.services.s3 import S3

ONCE = {"retries": {"total_max_attempts": 1}}
NAMES = [f"item {number}" for number in range(10)]


@pytest.fixture(scope="module")
def table(dynamodb: DynamoDB) -> str:
    dynamodb.endpoint.client().create_table(
        TableName="faults",
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return "faults"


@pytest.fixture(scope="module")
def bucket(s3: S3) -> str:
    s3.create_bucket("faults")
    return "faults"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.THROTTLE, "ProvisionedThroughputExceededException"),
        (Fault.ERROR, "InternalServerError"),
        (Fault.UNAVAILABLE, "ServiceUnavailable"),
        (Fault.CLOCK_SKEW, "InvalidSignatureException"),
    ],
)
def test_a_refused_write_to_dynamodb_was_not_done(dynamodb: DynamoDB, table: str, fault: Fault, code: str) -> None:
    with FaultProxy(dynamodb.endpoint, first(1, fault, "PutItem")) as proxy:
        client = proxy.endpoint.client(**ONCE)
        with pytest.raises(ClientError, match=code):
            client.put_item(TableName=table, Item={"key": {"S": fault}})
        assert fault not in keys(client, table)
        client.put_item(TableName=table, Item={"key": {"S": fault}})
        assert fault in keys(client, table) and proxy.counts[fault] == 1


@pytest.mark.parametrize(("fault", "done"), [(Fault.RESET, False), (Fault.LOSE_ANSWER, True)])
def test_a_connection_breaks_before_the_write_or_after_it(
    dynamodb: DynamoDB, table: str, fault: Fault, done: bool
) -> None:
    with FaultProxy(dynamodb.endpoint, first(1, fault)) as proxy:
        client = proxy.endpoint.client(**ONCE)
        with pytest.raises(ConnectionClosedError):
            client.put_item(TableName=table, Item={"key": {"S": fault}})
        assert (fault in keys(client, table)) is done


def test_half_of_a_batch_is_written_and_half_comes_back(dynamodb: DynamoDB, table: str) -> None:
    writes = [{"PutRequest": {"Item": {"key": {"S": name}}}} for name in NAMES]
    with FaultProxy(dynamodb.endpoint, first(1, Fault.HALF)) as proxy:
        client = proxy.endpoint.client(**ONCE)
        answer = client.batch_write_item(RequestItems={table: writes})
        assert answer["UnprocessedItems"] == {table: writes[5:]}
        assert set(NAMES) & keys(client, table) == set(NAMES[:5])


def test_half_of_the_statements_are_throttled(dynamodb: DynamoDB, table: str) -> None:
    text = f"insert into {table} value {{'key': ?}}"
    statements = [{"Statement": text, "Parameters": [{"S": f"statement {name}"}]} for name in NAMES]
    with FaultProxy(dynamodb.endpoint, first(1, Fault.HALF)) as proxy:
        client = proxy.endpoint.client(**ONCE)
        answers = client.batch_execute_statement(Statements=statements)["Responses"]
        assert ["Error" in answer for answer in answers] == [False, True] * 5
        assert sum(key.startswith("statement") for key in keys(client, table)) == 5


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.THROTTLE, "SlowDown"),
        (Fault.ERROR, "InternalError"),
        (Fault.UNAVAILABLE, "ServiceUnavailable"),
        (Fault.CLOCK_SKEW, "RequestTimeTooSkewed"),
    ],
)
def test_a_refused_write_to_s3_was_not_done(s3: S3, bucket: str, fault: Fault, code: str) -> None:
    with FaultProxy(s3.endpoint, first(1, fault)) as proxy:
        client = proxy.endpoint.client(**ONCE)
        with pytest.raises(ClientError, match=code):
            client.put_object(Bucket=bucket, Key=fault, Body=b"1")
        assert client.list_objects_v2(Bucket=bucket, Prefix=fault)["KeyCount"] == 0


def test_an_object_is_there_although_its_answer_was_lost(s3: S3, bucket: str) -> None:
    with FaultProxy(s3.endpoint, first(1, Fault.LOSE_ANSWER)) as proxy:
        client = proxy.endpoint.client(**ONCE)
        with pytest.raises(ConnectionClosedError):
            client.put_object(Bucket=bucket, Key="lost", Body=b"1", IfNoneMatch="*")
        with pytest.raises(ClientError, match="PreconditionFailed"):
            client.put_object(Bucket=bucket, Key="lost", Body=b"2", IfNoneMatch="*")
        assert client.get_object(Bucket=bucket, Key="lost")["Body"].read() == b"1"
        assert client.head_object(Bucket=bucket, Key="lost")["ContentLength"] == 1


def test_faults_by_chance_are_the_same_for_one_seed(dynamodb: DynamoDB, table: str) -> None:
    met = []
    for _ in range(2):
        with FaultProxy(dynamodb.endpoint, at_random(7, {Fault.THROTTLE: 0.3, Fault.SLOW: 0.1})) as proxy:
            client = proxy.endpoint.client(retries={"mode": "standard", "total_max_attempts": 10})
            for _ in range(10):
                keys(client, table)
            met.append(dict(proxy.counts))
    assert met[0] == met[1] and met[0][Fault.THROTTLE] > 0


def keys(client: Any, table: str) -> set[str]:
    return {item["key"]["S"] for item in client.scan(TableName=table, ConsistentRead=True)["Items"]}
