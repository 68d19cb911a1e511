"""`headrace view`, which asks a view, and `headrace views …`, which makes the tables of their store."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console

from ingestion import view_report
from ingestion.errors import ConfigurationError
from ingestion.settings import read_settings
from ingestion.views import MAX_PAGE, open_views
from ingestion.views.reading import DEFAULT_DAYS, DEFAULT_LIMIT, READERS, answer
from ingestion.views.registry import stored_views

if TYPE_CHECKING:  # boto3 is imported by the commands that need it
    from ingestion.views.dynamodb_tables import Tables


@click.command("view")
@click.argument("name", type=click.Choice(list(READERS)))
@click.argument("key")
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_PAGE),
    help=f"Rows, {DEFAULT_LIMIT} if left out; of product_counters days, {DEFAULT_DAYS} if left out.",
)
@click.option("--page", help="Token of the page to print.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def view_command(name: str, key: str, limit: int | None, page: str | None, as_json: bool) -> None:
    """Print what a view says of KEY: a user's id, or anonymous:ID; of product_counters a product's id."""
    found = answer(open_views(read_settings().views_url), name, key, limit, page)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        console = Console()
        view_report.print_answer(console, found)
        view_report.print_next(console, found)


@click.group("views")
def views_group() -> None:
    """Repair the views; make the tables of their store, where it has some: DynamoDB."""


@views_group.command("plan")
def views_plan() -> None:
    """Print what `apply` would change."""
    with _view_tables() as tables:
        view_report.print_plan(Console(), tables.plan(stored_views()))


@views_group.command("apply")
def views_apply() -> None:
    """Create and change tables so that every view has its own; refused where that could lose something."""
    with _view_tables() as tables:
        steps = tables.plan(stored_views())
        view_report.print_plan(Console(), steps)
        tables.apply(steps)


@contextmanager
def _view_tables() -> "Iterator[Tables]":
    from ingestion.views.dynamodb import DynamoDBViews

    with closing(open_views(read_settings().views_url)) as store:
        if not isinstance(store, DynamoDBViews):
            raise ConfigurationError(f"HEADRACE_VIEWS is {read_settings().views_url!r}: it needs no tables made for it")
        yield store.tables
