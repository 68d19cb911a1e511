"""The status for a person: a line per store, table and view, what runs, and what is wrong with what to do."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from ingestion.warehouse import StaleDate
from orchestration.status import Status, TableStatus
from orchestration.store_status import StoreStatus
from orchestration.view_status import ViewStatus
from sensors.conditions import ERROR, WARNING

COLOURS = {ERROR: "red", WARNING: "yellow"}
UNKNOWN = "?"


def print_status(console: Console, status: Status, now: datetime) -> None:
    """Print one screen."""
    for store in status.stores:
        console.print(_store_line(store), soft_wrap=True)
    console.print(_grid(status.tables))
    console.print(_views_grid(status.views))
    if status.stale is not None:
        console.print(stale_line(status.stale))
    done = [
        f"{job.name} {ago(now - job.succeeded)} ({job.took.total_seconds():.0f} s)"
        for job in status.jobs
        if job.succeeded
    ]
    console.print(f"Last done: {', '.join(done) or 'nothing yet'}.")
    on = [name for name, is_on in status.switches.items() if is_on]
    console.print(f"Switched on: {', '.join(on) or 'nothing'}.")
    for condition in status.wrong:
        name = f" ({condition.name})" if condition.name else ""
        console.print(
            f"[{COLOURS[condition.severity]}]{condition.subject}{escape(name)}[/]:"
            f" {escape(f'{condition.said} {condition.todo}'.strip())}"
        )
    console.print("[red]Somebody has to look.[/]" if exit_code(status) else "[green]All is well.[/]")


def exit_code(status: Status) -> int:
    """1 where something needs a person; a warning can wait."""
    is_down = any(store.problem for store in status.stores)
    return int(is_down or any(condition.severity == ERROR for condition in status.wrong))


def stale_line(stale: Sequence[StaleDate]) -> str:
    """How many event dates wait for a build, and which of them is the oldest."""
    if not stale:
        return "Every event date is built."
    dates = sorted(one.event_date for one in stale)
    return f"{len(dates):,} event dates wait for a build, from {dates[0]} to {dates[-1]}."


def ago(age: timedelta) -> str:
    """An age as a person says it."""
    for unit, seconds in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if (count := age.total_seconds() / seconds) >= 2:
            return f"{count:.0f} {unit} ago"
    return f"{max(0.0, age.total_seconds()):.0f} s ago"


def _store_line(store: StoreStatus) -> str:
    said = f"[red]does not answer:[/] {escape(store.problem)}. {store.todo}" if store.problem else "answers"
    if store.is_busy:
        said = "is busy: a load or a build holds it. What is loaded and what is stale is not known now; ask again"
    return f"{store.name:<10}{escape(store.url)} {said}"


def _grid(tables: Sequence[TableStatus]) -> Grid:
    grid = Grid(
        box=None, padding=(0, 1, 0, 0), caption="to load: commits; unfit and copies: of the last 24 hours' rows"
    )
    grid.add_column("table", no_wrap=True)
    for name in ("log", "to land", "lake", "to load", "rows", "unfit", "copies"):
        grid.add_column(name, justify="right", no_wrap=True)
    for table in tables:
        counts = (table.appended, table.waiting, table.version, table.pending, table.rows)
        shares = (table.unfit, table.duplicates)
        grid.add_row(
            table.name,
            *(UNKNOWN if count is None else f"{count:,}" for count in counts),
            *(UNKNOWN if share is None else f"{share:.1%}" for share in shares),
        )
    return grid


def _views_grid(views: Sequence[ViewStatus]) -> Grid:
    caption = f"to hear: records; {UNKNOWN}: no listener has begun; left out: events, by the last materialisation"
    grid = Grid(box=None, padding=(0, 1, 0, 0), caption=caption)
    grid.add_column("view", no_wrap=True)
    for name in ("log", "to hear", "left out"):
        grid.add_column(name, justify="right", no_wrap=True)
    for view in views:
        counts = (view.appended, view.waiting, view.left_out)
        grid.add_row(view.name, *(UNKNOWN if count is None else f"{count:,}" for count in counts))
    return grid
