"""A few rows of a raw table for a person who looks at it in Dagster; nothing that says whose they are."""

from collections.abc import Sequence

from ingestion.tables import PARTITION_COLUMN, REJECTED, Table
from ingestion.warehouse import Warehouse

ROWS, CHARACTERS = 10, 40
ENVELOPE = ("occurred_at", "source")
OF_REJECTIONS = ("received_at", "source", "code", "field")


def shown_columns(table: Table) -> list[str]:
    """When, where from, and the properties of the event: no visitor, no device, no context and no record as it came."""
    if table.name == REJECTED:
        return list(OF_REJECTIONS)
    return [*ENVELOPE, *(column.name for column in table.columns if column.path[0] == "properties")]


def preview(warehouse: Warehouse, table: Table, hour: str) -> str:
    """Some rows of a landing hour as a Markdown table."""
    columns = shown_columns(table)
    names = ", ".join(f'"{name}"' for name in columns)
    sql = f'select {names} from "raw".{table.name} where {PARTITION_COLUMN} = ? limit {ROWS}'
    rows = warehouse.query(sql, [hour])  # to Redshift the schema's name is a reserved word
    return "\n".join([_line(columns), _line(["---"] * len(columns)), *map(_line, rows)])


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}…"
