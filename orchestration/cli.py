"""`headrace …`, whole: the commands of the ingestion layer, and those that need Dagster or the models.

What is heavy is imported by the command that needs it: `headrace collect` must not pay for Dagster.
"""

import sys
from pathlib import Path

import click

from ingestion.cli import cli, console, main
from ingestion.settings import read_settings

__all__ = ["cli", "main"]


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
