"""A view beside what the lake's events come to: which rows it shows that it should not, lacks, or shows otherwise.

What a view has to show is computed from the lake's files in SQL (the folder `recomputed`) that shares no code with the
views. Both sides go into a DuckDB of their own, which spills to the disk: memory stays bounded however large the view
is. What rows were joined with is left out: a row names the catalogue's version, and the lake has no catalogue.
"""

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Protocol

import duckdb
import pyarrow as pa

from ingestion.lake import LakeFile, Snapshot
from ingestion.storage import readable
from ingestion.views import Item, ViewStore, read_all

RECOMPUTED = Path(__file__).parent / "recomputed"
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
create table happenings (
    product_id varchar, event_date date, hour varchar, event_type varchar, counts boolean, is_stirred boolean
);
create table unbuilt (event_date date);
create table shape (
    brand varchar, cart_id varchar, category varchar, currency varchar, name varchar, order_id varchar,
    price decimal(18, 4), product_id varchar, quantity bigint, query varchar, total decimal(18, 4), variant varchar
);
"""


@dataclass(frozen=True)
class Scope:
    """Which rows are compared: those of event dates from `since` on, of some keys or (None) of all."""

    since: date
    keys: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Sample:
    """How keys are drawn: of events from `since` on that landed lately, from so many files of each type."""

    since: date
    salt: str
    files: int
    keys: int

    def draw(self, files: Sequence[LakeFile]) -> list[LakeFile]:
        """Some of the files; with another salt, others."""
        return Random(self.salt).sample(files, min(self.files, len(files)))  # noqa: S311  no secret


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


class ComparedView(Protocol):
    """A view that can be held against the lake."""

    def first_date(self, now: datetime) -> date:
        """The first event date of which no row expires within the hour."""

    def sample(self, sample: Sample, now: datetime) -> list[str]:
        """Some of the keys that the last landing hours touched."""

    def compare(self, scope: Scope, now: datetime) -> Comparison:
        """Look once. What moves meanwhile may be taken for a difference where it is not: look again at what differs."""


class Scratch:
    """A DuckDB in which the two sides of one view come together."""

    def __init__(self, db: duckdb.DuckDBPyConnection, scope: Scope) -> None:
        self._db, self._scope = db, scope
        db.execute(SETTING_UP)
        db.execute("set variable since = ?", [scope.since])
        db.execute("set variable is_narrow = ?", [scope.keys is not None])
        self.insert("wanted", ([key] for key in scope.keys or ()))

    def set(self, name: str, value: object) -> None:
        """Set a variable that SQL of `recomputed` asks for."""
        self._db.execute(f"set variable {name} = ?", [value])

    def insert(self, table: str, rows: Iterable[Sequence[object]]) -> None:
        """Add rows to a small table."""
        if entries := [list(row) for row in rows]:
            self._db.executemany(f"insert into {table} values ({', '.join('?' * len(entries[0]))})", entries)

    def recompute(self, table: str, name: str, snapshot: Snapshot | None = None) -> None:
        """Add what the SQL `name` finds; in the events of a lake table, where one is given."""
        if snapshot:
            files = snapshot.files_since("occurred_at", midnight(self._scope.since) - timedelta(days=1))
            if not files:
                return
            self.set("files", readable(self._db, [file.uri for file in files]))
            self._db.execute(f"create or replace temp view counting as {sql('counting')}")
        self._db.execute(f"insert into {table} {sql(name)}")

    def hold(self, rows: Iterator[tuple[str, str, str]]) -> None:
        """Add rows that the view shows."""
        names = ("key", "sort", "said")
        while batch := list(itertools.islice(rows, BATCH)):
            columns = pa.table(dict(zip(names, map(pa.array, zip(*batch, strict=True)), strict=True)))
            self._db.register("batch", columns)
            self._db.execute("insert into held select key, sort, said from batch")

    def compare(self, name: str) -> Comparison:
        """What the SQL `name` makes of the two sides."""
        self._db.execute(f"create table compared as {sql(name)}")
        ((same, pending, different),) = self._db.execute(
            "select count(*) filter (where not is_different and lake_says = view_says),"
            " count(*) filter (where not is_different and lake_says is distinct from view_says),"
            " count(*) filter (where is_different) from compared"
        ).fetchall()
        listed = self._db.execute(
            "select key, sort, lake_says, view_says from compared where is_different order by key, sort limit ?",
            [MOST_DIFFERENCES],
        ).fetchall()
        return Comparison(same, pending, different, tuple(Difference(*row) for row in listed))


@contextmanager
def scratch(scope: Scope) -> Iterator[Scratch]:
    """An empty one, in memory; what does not fit spills to a folder that goes away with it."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder, duckdb.connect() as db:
        db.execute("set temp_directory = ?", [folder])
        yield Scratch(db, scope)


def draw_keys(name: str, sample: Sample, files: Sequence[LakeFile]) -> list[str]:
    """The keys that the SQL `name` draws from files."""
    if not files:
        return []
    with duckdb.connect() as db:
        db.execute("set timezone = 'UTC'")
        uris = readable(db, [file.uri for file in files])
        bound = {"files": uris, "since": sample.since, "salt": sample.salt, "most": sample.keys}
        return [key for (key,) in db.execute(sql(name), bound).fetchall()]


def landed_in(snapshot: Snapshot, since: date, hours: Iterable[datetime]) -> list[LakeFile]:
    """The files of some landing hours with events from `since` on."""
    names = {f"{hour:%Y-%m-%d-%H}" for hour in hours}
    return [file for file in snapshot.files_since("occurred_at", midnight(since)) if file.landing_hour in names]


def read_rows(store: ViewStore, view: str, key: str) -> Iterator[tuple[str, str, str]]:
    """The rows of a key, newest first, each with what it says apart from the catalogue."""
    for row in read_all(store, view, key):
        yield key, row.sort, said(row.item or {})


def said(item: Item) -> str:
    """The item as the SQL of `recomputed` writes it: names in order, `=` before a text and `:` before a number."""
    return ", ".join(
        f"{name}{'=' if isinstance(value, str) else ':'}{value}"
        for name, value in sorted(item.items())
        if name not in JOINED
    )


def sql(name: str) -> str:
    """A file of the folder `recomputed`."""
    return (RECOMPUTED / f"{name}.sql").read_text()


def midnight(day: date) -> datetime:
    """The beginning of a date, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
