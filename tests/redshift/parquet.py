"""Parquet as COPY reads it: columns by position, exact physical types, lengths in bytes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from tests.redshift.errors import Refused

MAX_STRING_BYTES = 65_535
JSON = msgspec.json.Encoder(decimal_format="number")
EXACT = {
    "smallint": ("int16",),
    "integer": ("int32",),
    "bigint": ("int64",),
    "real": ("float",),
    "double precision": ("double",),
    "boolean": ("bool",),
    "date": ("date32[day]",),
    "bytea": ("binary", "large_binary", "binary_view"),
    "character varying": ("string", "large_string", "string_view"),
    "character": ("string", "large_string", "string_view"),
}
"""What a column of a table takes; Spectrum, which reads the file, widens nothing."""


class LoadError(Refused):
    """A file that does not fit its table; sys_load_error_detail tells which."""

    def __init__(self, reason: str, file: str, column: str = "") -> None:
        self.reason, self.file, self.column = reason, file, column
        super().__init__(f"Spectrum Scan Error: {reason} File: {file}", "XX000")


@dataclass(frozen=True)
class Target:
    """A column of the table; `type` is as PostgreSQL writes it, with its size."""

    name: str
    type: str

    @property
    def kind(self) -> str:
        """The type without its size."""
        return self.type.partition("(")[0]

    @property
    def sizes(self) -> list[int]:
        """What stands in parentheses."""
        return [int(size) for size in self.type.partition("(")[2].rstrip(")").split(",") if size]


@dataclass(frozen=True)
class ParquetFile:
    """One object."""

    uri: str
    body: bytes

    def csv(self, targets: Sequence[Target], options: Sequence[str]) -> Iterator[bytes]:
        """Its rows for `copy … from stdin`. Raises LoadError."""
        try:
            table = pq.ParquetFile(BytesIO(self.body)).read()
        except pa.ArrowException as error:
            raise LoadError(f"the file is not valid Parquet: {error}.", self.uri) from error
        self._check_count(table, targets, options)
        columns = [self._column(table, at, target, options) for at, target in enumerate(targets)]
        sink = BytesIO()
        plain = pa.table(columns, names=[target.name for target in targets])
        csv.write_csv(plain, sink, csv.WriteOptions(include_header=False))
        yield sink.getvalue()

    def _check_count(self, table: pa.Table, targets: Sequence[Target], options: Sequence[str]) -> None:
        found, wanted = table.num_columns, len(targets)
        if found > wanted or (found < wanted and "fillrecord" not in options):
            counts = f"Table columns: {wanted}, Data columns: {found}."
            raise LoadError(f"Unmatched number of columns between table and file. {counts}", self.uri)

    def _column(self, table: pa.Table, at: int, target: Target, options: Sequence[str]) -> Any:
        if at >= table.num_columns:
            return pa.nulls(len(table), pa.string())
        field, column = table.schema.field(at), table.column(at)
        if target.kind == "super":
            return self._as_json(column, target, options)
        if not _fits(field.type, target):
            raise LoadError(
                f"File has an incompatible Parquet schema for column '{field.name}'."
                f" Column type: {target.type.upper()}, Parquet schema: {field.type}.",
                self.uri,
                target.name,
            )
        if target.kind == "bytea":
            return pa.array(
                [None if value is None else "\\x" + value.hex() for value in column.to_pylist()], pa.string()
            )
        if target.kind in ("character varying", "character"):
            self._check_length(pc.max(pc.binary_length(column)).as_py() or 0, target)
        return column

    def _as_json(self, column: Any, target: Target, options: Sequence[str]) -> Any:
        if pa.types.is_nested(column.type) and "serializetojson" not in options:
            raise LoadError(f"Invalid type: 4000. Column {target.name} needs SERIALIZETOJSON.", self.uri, target.name)
        return pa.array(
            [None if value is None else JSON.encode(value).decode() for value in column.to_pylist()], pa.string()
        )

    def _check_length(self, longest: int, target: Target) -> None:
        allowed = target.sizes[0] if target.sizes else MAX_STRING_BYTES
        if longest > allowed:
            raise LoadError(
                f"The length of the data column {target.name} is longer than the length defined in the table."
                f" Table: {allowed}, Data: {longest}.",
                self.uri,
                target.name,
            )


def _fits(kind: pa.DataType, target: Target) -> bool:
    if target.kind == "numeric":
        precision, scale = target.sizes or [18, 0]
        return bool(pa.types.is_decimal(kind) and kind.scale == scale and kind.precision <= precision)
    if target.kind.startswith("timestamp"):
        return bool(pa.types.is_timestamp(kind) and kind.unit in ("ms", "us"))
    return str(kind) in EXACT.get(target.kind, ())
