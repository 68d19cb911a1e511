"""What a view says of a key, for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from ingestion.views.product_counters import COUNTS
from ingestion.views.reading import Answer

if TYPE_CHECKING:
    from ingestion.views.dynamodb_tables import Step

ENVELOPE = ("occurred_at", "event_type", "event_id")


def print_answer(console: Console, answer: Answer) -> None:
    """Print rows, newest first, or the lines of a cart; of counters with their totals."""
    title = escape(f"{answer['view']} of {answer['key']}")
    if "lines" in answer:
        grid = Grid("product", "quantity", "name", title=title)
        for line in answer["lines"]:
            grid.add_row(*(escape(str(part)) for part in _line(line)))
        console.print(grid)
        touched = answer["touched_at"]
        console.print(f"last changed at {touched}" if touched else "untouched since the last order")
        return
    console.print(_counters(answer, title) if "totals" in answer else _events(answer, title))


def print_next(console: Console, answer: Answer) -> None:
    """Print how to go on, where there is more."""
    if answer.get("next"):
        console.print(f"there is more: --page {answer['next']}", highlight=False, soft_wrap=True)


def _events(answer: Answer, title: str) -> Grid:
    grid = Grid("when (UTC)", "event", "what", title=title)
    for column in grid.columns[:2]:
        column.no_wrap = True
    for row in answer["rows"]:
        what = ", ".join(f"{name} {value}" for name, value in row.items() if name not in ENVELOPE)
        when = row["occurred_at"][:19].replace("T", " ")
        grid.add_row(when, escape(row["event_type"]), escape(what))
    return grid


def _counters(answer: Answer, title: str) -> Grid:
    grid = Grid("hour", *COUNTS, title=f"{title}, {answer['from']} to {answer['to']}")
    for row in answer["rows"]:
        grid.add_row(row["hour"], *(f"{row[name]:,}" for name in COUNTS))
    grid.add_section()
    grid.add_row("together", *(f"{answer['totals'][name]:,}" for name in COUNTS))
    return grid


def print_plan(console: Console, steps: "Sequence[Step]") -> None:
    """Print what has to change in the tables of the views, and what is only said."""
    for step in steps:
        note = "" if step.operation else f" ({step.kind})"
        console.print(f"{step.table} {step.text}{note}", markup=False, highlight=False, soft_wrap=True)
    if not any(step.operation for step in steps):
        console.print("nothing to change")


def _line(line: Answer) -> tuple[str, int, str]:
    last = line["last_event"]
    name = last.get("product", {}).get("name") or last.get("name") or ""
    return line["product_id"], line["quantity"], name
