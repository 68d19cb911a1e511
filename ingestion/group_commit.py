"""Group commit: the records of all requests within a few milliseconds go to the log as one durable write.

While one group is being written the next one gathers, so under load a group is as large as the log is slow, and an
fsync is shared by every request that waits for it.
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ingestion.broker import Broker, Record

MAX_GROUP = 10_000
log = logging.getLogger(__name__)


class GroupCommit:
    """Publishes to `broker` from one thread; `interval` seconds is how long a group waits for company."""

    def __init__(self, broker: Broker, interval: float) -> None:
        self._broker, self._interval = broker, interval
        self._waiting: list[tuple[Sequence[Record], asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="group-commit")

    def publish(self, records: Sequence[Record]) -> asyncio.Future[None]:
        """A future that is done when `records` are durable, or has the error that left them unknown."""
        future = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # its client may have gone
        self._waiting.append((records, future))
        self._wake.set()
        return future

    async def run(self) -> None:
        """Commit group after group, until closed and nothing waits any more."""
        while await self._wake.wait() and (self._waiting or not self._closed):
            await asyncio.sleep(self._interval)
            await self._commit(self._next_group())
        self._thread.shutdown()

    def close(self) -> None:
        """Let `run` end after what waits now."""
        self._closed = True
        self._wake.set()

    def _next_group(self) -> list[tuple[Sequence[Record], asyncio.Future[None]]]:
        size, count = 0, 0
        for records, _ in self._waiting:
            size, count = size + len(records), count + 1
            if size >= MAX_GROUP:
                break
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        if not self._waiting and not self._closed:
            self._wake.clear()
        return group

    async def _commit(self, group: Sequence[tuple[Sequence[Record], asyncio.Future[None]]]) -> None:
        records = [record for part, _ in group for record in part]
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._broker.publish, records)
        except Exception as error:  # whatever it was, every request of the group must hear of it
            log.warning("a group of %d records was not stored: %s", len(records), error)
            for future in _still_wanted(group):
                future.set_exception(error)
        else:
            for future in _still_wanted(group):
                future.set_result(None)


def _still_wanted(group: Sequence[tuple[Sequence[Record], asyncio.Future[None]]]) -> list[asyncio.Future[None]]:
    """The futures that nobody cancelled: to resolve one of those is an error that would end all committing."""
    return [future for _, future in group if not future.done()]
