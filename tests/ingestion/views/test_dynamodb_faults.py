"""DynamoDB that throttles, fails, leaves half a batch undone, breaks connections and dies: the rows are the same."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest

from ingestion.errors import ViewsUnavailable
from ingestion.views import Row, read_all
from ingestion.views.dynamodb import DynamoDBViews
from tests.ingestion.views.contract import VIEW, contended, row, values, whole
from tests.ingestion.views.dynamodb_tables import WithTables, drop
from tests.services.aws import REGION
from tests.services.dynamodb import DynamoDB
from tests.services.fault_proxy import FaultProxy
from tests.services.faults import Fault, Plan, Request, at_random, calm, first

SUMMARIES = "summaries"
NUMBERS = count()
MIXTURE = {
    Fault.THROTTLE: 0.08, Fault.ERROR: 0.05, Fault.UNAVAILABLE: 0.05, Fault.CLOCK_SKEW: 0.02, Fault.RESET: 0.08,
    Fault.LOSE_ANSWER: 0.12, Fault.SLOW: 0.02, Fault.HALF: 0.15,
}  # fmt: skip


@pytest.fixture
def proxy(dynamodb: DynamoDB, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Between the store and DynamoDB."""
    with FaultProxy(dynamodb.endpoint) as proxy:
        for name, value in proxy.endpoint.environment.items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def store(proxy: FaultProxy, dynamodb: DynamoDB) -> Iterator[DynamoDBViews]:
    prefix = f"faults{next(NUMBERS)}"
    store = WithTables(REGION, prefix, patience_seconds=60)
    store.create(VIEW, SUMMARIES)
    yield store
    proxy.plan = calm
    store.close()
    drop(dynamodb, prefix)


@pytest.mark.parametrize("chances", [*({fault: 0.3} for fault in Fault), MIXTURE], ids=[*Fault, "mixture"])
def test_rows_are_those_of_a_run_without_faults(
    store: DynamoDBViews, proxy: FaultProxy, chances: dict[Fault, float]
) -> None:
    proxy.plan = at_random(7, chances)
    rows = contended()
    random.Random(7).shuffle(rows)
    for batch in range(0, len(rows), 60):
        store.upsert(VIEW, rows[batch : batch + 60])
    for version in (2, 1, 3):
        store.replace(SUMMARIES, "small", version, whole_of("small", version))
        store.replace(SUMMARIES, "large", version, whole_of("large", version, pad=140_000))
    highest = {(each.key, each.sort): each for each in contended()}
    found = {(each.key, each.sort): each for key in store.keys(VIEW) for each in read_all(store, VIEW, key)}
    assert found == highest
    for key, pad in (("small", 0), ("large", 140_000)):
        assert list(read_all(store, SUMMARIES, key)) == whole_of(key, 3, pad)[::-1]
    assert all(proxy.counts[fault] for fault, chance in chances.items() if chance >= 0.05)
    proxy.plan = calm
    assert len(parts(store)) == 4


def test_a_write_whose_answer_is_lost_is_done_once(store: DynamoDBViews, proxy: FaultProxy) -> None:
    proxy.plan = first(1, Fault.LOSE_ANSWER, "BatchExecuteStatement")
    store.upsert(VIEW, [row(version=2)])
    proxy.plan = first(1, Fault.LOSE_ANSWER, "PutItem")
    store.replace(SUMMARIES, "p1", 1, whole(1))
    assert proxy.counts[Fault.LOSE_ANSWER] == 2
    assert list(read_all(store, VIEW, "u1")) == [row(version=2)]
    assert list(read_all(store, SUMMARIES, "p1")) == whole(1)[::-1]


def test_parts_that_a_sweep_left_undone_are_swept_again(store: DynamoDBViews, proxy: FaultProxy) -> None:
    store.replace(SUMMARIES, "large", 1, whole_of("large", 1, pad=140_000))
    proxy.plan = first(2, Fault.HALF, "BatchWriteItem")
    store.replace(SUMMARIES, "large", 2, [])
    assert proxy.counts[Fault.HALF] == 2 and parts(store) == []


@pytest.mark.parametrize("fault", [Fault.THROTTLE, Fault.ERROR, Fault.RESET, Fault.CLOCK_SKEW])
def test_what_does_not_pass_is_unavailable_in_time_with_its_reason(
    store: DynamoDBViews, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.plan = at_random(7, {fault: 1.0})
    with closing(DynamoDBViews(REGION, store.prefix, patience_seconds=1)) as impatient:
        for work in (
            lambda: impatient.upsert(VIEW, [row()]),
            lambda: impatient.replace(SUMMARIES, "p1", 1, whole(1)),
            lambda: impatient.read(VIEW, "u1", 1),
        ):
            started = time.monotonic()
            with pytest.raises(ViewsUnavailable, match="Connection was closed" if fault is Fault.RESET else "injected"):
                work()
            assert time.monotonic() - started < 5
    proxy.plan = calm
    assert list(store.keys(VIEW)) == [] and list(store.keys(SUMMARIES)) == []


def test_half_of_a_batch_that_stays_undone_is_unavailable(store: DynamoDBViews, proxy: FaultProxy) -> None:
    """Every other statement is throttled, each time."""
    proxy.plan = of_statements(Fault.HALF)
    with closing(DynamoDBViews(REGION, store.prefix, patience_seconds=1)) as impatient:
        with pytest.raises(ViewsUnavailable, match="injected"):
            impatient.upsert(VIEW, [row(f"u{n}") for n in range(25)])
        proxy.plan = calm
        assert impatient.upsert(VIEW, [row(f"u{n}") for n in range(25)]) > 0
        assert len(list(impatient.keys(VIEW))) == 25


def test_what_was_acknowledged_is_there_after_kill_9(store: DynamoDBViews, dynamodb: DynamoDB) -> None:
    acknowledged: list[Row] = []
    done = threading.Event()

    def write() -> None:
        for number in count():
            if done.is_set():
                return
            rows = [row(f"u{number}", f"{n}", item={"value": number}) for n in range(30)]
            store.upsert(VIEW, rows)
            acknowledged.extend(rows)

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(2):
        before = len(acknowledged)
        while len(acknowledged) < before + 90:
            time.sleep(0.02)
        with dynamodb.down():
            pass
    done.set()
    writer.join()
    found = {each for key in store.keys(VIEW) for each in addresses(store, key)}
    assert found >= {(each.key, each.sort) for each in acknowledged} and len(acknowledged) > 180


def test_a_server_that_is_silent_for_a_while_is_waited_for(store: DynamoDBViews, dynamodb: DynamoDB) -> None:
    store.upsert(VIEW, [row()])
    with dynamodb.paused():
        threading.Timer(1, dynamodb.resume).start()
        assert values(store) == [1]


def of_statements(fault: Fault) -> Plan:
    def plan(request: Request) -> Fault | None:
        return fault if request.operation == "BatchExecuteStatement" else None

    return plan


def whole_of(key: str, version: int, pad: int = 0) -> list[Row]:
    return [Row(key, f"s{n}", version, {"value": version, "pad": "x" * pad}) for n in range(7 + version % 3)]


def parts(store: DynamoDBViews) -> list[str]:
    found = store._query(f"{store.prefix}.{SUMMARIES}", "large", 100, None)
    return [item["sort"]["S"] for item in found if "digest" not in item]


def addresses(store: DynamoDBViews, key: str) -> list[tuple[str, str]]:
    return [(each.key, each.sort) for each in read_all(store, VIEW, key)]
