"""`headrace lake …`: the lake's tables for Athena, Trino and Redshift Spectrum."""

import re

import click

from ingestion.errors import ConfigurationError
from ingestion.lake import Lake
from ingestion.lake_ddl import Engine, ddl, spectrum_partitions
from ingestion.settings import read_settings
from ingestion.storage import S3, open_storage
from ingestion.tables import all_tables

DATABASE = re.compile(r"[a-z][a-z0-9_]{0,100}")


def _database_name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not DATABASE.fullmatch(value):
        raise click.BadParameter(f"{value!r}; use small letters, digits and _, like headrace", context, parameter)
    return value


database_option = click.option(
    "--database", default="headrace", show_default=True, callback=_database_name, help="Database of the tables."
)


@click.group("lake")
def lake_group() -> None:
    """The lake's tables for other query engines: Athena, Trino, Redshift Spectrum."""


@lake_group.command("ddl")
@click.option("--engine", type=click.Choice([engine.value for engine in Engine]), required=True, help="Who shall read.")
@database_option
def lake_ddl(engine: str, database: str) -> None:
    """Print the statements that show the lake's tables to an engine."""
    click.echo(ddl(Engine(engine), all_tables(), _lake_url(), database), nl=False)


@lake_group.command("manifests")
@database_option
def lake_manifests(database: str) -> None:
    """Write the manifests that Redshift Spectrum reads, and print the statements that show it the landing hours."""
    lake_url = _lake_url()
    lake = Lake(lake_url)
    for table in all_tables():
        hours = lake.table(table).snapshot().write_manifests()
        for statement in spectrum_partitions(table, hours, lake_url, database):
            click.echo(statement)


@lake_group.command("register")
@database_option
@click.option("--plan", "only_plan", is_flag=True, help="Only print what would change.")
def lake_register(database: str, only_plan: bool) -> None:
    """Create and change the lake's tables in the Glue Data Catalog, for Athena and whoever else reads it."""
    lake_url = _lake_url()
    from ingestion.glue import GlueCatalogue, glue_client

    catalogue = GlueCatalogue(glue_client(), database)
    changes = catalogue.plan(all_tables(), lake_url)
    for change in changes:
        click.echo("\n".join(change.lines))
    if not changes:
        click.echo("The catalogue is as declared.")
    if not only_plan:
        catalogue.apply(changes)


def _lake_url() -> str:
    """The lake's URL; ConfigurationError where no other engine can read it."""
    url = read_settings().lake_url
    open_storage(url)  # refuses what the lake's own library cannot read
    if not url.startswith(S3):
        raise ConfigurationError(
            f"HEADRACE_LAKE is {url!r}: Athena, Trino and Spectrum read S3; set it to the s3://bucket/prefix that the"
            " lander writes to (docs/production/s3.md)"
        )
    return url
