"""The listener against writing the same rows with bare sqlite3, in batches of the same size and as durable."""

import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from benchmarks.workload import cpu_seconds, records
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.listener import BATCH_RECORDS, Listener
from ingestion.steps import run
from ingestion.tables import all_tables
from ingestion.views import Row, encode_item
from ingestion.views.facts import Lookups
from ingestion.views.registry import fact_views
from ingestion.views.sqlite import SCHEMA, SQLiteViews

EVENTS = 100_000
Entry = tuple[str, str, str, int, bytes | None, int | None]
INSERT = "insert or replace into rows values (?, ?, ?, ?, ?, ?)"


class RecordedViews(SQLiteViews):
    """The store, which remembers the rows that it was given."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.given: list[tuple[str, Sequence[Row]]] = []

    def upsert(self, view: str, rows: Sequence[Row]) -> int:
        """Write facts, and remember them."""
        self.given.append((view, rows))
        return super().upsert(view, rows)


def measure() -> Table:
    """Thousand events per CPU-second: log to the rows of two views in SQLite, every event claimed and joined."""
    appended = records(EVENTS)
    with tempfile.TemporaryDirectory() as folder:
        broker, store = EmbeddedBroker(Path(folder) / "log"), RecordedViews(Path(folder) / "views.db")
        broker.ensure_topics([table.topic for table in all_tables()])
        for start in range(0, EVENTS, 5_000):
            broker.publish(appended[start : start + 5_000])
        listening, rows = cpu_seconds(lambda: _listen(broker, store))
        reading, _ = cpu_seconds(lambda: [_read(broker, table.topic) for table in all_tables()])
        batches = [[_entry(view, row) for row in given] for view, given in store.given]
        writing, _ = cpu_seconds(lambda: _write(Path(folder) / "bare.db", batches))
        store.close()
        broker.close()
    if rows < EVENTS:
        raise RuntimeError(f"{EVENTS} events became {rows} rows")
    table = Table("k events/CPU-s", "reading the log alone", "bare sqlite3", "cost ratio", title="listener")
    rates = [EVENTS / seconds / 1000 for seconds in (listening, reading, writing)]
    table.add_row(*(f"{rate:.1f}" for rate in rates), f"{rates[2] / rates[0]:.1f}")
    table.caption = f"{rows / EVENTS:.2f} rows of an event, and as many claims; batches of {BATCH_RECORDS:,}"
    return table


def _listen(broker: EmbeddedBroker, store: SQLiteViews) -> int:
    """Rounds until the log has nothing more; the rows that were written."""
    listener, rows = Listener(broker, store, list(fact_views().values()), Lookups), 0
    while (heard := run(listener.round(), lambda point: None)).read:
        rows += heard.written.rows
    return rows


def _read(broker: EmbeddedBroker, topic: str) -> int:
    return sum(len(broker.read(topic, p, 0, EVENTS, 1 << 30).offsets) for p in broker.topic(topic).partitions)


def _entry(view: str, row: Row) -> Entry:
    return view, row.key, row.sort, row.version, encode_item(view, row), row.expires_at


def _write(path: Path, batches: Sequence[Sequence[Entry]]) -> None:
    """The same rows, in the same order and transactions, into the same tables."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=full")
    db.executescript(SCHEMA)
    for batch in batches:
        db.execute("begin")
        db.executemany(INSERT, batch)
        db.execute("commit")
    db.close()
