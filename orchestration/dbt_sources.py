"""The part of the dbt project that follows from the event contract: `python -m orchestration.dbt_sources` writes it.

For each event type: its raw table as a source, and `stg_<type>`, a view of the records that fit, column by column.
Lists of products are left out there, because their type differs by warehouse; `stg_event_products` unnests them.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ingestion.events import EVENT_TYPES
from ingestion.tables import COORDINATES, PARTITION_COLUMN, Column, Table, all_tables, event_table

PROJECT = Path(__file__).parents[1] / "dbt_project"
HEADER = "Generated from ingestion/events.py by `python -m orchestration.dbt_sources`: change the contract instead."
KEPT_COORDINATES = ("topic_id", "kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp", PARTITION_COLUMN)
RENAMED = {"session_id": "app_session_id"}
COORDINATE_BYTES = 256
REQUIRED = ("event_id", "occurred_at", "received_at", "source")


def generated_files() -> dict[Path, str]:
    """Every generated file of the project with its text."""
    staging = PROJECT / "models" / "staging"
    return {
        staging / "_sources.yml": sources_yaml(),
        staging / "_event_types.yml": staging_yaml(),
        staging / "_event_types.md": contract_docs(),
        PROJECT / "macros" / "event_types.sql": event_types_macro(),
        **{staging / f"stg_{name}.sql": staging_sql(event_table(name)) for name in EVENT_TYPES},
    }


def sources_yaml() -> str:
    """The raw tables as dbt sources, and what the loader says of its loads."""
    lines = [f"# {HEADER}", "version: 2", "sources:", "  - name: raw", "    schema: raw"]
    lines += ["    description: Records as the log held them, one table per event type.", "    tables:"]
    for table in all_tables():
        lines += [
            f"      - name: {table.name}",
            f"        description: {_quoted(table.description)}",
            "        columns:",
        ]
        lines += [_column(field.name, None, _description(field), 10) for field in table.schema]
    return "\n".join([*lines, *HEADRACE_SOURCE, ""])


HEADRACE_SOURCE = (
    "  - name: headrace",
    "    schema: headrace",
    "    description: What the loader knows of its loads.",
    "    tables:",
    "      - name: load_lock",
    "        description: One row; counts the loads.",
    "      - name: touched",
    "        description: Event dates with the last load that touched them.",
)


def staging_yaml() -> str:
    """The contracts of the staging views."""
    lines = [f"# {HEADER}", "version: 2", "models:"]
    for name in EVENT_TYPES:
        table = event_table(name)
        lines += [f"  - name: stg_{name}", f"    description: {_quoted(table.description)}", "    columns:"]
        lines += [
            _column(alias, kind, description, 6, required=source in REQUIRED)
            for source, alias, kind, description in staged_columns(table)
        ]
    return "\n".join([*lines, ""])


def staging_sql(table: Table) -> str:
    """The view of the records of a type that fit."""
    columns = [
        f"    cast({source} as {kind}) as {alias}"
        for source, alias, kind, _ in staged_columns(table)
        if alias != "event_date"
    ]
    return (
        f"-- {HEADER}\n"
        "with records as (\n"
        f"    select * from {{{{ source('raw', '{table.name}') }}}}\n"
        ")\n\n"
        "select\n"
        + ",\n".join([*columns, "    cast(occurred_at as date) as event_date"])
        + "\nfrom records\nwhere landing_error is null\n"
    )


def staged_columns(table: Table) -> Iterator[tuple[str, str, str, str]]:
    """Name in the raw table, name in staging, SQL type and description of each column of a staging view."""
    for column in table.columns:
        if not pa.types.is_nested(column.type):
            yield column.name, RENAMED.get(column.name, column.name), sql_type(column), column.description
    for name in KEPT_COORDINATES:
        field = COORDINATES.field(name)
        coordinate = Column(name, (), field.type, False, COORDINATE_BYTES, _description(field))
        yield name, name, sql_type(coordinate), coordinate.description
    yield "occurred_at", "event_date", "date", "date of occurred_at, UTC"


def sql_type(column: Column) -> str:
    """A column's type as both warehouses write it."""
    if pa.types.is_string(column.type):
        return f"varchar({column.max_bytes})"
    if pa.types.is_timestamp(column.type):
        return "timestamp"
    if pa.types.is_decimal(column.type):
        return f"decimal({column.type.precision}, {column.type.scale})"
    return {"int64": "bigint", "int32": "integer", "bool": "boolean"}[str(column.type)]


def contract_docs() -> str:
    """A doc block per column of the contract, so that later models name it instead of describing it again."""
    described: dict[str, str] = {}
    for name in EVENT_TYPES:
        for _, alias, _, description in staged_columns(event_table(name)):
            described.setdefault(alias, description)
    blocks = [f"{{% docs {name} %}}{text}{{% enddocs %}}\n" for name, text in described.items()]
    return "\n".join([f"<!-- {HEADER} -->\n", *blocks])


def event_types_macro() -> str:
    """The event types with the columns that each has besides those of all, and those that list products."""
    tables = [event_table(name) for name in EVENT_TYPES]
    names = {table.name: [alias for _, alias, _, _ in staged_columns(table)] for table in tables}
    shared = set.intersection(*map(set, names.values()))
    own = "".join(f"    '{name}': {[c for c in columns if c not in shared]},\n" for name, columns in names.items())
    listing = [table.name for table in tables if "products" in table.schema.names]
    return (
        f"{{#- {HEADER} -#}}\n"
        f"{{% macro event_types() %}}\n  {{{{ return({{\n{own}  }}) }}}}\n{{% endmacro %}}\n\n"
        f"{{% macro event_types_with_products() %}}\n  {{{{ return({listing}) }}}}\n{{% endmacro %}}\n"
    )


def _description(field: pa.Field) -> str:
    return str((field.metadata or {}).get(b"description", b"").decode())


def _quoted(text: str) -> str:
    first = text.split("\n")[0].replace("\\", "\\\\").replace('"', '\\"')
    return f'"{first}"'


def _column(name: str, kind: str | None, description: str, indent: int, required: bool = False) -> str:
    space = " " * indent
    lines = [f"{space}- name: {name}", f"{space}  description: {_quoted(description)}"]
    lines += [f"{space}  data_type: {kind}"] if kind else []
    lines += [f"{space}  data_tests: [not_null]"] if required else []
    return "\n".join(lines)


def main() -> None:
    """Write the generated files."""
    for path, text in generated_files().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
