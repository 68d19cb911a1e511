"""`headrace …`: parsing and wiring only."""

import json
import logging
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import click
import pyarrow.csv
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from ingestion import audit_report, processes, rejected
from ingestion.audit import Balance, audit_when_settled
from ingestion.broker import Broker, open_broker
from ingestion.catalogue import print_catalogue
from ingestion.collector import Collector, Timing
from ingestion.errors import BrokerUnavailable, HeadraceError, UnknownTopic
from ingestion.events import EVENT_TYPES
from ingestion.intake import BodyLimits
from ingestion.keys import KeyFile, Keyring
from ingestion.lake import Lake
from ingestion.lake_commands import lake_group
from ingestion.lander import Lander
from ingestion.listener import Listener
from ingestion.loader import load, reload
from ingestion.openapi import json_schema
from ingestion.read_service import ReadService
from ingestion.sending import send, simulate
from ingestion.sent import check_sent
from ingestion.settings import Settings, read_settings
from ingestion.steps import crash_at, run
from ingestion.tables import all_tables, event_table, table_named
from ingestion.topic_commands import topics_group
from ingestion.view_commands import view_command, views_group
from ingestion.views import open_views
from ingestion.views.facts import Lookups
from ingestion.views.products import ProductFile
from ingestion.views.registry import fact_views
from ingestion.warehouse import open_warehouse, read

console = Console()
SHOWN_ROWS = 200
START_SECONDS = 60.0
"""How long a process that runs all day waits at its start for a log that is not there yet."""
VIEW = click.Choice(list(fact_views()))
TABLE = click.Choice([table.name for table in all_tables()])


def main() -> None:
    """Run a command; what Headrace reports itself is one line on stderr and exit code 1."""
    try:
        cli(standalone_mode=True)
    except HeadraceError as error:
        click.echo(f"headrace: {error}", err=True)
        sys.exit(1)


@click.group()
@click.version_option(package_name="headrace")
def cli() -> None:
    """User-activity events from a shop's app to its warehouse, with a proof that none was lost or doubled."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    for talkative in ("httpx", "alembic", "botocore"):  # a line per request or step of setting up is no news
        logging.getLogger(talkative).setLevel(logging.WARNING)


for command in (send, simulate, topics_group, lake_group, view_command, views_group):
    cli.add_command(command)


@cli.command()
def collect() -> None:
    """Run the collector: HTTP in, durable records in the log out."""
    settings = read_settings()
    broker = _open_log(settings, START_SECONDS)
    collector = Collector(
        broker,
        Keyring(KeyFile(settings.key_file)),
        limits=settings.limits,
        body_limits=_body_limits(settings),
        timing=Timing(
            settings.commit_interval_ms / 1000, settings.body_timeout_ms / 1000, settings.answer_timeout_ms / 1000
        ),
        reach=crash_at(settings.crash_at),
    )
    app = collector.app([origin.strip() for origin in settings.cors_origins.split(",")])
    processes.serve(app, settings.host, settings.port)


@cli.command()
@click.option("--once", is_flag=True, help="Land everything that the log has, and stop.")
def land(once: bool) -> None:
    """Run the lander: records of the log in, commits of the lake out."""
    settings = read_settings()
    lake, tables = Lake(settings.lake_url), all_tables()
    for table in tables:
        if removed := lake.table(table).repair():
            console.print(f"{table.name}: versions {removed} were torn by a power failure; their records land again")
    with closing(_open_log(settings, START_SECONDS)) as broker:
        _land_left(settings, lake)
        lander = Lander(broker, lake, tables, settings.rotation, time.monotonic, whole=once)
        processes.land(lander, broker, settings.retention_hours, crash_at(settings.crash_at), once)


def _land_left(settings: Settings, lake: Lake) -> None:
    """Land what is still in the own topics of event types that share one now."""
    if not settings.shared_topics:
        return
    with closing(open_broker(settings.broker_url, settings.partitions, settings.kafka)) as log:
        left = [
            table
            for table in map(event_table, chain.from_iterable(settings.shared_topics.values()))
            if _exists(log, table.topic)
        ]
        lander = Lander(log, lake, left, settings.rotation, time.monotonic, whole=True)
        processes.land_rest(lander, crash_at(settings.crash_at))


def _exists(log: Broker, topic: str) -> bool:
    try:
        log.topic(topic)
    except UnknownTopic:
        return False
    return True


@cli.command()
@click.option("--once", is_flag=True, help="Listen to everything that the log has, and stop.")
@click.option("--view", "names", multiple=True, type=VIEW, help="Only this view; may be repeated.")
def listen(once: bool, names: tuple[str, ...]) -> None:
    """Run the listener: records of the log in, rows of the views out."""
    settings = read_settings()
    store = open_views(settings.views_url)
    views = fact_views(settings.activity_days, settings.cart_days).values()
    catalogue = ProductFile(settings.catalogue) if settings.catalogue else None
    with closing(_open_log(settings, START_SECONDS)) as broker:
        listener = Listener(
            broker,
            store,
            [view for view in views if view.name in names or not names],
            lambda: Lookups(catalogue.products()) if catalogue else Lookups(),
            whole=once,
        )
        processes.listen(listener, store, crash_at(settings.crash_at), once)


@cli.command()
def serve() -> None:
    """Run the read service: GET /v1/views/<view>/<key> answers from the views' store."""
    settings = read_settings()
    keyring = Keyring(KeyFile(settings.key_file), scope="read")
    processes.serve(ReadService(open_views(settings.views_url), keyring).app(), settings.host, settings.read_port)


