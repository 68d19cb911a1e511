"""Views in one SQLite file, for several writing and reading processes.

`synchronous=FULL` in WAL mode makes every commit an fsync; a batch of rows is one transaction.
"""

import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ingestion.errors import ViewsUnavailable
from ingestion.views import (
    Page,
    Row,
    check_limit,
    check_text,
    encode_item,
    encode_rows,
    page_token,
    sort_of,
)

SCHEMA = """
create table if not exists rows (
    view text, key text, sort text, version integer, item blob, expires_at integer, primary key (view, key, sort)
) without rowid;
create table if not exists heads (
    view text, key text, version integer, digest blob, primary key (view, key)
) without rowid;
create index if not exists expiring on rows (expires_at) where expires_at is not null;
"""

RANK = "({0}version, {0}item is null, coalesce({0}item, x''), coalesce({0}expires_at, 9223372036854775807))"
UPSERT = f"""
insert into rows values (?, ?, ?, ?, ?, ?)
on conflict (view, key, sort) do update
set version = excluded.version, item = excluded.item, expires_at = excluded.expires_at
where {RANK.format("excluded.")} > {RANK.format("rows.")}
"""
READABLE = "item is not null and (expires_at is null or expires_at > ?)"

BUSY_MS = 4_000
CACHE_KIB = 32 * 1024
"""Facts go to random places: with SQLite's own 2 MiB a batch reads most of its pages from the file."""
AT_ONCE = 10_000


class SQLiteViews:
    """Views in the file `path`. One instance may be used by several threads, one file by several processes."""

    def __init__(self, path: str | Path, clock: Callable[[], float] = time.time, busy_ms: int = BUSY_MS) -> None:
        self.path, self._clock = Path(path), clock
        self._lock = threading.Lock()
        with _as_unavailable(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                self._db.execute(f"pragma busy_timeout={busy_ms}")
                self._db.execute("pragma journal_mode=wal")
                self._db.execute("pragma synchronous=full")
                self._db.execute(f"pragma cache_size=-{CACHE_KIB}")
                self._db.executescript(SCHEMA)
            except sqlite3.Error:
                self._db.close()
                raise

    def upsert(self, view: str, rows: Sequence[Row]) -> int:
        """Write facts; of each row the highest version stays. Returns how many changed what was there."""
        entries = [(view, row.key, row.sort, row.version, encode_item(view, row), row.expires_at) for row in rows]
        if not entries:
            return 0
        with self._transaction() as db:
            return db.executemany(UPSERT, entries).rowcount

    def replace(self, view: str, key: str, version: int, rows: Sequence[Row]) -> None:
        """Replace all rows of a key, unless a higher version was there before."""
        check_text(view, "key", key)
        items = encode_rows(view, key, version, rows)
        entries = sorted((view, key, row.sort, version, items[row.sort], row.expires_at) for row in rows)
        digest = hashlib.sha256(msgspec.msgpack.encode(entries)).digest()
        with self._transaction() as db:
            head = db.execute("select version, digest from heads where view = ? and key = ?", [view, key]).fetchone()
            if head is None or (version, digest) > head:
                db.execute("insert or replace into heads values (?, ?, ?, ?)", [view, key, version, digest])
                db.execute("delete from rows where view = ? and key = ?", [view, key])
                db.executemany("insert into rows values (?, ?, ?, ?, ?, ?)", entries)

    def read(self, view: str, key: str, limit: int, page: str | None = None) -> Page:
        """At most `limit` rows of a key, newest first."""
        check_limit(limit)
        check_text(view, "key", key)
        before = "" if page is None else "and sort < ?"
        bounds = [] if page is None else [sort_of(page)]
        with self._connection() as db:
            found = db.execute(
                f"select key, sort, version, item, expires_at from rows where view = ? and key = ? {before}"
                f" and {READABLE} order by sort desc limit ?",
                [view, key, *bounds, int(self._clock()), limit + 1],
            ).fetchall()
        rows = tuple(
            Row(key, sort, version, msgspec.json.decode(item), expires) for key, sort, version, item, expires in found
        )
        return Page(rows[:limit], page_token(rows[limit - 1].sort) if len(rows) > limit else None)

    def read_each(self, view: str, asked: Sequence[tuple[str, str | None]], limit: int) -> Iterator[Page]:
        """The pages of several keys and tokens."""
        return (self.read(view, key, limit, page) for key, page in asked)

    def keys(self, view: str) -> Iterator[str]:
        """Every key that has a row to read; not one moment of the store, where others write meanwhile."""
        last: str | None = None
        while True:
            beyond = "" if last is None else "and key > ?"
            with self._connection() as db:
                found = db.execute(
                    f"select distinct key from rows where view = ? {beyond} and {READABLE} order by key limit ?",
                    [view, *([] if last is None else [last]), int(self._clock()), AT_ONCE],
                ).fetchall()
            for (last,) in found:
                yield last
            if len(found) < AT_ONCE:
                return

    def expire(self) -> int:
        """Delete what expired, tombstones too, in small transactions."""
        expired, deleted = 0, AT_ONCE
        while deleted == AT_ONCE:
            with self._transaction() as db:
                deleted = db.execute(
                    "delete from rows where (view, key, sort) in"
                    " (select view, key, sort from rows where expires_at <= ? limit ?)",
                    [int(self._clock()), AT_ONCE],
                ).rowcount
            expired += deleted
        return expired

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """For one statement, which is a transaction of its own."""
        with self._lock, _as_unavailable(self.path):
            yield self._db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as db:
            db.execute("begin immediate")
            try:
                yield db
                db.execute("commit")
            except BaseException:
                if db.in_transaction:  # SQLite has already rolled back after some errors of the disk
                    db.execute("rollback")
                raise


@contextmanager
def _as_unavailable(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise ViewsUnavailable(f"the views {path} did not answer: {error}; nothing is known to be stored") from error
