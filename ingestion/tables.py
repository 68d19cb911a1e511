"""What a row of a record type looks like in the lake and in the warehouse, derived from its class in events.py.

A row is the record's typed fields, then the record itself and where the log held it. One `Table` per event type,
and `rejected`. Field names of `properties` are columns as they are; those of `app` and `device` get a prefix.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, cached_property
from typing import Any, get_args, get_origin

import pyarrow as pa
from msgspec import Struct

from ingestion.events import (
    EVENT_TYPES,
    MONEY_DIGITS,
    MONEY_SCALE,
    App,
    Device,
    Event,
    Rejection,
    fields,
    plain_type,
    topic,
)

TIMESTAMP = pa.timestamp("us", tz="UTC")
MAX_VALUE_BYTES = 65_535
"""A longer value cannot be a warehouse's varchar: it is kept as bytes."""

REJECTED = "rejected"
PARTITION_COLUMN = "landing_hour"

COORDINATES = pa.schema(
    [
        pa.field("kafka_value", pa.string(), metadata={"description": "the record as the log held it"}),
        pa.field("kafka_value_bytes", pa.binary(), metadata={"description": "the same where it is no text"}),
        pa.field("checksum", pa.int64(), metadata={"description": "first 60 bits of the md5 of the value"}),
        pa.field("landing_error", pa.string(), metadata={"description": "why typed columns are empty"}),
        pa.field("topic_id", pa.string(), metadata={"description": "identity of the topic"}),
        pa.field("kafka_topic", pa.string(), metadata={"description": "name of the topic"}),
        pa.field("kafka_partition", pa.int32(), metadata={"description": "partition of the topic"}),
        pa.field("kafka_offset", pa.int64(), metadata={"description": "offset in the partition"}),
        pa.field("kafka_timestamp", TIMESTAMP, metadata={"description": "when the log appended it"}),
        pa.field(PARTITION_COLUMN, pa.string(), metadata={"description": "hour of kafka_timestamp, UTC"}),
    ]
)
"""Columns that every table ends with. `landing_hour` is a function of the record, not of who landed it or when."""


@dataclass(frozen=True)
class Column:
    """A typed column: where its value stands in the record, and what fits."""

    name: str
    path: tuple[str, ...]
    type: pa.DataType
    required: bool
    max_bytes: int | None
    description: str


@dataclass(frozen=True)
class Table:
    """One record type as a table; `name` is its name in the lake and in the warehouse's raw schema."""

    name: str
    description: str
    columns: tuple[Column, ...]
    event_date_column: str
    """The timestamp whose date a row counts for."""

    @property
    def topic(self) -> str:
        """The topic whose records are this table's rows."""
        return topic(self.name)

    @cached_property
    def record_schema(self) -> pa.Schema:
        """The typed part as it is nested in the record's JSON."""
        return pa.schema(_nest({column.path: column.type for column in self.columns}))

    @cached_property
    def schema(self) -> pa.Schema:
        """All columns of a row, flat; new fields come before the coordinates, readers go by name."""
        typed = [
            pa.field(column.name, column.type, metadata={"description": column.description}) for column in self.columns
        ]
        return pa.schema([*typed, *COORDINATES])


def _nest(paths: Mapping[tuple[str, ...], pa.DataType]) -> list[pa.Field]:
    fields: dict[str, Any] = {}
    for (head, *tail), kind in paths.items():
        if tail:
            fields.setdefault(head, {})[tuple(tail)] = kind
        else:
            fields[head] = kind
    return [
        pa.field(name, pa.struct(_nest(inner)) if isinstance(inner, dict) else inner) for name, inner in fields.items()
    ]


SCALARS: Mapping[type, pa.DataType] = {
    str: pa.string(),
    bool: pa.bool_(),
    int: pa.int64(),
    datetime: TIMESTAMP,
    Decimal: pa.decimal128(MONEY_DIGITS, MONEY_SCALE),
}


def _arrow_type(plain: Any) -> pa.DataType:
    if plain in SCALARS:
        return SCALARS[plain]
    if get_origin(plain) is list:
        return pa.list_(_arrow_type(plain_type(get_args(plain)[0])[0]))
    if isinstance(plain, type) and issubclass(plain, Struct):
        return pa.struct([pa.field(field.name, _arrow_type(field.type)) for field in fields(plain)])
    raise TypeError(f"{plain!r} has no column type; use str, bool, int, datetime, Decimal, a class or a list")


def _columns(cls: type[Struct], path: tuple[str, ...] = (), prefix: str = "") -> Iterator[Column]:
    for field in fields(cls):
        if get_origin(field.type) is not dict:
            yield Column(
                name=prefix + field.name,
                path=(*path, field.name),
                type=_arrow_type(field.type),
                required=field.required,
                max_bytes=field.max_bytes,
                description=field.description,
            )


def _description(cls: type) -> str:
    return (cls.__doc__ or "").strip()


def _event_table(name: str, cls: type[Struct]) -> Table:
    columns = (
        *_columns(Event),
        *_columns(App, ("app",), "app_"),
        *_columns(Device, ("device",), "device_"),
        *_columns(cls, ("properties",)),
    )
    taken = [column.name for column in columns] + COORDINATES.names
    if twice := {column for column in taken if taken.count(column) > 1}:
        raise TypeError(f"event type {name}: the names {sorted(twice)} are taken by the envelope; rename the fields")
    return Table(name, _description(cls), columns, event_date_column="occurred_at")


@cache
def event_table(name: str) -> Table:
    """The table of one event type."""
    return _event_table(name, EVENT_TYPES[name])


REJECTED_TABLE = Table(REJECTED, _description(Rejection), tuple(_columns(Rejection)), event_date_column="received_at")


def all_tables() -> list[Table]:
    """One table per event type, and `rejected`."""
    return [*(event_table(name) for name in EVENT_TYPES), REJECTED_TABLE]


def table_named(name: str) -> Table:
    """The table of this name; KeyError where there is none."""
    return REJECTED_TABLE if name == REJECTED else event_table(name)
