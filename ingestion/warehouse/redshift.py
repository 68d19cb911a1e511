"""Amazon Redshift as the warehouse, provisioned or serverless.

Every change takes the lock on `headrace.load_lock` before it reads anything: a transaction of Redshift sees what was
committed when it read first. Readers take no lock, and see what was committed last.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa

from ingestion.counting import CommitCount, Count
from ingestion.errors import ConfigurationError
from ingestion.lake import Range
from ingestion.s3 import Bucket
from ingestion.storage import open_storage
from ingestion.tables import Table
from ingestion.warehouse import Holdings, LedgerEntry, LoadedRange, Read, StaleDate, Staleness
from ingestion.warehouse.redshift_counting import count_commits, count_rows
from ingestion.warehouse.redshift_load import RedshiftLoad, fit_columns
from ingestion.warehouse.redshift_login import RedshiftOptions
from ingestion.warehouse.redshift_session import RAW, Login, Session

SCHEMA = (
    f"create schema if not exists {RAW}",
    "create schema if not exists headrace",
    "create table if not exists headrace.load_lock (loads bigint not null) diststyle all",
    "create table if not exists headrace.load_ledger (table_name varchar(128) not null, version bigint not null,"
    " landing_hour varchar(13), rows bigint not null, checksum decimal(38, 0) not null, load_seq bigint not null)"
    " diststyle all sortkey(table_name, version)",
    "create table if not exists headrace.load_ranges (table_name varchar(128) not null, version bigint not null,"
    " topic_id varchar(64) not null, kafka_partition integer not null, start_offset bigint not null,"
    " end_offset bigint not null, rows bigint not null, unread bigint not null)"
    " diststyle all sortkey(table_name, version)",
    "create table if not exists headrace.touched"
    " (table_name varchar(128) not null, event_date date not null, load_seq bigint not null) diststyle all",
    "create table if not exists headrace.built (event_date date not null, load_seq bigint not null) diststyle all",
    "create table if not exists headrace.published (event_date date not null, load_seq bigint not null) diststyle all",
    "create table if not exists headrace.definitions (hash varchar(128) not null) diststyle all",
    "insert into headrace.load_lock values (0)",
)
STALE_DATES = """
select cast(touched.event_date as varchar(10)), max(touched.load_seq), coalesce(max(built.load_seq), 0)
from headrace.touched left join headrace.built on built.event_date = touched.event_date
where touched.table_name <> 'rejected'  -- no model reads rejections
group by touched.event_date having max(touched.load_seq) > coalesce(max(built.load_seq), 0)
order by touched.event_date
"""
IS_MADE = "select count(*) from information_schema.tables where table_schema = 'headrace' and table_name = 'load_lock'"
RAW_TABLES = "select table_name from information_schema.tables where table_schema = 'raw'"


class RedshiftWarehouse:
    """The warehouse at `url`; waits up to `wait` seconds for another load or build."""

    def __init__(self, url: str, options: RedshiftOptions, wait: float = 30.0) -> None:
        self._login, self._options, self._wait = Login(url, options), options, wait
        self._is_ready = False

    @contextmanager
    def load(self, table: Table) -> Iterator[RedshiftLoad]:
        """Begin a load."""
        bucket = open_storage(self._options.lake)
        if not isinstance(bucket, Bucket):
            raise ConfigurationError(
                f"HEADRACE_LAKE is {self._options.lake!r}, which Redshift cannot read; with a HEADRACE_WAREHOUSE in"
                " Redshift use s3://bucket/prefix"
            )
        with self._locked(f"headrace load {table.name}") as (session, load_seq):
            fit_columns(session, table, table.schema)
            yield RedshiftLoad(session, table, load_seq, bucket, self._options.role)

    def holdings(self, tables: Sequence[Table]) -> Holdings:
        """Ledger, ranges and counted rows of `tables`, read in one transaction."""
        with self._transaction("headrace audit") as session:
            ledger = [
                LedgerEntry(name, version, hour, Count(rows, int(total)), load_seq)
                for name, version, hour, rows, total, load_seq in session.rows("select * from headrace.load_ledger")
            ]
            ranges = [
                LoadedRange(name, version, Range(*covered))
                for name, version, *covered in session.rows("select * from headrace.load_ranges")
            ]
            present = {name for (name,) in session.rows(RAW_TABLES)}
            counts = {table.name: count_rows(session, table.name) for table in tables if table.name in present}
        return Holdings(ledger, ranges, counts)

    def count_commits(self, table: Table, ranges: Sequence[LoadedRange]) -> Sequence[CommitCount]:
        """What a raw table holds of each commit."""
        with self._transaction("headrace audit") as session:
            if (table.name,) not in session.rows(RAW_TABLES):
                return []
            return count_commits(session, table.name, [(loaded.version, loaded.range) for loaded in ranges])

    def copies(self, table: Table, event_ids: Sequence[str]) -> Mapping[str, int]:
        """How many rows of a raw table carry each of `event_ids`."""
        with self._transaction("headrace copies") as session:
            if (table.name,) not in session.rows(RAW_TABLES):
                return {}
            session.rows("create temporary table asked (event_id varchar(128)) distkey(event_id)")
            session.insert("asked", [[event_id] for event_id in dict.fromkeys(event_ids)])
            sql = f"select event_id, count(*) from {RAW}.{table.name} join asked using (event_id) group by event_id"
            return {str(event_id): int(rows) for event_id, rows in session.rows(sql)}

    def staleness(self) -> Staleness:
        """The event dates that were touched after they were built, read in one transaction."""
        with self._transaction("headrace staleness") as session:
            self._wait_no_longer(session)
            load_seq = int(session.one("select loads from headrace.load_lock"))
            dates = tuple(StaleDate(str(date), *map(int, seqs)) for date, *seqs in session.rows(STALE_DATES))
            definitions = session.one("select coalesce(max(hash), '') from headrace.definitions")
            published = session.one("select coalesce(max(load_seq), 0) from headrace.published")
        return Staleness(load_seq, dates, str(definitions), int(published))

    def forget_built(self) -> None:
        """Begin to build everything."""
        with self._locked("headrace forget built") as (session, _):
            session.rows("delete from headrace.built")
            session.rows("delete from headrace.definitions")

    def record_built(self, dates: Sequence[str], load_seq: int, definitions: str = "") -> None:
        """Note that the models of `dates` have seen every load up to `load_seq`, and by which definitions."""
        with self._locked("headrace record built") as (session, _):
            if definitions:
                session.rows("delete from headrace.definitions")
                session.insert("headrace.definitions", [[definitions]])
            sql = "select cast(event_date as varchar(10)), max(load_seq) from headrace.built group by event_date"
            known = {str(date): int(seq) for date, seq in session.rows(sql)}
            _delete_dates(session, "headrace.built", dates)
            session.insert("headrace.built", [[date, max(load_seq, known.get(date, 0))] for date in dates])

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Rows of a query."""
        with self._transaction("headrace query") as session:
            return session.rows(sql, parameters)

    def publish(self, dates: Sequence[str] = ()) -> None:
        """Note that readers see a build of `dates`: they see whatever is committed, so there is nothing to copy."""
        with self._locked("headrace publish") as (session, number):
            _delete_dates(session, "headrace.published", dates)
            session.insert("headrace.published", [[date, number] for date in dates])

    @contextmanager
    def snapshot(self) -> Iterator[Read]:
        """Queries of one transaction, which sees the same whatever others commit meanwhile."""
        with self._transaction("headrace read") as session:

            def query(sql: str, parameters: Sequence[object] = ()) -> pa.Table:
                rows = session.rows(sql, parameters)
                columns = zip(*rows, strict=True) if rows else [()] * len(session.columns)
                return pa.table([pa.array(values) for values in columns], names=session.columns)

            yield query

    @contextmanager
    def _transaction(self, label: str) -> Iterator[Session]:
        if not self._is_ready:
            self._make_schema()
            self._is_ready = True
        with self._login.transaction(label) as session:
            yield session

    def _make_schema(self) -> None:
        """Once for a warehouse: its last statement shows that all the others were committed."""
        with self._login.transaction("headrace schema") as session:
            if not session.one(IS_MADE):
                for statement in SCHEMA:
                    session.rows(statement)

    @contextmanager
    def _locked(self, label: str) -> Iterator[tuple[Session, int]]:
        """A transaction that no other change can overlap, and its number."""
        with self._transaction(label) as session:
            self._wait_no_longer(session)
            session.rows("lock headrace.load_lock")
            session.rows("set statement_timeout to 0")
            session.rows("update headrace.load_lock set loads = loads + 1")
            yield session, int(session.one("select loads from headrace.load_lock"))

    def _wait_no_longer(self, session: Session) -> None:
        """Than `wait` for a statement that the lock holds up: it keeps readers of `load_lock` out, too."""
        session.rows(f"set statement_timeout to {max(1, round(self._wait * 1_000))}")


def _delete_dates(session: Session, table: str, dates: Sequence[str]) -> None:
    if dates:
        session.rows(f"delete from {table} where event_date in ({', '.join('?' * len(dates))})", dates)
