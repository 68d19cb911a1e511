"""The collector: an ASGI app that answers `accepted` for an event only when the log has it durably.

`POST /v1/events` authenticates, reads, maps and publishes one request; every event gets its result, in order. A
request that cannot be read at all is refused with a status, and kept as a rejection where its bytes are known.
"""

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ingestion.broker import Broker, Record
from ingestion.contracts.json_text import ContentError
from ingestion.contracts.native import Limits, Reception, map_body, reject_body
from ingestion.errors import HeadraceError
from ingestion.events import Rejection, topic
from ingestion.group_commit import GroupCommit
from ingestion.intake import BodyLimits, InFlight, Refusal, Share, read_body
from ingestion.keys import Keyring
from ingestion.metrics import Metrics
from ingestion.openapi import describe
from ingestion.steps import Reach
from ingestion.tables import REJECTED, all_tables

log = logging.getLogger(__name__)

EVENTS_PATH = "/v1/events"
JSON = "application/json"
CONTENT_TYPES = ("", JSON, "text/plain", "application/octet-stream", "application/x-www-form-urlencoded")
"""What JSON comes as: beacons cannot say better than text, and curl and some SDKs call it a form."""
REFUSED_STATUS = {"too_many_events": 413, "not_events": 422, "empty_batch": 422, "invalid_timestamp": 422}
"""The status of a body that is no batch of events; what is no JSON at all is 400."""
QUICK_BYTES = 128 * 1024
"""A body up to this is mapped within milliseconds; a larger one in a thread, while other requests go on."""
ALLOWED_HEADERS = ("Authorization", "Content-Type", "Content-Encoding", "X-Write-Key", "X-Retry-Count")


@dataclass(frozen=True)
class Timing:
    """Seconds: how long a group commit waits, a body may take, and an answer may take."""

    commit_interval: float = 0.005
    body: float = 30.0
    answer: float = 4.0


