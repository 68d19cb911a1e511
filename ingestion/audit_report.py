"""An audit's balance for people and for programs."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from ingestion.audit import BALANCED, BROKEN, Balance, Line
from ingestion.listened import Listened
from ingestion.sent import SentBalance

STATUS = ("balanced", "broken", "pending")
COLOURS = ("green", "red", "yellow")


def print_balance(console: Console, balance: Balance, by_hour: bool = False) -> None:
    """Print one line per table (and landing hour), then what does not balance."""
    grid = Grid("table", *(["hour"] if by_hour else []), *("log", "lake", "ledger", "raw"), title="rows in every hop")
    for line in balance.lines if by_hour else _totals(balance.lines):
        hour = [line.landing_hour] if by_hour else []
        grid.add_row(line.table, *hour, *(f"{part.rows:,}" for part in (line.log, line.lake, line.ledger, line.raw)))
    console.print(grid)
    if balance.views:
        console.print(_views_grid(balance.views))
    for finding in balance.findings:
        version = "any" if finding.version is None else finding.version
        where = f"{finding.table}, hour {finding.landing_hour or 'any'}, lake version {version}"
        console.print(f"[red]{finding.hop}[/]: {escape(f'{where}: {finding.message}')}")
    if balance.unread:
        console.print(f"[yellow]{balance.unread:,} records were lost to the log's retention before they were read[/]")
    if balance.not_landed or balance.not_loaded:
        console.print(f"{balance.not_landed:,} records are not landed yet, {balance.not_loaded:,} rows not loaded")
    if balance.not_heard:
        console.print(f"{balance.not_heard:,} records are not in the views yet")
    console.print(f"Result: [bold {COLOURS[balance.status]}]{STATUS[balance.status]}[/]")


def print_sent(console: Console, sent: SentBalance) -> None:
    """Print how a record of sent events compares."""
    console.print(
        f"{sent.events:,} events were sent, {sent.accepted:,} of them accepted: {len(sent.missing):,} missing,"
        f" {len(sent.doubled):,} doubled, {len(sent.unexpected):,} there though rejected"
        f" ({sent.copies:,} rows are repetitions, which count once)"
    )
    for name in ("missing", "doubled", "unexpected"):
        for event_id in getattr(sent, name)[:10]:
            console.print(f"[red]{name}[/]: {escape(event_id)}")


def as_json(balance: Balance, sent: SentBalance | None) -> dict[str, Any]:
    """The outcome as JSON; checksums are strings, because they do not fit a double."""
    whole = sent is None or sent.is_whole
    return {
        "status": STATUS[exit_code(balance, sent)],
        "not_landed": balance.not_landed,
        "not_loaded": balance.not_loaded,
        "not_heard": balance.not_heard,
        "unread": balance.unread,
        "lines": [_line_as_json(line) for line in balance.lines],
        "views": [
            {"view": each.view, "topic": each.topic, "log": each.appended, "pending": each.pending}
            for each in balance.views
        ],
        "findings": [asdict(finding) for finding in balance.findings],
        "sent": asdict(sent) | {"is_whole": whole} if sent else None,
    }


def exit_code(balance: Balance, sent: SentBalance | None) -> int:
    """0 balanced, 1 broken, 2 pending; a missing event may still be on its way while something is pending."""
    if sent is not None and (sent.doubled or sent.unexpected or (sent.missing and balance.status == BALANCED)):
        return BROKEN
    return balance.status


def _totals(lines: list[Line]) -> list[Line]:
    totals: dict[str, Line] = {}
    for line in lines:
        total = totals.setdefault(line.table, Line(line.table, ""))
        for hop in ("log", "landed", "lake", "pending", "ledger", "raw"):
            setattr(total, hop, getattr(total, hop) + getattr(line, hop))
    return list(totals.values())


def _views_grid(views: list[Listened]) -> Grid:
    grid = Grid("view", "log", "pending", title="records for the views")
    for name in dict.fromkeys(each.view for each in views):
        own = [each for each in views if each.view == name]
        grid.add_row(name, f"{sum(each.appended for each in own):,}", f"{sum(each.pending for each in own):,}")
    return grid


def _line_as_json(line: Line) -> dict[str, Any]:
    counts = {hop: getattr(line, hop) for hop in ("log", "landed", "lake", "pending", "ledger", "raw")}
    return {"table": line.table, "landing_hour": line.landing_hour} | {
        hop: {"rows": count.rows, "checksum": str(count.checksum)} for hop, count in counts.items()
    }
