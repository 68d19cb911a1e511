"""The native contract: `POST /v1/events` with one event, an array of events, or `{"sent_at": …, "batch": […]}`."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from ingestion.broker import Record
from ingestion.contracts import clock
from ingestion.contracts.conform import check_bytes, convert
from ingestion.contracts.json_text import ContentError, array, decode, inspect, split
from ingestion.contracts.rejections import reject
from ingestion.events import EVENT_TYPES, App, Device, Event, Rejection, identifier, text, topic

NAME = "native"
VERSION = 1
PLACEHOLDER = re.compile(r"\s*(?:undefined|null|none|nan|\[object object\]|[0\-]*)\s*", re.IGNORECASE)
"""What broken apps send for an id: taken as an id it would make one visitor of thousands."""


class NativeEvent(Struct, frozen=True, kw_only=True):
    """An event as an app sends it, with `properties` of its type. Fields that are not named here are kept."""

    event_id: Annotated[str, identifier("your id of the event: a UUID; send the same when you repeat it")]
    event_type: Annotated[str, text(64, "a name of the catalogue, like product_viewed")]
    occurred_at: Annotated[datetime, Meta(description="when it happened by the device's clock, RFC 3339")] | None = None
    sent_at: Annotated[datetime, Meta(description="device time of the sending; of the batch, if it has one")] | None = (
        None
    )
    user_id: Annotated[str, text(128, "the shop's id of a logged-in user")] | None = None
    anonymous_id: Annotated[str, text(128, "id of the browser or the installation")] | None = None
    session_id: Annotated[str, text(128, "the app's own session")] | None = None
    device_sequence: Annotated[int, Meta(ge=0, le=2**63 - 1, description="counts the device's events")] | None = None
    app: App | None = None
    device: Device | None = None
    context: Annotated[dict[str, Any], Meta(description="whatever else is worth keeping")] | None = None


KNOWN_FIELDS = frozenset(NativeEvent.__struct_fields__) | {"properties"}


@dataclass(frozen=True)
class Limits:
    """What one request and one event may hold; bytes are counted as stored."""

    batch_events: int = 1_000
    event_bytes: int = 48 * 1024
    depth: int = 32
    string_bytes: int = 16 * 1024


@dataclass(frozen=True)
class Reception:
    """Whose request it is and when it was read."""

    source: str
    received_at: datetime


@cache
def native_type(event_type: str) -> type[NativeEvent]:
    """The native form of one event type; ContentError where the catalogue has no such type."""
    if event_type not in EVENT_TYPES:
        raise ContentError(
            "unknown_event_type", f"event_type {event_type!r} is not in the catalogue (GET /openapi.json)", "event_type"
        )
    cls = EVENT_TYPES[event_type]
    name, described = f"Native{cls.__name__}", {"__doc__": cls.__doc__}
    properties: Any = ("properties", cls)
    return msgspec.defstruct(name, [properties], bases=(NativeEvent,), namespace=described, frozen=True, kw_only=True)  # type: ignore[return-value]


def map_body(body: bytes, reception: Reception, limits: Limits) -> list[Record | Rejection]:
    """One result per event of `body`, in order.

    Raises ContentError where the body as a whole is no event and no batch: nothing of it was mapped.
    """
    batch = _open(body, limits)
    results = [_map_or_error(event, batch.sent_at, reception, limits) for event in batch.events]
    if not any(isinstance(result, ContentError) for result in results):
        return results  # type: ignore[return-value]
    return [
        result if isinstance(result, Record) else _reject(result, payload, batch.sent_at, reception)
        for result, payload in zip(results, batch.payloads(), strict=True)
    ]


def reject_body(error: ContentError, body: bytes, reception: Reception) -> Rejection:
    """The rejection of a body that is no event and no batch."""
    return _reject(error, body, None, reception, whole_request=True)


class _Envelope(Struct):
    batch: Raw


@dataclass(frozen=True)
class _Batch:
    """The events of a request, each decoded or the ContentError that stands for it; `payloads` are they as sent."""

    sent_at: datetime | None
    events: Sequence[Any]
    payloads: Callable[[], Sequence[bytes]]


def _open(body: bytes, limits: Limits) -> _Batch:
    try:
        value = decode(body)
    except ContentError as error:
        return _open_spoilt(body, error, limits)
    sent_at, events = _envelope(value)
    _check_number(events, limits)
    return _Batch(sent_at, events, lambda: _payloads(body, value))


def _open_spoilt(body: bytes, error: ContentError, limits: Limits) -> _Batch:
    """A batch of which one event spoils the JSON: only that event is lost. Else raises `error` again."""
    start = array(body, b"batch")
    if start is None:
        raise error
    payloads, end = split(body, start, limits.batch_events)
    _check_number(payloads, limits)
    sent_at, _ = _envelope(decode(body[:start] + b"[]" + body[end:]))
    return _Batch(sent_at, [_decode_or_error(payload) for payload in payloads], lambda: payloads)


def _check_number(events: Sequence[Any], limits: Limits) -> None:
    if not events:
        raise ContentError("empty_batch", "there is no event in the request")
    if len(events) > limits.batch_events:
        raise ContentError("too_many_events", f"more than {limits.batch_events} events; send less at once")


def _envelope(value: Any) -> tuple[datetime | None, Sequence[Any]]:
    if isinstance(value, list):
        return None, value
    if not isinstance(value, dict):
        raise ContentError("not_events", "send an event, an array of events, or an object with a batch")
    if "batch" not in value:
        return None, [value]
    if not isinstance(value["batch"], list):
        raise ContentError("not_events", "batch must be an array of events", "batch")
    return _sent_at(value.get("sent_at")), value["batch"]


def _sent_at(value: Any) -> datetime | None:
    try:
        time = msgspec.convert(value, datetime | None)
        return clock.utc(time) if time else None
    except (msgspec.ValidationError, OverflowError):
        raise ContentError("invalid_timestamp", "sent_at is no RFC 3339 time", "sent_at") from None


def _payloads(body: bytes, value: Any) -> Sequence[bytes]:
    """Each event of `body`, which is JSON and decodes to `value`, as it was sent."""
    if isinstance(value, dict):
        if "batch" not in value:
            return [body]
        body = bytes(msgspec.json.decode(body, type=_Envelope).batch)
    return [bytes(event) for event in msgspec.json.decode(body, type=list[Raw])]


def _decode_or_error(payload: bytes) -> Any:
    try:
        return decode(payload)
    except ContentError as error:
        return error


def _map_or_error(event: Any, sent_at: datetime | None, reception: Reception, limits: Limits) -> Record | ContentError:
    try:
        return _map(event, sent_at, reception, limits)
    except ContentError as error:
        return error
    except RecursionError:  # what the parser could just read may be too deep to be written
        return ContentError("too_deep", f"nested deeper than {limits.depth}; flatten it")


def _map(event: Any, sent_at: datetime | None, reception: Reception, limits: Limits) -> Record:
    if isinstance(event, ContentError):
        raise event
    if not isinstance(event, dict):
        raise ContentError("not_events", f"an event is a JSON object, not {type(event).__name__}")
    event_type = event.get("event_type")
    if not isinstance(event_type, str):
        raise ContentError("missing_field", "event_type is required, a string", "event_type")
    event.setdefault("properties", {})
    typed, stored = convert(event, native_type(event_type))
    if PLACEHOLDER.fullmatch(typed.event_id):
        raise ContentError(
            "invalid_id", f"event_id is {typed.event_id!r}: give each event an id of its own", "event_id"
        )
    result = _event(typed, stored, sent_at, reception)
    value = msgspec.json.encode(result)
    _check(value, typed, stored, limits)
    return Record(topic(event_type), result.key.encode(), value)


def _event(typed: NativeEvent, stored: dict[str, Any], sent_at: datetime | None, reception: Reception) -> Event:
    device_time, sent_at = _device_times(typed, sent_at)
    occurred_at, clock_flag = clock.occurred_at(device_time, sent_at, reception.received_at)
    user_id, user_flag = _visitor(typed.user_id, "user_id")
    anonymous_id, anonymous_flag = _visitor(typed.anonymous_id, "anonymous_id")
    return Event(
        event_id=typed.event_id,
        event_type=typed.event_type,
        contract_version=VERSION,
        occurred_at=occurred_at,
        device_occurred_at=device_time,
        sent_at=sent_at,
        received_at=reception.received_at,
        source=reception.source,
        user_id=user_id,
        anonymous_id=anonymous_id,
        session_id=typed.session_id,
        device_sequence=typed.device_sequence,
        flags=",".join(filter(None, (clock_flag, user_flag, anonymous_flag))) or None,
        app=stored.get("app"),
        device=stored.get("device"),
        properties=stored["properties"],
        context=_context(stored),
    )


def _context(stored: dict[str, Any]) -> dict[str, Any]:
    """The context, with the event's own unknown fields in it."""
    context: dict[str, Any] = stored.get("context") or {}
    unknown = {name: stored[name] for name in sorted(stored.keys() - KNOWN_FIELDS)}
    if unknown and "unknown_fields" in context:  # the app's own of that name: `context` is a name that unknown lacks
        unknown["context"] = {"unknown_fields": context["unknown_fields"]}
    return context | {"unknown_fields": unknown} if unknown else context