class Collector:
    """The parts of a collector; `clock` tells received_at, `reach` is told the points at which a crash matters."""

    def __init__(
        self,
        broker: Broker,
        keyring: Keyring,
        *,
        limits: Limits,
        body_limits: BodyLimits,
        timing: Timing,
        reach: Reach = lambda point: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._broker, self._keyring, self._limits, self._body_limits = broker, keyring, limits, body_limits
        self._timing, self._reach, self._clock = timing, reach, clock
        self._inflight = InFlight(body_limits)
        self._metrics = Metrics(lambda: self._inflight.total)
        self._log: GroupCommit
        self._mapping: ThreadPoolExecutor

    def app(self, cors_origins: Sequence[str] = ("*",)) -> ASGIApp:
        """The ASGI app. CORS is its outermost layer, so that a browser may read every answer, even to a fault."""
        routes = [
            Route(EVENTS_PATH, self._events, methods=["POST"]),
            Route("/health", self._health),
            Route("/ready", self._ready),
            Route("/metrics", self._expose_metrics),
            Route("/openapi.json", self._describe),
        ]
        handlers: dict[Any, Any] = {Refusal: self._refuse, HTTPException: _http_error, Exception: self._fail}
        routed = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)

        async def door(scope: Scope, receive: Receive, send: Send) -> None:
            """Events go past the router, which costs as much as all that is done for a request of one event."""
            if scope["type"] == "http" and scope["path"] == EVENTS_PATH and scope["method"] == "POST":
                await self._answer_events(Request(scope, receive), send)
            else:
                await routed(scope, receive, send)

        return CORSMiddleware(
            door,
            allow_origins=cors_origins,
            allow_methods=["POST", "GET"],
            allow_headers=ALLOWED_HEADERS,
            expose_headers=["Retry-After"],
            max_age=86_400,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._log = GroupCommit(self._broker, self._timing.commit_interval)
        committing = asyncio.create_task(self._log.run())
        with ThreadPoolExecutor(1, thread_name_prefix="mapping") as self._mapping:  # one: a mapping takes memory
            yield
        self._log.close()
        await committing

    async def _answer_events(self, request: Request, send: Send) -> None:
        try:
            response = await self._events(request)
        except Refusal as refusal:
            response = await self._refuse(request, refusal)
        except Exception as error:
            await (await self._fail(request, error))(request.scope, request.receive, send)
            raise
        await response(request.scope, request.receive, send)

    async def _events(self, request: Request) -> Response:
        source = self._authenticate(request)
        _check_content_type(request.headers.get("content-type", ""))
        with self._inflight.of(source) as share:
            body = await self._read(request, share)
            reception = Reception(source, self._clock())
            try:
                results = await self._map(body, reception)
            except ContentError as error:
                return await self._keep_body(error, body, reception, share)
            self._metrics.received.labels(source).inc(len(results))
            self._reach("collector.mapped")
            await self._publish([_record(result) for result in results], share)
            self._reach("collector.published")
            return self._answer(results, source)

    def _authenticate(self, request: Request) -> str:
        key = _write_key(request)
        if not key:
            raise Refusal(401, "missing_write_key", "send a write key: Basic user name, X-Write-Key or ?write_key=")
        source = self._keyring.source_of(key)
        if source is None:
            raise Refusal(401, "unknown_write_key", "the write key is not known or disabled; see: headrace keys list")
        return source

    async def _read(self, request: Request, share: Share) -> bytes:
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._body_limits.wire:  # 20 digits are enough to see it
            raise Refusal(413, "body_too_large", f"at most {self._body_limits.wire} bytes; send less at once")
        encoding = request.headers.get("content-encoding", "").strip().lower()
        try:
            async with asyncio.timeout(self._timing.body):
                return await read_body(request.stream(), encoding, self._body_limits, share)
        except TimeoutError:
            raise Refusal(408, "body_timeout", "the body did not come in time; send it again") from None
        except ClientDisconnect:
            raise Refusal(400, "cut_short", "the connection was cut before the body was whole") from None

    async def _map(self, body: bytes, reception: Reception) -> list[Record | Rejection]:
        if len(body) <= QUICK_BYTES:
            return map_body(body, reception, self._limits)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._mapping, map_body, body, reception, self._limits)

    async def _keep_body(self, error: ContentError, body: bytes, reception: Reception, share: Share) -> Response:
        """Refuse a body that is no batch of events; what a smaller request cannot heal is kept as a rejection."""
        status = REFUSED_STATUS.get(error.code, 400)
        if status != 413 and body:
            await self._publish([_record(reject_body(error, body, reception))], share)
            self._metrics.rejected.labels(reception.source, error.code).inc()
        raise Refusal(status, error.code, error.message)

    async def _publish(self, records: Sequence[Record], share: Share) -> None:
        """Return when `records` are durable, or raise Refusal 503."""
        stored = self._log.publish(records)
        try:
            with self._metrics.ack_seconds.time():
                await asyncio.wait_for(asyncio.shield(stored), self._timing.answer)
        except TimeoutError:
            share.handed_on = True  # the log still holds the bytes: they count until it has let go
            stored.add_done_callback(lambda done: share.release())
            raise Refusal(503, "timeout", "the log is slow; it is not known what was stored: send again", 2) from None
        except HeadraceError as error:
            log.warning("answered 503: %s", error)
            raise Refusal(503, "log_unavailable", "the log does not answer; send the same events again", 2) from None

    def _answer(self, results: Sequence[Record | Rejection], source: str) -> Response:
        rejections = [result for result in results if isinstance(result, Rejection)]
        for rejection in rejections:
            self._metrics.rejected.labels(source, rejection.code).inc()
        accepted = len(results) - len(rejections)
        self._metrics.accepted.labels(source).inc(accepted)
        return _json(
            200, {"accepted": accepted, "rejected": len(rejections), "results": [_result(result) for result in results]}
        )

    async def _refuse(self, request: Request, refusal: Refusal) -> Response:
        self._metrics.refused.labels(str(refusal.status), refusal.code).inc()
        headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after else {}
        if refusal.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="write key"'
        if refusal.status == 408:
            headers["Connection"] = "close"  # the rest of the body is not waited for either
        if refusal.status == 415:
            headers["Accept-Encoding"] = "gzip, identity"
        return _json(refusal.status, {"code": refusal.code, "message": refusal.message}, headers)

    async def _fail(self, request: Request, error: Exception) -> Response:
        """The answer to what nobody foresaw; the server still hears of the error and logs it."""
        return await self._refuse(
            request, Refusal(500, "internal_error", "a fault of the collector; send the same events again", 2)
        )

    async def _health(self, request: Request) -> Response:
        return _json(200, {"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        """Whether the log answers, and its topics are there and safe."""
        try:
            async with asyncio.timeout(self._timing.answer):
                await asyncio.to_thread(self._broker.ensure_topics, [table.topic for table in all_tables()])
        except Exception as error:  # whatever keeps the log from answering, the answer is 503
            raise Refusal(503, "log_unavailable", str(error) or "the log does not answer in time", 2) from None
        return _json(200, {"status": "ready"})

    async def _expose_metrics(self, request: Request) -> Response:
        return Response(self._metrics.exposition(), media_type="text/plain; version=0.0.4")

    async def _describe(self, request: Request) -> Response:
        return _json(200, describe())


def _write_key(request: Request) -> str | None:
    """The write key: Basic user name, `X-Write-Key`, or `?write_key=` for beacons, which can set no header."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):  # no base64, or no UTF-8 in it
            return base64.b64decode(credentials).decode().partition(":")[0]
        return None
    return request.headers.get("x-write-key") or request.query_params.get("write_key")


def _check_content_type(content_type: str) -> None:
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in CONTENT_TYPES and not kind.endswith("+json"):
        raise Refusal(415, "unsupported_content_type", f"Content-Type {kind!r:.64} is not JSON; use {JSON}")


def _record(result: Record | Rejection) -> Record:
    if isinstance(result, Record):
        return result
    return Record(topic(REJECTED), result.source.encode(), msgspec.json.encode(result))


def _result(result: Record | Rejection) -> dict[str, object]:
    if isinstance(result, Record):
        return {"status": "accepted"}
    return {
        "status": "rejected",
        "code": result.code,
        "field": result.field,
        "message": result.message,
        "retry": False,
    }


async def _http_error(request: Request, error: HTTPException) -> Response:
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return _json(error.status_code, {"code": code, "message": error.detail}, dict(error.headers or {}))


def _json(status: int, content: object, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, JSON)
