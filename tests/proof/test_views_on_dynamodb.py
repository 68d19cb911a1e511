"""The proof of the views on DynamoDB: the same interleavings and kills, judged by the same SQL over the lake."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from hypothesis.stateful import run_state_machine_as_test

from ingestion.events import EVENT_TYPES
from ingestion.lake import Lake
from ingestion.steps import run
from ingestion.views import ViewStore
from ingestion.views.dynamodb import DynamoDBViews
from ingestion.views.facts import Lookups
from ingestion.views.registry import fact_views
from ingestion.views.replay import replay_hour
from tests.ingestion.views.dynamodb_tables import WithTables, drop
from tests.proof.test_interleavings import explored, quietly
from tests.proof.test_view_interleavings import Views
from tests.proof.test_view_kills import copied_log, listen, shop
from tests.proof.view_checker import Shown, due, held_in_dynamodb
from tests.services.aws import REGION
from tests.services.dynamodb import DynamoDB
from tests.services.fault_proxy import FaultProxy
from tests.services.faults import Fault, at_random

__all__ = ["shop"]

LONG = bool(os.environ.get("HEADRACE_LONG"))
RUNS, STEPS = (60, 60) if LONG else (8, 40)
POINTS = ("facts.claimed:2", "facts.written:4", "listener.noted")
VIEWS = ("user_activity", "cart_events")
FAULTS = {Fault.THROTTLE: 0.04, Fault.RESET: 0.04, Fault.LOSE_ANSWER: 0.08, Fault.HALF: 0.15}
NUMBERS = count()
pytestmark = pytest.mark.timeout(3_600 if LONG else 600)


class ViewsOnDynamoDB(Views):
    """The views' proof with its rows in DynamoDB, which fails now and then."""

    def __init__(self, dynamodb: DynamoDB) -> None:
        self.dynamodb, self.prefix = dynamodb, f"proof{next(NUMBERS)}"
        super().__init__()

    def open_store(self) -> ViewStore:
        """Through a proxy that fails, as the environment says."""
        store = WithTables(REGION, self.prefix, clock=lambda: self.now.timestamp(), patience_seconds=60)
        store.create(*VIEWS)
        return store

    def held(self, view: str, now: float) -> list[Shown]:
        """What the table has, without the proxy."""
        with closing(self.dynamodb.endpoint.client()) as client:
            return held_in_dynamodb(client, f"{self.prefix}.{view}", now)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            drop(self.dynamodb, self.prefix)


@pytest.fixture
def prefix(dynamodb: DynamoDB, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of tables that are there, in the DynamoDB of this environment."""
    for name, value in dynamodb.endpoint.environment.items():
        monkeypatch.setenv(name, value)
    prefix = f"kills{next(NUMBERS)}"
    with closing(DynamoDBViews(REGION, prefix)) as store:
        store.tables.apply(store.tables.plan([name for view in VIEWS for name in (view, f"{view}.claims")]))
    yield prefix
    drop(dynamodb, prefix)


def test_interleavings_end_in_what_sql_finds_in_the_lake(dynamodb: DynamoDB, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultProxy(dynamodb.endpoint, at_random(7, FAULTS)) as proxy:
        for name, value in proxy.endpoint.environment.items():
            monkeypatch.setenv(name, value)
        run_state_machine_as_test(
            partial(ViewsOnDynamoDB, dynamodb),  # type: ignore[arg-type]  # called without arguments
            settings=explored(RUNS, STEPS),
        )
        assert sum(proxy.counts[fault] for fault in FAULTS) >= RUNS, proxy.counts


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_a_point_loses_and_doubles_nothing(
    shop: Path, tmp_path: Path, dynamodb: DynamoDB, prefix: str, point: str
) -> None:
    log, views = copied_log(shop, tmp_path), f"dynamodb://{REGION}/{prefix}"
    assert listen(shop, log, views, point) == -signal.SIGKILL
    assert listen(shop, log, views) == 0
    assert_holds_what_is_due(dynamodb, prefix, shop)


def test_views_that_are_rebuilt_from_the_lake_equal_those_of_the_listener(
    shop: Path, tmp_path: Path, dynamodb: DynamoDB, prefix: str
) -> None:
    rebuilt = f"{prefix}.rebuilt"
    assert listen(shop, copied_log(shop, tmp_path), f"dynamodb://{REGION}/{prefix}") == 0
    with closing(WithTables(REGION, rebuilt)) as store:
        for name in VIEWS:
            run(replay_hour(Lake(f"file://{shop}/lake"), store, fact_views()[name], None, Lookups()), quietly)
    assert_holds_what_is_due(dynamodb, rebuilt, shop)
    now = time.time()
    with closing(dynamodb.endpoint.client()) as client:
        for view in VIEWS:
            old, new = (held_in_dynamodb(client, f"{each}.{view}", now) for each in (prefix, rebuilt))
            assert old == new


def assert_holds_what_is_due(dynamodb: DynamoDB, prefix: str, home: Path) -> None:
    now = time.time()
    with closing(dynamodb.endpoint.client()) as client:
        for view in VIEWS:
            owed = due(home / "lake", tuple(EVENT_TYPES), view, now, {}, None)
            assert held_in_dynamodb(client, f"{prefix}.{view}", now) == owed and owed
