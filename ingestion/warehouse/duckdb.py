"""DuckDB as the warehouse: one file, one process at a time.

The file is opened for each load or question and closed again, so that processes can take turns. Within a load the
row of `load_lock` is written first: a second load in the same process fails there, before it has read anything.
Whoever only reads takes no turn: there is a copy for readers, which each build replaces as a whole.
"""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from ingestion.counting import CommitCount, Count, count_by_commit, count_rows
from ingestion.errors import ConfigurationError, PermanentError, TransientError, WarehouseBusy
from ingestion.lake import Range
from ingestion.tables import Table
from ingestion.warehouse import Holdings, LedgerEntry, LoadedRange, Read, StaleDate, Staleness
from ingestion.warehouse.duckdb_load import DuckDBLoad, fit_columns, one

SCHEMA = """
create schema if not exists raw;
create schema if not exists headrace;
create table if not exists headrace.load_lock (loads bigint not null);
create table if not exists headrace.load_ledger (
    table_name varchar not null, version bigint not null, landing_hour varchar,
    rows bigint not null, checksum decimal(38, 0) not null, load_seq bigint not null
);
create table if not exists headrace.load_ranges (
    table_name varchar not null, version bigint not null, topic_id varchar not null, kafka_partition integer not null,
    start_offset bigint not null, end_offset bigint not null, rows bigint not null, unread bigint not null
);
create table if not exists headrace.touched (
    table_name varchar not null, event_date date not null, load_seq bigint not null
);
create table if not exists headrace.built (event_date date not null, load_seq bigint not null);
create table if not exists headrace.published (event_date date not null, load_seq bigint not null);
create table if not exists headrace.definitions (hash varchar not null);
insert into headrace.load_lock select 0 where not exists (from headrace.load_lock);
"""

STALE_DATES = """
select event_date, max(touched.load_seq), coalesce(max(built.load_seq), 0)
from headrace.touched left join headrace.built using (event_date)
where table_name <> 'rejected'  -- no model reads rejections
group by event_date having max(touched.load_seq) > coalesce(max(built.load_seq), 0) order by event_date
"""
RAW_TABLES = "select table_name from information_schema.tables where table_schema = 'raw'"


