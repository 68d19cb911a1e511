"""The front door for tests: the collector's real app in this process, over a real log in the test's folder."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec
from starlette.types import ASGIApp, Message

from ingestion.broker import Record
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.collector import Collector, Timing
from ingestion.contracts.native import Limits
from ingestion.errors import BrokerUnavailable
from ingestion.events import EVENT_TYPES, Rejection, topic
from ingestion.intake import BodyLimits
from ingestion.keys import KeyFile, Keyring
from ingestion.tables import all_tables

T = TypeVar("T")
Json = Any

MIB = 1024 * 1024
BODY_LIMITS = BodyLimits(wire=MIB, decoded=4 * MIB, inflight=64 * MIB, inflight_source=32 * MIB)
TIMING = Timing(commit_interval=0.0)


def event(event_id: Json = "e1", /, **fields: Json) -> dict[str, Json]:
    """A valid event, with fields of its own."""
    return {"event_id": event_id, "event_type": "product_viewed", "properties": {"product_id": "p1"}} | fields


class Log(EmbeddedBroker):
    """The real log, which a test can hold up or break."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, partitions=1)
        self.lets_go, self.entered = threading.Event(), threading.Event()
        self.lets_go.set()
        self.error: Exception | None = None
        self.groups: list[int] = []

    def publish(self, records: Sequence[Record]) -> None:
        self.groups.append(len(records))
        self.entered.set()
        assert self.lets_go.wait(30)
        if self.error is not None:
            raise self.error
        super().publish(records)

    def holds(self, name: str) -> list[bytes]:
        """The values of an event type, or of `rejected`, in their order."""
        return list(self.read(topic(name), 0, 0, 100_000, 1 << 30).values)

    def counts(self) -> dict[str, int]:
        """How many records it has of each event type, and of `rejected`, where there are any."""
        return {name: len(values) for name in (*EVENT_TYPES, "rejected") if (values := self.holds(name))}


class Door:
    """A collector with a key of the source `web`; a context manager, within which it can be asked."""

    def __init__(
        self,
        path: Path,
        limits: Limits | None = None,
        body_limits: BodyLimits = BODY_LIMITS,
        timing: Timing = TIMING,
        cors_origins: Sequence[str] = ("*",),
        **clock: Any,
    ) -> None:
        self.log = Log(path / "log.sqlite")
        self.log.ensure_topics(table.topic for table in all_tables())
        self.keys = KeyFile(path / "keys.json")
        self.key = self.keys.add("web")
        self.collector = Collector(
            self.log,
            Keyring(self.keys),
            limits=limits or Limits(),
            body_limits=body_limits,
            timing=timing,
            **clock,
        )
        self.app = self.collector.app(cors_origins)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._lifespan = lifespan(self.app)
        self.run(self._lifespan.__aenter__())
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://door")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.log.lets_go.set()
        self.run(self.client.aclose())
        self.run(self._lifespan.__aexit__(None, None, None))
        self._runner.close()
        self.log.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the collector's event loop."""
        return self._runner.run(work)

    async def posting(
        self, body: Json | bytes | AsyncIterator[bytes], headers: dict[str, str] | None = None, path: str = "/v1/events"
    ) -> httpx.Response:
        """Send a body: bytes as they are, in chunks, or JSON; with the key unless the headers say otherwise."""
        content = body if isinstance(body, bytes | AsyncIterator) else json.dumps(body).encode()
        sent = {"X-Write-Key": self.key} if headers is None or "X-Write-Key" not in headers else {}
        return await self.client.post(path, content=content, headers={**sent, **(headers or {})})

    def post(
        self, body: Json | bytes | AsyncIterator[bytes], headers: dict[str, str] | None = None, path: str = "/v1/events"
    ) -> httpx.Response:
        """The same, from outside the event loop."""
        return self.run(self.posting(body, headers, path))

    def get(self, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> httpx.Response:
        """Ask for a path."""
        return self.run(self.client.request(method, path, headers=headers))

    def stored(self, event_type: str = "product_viewed") -> list[dict[str, Json]]:
        """The events of a type that the log holds."""
        return [json.loads(value) for value in self.log.holds(event_type)]

    def rejections(self) -> list[Rejection]:
        """What the log holds of what was refused for its content."""
        return [msgspec.json.decode(value, type=Rejection) for value in self.log.holds("rejected")]

    def metric(self, name: str, **labels: str) -> float:
        """A number of /metrics; 0 where it is not there yet."""
        pairs = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        wanted = f"{name}{{{pairs}}}" if labels else name
        lines = [line.rpartition(" ") for line in self.get("/metrics").text.splitlines()]
        return next((float(number) for key, _, number in lines if key == wanted), 0.0)


def code_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which has to be one JSON object with a code and a message."""
    refusal = response.json()
    assert response.headers["content-type"] == "application/json"
    assert refusal.keys() == {"code", "message"}
    assert refusal["message"]
    return response.status_code, refusal["code"]


def outcomes(response: httpx.Response) -> list[str]:
    """`accepted` or the code of each event, of an answer that has to be consistent in itself."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    results = answer["results"]
    assert answer.keys() == {"accepted", "rejected", "results"}
    assert answer["accepted"] == sum(result == {"status": "accepted"} for result in results)
    assert answer["rejected"] == len(results) - answer["accepted"]
    return [result.get("code", result["status"]) for result in results]


class Unread(AsyncIterator[bytes]):
    """A body that nobody may read."""

    async def __anext__(self) -> bytes:
        raise AssertionError("the body was read")


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """A body without a length, in these parts."""
    for part in parts:
        yield part


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """Starts an ASGI app up and shuts it down, as a server does."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    running = asyncio.ensure_future(app({"type": "lifespan", "asgi": {"version": "3.0"}}, to_app.get, from_app.put))
    for moment in ("startup", "shutdown"):
        await to_app.put({"type": f"lifespan.{moment}"})
        assert await from_app.get() == {"type": f"lifespan.{moment}.complete"}
        if moment == "startup":
            yield
    await running


UNAVAILABLE = BrokerUnavailable("the log /there did not answer")
