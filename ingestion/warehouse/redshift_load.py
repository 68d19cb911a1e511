"""One load transaction of Redshift: COPY of the lake's files, what the ledger has of them, and their columns.

COPY reads Parquet by position, and a file of an older contract has fewer columns: so there is one COPY for all files
of a schema, from a manifest, into a table of this session. What it brought is counted before it becomes rows.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from ingestion.counting import Count
from ingestion.errors import PermanentError
from ingestion.lake import Commit, LakeFile
from ingestion.s3 import Bucket
from ingestion.storage import arrow_files
from ingestion.tables import MAX_VALUE_BYTES, PARTITION_COLUMN, Table
from ingestion.warehouse.lake_files import count_each, event_dates
from ingestion.warehouse.ledger import ledger_rows, range_rows
from ingestion.warehouse.redshift_session import RAW, Session

MANIFESTS = "_manifests"
LANDING_HOUR = "to_char(kafka_timestamp, 'YYYY-MM-DD-HH24')"
MOST_BYTES = 1_024_000
LENGTHS: Mapping[str, int] = {"topic_id": 64, "kafka_topic": 249, PARTITION_COLUMN: 13}
"""Bytes of strings that are no part of the event contract; any other may be as long as a string can be."""


@dataclass(frozen=True)
class SizedFile:
    """A file and its bytes, as a manifest names them."""

    uri: str
    size: int


class RedshiftLoad:
    """One load transaction."""

    def __init__(self, session: Session, table: Table, load_seq: int, lake: Bucket, role: str) -> None:
        self._session, self._table, self.load_seq = session, table, load_seq
        self._lake, self._role = lake, role

    def loaded_version(self) -> int:
        """The last version of the lake table that the ledger has."""
        sql = "select coalesce(max(version), -1) from headrace.load_ledger where table_name = ?"
        return int(self._session.one(sql, [self._table.name]))

    def loaded_hour(self, hour: str) -> Count:
        """What the ledger has of a landing hour."""
        sql = (
            "select coalesce(sum(rows), 0), coalesce(sum(checksum), 0)"
            " from headrace.load_ledger where table_name = ? and landing_hour = ?"
        )
        [(rows, total)] = self._session.rows(sql, [self._table.name, hour])
        return Count(int(rows), int(total))

    def append(self, schema: pa.Schema, files: Sequence[LakeFile]) -> int:
        """Insert the rows of `files`."""
        fit_columns(self._session, self._table, schema)
        return sum(self._append(columns, group) for columns, group in _by_schema(files).items())

    def delete_hour(self, hour: str) -> None:
        """Delete the rows of a landing hour."""
        self._session.rows(f"delete from {RAW}.{self._table.name} where {PARTITION_COLUMN} = ?", [hour])

    def count(self, files: Sequence[LakeFile]) -> Mapping[str, Count]:
        """What is in each of `files`."""
        with duckdb.connect() as db:
            return count_each(db, files)

    def record(self, commits: Sequence[Commit], counts: Mapping[str, Count]) -> None:
        """Write the ledger entries of `commits` and the ranges that they cover."""
        name = self._table.name
        self._session.insert("headrace.load_ledger", ledger_rows(name, commits, counts, self.load_seq))
        self._session.insert("headrace.load_ranges", range_rows(name, commits))

    def touch(self, files: Sequence[LakeFile]) -> list[str]:
        """Note the event dates of the rows in `files` as touched by this load."""
        with duckdb.connect() as db:
            dates = event_dates(db, self._table, files)
        if dates:
            places = ", ".join("?" * len(dates))
            sql = f"delete from headrace.touched where table_name = ? and event_date in ({places})"
            self._session.rows(sql, [self._table.name, *dates])
        self._session.insert("headrace.touched", [[self._table.name, date, self.load_seq] for date in dates])
        return dates

    def _append(self, columns: pa.Schema, files: Sequence[SizedFile]) -> int:
        """Copy files of one schema, and insert what came."""
        names = ", ".join(f'"{field.name}"' for field in columns)
        definition = ", ".join(f'"{field.name}" {sql_type(self._table, field)}' for field in columns)
        self._session.rows(f"create temporary table staged ({definition}) diststyle even")
        with self._manifest(files) as manifest:
            nested = " serializetojson" if any(pa.types.is_nested(field.type) for field in columns) else ""
            role = "default" if self._role == "default" else f"'{self._role}'"
            source = f"'{manifest}' iam_role {role} format as parquet manifest{nested}"
            copied = self._session.copy(f"copy staged from {source}")
        self._session.rows(
            f"insert into {RAW}.{self._table.name} ({names}, {PARTITION_COLUMN})"
            f" select {names}, {LANDING_HOUR} from staged"
        )
        self._session.rows("drop table staged")
        return copied

    @contextmanager
    def _manifest(self, files: Sequence[SizedFile]) -> Iterator[str]:
        """The URI of a manifest that lists `files`; each has to be there as it is."""
        entries = [{"url": file.uri, "mandatory": True, "meta": {"content_length": file.size}} for file in files]
        name = f"{MANIFESTS}/{self._table.name}-{uuid.uuid4()}.json"
        self._lake.write(name, json.dumps({"entries": entries}).encode())
        try:
            yield self._lake.uri(name)
        finally:
            self._lake.delete(name)


def fit_columns(session: Session, table: Table, schema: pa.Schema) -> None:
    """Create the raw table, or add to it what `schema` has and it lacks."""
    columns = {field.name: f'"{field.name}" {sql_type(table, field)}' for field in schema}
    key = "distkey(event_id)" if "event_id" in columns else "diststyle even"
    session.rows(
        f"create table if not exists {RAW}.{table.name} ({', '.join(columns.values())}) {key} sortkey(kafka_timestamp)"
    )
    asked = "select column_name from information_schema.columns where table_schema = 'raw' and table_name = ?"
    present = {name for (name,) in session.rows(asked, [table.name])}
    for name in columns.keys() - present:
        session.rows(f"alter table {RAW}.{table.name} add column {columns[name]}")


def sql_type(table: Table, field: pa.Field) -> str:
    """Redshift's type for a column of the lake: strings as long in bytes as the contract allows, times in UTC."""
    kind = field.type
    if pa.types.is_string(kind):
        limits = {column.name: column.max_bytes for column in table.columns}
        return f"varchar({limits.get(field.name) or LENGTHS.get(field.name, MAX_VALUE_BYTES)})"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    if pa.types.is_nested(kind):
        return "super"
    return {"int64": "bigint", "int32": "integer", "bool": "boolean", "binary": f"varbyte({MOST_BYTES})"}[str(kind)]


def _by_schema(files: Sequence[LakeFile]) -> Mapping[pa.Schema, list[SizedFile]]:
    """Files of the same columns together, those that came first before the others."""
    found: dict[pa.Schema, list[SizedFile]] = defaultdict(list)
    for file in files:
        [path], filesystem = arrow_files([file.uri])
        try:
            schema = pq.read_schema(path, filesystem=filesystem).remove_metadata()
            size = (filesystem or pyarrow.fs.LocalFileSystem()).get_file_info(path).size
        except (OSError, pa.ArrowInvalid) as error:
            raise PermanentError(f"{file.uri} cannot be read: {error}; nothing was changed") from error
        found[pa.schema([field.remove_metadata() for field in schema])].append(SizedFile(file.uri, size))
    return found
