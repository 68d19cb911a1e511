"""The main job in one command: collector, lander and loader as processes, simulated shoppers, and the balance."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ingestion import audit_report, sender, simulation
from ingestion.audit import BALANCED, Balance, audit_when_settled
from ingestion.broker import Broker, open_broker
from ingestion.keys import KeyFile
from ingestion.lake import Lake
from ingestion.lander import GROUP
from ingestion.sent import check_sent
from ingestion.settings import Settings
from ingestion.tables import all_tables
from ingestion.warehouse import Warehouse, open_warehouse

SOURCE = "demo"
DRAIN_SECONDS = 60.0
SIMULATED_HOURS = 6
TOP_PRODUCTS = """
select product_id, any_value(name), count(distinct (event_id, user_id, anonymous_id, device_occurred_at)) as views
from raw.product_viewed group by product_id order by views desc, product_id limit 5
"""


def run(console: Console, home: Path, events: int, seed: int) -> int:
    """Run the main job in a fresh folder and return its exit code: 0 only if everything balances."""
    shutil.rmtree(home, ignore_errors=True)
    port = free_port()
    settings = Settings(home=home, port=port)
    key, record = KeyFile(settings.key_file).add(SOURCE), home / "sent.jsonl"
    environment = {**os.environ, "HEADRACE_HOME": str(home), "HEADRACE_PORT": str(port), "HEADRACE_ROTATE_SECONDS": "5"}
    with ExitStack() as stack:
        for command in (["collect"], ["land"], ["load", "--every", "2"]):
            stack.enter_context(process(command, environment, home / f"{command[0]}.log"))
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url)
        console.print(f"collector, lander and loader run; their logs and data are in {home}")
        broker, warehouse = open_broker(settings.broker_url), open_warehouse(settings.warehouse_url)
        with _progress(console) as progress:
            _send(progress, url, key, record, events, seed)
            _drain(progress, broker, warehouse)
        balance = audit_when_settled(broker, Lake(settings.lake_url), warehouse, all_tables(), DRAIN_SECONDS)
        sent = check_sent(record, warehouse)
        _print(console, warehouse, balance, home)
        audit_report.print_sent(console, sent)
    return audit_report.exit_code(balance, sent)


@contextmanager
def process(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `headrace` command in a process of its own, ended with the block."""
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603  (our own command line)
            [sys.executable, "-m", "ingestion", *command], env=dict(environment), stdout=output, stderr=output
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def wait_until_ready(url: str, seconds: float = 30.0) -> None:
    """Return when the collector is ready; TimeoutError where it is not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/ready").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"the collector at {url} was not ready within {seconds:.0f} s; see its log")


def _send(progress: Progress, url: str, key: str, record: Path, events: int, seed: int) -> None:
    task = progress.add_task("sent by the shoppers", total=events)
    gap = timedelta(hours=SIMULATED_HOURS) / events
    moments = simulation.every(datetime.now(UTC) - timedelta(hours=SIMULATED_HOURS), gap)
    traffic = (simulated.event for simulated in islice(simulation.traffic(seed, moments), events))
    with httpx.Client(timeout=10) as client, record.open("w", encoding="utf-8") as lines:
        sending = sender.Sender(client, url, key, record=lines)
        sending.send_all(sender.batched(traffic, 50), progress=lambda n: progress.advance(task, n))


def _drain(progress: Progress, broker: Broker, warehouse: Warehouse) -> None:
    """Show how the records come down until the last one is loaded, or time is up."""
    total = sum(held.end for table in all_tables() for held in broker.bounds(table.topic).values())
    landed = progress.add_task("landed in the lake", total=total)
    loaded = progress.add_task("loaded into the warehouse", total=total)
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        _show(progress, landed, lambda: _landed(broker))
        if _show(progress, loaded, lambda: _loaded(warehouse)) >= total:
            return
        time.sleep(0.3)


def _show(progress: Progress, task: TaskID, count: Callable[[], int]) -> int:
    completed = count()
    progress.update(task, completed=completed)
    return completed


def _landed(broker: Broker) -> int:
    return sum(sum(broker.positions(GROUP, broker.topic(table.topic)).values()) for table in all_tables())


def _loaded(warehouse: Warehouse) -> int:
    return int(str(warehouse.query("select coalesce(sum(rows), 0) from headrace.load_ledger")[0][0]))


def _print(console: Console, warehouse: Warehouse, balance: Balance, home: Path) -> None:
    audit_report.print_balance(console, balance)
    if balance.status == BALANCED:
        console.print("Most viewed products:")
        for product_id, name, views in warehouse.query(TOP_PRODUCTS):
            console.print(f"  {views:>5} views  {name} ({product_id})")
        console.print(f"Look at it: HEADRACE_HOME={home} .venv/bin/headrace audit --by-hour")


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = TextColumn("{task.description:<26}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        yield progress


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
