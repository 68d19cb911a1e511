"""Records of the log as typed rows of a lake table. Total: whatever a record holds, it becomes exactly one row.

A record that does not fit its table's columns keeps its bytes, has empty typed columns and says in `landing_error`
why. Encoding is a function of the record alone, so whoever lands it writes the same row.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from ingestion.tables import MAX_VALUE_BYTES, PARTITION_COLUMN, TIMESTAMP, Column, Table

JOINT = b"}\n{"
ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
TYPE_PATH = ("event_type",)
CHECKSUM_BITS = 60


@dataclass(frozen=True)
class Block:
    """Records of one partition as they were read: `values`, `offsets` and `timestamps` (µs) have one length."""

    topic_id: str
    topic: str
    partition: int
    offsets: Sequence[int]
    timestamps: Sequence[int]
    values: Sequence[bytes]


def checksum(value: bytes) -> int:
    """The first 60 bits of the md5: a sum of them is order-independent and every engine can compute it."""
    digest = hashlib.md5(value, usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - CHECKSUM_BITS)


def encode(table: Table, blocks: Sequence[Block]) -> pa.Table:
    """The rows of `blocks`, in their order, with `table.schema`."""
    blocks = blocks or [Block("", table.topic, 0, (), (), ())]
    values = [value for block in blocks for value in block.values]
    typed = pa.concat_tables(_typed(table, values))
    texts = [_text(value) for value in values]
    unfit_for_text = [value if text is None else None for value, text in zip(values, texts, strict=True)]
    columns = {
        **{name: typed.column(name) for name in typed.column_names},
        "kafka_value": pa.array(texts, pa.string()),
        "kafka_value_bytes": pa.array(unfit_for_text, pa.binary()),
        "checksum": pa.array(map(checksum, values), pa.int64()),
        **_coordinates(blocks),
    }
    return pa.table(columns, schema=table.schema)


def _coordinates(blocks: Sequence[Block]) -> dict[str, pa.Array]:
    def repeated(name: str, kind: pa.DataType) -> pa.Array:
        return pa.concat_arrays([pa.repeat(pa.scalar(getattr(b, name), kind), len(b.values)) for b in blocks])

    timestamps = pa.array([time for block in blocks for time in block.timestamps], TIMESTAMP)
    return {
        "topic_id": repeated("topic_id", pa.string()),
        "kafka_topic": repeated("topic", pa.string()),
        "kafka_partition": repeated("partition", pa.int32()),
        "kafka_offset": pa.array([offset for block in blocks for offset in block.offsets], pa.int64()),
        "kafka_timestamp": timestamps,
        PARTITION_COLUMN: pc.strftime(timestamps, "%Y-%m-%d-%H"),
    }


def _text(value: bytes) -> str | None:
    """The value as a warehouse's varchar can hold it, or None."""
    if len(value) > MAX_VALUE_BYTES or b"\0" in value:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _typed(table: Table, values: Sequence[bytes]) -> list[pa.Table]:
    """The typed columns of `values` in pieces; a run that does not parse is halved until its culprits stand alone."""
    if not values:
        return [_unfit(table, 0, "")]
    problem, parsed = _parse(table, values)
    if parsed is not None:
        return [_checked(table, parsed)]
    if len(values) == 1:
        return [_unfit(table, 1, problem)]
    middle = len(values) // 2
    return [*_typed(table, values[:middle]), *_typed(table, values[middle:])]


def _parse(table: Table, values: Sequence[bytes]) -> tuple[str, pa.Table | None]:
    """The typed columns of `values`, one row each, or what stands against it.

    Every value begins with `{`, ends with `}` and is one line, so between two values the parser must be between two
    documents; then as many rows as values means one row for each.
    """
    text = b"\n".join(values)
    if not (
        text.startswith(b"{") and text.endswith(b"}") and text.count(b"\n") == text.count(JOINT) == len(values) - 1
    ):
        return "not one JSON object on one line", None
    if max(map(len, values)) > MAX_VALUE_BYTES or b"\0" in text or _escapes_nul(text):
        return "holds a NUL character, or is too long for a warehouse", None
    try:
        text.decode()
        parsed = pyarrow.json.read_json(
            pa.BufferReader(text),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=max(1 << 20, len(text))),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=table.record_schema, unexpected_field_behavior="ignore"
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        return str(error)[:512], None
    if parsed.num_rows != len(values):
        return f"{parsed.num_rows} JSON documents in {len(values)} records", None
    return "", parsed


def _escapes_nul(text: bytes) -> bool:
    return b"\\u0000" in text and ESCAPED_NUL.search(text) is not None


def _checked(table: Table, parsed: pa.Table) -> pa.Table:
    """Flat columns; a row with a missing, an overlong or an impossible field becomes an unfit row."""
    flat = {column.name: _column(parsed, column) for column in table.columns}
    errors = pa.nulls(parsed.num_rows, pa.string())
    for column in table.columns:
        values, name = flat[column.name], ".".join(column.path)
        for problem, wrong in _misfits(table, column, values):
            errors = pc.if_else(pc.fill_null(wrong, False), pc.coalesce(errors, f"{name} {problem}"), errors)
    if errors.null_count < len(errors):
        fits = pc.is_null(errors)
        flat = {name: pc.if_else(fits, values, pa.scalar(None, values.type)) for name, values in flat.items()}
    return pa.table({**flat, "landing_error": errors})


def _column(parsed: pa.Table, column: Column) -> pa.ChunkedArray:
    values = parsed.column(column.path[0])
    for name in column.path[1:]:
        values = pc.struct_field(values, name)
    return values


def _misfits(table: Table, column: Column, values: pa.ChunkedArray) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """What is wrong with a column, and in which rows; looks at single rows only where some row has it."""
    if column.required and values.null_count:
        yield "is missing", pc.is_null(values)
    if column.max_bytes and (pc.max(pc.binary_length(values)).as_py() or 0) > column.max_bytes:
        yield f"is longer than {column.max_bytes} bytes", pc.greater(pc.binary_length(values), column.max_bytes)
    if column.type == TIMESTAMP and pc.any(early := pc.less(values, _first_day())).as_py():
        yield "is before the year 1", early
    if column.path == TYPE_PATH and pc.any(other := pc.not_equal(values, table.name)).as_py():
        yield f"is not {table.name}", other


@cache
def _first_day() -> pa.Scalar:
    """Made where it is needed: pyarrow imports pandas for its first value, a CPU-second for whoever only loads."""
    return pa.scalar(datetime.min.replace(tzinfo=UTC), TIMESTAMP)


def _unfit(table: Table, rows: int, problem: str) -> pa.Table:
    empty = {column.name: pa.nulls(rows, column.type) for column in table.columns}
    return pa.table({**empty, "landing_error": pa.array([problem] * rows, pa.string())})
