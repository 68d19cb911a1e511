"""A view of facts beside the lake: which rows it shows that it should not, lacks, or shows otherwise.

What a view has to show is computed from the lake's files in SQL (the folder `recomputed`) that shares no code with the
views. Both sides go into a DuckDB of their own, which spills to the disk: memory stays bounded however large the view
is. What rows were joined with is left out: a row names the catalogue's version, and the lake has no catalogue.
"""

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import duckdb
import pyarrow as pa

from ingestion.broker import Broker, Topic
from ingestion.errors import PermanentError, UnknownTopic
from ingestion.events import EVENT_TYPES
from ingestion.lake import Lake, LakeTable, Snapshot
from ingestion.storage import readable
from ingestion.tables import event_table
from ingestion.views import Item, ViewStore, read_all

RECOMPUTED = Path(__file__).parent / "recomputed"
CART_TYPES = ("product_added", "product_removed", "order_completed")
JOINED = {"catalogue_version", "product"}
FIRST_DATE = date(1, 1, 3)
"""No event is before it, and SQL can still count back from it."""
MEMORY = "512MB"
BATCH, MOST_DIFFERENCES = 20_000, 1_000

SETTING_UP = f"""
set timezone = 'UTC';
set memory_limit = '{MEMORY}';
set threads = 1;
set preserve_insertion_order = false;
create table owed (key varchar, sort varchar, said varchar, event_id varchar, is_due boolean);
create table held (key varchar, sort varchar, said varchar);
create table wanted (key varchar);
create table reach (topic_id varchar, kafka_partition integer, passed bigint, landed bigint);
create table ends (topic_id varchar, kafka_partition integer, ended bigint);
create table shape (
    brand varchar, cart_id varchar, category varchar, currency varchar, name varchar, order_id varchar,
    price decimal(18, 4), product_id varchar, quantity bigint, query varchar, total decimal(18, 4), variant varchar
);
"""


@dataclass(frozen=True)
class Facts:
    """A view of facts to compare: the group of its listeners, and the days for which rows are kept (None: for ever).

    `replayed` is the version of each lake table up to which Dagster has brought its rows in.
    """

    name: str
    group: str
    days: int | None = None
    replayed: Mapping[str, int] = field(default_factory=dict)

    @property
    def event_types(self) -> tuple[str, ...]:
        """The types that it is made of."""
        return CART_TYPES if self.name == "cart_events" else tuple(EVENT_TYPES)

    def first_date(self, now: datetime) -> date:
        """The first event date of which no row expires within the hour."""
        if self.days is None:
            return FIRST_DATE
        return (now + timedelta(hours=1)).date() - timedelta(days=self.days - 1)


@dataclass(frozen=True)
class Sides:
    """What is compared: the view's store with the lake; the log says how far each of them is."""

    broker: Broker
    lake: Lake
    store: ViewStore


@dataclass(frozen=True)
class Scope:
    """Which rows are compared: those of event dates from `since` on, of some keys or (None) of all."""

    since: date
    keys: tuple[str, ...] | None = None


@dataclass(frozen=True, order=True)
class Difference:
    """A row of which the lake and the view say different things; None where one of them has no such row."""

    key: str
    sort: str
    lake_says: str | None
    view_says: str | None


@dataclass(frozen=True)
class Comparison:
    """What was found: rows that are on both sides, rows that one side has not come to yet, and differences.

    At most MOST_DIFFERENCES of them are listed; `different` is how many there are.
    """

    same: int
    pending: int
    different: int
    differences: tuple[Difference, ...] = ()


def compare(sides: Sides, facts: Facts, scope: Scope) -> Comparison:
    """Look once. What moves meanwhile may be taken for a difference where it is not: look again at what differs."""
    with _scratch() as db:
        topics = [_recompute(db, sides, facts, scope, event_type) for event_type in facts.event_types]
        _hold(db, _held(sides.store, facts.name, scope))
        for topic in topics:
            _insert(db, "ends", _ends(sides.broker, topic))
        return _read_comparison(db)


def recent_keys(sides: Sides, facts: Facts, since: date, now: datetime, salt: str, files: int, most: int) -> list[str]:
    """At most `most` keys that the last two landing hours touched, found in at most `files` files of each type."""
    hours = [f"{now - timedelta(hours=n):%Y-%m-%d-%H}" for n in (0, 1)]
    landed = []
    for event_type in facts.event_types:
        snapshot = sides.lake.table(event_table(event_type)).snapshot()
        found = [
            file.uri for file in snapshot.files_since("occurred_at", _midnight(since)) if file.landing_hour in hours
        ]
        landed += Random(salt).sample(found, min(files, len(found)))  # noqa: S311  no secret
    if not landed:
        return []
    with _scratch() as db:
        bound = {"files": readable(db, landed), "since": since, "salt": salt, "most": most}
        return [key for (key,) in db.execute(_sql("recently_landed"), bound).fetchall()]


