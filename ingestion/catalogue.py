"""The catalogue of event types for people."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rich.console import Console
from rich.table import Table as Grid

from ingestion.events import EVENT_TYPES
from ingestion.tables import Column, event_table


def print_catalogue(console: Console, shared: Mapping[str, Sequence[str]] = MappingProxyType({})) -> None:
    """Print every event type with the fields of its properties; `shared` are the topics that hold several types."""
    holders = {event_type: topic for topic, event_types in shared.items() for event_type in event_types}
    for name in EVENT_TYPES:
        table = event_table(name)
        grid = Grid(
            "field", "type", "required", "description", title=f"{name}: {table.description}", title_justify="left"
        )
        for column in table.columns:
            if column.path[0] == "properties":
                grid.add_row(column.name, _type(column), "yes" if column.required else "", column.description)
        console.print(grid, f"topic {holders.get(name, table.topic)}, lake table {name}, warehouse table raw.{name}\n")


def _type(column: Column) -> str:
    kind = "list of products" if str(column.type).startswith("list") else str(column.type)
    return f"string, {column.max_bytes} bytes" if column.max_bytes else kind
