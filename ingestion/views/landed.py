"""The events that views are made of: rows as the lake has them, whether they come from the log or from the lake.

What fits is decided by the encoding that the lander uses, so a listener and a replay see the same events.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.tables import Table

DAY_US = 86_400_000_000
FIRST_DAY_US = -62_135_596_800_000_000
"""The beginning of the year 1; nothing that fits is before it."""
EPOCH = datetime(1970, 1, 1)

ENVELOPE = ("event_type", "event_id", "source", "user_id", "anonymous_id")
TIMES = ("occurred_at", "device_occurred_at", "received_at")
PLACE = ("kafka_partition", "kafka_offset", "topic_id")


@dataclass(frozen=True, slots=True)
class LandedEvent:
    """An event that fits its type, with its typed properties. Times are in microseconds since 1970, UTC."""

    event_type: str
    event_id: str
    source: str
    user_id: str | None
    anonymous_id: str | None
    occurred_us: int
    device_us: int | None
    place: str
    """Orders the copies of an event as text: by when they were received, then by where the log held them."""
    properties: Mapping[str, Any]

    @property
    def visitor(self) -> str | None:
        """Who did it: `user:…`, else `anonymous:…`, as in the warehouse; None where nobody is named."""
        if self.user_id:
            return f"user:{self.user_id}"
        return f"anonymous:{self.anonymous_id}" if self.anonymous_id else None

    @property
    def occurred_at(self) -> str:
        """When it happened, like 2026-05-01T12:30:00.000000Z."""
        return as_text(self.occurred_us)

    @property
    def day(self) -> int:
        """The event date, in days since the first of the year 1."""
        return (self.occurred_us - FIRST_DAY_US) // DAY_US

    @property
    def identity(self) -> str:
        """What copies of one event have in common, as a digest."""
        parts = (self.source, self.event_id, self.event_type, self.user_id, self.anonymous_id, self.device_us)
        return hashlib.md5(msgspec.json.encode(parts), usedforsecurity=False).hexdigest()


def as_text(time_us: int) -> str:
    """A time as text that sorts like it."""
    return f"{(EPOCH + timedelta(microseconds=time_us)).isoformat(timespec='microseconds')}Z"


def property_columns(table: Table) -> tuple[str, ...]:
    """The columns of what an event says besides its envelope."""
    return tuple(column.name for column in table.columns if column.path[0] == "properties")


def columns(table: Table) -> tuple[str, ...]:
    """The lake's columns that `landed_events` reads."""
    return (*ENVELOPE, *TIMES, *PLACE, "landing_error", *property_columns(table))


def landed_events(table: Table, rows: pa.Table) -> list[LandedEvent]:
    """The events of `rows` that fit, in their order; rows that do not fit say nothing."""
    fitting = rows.filter(pc.is_null(rows.column("landing_error")))
    names = property_columns(table)
    values = zip(*(fitting.column(name).to_pylist() for name in names), strict=True)
    properties = [dict(zip(names, each, strict=True)) for each in values]
    occurred, device, received = (fitting.column(name).cast(pa.int64()).to_pylist() for name in TIMES)
    places = [
        _place(*place) for place in zip(received, *(fitting.column(name).to_pylist() for name in PLACE), strict=True)
    ]
    envelope = (fitting.column(name).to_pylist() for name in ENVELOPE)
    return list(map(LandedEvent, *envelope, occurred, device, places, properties))


def _place(received_us: int, partition: int, offset: int, topic_id: str) -> str:
    return f"{received_us - FIRST_DAY_US:018}.{partition:010}.{offset:019}.{topic_id}"
