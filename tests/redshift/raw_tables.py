"""The raw tables of a DuckDB warehouse, taken to the stand-in by COPY: a loader of the tests' own."""

import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ingestion.tables import MAX_VALUE_BYTES, Table, all_tables
from tests.services.s3 import S3

BUCKET = "raw-tables"
HEADRACE = (
    "create schema raw",
    "create schema headrace",
    "create table headrace.load_lock (loads bigint not null)",
    "insert into headrace.load_lock values (0)",
    "create table headrace.touched (table_name varchar(64), event_date date, load_seq bigint)",
)
TYPES = {"string": f"varchar({MAX_VALUE_BYTES})", "int64": "bigint", "int32": "integer", "bool": "boolean"}


def create_tables(db: Any) -> None:
    """The schemas and tables that the models read, empty."""
    cursor = db.cursor()
    for statement in (*HEADRACE, *(definition(table) for table in all_tables())):
        cursor.execute(statement)
    db.commit()


def definition(table: Table) -> str:
    """`create table` for a raw table."""
    columns = ", ".join(f'"{field.name}" {sql_type(field.type)}' for field in table.schema)
    return f"create table raw.{table.name} ({columns}) diststyle even compound sortkey ({table.event_date_column})"


def sql_type(kind: pa.DataType) -> str:
    """Redshift's type for a column of the lake."""
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    if pa.types.is_nested(kind):
        return "super"
    return "varbyte(1000000)" if pa.types.is_binary(kind) else TYPES[str(kind)]


def copy_rows(source: duckdb.DuckDBPyConnection, db: Any, s3: S3, tables: Sequence[Table]) -> None:
    """Replace the rows of raw tables by those that a DuckDB warehouse has, in one transaction."""
    cursor, client = db.cursor(), s3.endpoint.client()
    for table in tables:
        columns = ", ".join(f'"{name}"' for name in table.schema.names)
        rows = source.sql(f"select {columns} from raw.{table.name}").to_arrow_table()
        sink = BytesIO()
        pq.write_table(rows, sink)
        key = f"{table.name}.parquet"
        entry = {"url": f"s3://{BUCKET}/{key}", "mandatory": True, "meta": {"content_length": len(sink.getvalue())}}
        client.put_object(Bucket=BUCKET, Key=key, Body=sink.getvalue())
        client.put_object(Bucket=BUCKET, Key=f"{key}.manifest", Body=json.dumps({"entries": [entry]}).encode())
        cursor.execute(f"delete from raw.{table.name}")
        cursor.execute(
            f"copy raw.{table.name} from 's3://{BUCKET}/{key}.manifest' iam_role 'arn:aws:iam::1:role/copy'"
            " format as parquet manifest serializetojson"
        )
    db.commit()
    client.close()
