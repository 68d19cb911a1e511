"""Events for tests of views: as the log or the lake would have them, and what a store holds in the end."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ingestion.encoding import Block, encode
from ingestion.steps import run
from ingestion.tables import event_table
from ingestion.views import Row, ViewStore, read_all
from ingestion.views.facts import Lookups, View, Written, write
from ingestion.views.landed import LandedEvent, landed_events
from tests.platform import NOON, Stored

NOON_US = int(NOON.timestamp() * 1_000_000)


def stored(event_type: str = "product_viewed", event_id: str = "e1", **changes: Any) -> Stored:
    """An event as the collector stores it, with little in it; what is no field of the envelope is a property."""
    envelope = ("occurred_at", "received_at", "device_occurred_at", "user_id", "anonymous_id", "source")
    properties = {name: value for name, value in changes.items() if name not in envelope}
    required = {"product_id": "p1"} if event_type.startswith("product_") else {}
    return {
        "event_id": event_id,
        "event_type": event_type,
        "contract_version": 1,
        "occurred_at": NOON,
        "received_at": NOON,
        "source": "shop",
        "user_id": "u1",
        **{name: value for name, value in changes.items() if name in envelope},
        "properties": {**required, **properties},
    }


def landed(*events: Stored | bytes, event_type: str = "product_viewed", start: int = 0) -> list[LandedEvent]:
    """Events of one type as the encoding reads them, at the offsets from `start` on."""
    values = [e if isinstance(e, bytes) else msgspec.json.encode(e) for e in events]
    if events and not isinstance(events[0], bytes):
        event_type = events[0]["event_type"]
    table = event_table(event_type)
    block = Block("id", table.topic, 0, range(start, start + len(values)), [NOON_US] * len(values), values)
    return landed_events(table, encode(table, [block]))


def landed_each(events: Iterable[Stored]) -> list[LandedEvent]:
    """Events of any types, each at an offset of its own."""
    return [event for offset, each in enumerate(events) for event in landed(each, start=offset)]


def later(**by: float) -> datetime:
    """So much after noon."""
    return NOON + timedelta(**by)


def bring(store: ViewStore, view: View, events: Sequence[LandedEvent], lookups: Lookups | None = None) -> Written:
    """Write events into a view."""
    return run(write(store, view, events, lookups or Lookups()), lambda point: None)


def everything(store: ViewStore, view: str) -> list[Row]:
    """All rows of a view that can be read."""
    return [row for key in sorted(store.keys(view)) for row in read_all(store, view, key)]


def event_ids(store: ViewStore, view: str, key: str = "user:u1") -> list[str]:
    """The events of a key, newest first."""
    return [row.item["event_id"] for row in read_all(store, view, key) if row.item]