@cli.command("load")
@click.option("--every", type=float, help="Load again and again, with so many seconds between.")
def load_command(every: float | None) -> None:
    """Load what the lake has and the ledger lacks into the warehouse's raw tables."""
    settings = read_settings()
    lake, warehouse, reach = (
        Lake(settings.lake_url),
        open_warehouse(settings.warehouse_url, redshift=settings.redshift),
        crash_at(settings.crash_at),
    )
    processes.load(lambda table: run(load(lake, warehouse, table), reach), all_tables(), every)


@cli.command("reload")
@click.option("--hour", required=True, help="Landing hour, like 2026-11-22-14 (UTC).")
@click.option("--table", "names", multiple=True, type=TABLE, help="Only this table; may be repeated.")
def reload_command(hour: str, names: tuple[str, ...]) -> None:
    """Load a landing hour again from the lake; refused where the lake no longer has what the ledger names."""
    settings = read_settings()
    lake, warehouse, reach = (
        Lake(settings.lake_url),
        open_warehouse(settings.warehouse_url, redshift=settings.redshift),
        crash_at(settings.crash_at),
    )
    try:
        hour = f"{datetime.strptime(hour, '%Y-%m-%d-%H').replace(tzinfo=UTC):%Y-%m-%d-%H}"  # 2026-1-2-3 is an hour too
    except ValueError:
        raise click.BadParameter(f"{hour!r} is no hour like 2026-11-22-14", param_hint="--hour") from None
    for table in [table_named(name) for name in names] or all_tables():
        loaded = run(reload(lake, warehouse, table, hour), reach)
        console.print(f"{table.name}: {loaded.rows:,} rows of hour {hour} loaded again")


