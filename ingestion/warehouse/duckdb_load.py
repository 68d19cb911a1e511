"""One load transaction of DuckDB: the rows, what the ledger has of them, and the columns that they need."""

from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from ingestion.counting import Count
from ingestion.lake import Commit, LakeFile
from ingestion.tables import PARTITION_COLUMN, Table
from ingestion.warehouse.lake_files import PARQUET, count_each, event_dates, uris
from ingestion.warehouse.ledger import ledger_rows, range_rows


class DuckDBLoad:
    """One load transaction."""

    def __init__(self, db: duckdb.DuckDBPyConnection, table: Table, load_seq: int) -> None:
        self._db, self._table, self.load_seq = db, table, load_seq

    def loaded_version(self) -> int:
        """The last version of the lake table that the ledger has."""
        sql = "select coalesce(max(version), -1) from headrace.load_ledger where table_name = ?"
        return int(str(one(self._db, sql, self._table.name)[0]))

    def loaded_hour(self, hour: str) -> Count:
        """What the ledger has of a landing hour."""
        rows, total = one(
            self._db,
            "select coalesce(sum(rows), 0), coalesce(sum(checksum), 0)"
            " from headrace.load_ledger where table_name = ? and landing_hour = ?",
            self._table.name,
            hour,
        )
        return Count(int(str(rows)), int(str(total)))

    def append(self, schema: pa.Schema, files: Sequence[LakeFile]) -> int:
        """Insert the rows of `files`."""
        fit_columns(self._db, self._table.name, schema)
        (inserted,) = one(
            self._db,
            f"insert into raw.{self._table.name} by name select *, strftime(kafka_timestamp, '%Y-%m-%d-%H')"
            f" as {PARTITION_COLUMN} from {PARQUET}",
            uris(self._db, files),
        )
        return int(str(inserted))

    def delete_hour(self, hour: str) -> None:
        """Delete the rows of a landing hour."""
        self._db.execute(f"delete from raw.{self._table.name} where {PARTITION_COLUMN} = ?", [hour])

    def count(self, files: Sequence[LakeFile]) -> Mapping[str, Count]:
        """What is in each of `files`."""
        return count_each(self._db, files)

    def record(self, commits: Sequence[Commit], counts: Mapping[str, Count]) -> None:
        """Write the ledger entries of `commits` and the ranges that they cover."""
        self._insert("load_ledger", ledger_rows(self._table.name, commits, counts, self.load_seq))
        self._insert("load_ranges", range_rows(self._table.name, commits))

    def touch(self, files: Sequence[LakeFile]) -> list[str]:
        """Note the event dates of the rows in `files` as touched by this load."""
        dates = event_dates(self._db, self._table, files)
        for date in dates:
            self._db.execute(
                "delete from headrace.touched where table_name = ? and event_date = ?", [self._table.name, date]
            )
        self._insert("touched", [[self._table.name, date, self.load_seq] for date in dates])
        return dates

    def _insert(self, table: str, rows: list[list[object]]) -> None:
        if rows:
            self._db.executemany(f"insert into headrace.{table} values ({', '.join('?' * len(rows[0]))})", rows)


def sql_type(kind: pa.DataType) -> str:
    """DuckDB's type for a column of the lake; times are UTC without a zone, as in Redshift."""
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    if pa.types.is_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return "struct(" + ", ".join(f'"{field.name}" {sql_type(field.type)}' for field in kind) + ")"
    return {"string": "varchar", "int64": "bigint", "int32": "integer", "bool": "boolean", "binary": "blob"}[str(kind)]


def fit_columns(db: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema) -> None:
    """Create the raw table, or add to it what `schema` has and it lacks."""
    definition = ", ".join(f'"{field.name}" {sql_type(field.type)}' for field in schema)
    db.execute(f"create table if not exists raw.{name} ({definition})")
    present = db.sql(f"from raw.{name} limit 0").to_arrow_table().schema
    for field in schema:
        if field.name not in present.names:
            db.execute(f'alter table raw.{name} add column "{field.name}" {sql_type(field.type)}')
            continue
        kind = present.field(field.name).type
        if (wider := _widened(kind, field.type)) != kind:
            db.execute(f'alter table raw.{name} alter column "{field.name}" type {sql_type(wider)}')


def _widened(present: pa.DataType, wanted: pa.DataType) -> pa.DataType:
    """`present` with the inner fields that `wanted` adds; those that it lacks stay, or their values would be lost."""
    if pa.types.is_list(present) and pa.types.is_list(wanted):
        return pa.list_(_widened(present.value_type, wanted.value_type))
    if pa.types.is_struct(present) and pa.types.is_struct(wanted):
        fields = {field.name: field.type for field in present}
        for field in wanted:
            fields[field.name] = _widened(fields.get(field.name, field.type), field.type)
        return pa.struct(list(fields.items()))
    return present


def one(db: duckdb.DuckDBPyConnection, sql: str, *parameters: object) -> tuple[object, ...]:
    """The one row of a query; empty where there is none."""
    row: tuple[object, ...] | None = db.execute(sql, list(parameters)).fetchone()
    return row or ()