class DuckDBWarehouse:
    """The warehouse in the file `path`; waits up to `wait` seconds for another process to leave it."""

    def __init__(self, path: str | Path, wait: float = 30.0) -> None:
        self.path, self._wait = Path(path), wait

    @contextmanager
    def load(self, table: Table) -> Iterator[DuckDBLoad]:
        """Begin a load."""
        with self._connection() as db:
            db.execute("begin")
            try:
                db.execute("update headrace.load_lock set loads = loads + 1")
                (load_seq,) = one(db, "select loads from headrace.load_lock")
                fit_columns(db, table.name, table.schema)
                yield DuckDBLoad(db, table, int(str(load_seq)))
                db.execute("commit")
            except duckdb.TransactionException as error:
                raise WarehouseBusy(f"another load is under way in {self.path}: {error}; run it again") from error
            except (duckdb.IOException, duckdb.InvalidInputException) as error:
                problem = str(error).splitlines()[0]
                raise PermanentError(f"{table.name}: a file cannot be read: {problem}; nothing was changed") from error

    def holdings(self, tables: Sequence[Table]) -> Holdings:
        """Ledger, ranges and counted rows of `tables`, read in one transaction."""
        with self._connection() as db:
            db.execute("begin")
            present = {name for (name,) in db.execute(RAW_TABLES).fetchall()}
            counts = {t.name: count_rows(db, f"raw.{t.name}", [], {}) for t in tables if t.name in present}
            ledger = [
                LedgerEntry(name, version, hour, Count(rows, int(total)), load_seq)
                for name, version, hour, rows, total, load_seq in db.execute("from headrace.load_ledger").fetchall()
            ]
            ranges = [
                LoadedRange(name, version, Range(*covered))
                for name, version, *covered in db.execute("from headrace.load_ranges").fetchall()
            ]
            db.execute("rollback")
        return Holdings(ledger, ranges, counts)

    def count_commits(self, table: Table, ranges: Sequence[LoadedRange]) -> Sequence[CommitCount]:
        """What a raw table holds of each commit."""
        with self._connection() as db:
            if (table.name,) not in db.execute(RAW_TABLES).fetchall():
                return []
            return count_by_commit(db, f"raw.{table.name}", [], [(loaded.version, loaded.range) for loaded in ranges])

    def copies(self, table: Table, event_ids: Sequence[str]) -> Mapping[str, int]:
        """How many rows of a raw table carry each of `event_ids`."""
        with self._connection() as db:
            if (table.name,) not in db.execute(RAW_TABLES).fetchall():
                return {}
            sql = f"select event_id, count(*) from raw.{table.name} where event_id in (select unnest(?)) group by 1"
            return dict(db.execute(sql, [list(event_ids)]).fetchall())

    def staleness(self) -> Staleness:
        """The event dates that were touched after they were built, read in one transaction."""
        with self._connection() as db:
            db.execute("begin")
            (load_seq,) = one(db, "select loads from headrace.load_lock")
            dates = tuple(StaleDate(str(date), *seqs) for date, *seqs in db.execute(STALE_DATES).fetchall())
            (definitions,) = one(db, "select coalesce(max(hash), '') from headrace.definitions")
            (published,) = one(db, "select coalesce(max(load_seq), 0) from headrace.published")
            db.execute("rollback")
        return Staleness(int(str(load_seq)), dates, str(definitions), int(str(published)))

    def forget_built(self) -> None:
        """Begin to build everything."""
        with self._connection() as db:
            db.execute("begin")
            db.execute("update headrace.load_lock set loads = loads + 1")
            db.execute("delete from headrace.built")
            db.execute("delete from headrace.definitions")
            db.execute("commit")

    def record_built(self, dates: Sequence[str], load_seq: int, definitions: str = "") -> None:
        """Note that the models of `dates` have seen every load up to `load_seq`, and by which definitions.

        It takes the lock as a load does, so that what is stale has changed only where `loads` has.
        """
        with self._connection() as db:
            db.execute("begin")
            db.execute("update headrace.load_lock set loads = loads + 1")
            if definitions:
                db.execute("delete from headrace.definitions")
                db.execute("insert into headrace.definitions values (?)", [definitions])
            named = "event_date in (select unnest(?)::date)"
            sql = f"select event_date::varchar, max(load_seq) from headrace.built where {named} group by 1"
            known = dict(db.execute(sql, [list(dates)]).fetchall())
            db.execute(f"delete from headrace.built where {named}", [list(dates)])
            for date in dates:
                db.execute("insert into headrace.built values (?, ?)", [date, max(load_seq, known.get(date, 0))])
            db.execute("commit")

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Rows of a query."""
        with self._connection() as db:
            return db.execute(sql, list(parameters)).fetchall()

    @property
    def copy(self) -> Path:
        """The file for readers. It has the same name in another folder: a view names the database that it is in."""
        return self.path.parent / "read" / self.path.name

    def publish(self, dates: Sequence[str] = ()) -> None:
        """Copy the file for readers and put the copy in the place of the last one; who reads that keeps it.

        Another process copies: this one would lose its lock on the file with the first descriptor that it closes.
        """
        self.copy.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.copy.with_suffix(".new")
        with self._connection() as db:
            number = _number_publication(db, dates)
            db.execute("checkpoint")
            done = subprocess.run(["cp", self.path, fresh], capture_output=True, text=True, check=False)  # noqa: S603, S607
            if done.returncode:
                fresh.unlink(missing_ok=True)
                db.execute("delete from headrace.published where load_seq = ?", [number])
                raise TransientError(
                    f"{self.path} could not be copied for readers: {done.stderr.strip()}; free some space"
                )
            fresh.chmod(0o444)
            fresh.replace(self.copy)
            before = "load_seq < ? and event_date in (select unnest(?)::date)"
            db.execute(f"delete from headrace.published where {before}", [number, list(dates)])

    @contextmanager
    def snapshot(self) -> Iterator[Read]:
        """Queries on the copy for readers."""
        if not self.copy.exists():
            raise ConfigurationError(f"there is no {self.copy} yet: the first build makes it; run: headrace build")
        with duckdb.connect(str(self.copy), read_only=True) as db:
            db.execute("set timezone = 'UTC'")

            def query(sql: str, parameters: Sequence[object] = ()) -> pa.Table:
                try:
                    return db.sql(sql, params=list(parameters)).to_arrow_table()
                except duckdb.Error as error:
                    raise PermanentError(f"the query fails: {error}") from error

            yield query

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the warehouse {self.path} cannot be made: {error}") from error
        db = connect(self.path, self._wait)
        try:
            yield db
        finally:
            db.close()


def _number_publication(db: duckdb.DuckDBPyConnection, dates: Sequence[str]) -> int:
    """Take the next number, and note that its publication shows a build of `dates`."""
    db.execute("begin")
    db.execute("update headrace.load_lock set loads = loads + 1")
    (number,) = one(db, "select loads from headrace.load_lock")
    db.execute("insert into headrace.published select unnest(?)::date, ?", [list(dates), number])
    db.execute("commit")
    return int(str(number))


HELD = "Could not set lock"


def connect(path: Path | str, wait: float) -> duckdb.DuckDBPyConnection:
    """Open a warehouse file, with UTC as its time zone; WarehouseBusy where a process holds it longer than `wait` s."""
    deadline = time.monotonic() + wait
    while True:
        try:
            db = duckdb.connect(str(path))
            break
        except duckdb.Error as error:
            if HELD not in str(error):
                raise ConfigurationError(f"the warehouse {path} cannot be opened: {error}") from error
            if time.monotonic() > deadline:
                raise WarehouseBusy(f"{path} is held by another process: {error}") from error
            time.sleep(0.05)
    try:
        db.execute("set timezone = 'UTC'")
        db.execute(SCHEMA)
    except duckdb.Error as error:
        db.close()
        raise WarehouseBusy(f"the tables of {path} could not be made: {error}; run it again") from error
    return db
