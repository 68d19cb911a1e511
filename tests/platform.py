"""A small platform for tests: log, lake and warehouse under one folder, with the log's clock in the test's hand."""

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from ingestion.audit import Balance, audit
from ingestion.broker import Broker, Record
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.events import EVENT_TYPES, fields, plain_type
from ingestion.lake import Lake
from ingestion.lander import Landed, Lander, Rotation
from ingestion.loader import Loaded, load, reload
from ingestion.steps import run
from ingestion.tables import Table, table_named
from ingestion.warehouse.duckdb import DuckDBWarehouse

NOON = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
HOUR = "2026-05-01-12"
Stored = dict[str, Any]
"""An event, or a rejection, as the log holds it."""


def event(event_type: str, number: int = 0, **properties: Any) -> Stored:
    """Event `number` of a type as the collector stores it: all properties filled, those that are named changed."""
    return {
        "event_id": f"{event_type}-{number}",
        "event_type": event_type,
        "contract_version": 1,
        "occurred_at": NOON - timedelta(seconds=number),
        "received_at": NOON,
        "source": "shop",
        "user_id": f"visitor-{number % 7}",
        "device_sequence": number,
        "app": {"name": "shop", "version": "1.2"},
        "properties": {**_example(EVENT_TYPES[event_type], number), **properties},
        "context": {"page": "/"},
    }


def rejection(number: int = 0, payload: bytes = b"{}", **changes: Any) -> Stored:
    """Rejection `number` as the collector stores it."""
    return {
        "code": "invalid_json",
        "message": "not JSON",
        "received_at": NOON,
        "source": "shop",
        "contract": "native",
        "payload": payload.decode(),
        "payload_encoding": "utf-8",
        "payload_bytes": len(payload),
        "payload_sha256": f"{number:064x}",
        **changes,
    }


def record(stored: Stored) -> Record:
    """The log's record of an event."""
    key = stored.get("user_id") or stored.get("event_id") or stored["source"]
    name = stored.get("event_type", "rejected")
    return Record(f"events.{name}", key.encode(), msgspec.json.encode(stored))


def _example(cls: type[msgspec.Struct], number: int) -> dict[str, Any]:
    return {field.name: _value(field.type, field.name, number) for field in fields(cls)}


def _value(kind: Any, name: str, number: int) -> Any:
    if get_origin(kind) is list:
        return [_example(plain_type(get_args(kind)[0])[0], number + i) for i in range(number % 3)]
    if name == "currency":
        return "EUR"
    examples = {str: f"{name} {number} ä", int: number, Decimal: f"{number}.1250", datetime: NOON, bool: False}
    return examples[kind]


class Platform:
    """Log, lake and warehouse under `path`, with the hops of `tables`.

    `now` is the log's append time and moves only where a test moves it.
    """

    def __init__(self, path: Path, tables: Sequence[Table]) -> None:
        self.path, self.tables, self.now = path, list(tables), NOON
        self.broker = EmbeddedBroker(path / "log.sqlite", clock=self.now_us)
        self.log.ensure_topics(table.topic for table in self.tables)
        self.lake = Lake(f"file://{path}/lake")
        self.warehouse = DuckDBWarehouse(path / "warehouse.duckdb", wait=0.5)
        self._numbers = itertools.count()

    @property
    def log(self) -> Broker:
        """The log as its writers and readers have it."""
        return self.broker

    def now_us(self) -> int:
        """The log's clock."""
        return int(self.now.timestamp() * 1_000_000)

    def publish(self, event_type: str, events: int | Sequence[Stored | bytes]) -> list[Stored | bytes]:
        """Append so many new events of a type, or these events (or values that are none) and return them."""
        if isinstance(events, int):
            events = [self._new(event_type) for _ in range(events)]
        topic = table_named(event_type).topic
        self.log.publish(
            [
                Record(topic, b"%d" % n, e) if isinstance(e, bytes) else record(e)._replace(topic=topic)
                for n, e in enumerate(events)
            ]
        )
        return list(events)

    def _new(self, event_type: str) -> Stored:
        number = next(self._numbers)
        return rejection(number) if event_type == "rejected" else event(event_type, number)

    def lander(self, rotation: Rotation | None = None, whole: bool = False) -> Lander:
        """A lander of its own, whose buffers are due when a round is flushed."""
        return Lander(self.log, self.lake, self.tables, rotation or Rotation(), lambda: 0.0, whole)

    def another_broker(self) -> EmbeddedBroker:
        """Another client of the log, which is a member of its own."""
        return EmbeddedBroker(self.broker.path, clock=self.now_us)

    def land(self, lander: Lander | None = None) -> Landed:
        """One round that commits whatever was read; of every partition, where no lander is named."""
        return run((lander or self.lander(whole=True)).round(flush=True), _anywhere)

    def load(self) -> list[Loaded]:
        """Load every table."""
        return [run(load(self.lake, self.warehouse, table), _anywhere) for table in self.tables]

    def reload(self, hour: str = HOUR) -> list[Loaded]:
        """Load a landing hour of every table again."""
        return [run(reload(self.lake, self.warehouse, table, hour), _anywhere) for table in self.tables]

    def audit(self) -> Balance:
        """Balance every hop of every table."""
        return audit(self.log, self.lake, self.warehouse, self.tables)

    def rows(self, table: Table) -> list[tuple[object, ...]]:
        """The raw table, sorted, with its columns in the order of their names."""
        columns = self.warehouse.query(
            "select column_name from information_schema.columns"
            " where table_schema = 'raw' and table_name = ? order by 1",
            [table.name],
        )
        names = ", ".join(f'"{name}"' for (name,) in columns)
        return self.warehouse.query(f"select {names} from raw.{table.name} order by all")

    def close(self) -> None:
        """Close the log."""
        self.broker.close()


def steps_until(steps: Iterator[str], point: str) -> None:
    """Advance steps until they have reached `point`."""
    for reached in steps:
        if reached == point:
            return
    raise AssertionError(f"{point} was never reached")


def _anywhere(point: str) -> None:
    """Go on, whatever the point."""
