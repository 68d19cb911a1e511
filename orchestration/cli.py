"""`headrace …`, whole: the commands of the ingestion layer, and those that need Dagster or the models.

What is heavy is imported by the command that needs it: `headrace collect` must not pay for Dagster.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from ingestion.cli import TABLE, cli, console, main
from ingestion.settings import read_settings
from ingestion.view_commands import views_group
from ingestion.views import product_counters
from ingestion.views.registry import fact_views
from ingestion.warehouse import open_warehouse

__all__ = ["cli", "main"]

DATE = click.DateTime(["%Y-%m-%d"])
MATERIALISED = click.Choice([*fact_views(), product_counters.NAME])


@cli.command()
def up() -> None:
    """Run everything on this machine until Ctrl-C: collector, lander, and Dagster with its UI."""
    from orchestration import deployment

    deployment.up(read_settings(), console)


@cli.command("demo")
@click.option("--events", default=20_500, show_default=True, help="How many events the shoppers send.")
@click.option("--seed", default=7, show_default=True, help="The same seed, the same shoppers.")
@click.option("--home", type=click.Path(path_type=Path), default=Path("headrace-data/demo"), show_default=True)
def demo_command(events: int, seed: int, home: Path) -> None:
    """Run the main job on the embedded defaults and print what came of it."""
    from orchestration import demo

    sys.exit(demo.run(console, home, events, seed))


@cli.command()
@click.option("--from", "first", required=True, help="First landing hour, like 2026-11-20-10, or date (UTC).")
@click.option("--to", "last", required=True, help="Last landing hour or date; included.")
@click.option("--table", "names", multiple=True, type=TABLE, help="Only this table; may be repeated.")
@click.option("--build/--no-build", default=True, show_default=True, help="Build the dates that it made stale.")
def replay(first: str, last: str, names: tuple[str, ...], build: bool) -> None:
    """Load a range of landing hours again from the lake, as one run; then build what follows from them."""
    from orchestration import runs
    from orchestration.instance import open_instance

    first, last = runs.hours_between(first, last, datetime.now(UTC))
    with open_instance(read_settings()) as instance:
        is_done = runs.replay(instance, console, first, last, names)
        if is_done and build:
            is_done = runs.build(instance, console)
    sys.exit(0 if is_done else 1)


@views_group.command("repair")
@click.option("--from", "first", required=True, help="First landing hour, like 2026-11-20-10, or date (UTC).")
@click.option("--to", "last", required=True, help="Last landing hour or date; included.")
@click.option("--view", "names", multiple=True, type=MATERIALISED, help="Only this view; may be repeated.")
def repair(first: str, last: str, names: tuple[str, ...]) -> None:
    """Bring a range of landing hours into the views again from the lake, and count the products of its dates again.

    Safe at any time, any number of times. After a change of the catalogue it joins those events anew.
    """
    from orchestration import runs
    from orchestration.instance import open_instance

    first, last = runs.hours_between(first, last, datetime.now(UTC))
    with open_instance(read_settings()) as instance:
        sys.exit(0 if runs.repair(instance, console, first, last, names) else 1)


@cli.command("build")
def build_command() -> None:
    """Build every event date that is stale now."""
    from orchestration import runs
    from orchestration.instance import open_instance

    with open_instance(read_settings()) as instance:
        sys.exit(0 if runs.build(instance, console) else 1)


@cli.command("report")
@click.option("--from", "first", type=DATE, required=True, help="First date, like 2026-11-01 (UTC).")
@click.option("--to", "last", type=DATE, required=True, help="Last date, which is part of the report.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), default="report.html", show_default=True)
def report_command(first: datetime, last: datetime, output: Path) -> None:
    """Write funnels, retention, products and revenue of a date range as one page of HTML."""
    from orchestration.funnels import published
    from orchestration.report import write_report

    if last < first:
        raise click.BadParameter(f"{last:%Y-%m-%d} is before --from {first:%Y-%m-%d}", param_hint="--to")
    settings = read_settings()
    with published(open_warehouse(settings.warehouse_url, redshift=settings.redshift)) as query:
        output.write_text(write_report(query, first.date(), last.date()), encoding="utf-8")
    click.echo(f"{output}: {first:%Y-%m-%d} to {last:%Y-%m-%d}")


@cli.command("status")
def status_command() -> None:
    """Show how far every table came, what runs, and what is wrong. Exit code 1: something needs a person."""
    from orchestration.definitions import definitions
    from orchestration.status import read_status
    from orchestration.status_report import exit_code, print_status

    now = datetime.now(UTC)
    status = read_status(read_settings(), definitions().get_repository_def(), now)
    print_status(console, status, now)
    sys.exit(exit_code(status))
