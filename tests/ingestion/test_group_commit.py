import asyncio
import gc
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingestion.broker import Record
from ingestion.errors import BrokerUnavailable, UnknownTopic
from ingestion.group_commit import MAX_GROUP, GroupCommit
from tests.ingestion.door import UNAVAILABLE, Log

TOPIC = "events.product_viewed"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "log.sqlite")
    log.ensure_topics([TOPIC])
    yield log
    log.close()


def records(*values: str) -> list[Record]:
    return [Record(TOPIC, b"key", value.encode()) for value in values]


@asynccontextmanager
async def running(log: Log, interval: float = 0.0) -> AsyncIterator[GroupCommit]:
    commit = GroupCommit(log, interval)
    task = asyncio.create_task(commit.run())
    yield commit
    log.lets_go.set()
    commit.close()
    await asyncio.wait_for(task, 10)


def within(log: Log, work: Callable[[GroupCommit], Awaitable[None]], interval: float = 0.0) -> None:
    async def go() -> None:
        async with running(log, interval) as commit:
            await work(commit)

    asyncio.run(go())


async def entered(log: Log) -> None:
    assert await asyncio.to_thread(log.entered.wait, 10)


def test_what_is_published_is_in_the_log_when_the_future_is_done(log: Log) -> None:
    async def work(commit: GroupCommit) -> None:
        await commit.publish(records("a", "b"))
        assert log.holds("product_viewed") == [b"a", b"b"]

    within(log, work)


def test_the_future_is_not_done_before_the_log_has_let_go(log: Log) -> None:
    async def work(commit: GroupCommit) -> None:
        log.lets_go.clear()
        stored = commit.publish(records("a"))
        await entered(log)
        await asyncio.sleep(0.05)
        assert not stored.done()
        log.lets_go.set()
        await stored

    within(log, work)


def test_requests_within_the_interval_share_one_transaction(log: Log) -> None:
    async def work(commit: GroupCommit) -> None:
        futures = []
        for number in range(10):
            futures.append(commit.publish(records(str(number))))
            await asyncio.sleep(0.001)
        await asyncio.gather(*futures)

    within(log, work, interval=0.5)
    assert log.groups == [10]
    assert log.holds("product_viewed") == [str(number).encode() for number in range(10)]


def test_the_next_group_gathers_while_one_is_written(log: Log) -> None:
    async def work(commit: GroupCommit) -> None:
        log.lets_go.clear()
        first = commit.publish(records("a"))
        await entered(log)
        others = [commit.publish(records(value)) for value in "bcd"]
        log.lets_go.set()
        await asyncio.gather(first, *others)

    within(log, work)
    assert log.groups == [1, 3]
    assert log.holds("product_viewed") == [b"a", b"b", b"c", b"d"]


def test_a_group_is_bounded_and_none_is_left_waiting(log: Log) -> None:
    async def work(commit: GroupCommit) -> None:
        part = records(*(str(number) for number in range(MAX_GROUP // 4)))
        await asyncio.gather(*(commit.publish(part) for _ in range(10)))

    within(log, work)
    assert sum(log.groups) == 10 * (MAX_GROUP // 4)
    assert max(log.groups) == MAX_GROUP


def test_an_error_reaches_every_request_of_the_group_and_no_other(log: Log) -> None:
    async def work(commit: GroupCommit) -> None:
        await commit.publish(records("before"))
        log.error = UNAVAILABLE
        outcomes = await asyncio.gather(*(commit.publish(records(v)) for v in "abc"), return_exceptions=True)
        assert outcomes == [UNAVAILABLE] * 3
        log.error = None
        await commit.publish(records("after"))

    within(log, work)
    assert log.holds("product_viewed") == [b"before", b"after"]


def test_one_request_that_the_log_refuses_stores_nothing_of_its_group(log: Log) -> None:
    async def work(commit: GroupCommit) -> None:
        good, bad = commit.publish(records("a")), commit.publish([Record("events.unheard_of", b"", b"")])
        assert [type(error) for error in await asyncio.gather(good, bad, return_exceptions=True)] == [UnknownTopic] * 2

    within(log, work)
    assert log.holds("product_viewed") == []


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk full"), ValueError("a bug"), TimeoutError("slow")])
def test_committing_goes_on_after_whatever_error(log: Log, error: Exception) -> None:
    async def work(commit: GroupCommit) -> None:
        log.error = error
        with pytest.raises(type(error)):
            await commit.publish(records("a"))
        log.error = None
        await commit.publish(records("b"))

    within(log, work)


@pytest.mark.parametrize("error", [None, UNAVAILABLE])
def test_a_request_that_was_cancelled_does_not_end_committing(log: Log, error: BrokerUnavailable | None) -> None:
    async def work(commit: GroupCommit) -> None:
        log.lets_go.clear()
        log.error = error
        gone, stays = commit.publish(records("a")), commit.publish(records("b"))
        await entered(log)
        gone.cancel()
        log.lets_go.set()
        (outcome,) = await asyncio.gather(stays, return_exceptions=True)
        assert outcome is error
        log.error = None
        await asyncio.wait_for(commit.publish(records("c")), 5)

    within(log, work)


def test_nobody_has_to_hear_of_an_error(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    """A client that has gone leaves a future behind that nobody asks: asyncio does not complain of it."""

    async def work(commit: GroupCommit) -> None:
        log.error = BrokerUnavailable("heard of by nobody")
        commit.publish(records("a"))
        await entered(log)

    within(log, work)
    log.error = None
    gc.collect()
    assert [record.name for record in caplog.records] == ["ingestion.group_commit"]


def test_at_the_shutdown_everything_that_waits_is_still_stored(log: Log) -> None:
    async def work(commit: GroupCommit) -> None:
        log.lets_go.clear()
        futures.append(commit.publish(records("being written")))
        await entered(log)
        futures.extend(commit.publish(records(str(number))) for number in range(5))

    futures: list[asyncio.Future[None]] = []
    within(log, work, interval=0.02)
    assert [(future.done(), future.exception()) for future in futures] == [(True, None)] * 6
    assert len(log.holds("product_viewed")) == 6


def test_a_shutdown_without_anything_waiting_is_at_once(log: Log) -> None:
    async def nothing(commit: GroupCommit) -> None:
        await asyncio.sleep(0)

    within(log, nothing, interval=60)
    assert log.groups == []


def test_an_error_at_the_shutdown_does_not_hang_it(log: Log) -> None:
    async def work(commit: GroupCommit) -> None:
        log.error = UNAVAILABLE
        futures.append(commit.publish(records("a")))

    futures: list[asyncio.Future[None]] = []
    within(log, work)
    assert futures[0].exception() is UNAVAILABLE
