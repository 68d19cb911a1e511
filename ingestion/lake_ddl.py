"""The lake's tables as other query engines declare them: types from the event contract, statements by their manuals.

Athena and Trino read the columns from Delta's log and take no list of them; there it stands beside the statement, as
the engine shows it. Redshift Spectrum takes a list, and reads manifests of the files instead of the log.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from ingestion.tables import MAX_VALUE_BYTES, PARTITION_COLUMN, TIMESTAMP, Table

TRINO_CATALOG = "delta"
SPECTRUM_SUFFIX = "_spectrum"
"""Spectrum's tables are entries of Glue too, of the same names, and Redshift has a schema `headrace` of its own."""
MANIFESTS = "_symlink_format_manifest"
SPECTRUM_MOST_BYTES = 1_024_000


class Engine(StrEnum):
    """Who asks."""

    ATHENA = "athena"
    TRINO = "trino"
    SPECTRUM = "spectrum"


@dataclass(frozen=True)
class DeclaredColumn:
    """A column as an engine has it."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class Types:
    """How an engine writes types; `scalars` by their Arrow names, the others as formats."""

    scalars: Mapping[str, str]
    array: str = "array<{}>"
    struct: str = "struct<{}>"
    field: str = "{}:{}"

    def of(self, kind: pa.DataType) -> str:
        """The engine's name of an Arrow type; TypeError where it has none."""
        if pa.types.is_decimal(kind):
            return f"decimal({kind.precision},{kind.scale})"
        if pa.types.is_list(kind):
            return self.array.format(self.of(kind.value_type))
        if pa.types.is_struct(kind):
            return self.struct.format(",".join(self.field.format(inner.name, self.of(inner.type)) for inner in kind))
        if str(kind) not in self.scalars:
            raise TypeError(f"{kind} has no type in this engine; name one in ingestion.lake_ddl")
        return self.scalars[str(kind)]


TYPES = {
    Engine.ATHENA: Types(
        {"string": "string", "int64": "bigint", "int32": "int", "bool": "boolean", "binary": "binary"}
        | {str(TIMESTAMP): "timestamp"}
    ),
    Engine.TRINO: Types(
        {"string": "varchar", "int64": "bigint", "int32": "integer", "bool": "boolean", "binary": "varbinary"}
        | {str(TIMESTAMP): "timestamp(3) with time zone"},
        array="array({})",
        struct="row({})",
        field="{} {}",
    ),
    Engine.SPECTRUM: Types(  # a shorter varchar would cut values without an error
        {"string": f"varchar({MAX_VALUE_BYTES})", "int64": "bigint", "int32": "integer", "bool": "boolean"}
        | {"binary": f"varbyte({SPECTRUM_MOST_BYTES})", str(TIMESTAMP): "timestamp"}
    ),
}


def declared(table: Table, engine: Engine) -> list[DeclaredColumn]:
    """The columns of a table as an engine has them; the partition column is the last."""
    return [
        DeclaredColumn(
            field.name, TYPES[engine].of(field.type), (field.metadata or {}).get(b"description", b"").decode()
        )
        for field in table.schema
    ]


def location(lake_url: str, table: Table) -> str:
    """The folder of a table, without a slash at its end."""
    return f"{lake_url.rstrip('/')}/{table.name}"


def ddl(engine: Engine, tables: Sequence[Table], lake_url: str, database: str) -> str:
    """The statements that show an engine the tables of the lake at `s3://bucket/prefix`, each with its semicolon."""
    return "\n\n".join(f"{statement};" for statement in _STATEMENTS[engine](tables, lake_url, database)) + "\n"


def _athena(tables: Sequence[Table], lake_url: str, database: str) -> Iterator[str]:
    yield f"CREATE DATABASE IF NOT EXISTS {database}"
    for table in tables:
        yield (
            f"{_comment(table, Engine.ATHENA)}\n"
            f"CREATE EXTERNAL TABLE IF NOT EXISTS {database}.{table.name}\n"
            f"LOCATION {_literal(location(lake_url, table) + '/')}\n"
            "TBLPROPERTIES ('table_type' = 'DELTA')"
        )


def _trino(tables: Sequence[Table], lake_url: str, database: str) -> Iterator[str]:
    yield f"CREATE SCHEMA IF NOT EXISTS {TRINO_CATALOG}.{database}"
    for table in tables:
        yield (
            f"{_comment(table, Engine.TRINO)}\n"
            f"CALL {TRINO_CATALOG}.system.register_table(schema_name => '{database}', table_name => '{table.name}',"
            f" table_location => {_literal(location(lake_url, table))})"
        )


def _spectrum(tables: Sequence[Table], lake_url: str, database: str) -> Iterator[str]:
    schema = database + SPECTRUM_SUFFIX
    yield (
        f"CREATE EXTERNAL SCHEMA IF NOT EXISTS {schema}\n"
        f"FROM DATA CATALOG DATABASE '{schema}' IAM_ROLE default\n"
        "CREATE EXTERNAL DATABASE IF NOT EXISTS"
    )
    for table in tables:
        *columns, partition = declared(table, Engine.SPECTRUM)
        last = columns[-1]
        lines = (
            f'  "{column.name}" {column.type}{"" if column is last else ","}{_remark(" -- ", column.description)}'
            for column in columns
        )
        yield (
            f"-- {table.name}{_remark(': ', table.description)}\n"
            f"CREATE EXTERNAL TABLE {schema}.{table.name} (\n" + "\n".join(lines) + "\n)\n"
            f'PARTITIONED BY ("{partition.name}" {partition.type}){_remark(" -- ", partition.description)}\n'
            "ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe'\n"
            "STORED AS INPUTFORMAT 'org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat'\n"
            "OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'\n"
            f"LOCATION {_literal(f'{location(lake_url, table)}/{MANIFESTS}/')}"
        )


_STATEMENTS = {Engine.ATHENA: _athena, Engine.TRINO: _trino, Engine.SPECTRUM: _spectrum}


def spectrum_partitions(table: Table, hours: Sequence[str], lake_url: str, database: str) -> Iterator[str]:
    """A statement per landing hour, with its semicolon, that shows Spectrum the hour's manifest."""
    for hour in hours:
        folder = f"{location(lake_url, table)}/{MANIFESTS}/{PARTITION_COLUMN}={hour}/"
        yield (
            f"ALTER TABLE {database}{SPECTRUM_SUFFIX}.{table.name}"
            f" ADD IF NOT EXISTS PARTITION ({PARTITION_COLUMN}='{hour}') LOCATION {_literal(folder)};"
        )


def _comment(table: Table, engine: Engine) -> str:
    """What the table and its columns are, as lines of comment."""
    columns = (
        f"--   {column.name} {column.type}{_remark(': ', column.description)}" for column in declared(table, engine)
    )
    return "\n".join([f"-- {table.name}{_remark(': ', table.description)}", *columns])


def _remark(before: str, text: str) -> str:
    """Text within a comment: consoles that cut a script at `;` or pair its quotes do so in comments too."""
    return before + one_line(text).replace(";", ",").replace("'", "\u2019") if text else ""


def one_line(text: str) -> str:
    """A docstring without its line breaks."""
    return " ".join(text.split())


def _literal(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