@cli.command("audit")
@click.option("--wait", type=float, default=0.0, help="Seconds to wait until nothing is pending any more.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.option("--by-hour", is_flag=True, help="One line per landing hour.")
@click.option("--sent", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A record of sent events.")
def audit_command(wait: float, as_json: bool, by_hour: bool, sent: Path | None) -> None:
    """Balance every hop. Exit code 0: balanced, 1: broken, 2: pending."""
    settings = read_settings()
    balance = _audit(settings, wait)
    compared = check_sent(sent, open_warehouse(settings.warehouse_url, redshift=settings.redshift)) if sent else None
    if as_json:
        click.echo(json.dumps(audit_report.as_json(balance, compared), indent=2))
    else:
        audit_report.print_balance(console, balance, by_hour)
        if compared:
            audit_report.print_sent(console, compared)
    sys.exit(audit_report.exit_code(balance, compared))


def _audit(settings: Settings, wait: float) -> Balance:
    lake, warehouse = Lake(settings.lake_url), open_warehouse(settings.warehouse_url, redshift=settings.redshift)
    views = list(fact_views().values())
    return audit_when_settled(_open_log(settings), lake, warehouse, all_tables(), wait, views)


@cli.group()
def keys() -> None:
    """Write keys of the sources that may send, and read keys of the services that may ask for views."""


@keys.command("add")
@click.argument("source")
@click.option("--read", "may_read", is_flag=True, help="A read key: it may ask for views, and may not send.")
def keys_add(source: str, may_read: bool) -> None:
    """Make a key for SOURCE and print it: it is not shown again."""
    click.echo(KeyFile(read_settings().key_file).add(source, "read" if may_read else "write"))


@keys.command("list")
def keys_list() -> None:
    """List the keys: source, beginning, since when, what it may do, and whether it is disabled."""
    for key in KeyFile(read_settings().key_file).read():
        state = f"disabled {key.disabled_at:%Y-%m-%d %H:%M}" if key.disabled_at else "enabled"
        click.echo(f"{key.source}  {key.prefix}…  {key.created_at:%Y-%m-%d %H:%M}  {key.scope}  {state}")


@keys.command("disable")
@click.argument("prefix")
def keys_disable(prefix: str) -> None:
    """Disable the key that begins with PREFIX (or the whole key)."""
    key = KeyFile(read_settings().key_file).disable(prefix)
    click.echo(f"key {key.prefix}… of {key.source} is disabled")


@cli.command()
@click.option("--json-schema", "event_type", type=click.Choice(list(EVENT_TYPES)), help="Print one type's JSON Schema.")
def catalogue(event_type: str | None) -> None:
    """Print the event types and their fields."""
    if event_type:
        click.echo(json.dumps(json_schema(event_type), indent=2))
    else:
        print_catalogue(console, read_settings().shared_topics)


@cli.group("rejected")
def rejected_group() -> None:
    """Rejected events."""


@rejected_group.command("replay")
@click.option("--code", help="Only rejections of this code.")
@click.option("--again", is_flag=True, help="Also those that were sent again before.")
def rejected_replay(code: str | None, again: bool) -> None:
    """Send rejected events again after a fix, each at most once."""
    settings = read_settings()
    broker, lake = _open(settings), Lake(settings.lake_url)
    outcome = run(rejected.replay(broker, lake, settings.limits, code, again), crash_at(settings.crash_at))
    console.print(
        f"{outcome.sent:,} sent again, {outcome.still_rejected:,} would be rejected again,"
        f" {outcome.cut:,} were longer than what was kept, {outcome.claimed_before:,} were sent again before"
    )


@cli.command()
@click.argument("sql")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
def query(sql: str, as_csv: bool) -> None:
    """Ask the warehouse what was built last; the models are in schema `analytics`. Holds up nobody."""
    settings = read_settings()
    answer = read(open_warehouse(settings.warehouse_url, redshift=settings.redshift), sql)
    if as_csv:
        pyarrow.csv.write_csv(answer, sys.stdout.buffer)
        return
    grid = Grid(*answer.column_names)
    for row in answer.slice(0, SHOWN_ROWS).to_pylist():
        grid.add_row(*("" if value is None else escape(str(value)) for value in row.values()))
    console.print(grid)
    if answer.num_rows > SHOWN_ROWS:
        console.print(f"{answer.num_rows:,} rows, the first {SHOWN_ROWS:,} of them shown; --csv prints all")


def _open_log(settings: Settings, patience: float = 0.0) -> Broker:
    """The log, with every topic; a log that does not answer yet is waited for, `patience` seconds long."""
    broker, deadline = _open(settings), time.monotonic() + patience
    while True:
        try:
            broker.ensure_topics([table.topic for table in all_tables()])
            return broker
        except BrokerUnavailable as error:
            if time.monotonic() > deadline:
                broker.close()
                raise
            logging.warning("%s; trying again", error)
        time.sleep(1.0)


def _open(settings: Settings) -> Broker:
    return open_broker(settings.broker_url, settings.partitions, settings.kafka, settings.shared_topics)


def _body_limits(settings: Settings) -> BodyLimits:
    return BodyLimits(
        settings.max_body_bytes,
        settings.max_decoded_bytes,
        settings.max_inflight_bytes,
        settings.max_inflight_source_bytes,
    )