def _device_times(typed: NativeEvent, sent_at: datetime | None) -> tuple[datetime | None, datetime | None]:
    """When the device says it happened and was sent, in UTC."""
    try:
        own_sent_at = clock.utc(typed.sent_at) if typed.sent_at else sent_at
        return clock.utc(typed.occurred_at) if typed.occurred_at else None, own_sent_at
    except OverflowError:
        raise ContentError("invalid_timestamp", "occurred_at or sent_at is beyond the years 1 to 9999") from None


def _visitor(value: str | None, name: str) -> tuple[str | None, str | None]:
    """An id of a visitor; a placeholder is no id, and is flagged."""
    if value is None or not PLACEHOLDER.fullmatch(value):
        return value, None
    return None, f"{name}_placeholder"


def _check(value: bytes, typed: NativeEvent, stored: dict[str, Any], limits: Limits) -> None:
    """The limits of an event. The cheap looks at `value` can only send an event to the exact ones without need."""
    if len(value) > limits.event_bytes:
        raise ContentError("event_too_large", f"{len(value)} bytes as stored, at most {limits.event_bytes}")
    if not value.isascii():
        check_bytes(typed)
    nesting = value.count(b"{") + value.count(b"[")
    if nesting > limits.depth or len(value) > limits.string_bytes or b"\\u0000" in value:
        inspect(stored, limits.depth, limits.string_bytes)


def _reject(
    error: ContentError, payload: bytes, sent_at: datetime | None, reception: Reception, whole_request: bool = False
) -> Rejection:
    return reject(
        error,
        payload,
        source=reception.source,
        contract=NAME,
        received_at=reception.received_at,
        sent_at=sent_at,
        whole_request=whole_request,
    )
