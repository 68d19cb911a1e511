"""The main job in one command: every service, simulated shoppers, and what came of it."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from ingestion import audit_report, sender, simulation, view_report
from ingestion.audit import BALANCED, audit_when_settled
from ingestion.broker import Broker, Topic, open_broker
from ingestion.keys import KeyFile
from ingestion.lake import Lake
from ingestion.lander import GROUP
from ingestion.listened import read_listened
from ingestion.sent import check_sent
from ingestion.settings import Settings
from ingestion.tables import all_tables
from ingestion.views import ViewStore, open_views
from ingestion.views.reading import answer
from ingestion.views.registry import fact_views
from ingestion.warehouse import Warehouse, open_warehouse, read
from orchestration.deployment import READY_SECONDS, run_services
from orchestration.services import Services, free_port, wait_until_ready

SOURCE = "demo"
DRAIN_SECONDS = 240.0
SETTLE_SECONDS = 30.0
SIMULATED_HOURS = 30
SHOWN_ACTIVITY = 5
VIEWS = list(fact_views().values())
ROTATE_SECONDS = 5.0
FUNNEL = """
with visitors as (
    select entity_key, max(level) as level
    from analytics.fct_funnel_attempts where funnel_id = 'view_to_purchase' group by entity_key
)
select step_name, count(case when level >= step then 1 end) as visitors
from analytics.funnel_steps cross join visitors where funnel_id = 'view_to_purchase' and kind = 'step'
group by step, step_name order by step
"""
TOP_PRODUCTS = """
select
    product_id,
    (select max(name) from analytics.stg_product_viewed where product_id = products.product_id) as name,
    cast(sum(views) as bigint) as views,
    cast(sum(orders) as bigint) as orders
from analytics.mart_product_performance_daily as products
group by product_id order by views desc, product_id limit 5
"""


def run(console: Console, home: Path, events: int, seed: int) -> int:
    """Run the main job in a fresh folder and return its exit code: 0 only if everything balances."""
    shutil.rmtree(home, ignore_errors=True)
    settings = Settings(
        home=home, port=free_port(), dagster_port=free_port(), read_port=free_port(), rotate_seconds=ROTATE_SECONDS
    )
    key, record = KeyFile(settings.key_file).add(SOURCE), home / "sent.jsonl"
    url = f"http://127.0.0.1:{settings.port}"
    broker = open_broker(settings.broker_url, shared=settings.shared_topics)
    warehouse = open_warehouse(settings.warehouse_url)
    with run_services(settings, settings.dagster_home) as services:
        wait_until_ready(url)
        console.print(f"collector, lander and Dagster run; their logs and data are in {home}")
        with _progress(console) as progress:
            _send(progress, url, key, record, events, seed)
            services.wait_until_ready(READY_SECONDS)
            _drain(progress, services, broker, warehouse)
        lake = Lake(settings.lake_url)
        balance = audit_when_settled(broker, lake, warehouse, all_tables(), SETTLE_SECONDS, VIEWS)
    sent = check_sent(record, warehouse)
    audit_report.print_balance(console, balance)
    audit_report.print_sent(console, sent)
    if balance.status == BALANCED:
        _print_models(console, warehouse)
        _print_shopper(console, open_views(settings.views_url))
        _print_what_next(console, home)
    return audit_report.exit_code(balance, sent)


def _send(progress: Progress, url: str, key: str, record: Path, events: int, seed: int) -> None:
    task = progress.add_task("sent by the shoppers", total=events)
    gap = timedelta(hours=SIMULATED_HOURS) / events
    moments = simulation.every(datetime.now(UTC) - timedelta(hours=SIMULATED_HOURS), gap)
    traffic = (simulated.event for simulated in islice(simulation.traffic(seed, moments), events))
    with httpx.Client(timeout=10) as client, record.open("w", encoding="utf-8") as lines:
        sending = sender.Sender(client, url, key, record=lines)
        sending.send_all(sender.batched(traffic, 50), progress=lambda n: progress.advance(task, n))


def _drain(progress: Progress, services: Services, broker: Broker, warehouse: Warehouse) -> None:
    """Show how the records come down until every event date is built, or time is up."""
    total = sum(held.end for topic in _topics(broker) for held in broker.bounds(topic.name).values())
    hops: list[tuple[str, Callable[[], tuple[int, int]]]] = [
        ("landed in the lake", lambda: (_landed(broker), total)),
        ("saved in the views", lambda: _listened(broker)),
        ("loaded into the warehouse", lambda: (_loaded(warehouse), total)),
        ("event dates built by dbt", lambda: _built(warehouse)),
    ]
    deadline = time.monotonic() + DRAIN_SECONDS
    for name, count in hops:
        task, done, of = progress.add_task(name, total=None), 0, 1
        while done < of and time.monotonic() < deadline:
            done, of = count()
            progress.update(task, completed=done, total=of)
            services.restart_ended(progress.console.print)
            time.sleep(0.5)


def _topics(broker: Broker) -> set[Topic]:
    return {broker.topic(table.topic) for table in all_tables()}


def _landed(broker: Broker) -> int:
    return sum(sum(broker.positions(GROUP, topic).values()) for topic in _topics(broker))


def _listened(broker: Broker) -> tuple[int, int]:
    """Records that the views' listeners have passed, of those that their topics hold."""
    hops = [hop for view in VIEWS for hop in read_listened(broker, view)]
    total = sum(hop.appended for hop in hops)
    return total - sum(hop.pending for hop in hops), max(1, total)


def _loaded(warehouse: Warehouse) -> int:
    return int(str(warehouse.query("select coalesce(sum(rows), 0) from headrace.load_ledger")[0][0]))


def _built(warehouse: Warehouse) -> tuple[int, int]:
    stale = len(warehouse.staleness().dates)
    built = int(str(warehouse.query("select count(*) from headrace.built")[0][0]))
    return built, max(1, built + stale)


def _print_models(console: Console, warehouse: Warehouse) -> None:
    """A funnel and the most viewed products, from the copy for readers."""
    steps = read(warehouse, FUNNEL).to_pylist()
    grid = Grid("step", "visitors", "of those before", title="funnel view_to_purchase")
    for before, step in zip([None, *steps], steps, strict=False):
        share = f"{step['visitors'] / before['visitors']:.1%}" if before and before["visitors"] else ""
        grid.add_row(step["step_name"], f"{step['visitors']:,}", share)
    console.print(grid)
    grid = Grid("product", "", "views", "orders", title="most viewed products")
    for product in read(warehouse, TOP_PRODUCTS).to_pylist():
        grid.add_row(product["product_id"], product["name"], f"{product['views']:,}", f"{product['orders']:,}")
    console.print(grid)


def _print_shopper(console: Console, store: ViewStore) -> None:
    """What the app's backend is told of the shopper who touched an open cart last."""
    carts = (answer(store, "open_cart", visitor) for visitor in store.keys("cart_events"))
    cart = max((cart for cart in carts if cart["lines"]), key=lambda cart: str(cart["touched_at"]), default=None)
    if cart:
        view_report.print_answer(console, answer(store, "user_activity", cart["key"], SHOWN_ACTIVITY))
        view_report.print_answer(console, cart)


def _print_what_next(console: Console, home: Path) -> None:
    console.print(f"Go on with it: export HEADRACE_HOME={home}, then")
    console.print("  headrace up           Dagster's UI, where assets are materialised and replayed")
    console.print("  headrace audit        the balance, counted again")
    console.print("  headrace query SQL    what analysts see (schema analytics)")
    console.print("  headrace view user_activity USER    what the app's backend sees")


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = TextColumn("{task.description:<26}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        yield progress
