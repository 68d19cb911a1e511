"""Fixtures of real servers, for every test: started when the first test asks, kept to the end of the run.

Tests of the same servers are one group of xdist, so each server is started by one worker and not by all. The servers'
clients take a while to import: a run without servers goes without.
"""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.services.jars import Unavailable

if TYPE_CHECKING:
    from tests.redshift.server import StandIn
    from tests.services.dynamodb import DynamoDB
    from tests.services.kafka import Kafka
    from tests.services.s3 import S3

T = TypeVar("T")
SERVICES = ("kafka", "kafka_of_three", "kafka_with_users", "dynamodb", "s3", "versitygw", "redshift")
USERS = {"collector": "collector-password", "lander": "lander-password", "stranger": "stranger-password"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before xdist looks at the groups."""
    for item in items:
        used = [name for name in SERVICES if name in getattr(item, "fixturenames", ())]
        if used and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("+".join(used)))


@pytest.fixture(scope="session")
def kafka() -> "Iterator[Kafka]":
    """One open broker. Take topics of your own; break it only with `kafka.broker.down()` and `.paused()`."""
    from tests.services.kafka import kafka_cluster

    yield from or_skipped(kafka_cluster)


@pytest.fixture(scope="module")
def kafka_of_three() -> "Iterator[Kafka]":
    """Three open brokers, for tests that kill one."""
    from tests.services.kafka import kafka_cluster

    yield from or_skipped(lambda: kafka_cluster(brokers=3))


@pytest.fixture(scope="module")
def kafka_with_users() -> "Iterator[Kafka]":
    """One broker that knows the USERS by SCRAM, who may do nothing until an ACL allows it."""
    from tests.services.kafka import kafka_cluster

    yield from or_skipped(lambda: kafka_cluster(users=USERS))


@pytest.fixture(scope="session")
def dynamodb() -> "Iterator[DynamoDB]":
    """DynamoDB Local. Take table names of your own."""
    from tests.services.dynamodb import dynamodb_local

    yield from or_skipped(dynamodb_local)


@pytest.fixture(scope="session")
def s3() -> "Iterator[S3]":
    """S3Proxy. Take a bucket of your own."""
    from tests.services.s3 import s3_proxy

    yield from or_skipped(s3_proxy)


@pytest.fixture(scope="session")
def versitygw() -> "Iterator[S3]":
    """versitygw, the second opinion. Take a bucket of your own."""
    from tests.services.s3 import versity_gateway

    yield from or_skipped(versity_gateway)


@pytest.fixture(scope="session")
def redshift() -> "Iterator[StandIn]":
    """The stand-in for Redshift. Take a database of your own."""
    from tests.redshift.server import redshift

    yield from or_skipped(redshift)


@pytest.fixture
def sockets_collected() -> Iterator[None]:
    """For tests of logins that fail: redshift_connector leaves the socket of one to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def or_skipped(server: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
    try:
        with server() as ready:
            yield ready
    except Unavailable as missing:
        pytest.skip(str(missing))
