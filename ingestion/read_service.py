"""The read service: `GET /v1/views/<view>/<key>?limit=&page=` answers what a view says, for the app's backend.

It asks for a read key, which is no write key: the keys that apps carry must not open what visitors did.
"""

import base64
import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ingestion.errors import ItemRefused, TransientError, UnknownView
from ingestion.keys import Keyring
from ingestion.views import ViewStore
from ingestion.views.reading import READERS, answer, now

JSON = "application/json"
RETRY_SECONDS = "1"


class ReadService:
    """The parts of a read service; `keyring` holds the read keys, `clock` says which day it is."""

    def __init__(self, store: ViewStore, keyring: Keyring, clock: Callable[[], datetime] = now) -> None:
        self._store, self._keyring, self._clock = store, keyring, clock

    def app(self) -> Starlette:
        """The ASGI app. Endpoints are plain functions: they run in threads, since a store may take its time."""
        return Starlette(
            routes=[
                Route("/v1/views/{view}/{key:path}", self._read),
                Route("/v1/views", self._list),
                Route("/health", _health),
                Route("/ready", self._ready),
            ],
            exception_handlers={
                HTTPException: _http_error,
                UnknownView: _refusal(404, "unknown_view"),
                ItemRefused: _refusal(400, "invalid_request"),
                TransientError: _refusal(503, "store_unavailable"),
            },
        )

    def _read(self, request: Request) -> Response:
        self._authenticate(request)
        view, key = request.path_params["view"], request.path_params["key"]
        page = request.query_params.get("page") or None
        limit = _limit(request.query_params.get("limit"))
        return _json(200, answer(self._store, view, key, limit, page, self._clock))

    def _list(self, request: Request) -> Response:
        self._authenticate(request)
        return _json(200, {"views": list(READERS)})

    def _ready(self, request: Request) -> Response:
        """Whether the store answers."""
        self._store.read("user_activity", "user:nobody", 1)
        return _json(200, {"status": "ready"})

    def _authenticate(self, request: Request) -> None:
        key = _read_key(request)
        if not key or self._keyring.source_of(key) is None:
            said = "is not known or disabled, or is a write key" if key else "is missing"
            raise HTTPException(
                401,
                f"the read key {said}: send one as X-Read-Key or Basic user name; see: headrace keys add --read",
                {"WWW-Authenticate": 'Basic realm="read key"'},
            )


def _read_key(request: Request) -> str | None:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):  # no base64, or no UTF-8 in it
            return base64.b64decode(credentials).decode().partition(":")[0]
        return None
    return request.headers.get("x-read-key")


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ItemRefused(f"limit is {text[:20]!r}; use a number of rows, or of days")
    return int(text)


async def _health(request: Request) -> Response:
    return _json(200, {"status": "ok"})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  what it is registered for
    code = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return _json(error.status_code, {"code": code, "message": error.detail}, dict(error.headers or {}))


def _refusal(status: int, code: str) -> Any:
    async def refuse(request: Request, error: Exception) -> Response:
        headers = {"Retry-After": RETRY_SECONDS} if status == 503 else None
        return _json(status, {"code": code, "message": str(error)}, headers)

    return refuse


def _json(status: int, content: object, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, JSON)
