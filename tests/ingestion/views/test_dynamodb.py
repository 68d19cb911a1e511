from collections.abc import Iterator
from functools import partial
from itertools import count

import pytest

from ingestion.views.dynamodb import DynamoDBViews
from tests.ingestion.views.contract import OTHER, VIEW, Site, ViewStoreContract
from tests.ingestion.views.dynamodb_tables import WithTables, drop
from tests.services.aws import REGION
from tests.services.dynamodb import DynamoDB

PREFIXES = count()


class Clock:
    """Seconds since 1970, in the test's hand."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def set(self, now: int) -> None:
        self.now = now


@pytest.fixture
def aws(dynamodb: DynamoDB, monkeypatch: pytest.MonkeyPatch) -> DynamoDB:
    """DynamoDB Local as the usual settings of AWS name it."""
    for name, value in dynamodb.endpoint.environment.items():
        monkeypatch.setenv(name, value)
    return dynamodb


@pytest.fixture
def prefix(aws: DynamoDB) -> Iterator[str]:
    prefix = f"test{next(PREFIXES)}"
    yield prefix
    drop(aws, prefix)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(prefix: str, clock: Clock) -> Iterator[WithTables]:
    store = WithTables(REGION, prefix, clock)
    store.create(VIEW, OTHER)
    yield store
    store.close()


class TestDynamoDBViews(ViewStoreContract):
    @pytest.fixture
    def site(self, store: WithTables, clock: Clock) -> Site:
        return Site(store, partial(DynamoDBViews, REGION, store.prefix), clock.set)
