"""The commands that send: `headrace send` an app's events from a file, `headrace simulate` a shop's visitors."""

import random
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import click
import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ingestion import sender, simulation


def _sending(command: Any) -> Any:
    """The options of every command that sends."""
    options = (
        click.option(
            "--url",
            default="http://127.0.0.1:8080",
            envvar="HEADRACE_URL",
            show_default=True,
            help="The collector (or HEADRACE_URL).",
        ),
        click.option("--key", envvar="HEADRACE_WRITE_KEY", required=True, help="Write key (or HEADRACE_WRITE_KEY)."),
        click.option("--batch", default=100, show_default=True, help="Events of one request."),
        click.option("--record", type=click.Path(path_type=Path), help="Write every attempt's answer to this file."),
    )
    for option in options:
        command = option(command)
    return command


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_sending
def send(file: Path, url: str, key: str, batch: int, record: Path | None) -> None:
    """Send the events of FILE (JSON lines), with their own event times."""
    total = sum(1 for _ in sender.read_jsonl(file))
    _send(sender.read_jsonl(file), total, url, key, batch, record)


@click.command()
@click.option("--rate", default=50.0, show_default=True, help="Events per second.")
@click.option("--events", type=int, help="Stop after so many; else at Ctrl-C.")
@click.option("--seed", type=int, help="The same seed, the same shoppers; random if left out.")
@_sending
def simulate(
    rate: float, events: int | None, seed: int | None, url: str, key: str, batch: int, record: Path | None
) -> None:
    """Send the traffic of simulated shoppers."""
    batch = max(1, min(batch, int(rate)))
    traffic = simulation.traffic(seed if seed is not None else random.getrandbits(32), _now_and_then(rate, events))
    _send((simulated.event for simulated in traffic), events, url, key, batch, record)


def _now_and_then(rate: float, events: int | None) -> Iterator[datetime]:
    """The present, `rate` times a second."""
    start, count = time.monotonic(), 0
    while events is None or count < events:
        time.sleep(max(0.0, start + count / rate - time.monotonic()))
        yield datetime.now(UTC)
        count += 1


def _send(
    events: Iterable[dict[str, Any]], total: int | None, url: str, key: str, batch: int, record: Path | None
) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    file: AbstractContextManager[TextIO | None] = record.open("a", encoding="utf-8") if record else nullcontext()
    console = Console()
    with httpx.Client(timeout=10) as client, file as lines, Progress(*columns, console=console) as progress:
        task = progress.add_task("sent", total=total)
        outgoing = sender.Sender(client, url, key, record=lines)
        summary = outgoing.send_all(sender.batched(events, batch), progress=lambda n: progress.advance(task, n))
    _print_summary(console, summary)
    if summary.refused or summary.unknown:
        sys.exit(1)


def _print_summary(console: Console, summary: sender.Summary) -> None:
    console.print(
        f"{summary.sent:,} events in {summary.seconds:.1f} s: {summary.accepted:,} accepted,"
        f" {sum(summary.rejected.values()):,} rejected, {sum(summary.refused.values()):,} refused,"
        f" {summary.unknown:,} without an answer, {summary.retries:,} sent again"
    )
    for code, count in sorted({**summary.rejected, **summary.refused}.items()):
        console.print(f"  {code}: {count:,}")
