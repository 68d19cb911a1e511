"""COPY and UNLOAD as they run: in the client's own session, so that they are part of its transaction."""

from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.redshift.backend import Backend
from tests.redshift.dialect import quote, translate
from tests.redshift.parquet import Target
from tests.redshift.storage import Storage
from tests.redshift.transfers import Transfer
from tests.redshift.wire import Column

NUMERIC, BOOLEAN, TIMESTAMP, TIMESTAMPTZ = 1700, 16, 1114, 1184
TYPES = {20: pa.int64(), 21: pa.int16(), 23: pa.int32(), 700: pa.float32(), 701: pa.float64(), 1082: pa.date32()}
MICROSECONDS = {TIMESTAMP: pa.timestamp("us"), TIMESTAMPTZ: pa.timestamp("us", tz="UTC")}
COLUMNS = """
select attname, case when typname = 'super' then 'super' else format_type(atttypid, atttypmod) end
from pg_attribute inner join pg_type on pg_type.oid = atttypid
where attrelid = {table}::regclass and attnum > 0 and not attisdropped order by attnum
"""


def copy(transfer: Transfer, backend: Backend, storage: Storage) -> int:
    """Run a COPY and return its rows. Raises Refused and Failed."""
    present = [
        Target(str(name), str(kind)) for name, kind in backend.ask(COLUMNS.format(table=quote(transfer.subject)))
    ]
    names = transfer.columns or tuple(target.name for target in present)
    targets = [next((target for target in present if target.name == name), Target(name, "")) for name in names]
    listed = ", ".join(f'"{name}"' for name in names)

    def chunks() -> Iterator[bytes]:
        for file in storage.files(transfer):
            yield from file.csv(targets, list(transfer.options))

    return backend.copy_in(f"copy {transfer.subject} ({listed}) from stdin with (format csv)", chunks())


def unload(transfer: Transfer, backend: Backend, storage: Storage) -> int:
    """Run an UNLOAD and return its rows. Raises Refused and Failed."""
    sql = translate(transfer.subject).sql
    described, rows = backend.describe(sql), backend.ask(sql)
    arrays = [_array(column, [row[at] for row in rows]) for at, column in enumerate(described)]
    sink = BytesIO()
    pq.write_table(pa.table(arrays, names=[column.name for column in described]), sink)
    storage.put(transfer, sink.getvalue())
    return len(rows)


def _array(column: Column, values: list[str | None]) -> Any:
    """The values of a column, which PostgreSQL said as text."""
    if column.type == BOOLEAN:
        return pa.array([None if value is None else value == "t" for value in values])
    if column.type in MICROSECONDS:
        moments = [None if value is None else datetime.fromisoformat(value) for value in values]
        return pa.array(
            [moment and moment.replace(tzinfo=UTC) for moment in moments], pa.timestamp("us", tz="UTC")
        ).cast(MICROSECONDS[column.type])
    if column.type == NUMERIC:
        size = column.modifier - 4
        return pa.array(values, pa.string()).cast(
            pa.decimal128(size >> 16 & 0xFFFF, size & 0xFFFF) if size >= 0 else pa.string()
        )
    return pa.array(values, pa.string()).cast(TYPES.get(column.type, pa.string()))