def _recompute(
    db: duckdb.DuckDBPyConnection, sides: Sides, facts: Facts, scope: Scope, event_type: str
) -> Topic | None:
    """Write down what the view owes to the events of one type, and how far everybody has come in its topic."""
    table = event_table(event_type)
    try:
        topic = sides.broker.topic(table.topic)
        positions = sides.broker.positions(facts.group, topic)  # before the view is read: what they name is in it
    except UnknownTopic:
        topic, positions = None, {}
    lake_table = sides.lake.table(table)
    snapshot = lake_table.snapshot()
    if topic:
        replayed = _replayed(lake_table, facts.replayed.get(event_type))
        _insert(db, "reach", _reach(topic, positions, snapshot, replayed))
    files = snapshot.files_since("occurred_at", _midnight(scope.since) - timedelta(days=1))
    if files:
        db.execute("set variable files = ?", [readable(db, [file.uri for file in files])])
        db.execute("set variable since = ?", [scope.since])
        db.execute("set variable is_narrow = ?", [scope.keys is not None])
        db.execute("delete from wanted")
        _insert(db, "wanted", ((key,) for key in scope.keys or ()))
        db.execute(f"create or replace temp view counting as {_sql('counting')}")
        db.execute(f"insert into owed {_sql(facts.name)}")
    return topic


def _replayed(table: LakeTable, version: int | None) -> Snapshot | None:
    """The table as Dagster brought it in; None where it did not, or so long ago that the table forgot it."""
    try:
        return None if version is None else table.snapshot(version)
    except PermanentError:
        return None


def _reach(
    topic: Topic, positions: Mapping[int, int], snapshot: Snapshot, replayed: Snapshot | None
) -> Iterator[tuple[str, int, int, int]]:
    """The offsets up to which the view has everything, by a listener or by Dagster, and up to which the lake has."""
    for partition in topic.partitions:
        passed = max(positions.get(partition, 0), replayed.position(topic.id, partition) if replayed else 0)
        yield topic.id, partition, passed, snapshot.position(topic.id, partition)


def _ends(broker: Broker, topic: Topic | None) -> Iterator[tuple[str, int, int]]:
    """Where the log ends: what the view shows beyond cannot have come from it."""
    if topic:
        for partition, held in broker.bounds(topic.name).items():
            yield topic.id, partition, held.end


def _held(store: ViewStore, view: str, scope: Scope) -> Iterator[tuple[str, str, str]]:
    """The rows that the view shows, each with what it says apart from the catalogue."""
    first = scope.since.isoformat()
    for key in store.keys(view) if scope.keys is None else scope.keys:
        for row in itertools.takewhile(lambda row: row.sort >= first, read_all(store, view, key)):
            yield key, row.sort, _said(row.item or {})


def _said(item: Item) -> str:
    """The item as the SQL of `recomputed` writes it: names in order, `=` before a text and `:` before a number."""
    return ", ".join(
        f"{name}{'=' if isinstance(value, str) else ':'}{value}"
        for name, value in sorted(item.items())
        if name not in JOINED
    )


def _hold(db: duckdb.DuckDBPyConnection, rows: Iterator[tuple[str, str, str]]) -> None:
    while batch := list(itertools.islice(rows, BATCH)):
        columns = pa.table(dict(zip(("key", "sort", "said"), map(pa.array, zip(*batch, strict=True)), strict=True)))
        db.register("batch", columns)
        db.execute("insert into held select key, sort, said from batch")


def _read_comparison(db: duckdb.DuckDBPyConnection) -> Comparison:
    db.execute(f"create table compared as {_sql('differences')}")
    ((same, pending, different),) = db.execute(
        "select count(*) filter (where not is_different and lake_says = view_says),"
        " count(*) filter (where not is_different and lake_says is distinct from view_says),"
        " count(*) filter (where is_different) from compared"
    ).fetchall()
    listed = db.execute(
        "select key, sort, lake_says, view_says from compared where is_different order by key, sort limit ?",
        [MOST_DIFFERENCES],
    ).fetchall()
    return Comparison(same, pending, different, tuple(Difference(*row) for row in listed))


def _insert(db: duckdb.DuckDBPyConnection, table: str, rows: Iterable[Sequence[object]]) -> None:
    if entries := [list(row) for row in rows]:
        db.executemany(f"insert into {table} values ({', '.join('?' * len(entries[0]))})", entries)


@contextmanager
def _scratch() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory, which spills to a folder that goes away with it."""
    with (
        tempfile.TemporaryDirectory(prefix="headrace-") as folder,
        duckdb.connect() as db,
    ):
        db.execute("set temp_directory = ?", [folder])
        db.execute(SETTING_UP)
        yield db


def _sql(name: str) -> str:
    return (RECOMPUTED / f"{name}.sql").read_text()


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
