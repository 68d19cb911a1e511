"""The lake's tables in the Glue Data Catalog: what they should be, what has to change, and the change.

Athena reads a table's location and that it is Delta; Trino reads the same from `path` and `provider`. The columns are
for people, and for Lake Formation, which asks that they are those of the table.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from ingestion.errors import ConfigurationError
from ingestion.lake_ddl import Engine, declared, location, one_line
from ingestion.tables import PARTITION_COLUMN, Table

Definition = dict[str, Any]
"""A table as Glue's API has it."""
PARAMETERS = {"EXTERNAL": "TRUE", "table_type": "DELTA", "spark.sql.sources.provider": "delta"}
STORAGE = {
    "InputFormat": "org.apache.hadoop.mapred.SequenceFileInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat",
}
SERDE = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
WRITABLE = frozenset(
    ["Name", "Description", "Owner", "Retention", "TableType", "Parameters", "PartitionKeys", "StorageDescriptor"]
)
"""What an update takes of what Glue answers."""


@dataclass(frozen=True)
class Change:
    """One call that has to be made, and what it does, line by line."""

    operation: str
    arguments: Mapping[str, Any]
    lines: tuple[str, ...]


def glue_client() -> Any:
    """A client by the AWS settings of this process. Raises ConfigurationError where they lack the region."""
    with _answered():
        return boto3.Session().client("glue")


class GlueCatalogue:
    """Plans and makes the tables of one database; `client` is boto3's."""

    def __init__(self, client: Any, database: str) -> None:
        self._client, self._database = client, database

    def plan(self, tables: Sequence[Table], lake_url: str) -> list[Change]:
        """What has to be done so that each table is there as the contract has it; nothing where it is.

        Raises ConfigurationError where a table of this name is somewhere else: an analyst's table is not moved.
        """
        with _answered():
            found = self._found()
        changes = [] if found is not None else [self._new_database()]
        for table in tables:
            wanted = definition(table, lake_url)
            changes.extend(self._changes(wanted, (found or {}).get(table.name)))
        return changes

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes of a plan. ConfigurationError where one is refused; those before it stay made."""
        with _answered():
            for change in changes:
                getattr(self._client, change.operation)(**change.arguments)

    def _found(self) -> Mapping[str, Definition] | None:
        """The database's tables by name; None where there is no such database."""
        try:
            self._client.get_database(Name=self._database)
        except self._client.exceptions.EntityNotFoundException:
            return None
        pages = self._client.get_paginator("get_tables").paginate(DatabaseName=self._database)
        return {table["Name"]: table for page in pages for table in page["TableList"]}

    def _new_database(self) -> Change:
        arguments = {"DatabaseInput": {"Name": self._database, "Description": "Headrace's lake"}}
        return Change("create_database", arguments, (f"+ database {self._database}",))

    def _changes(self, wanted: Definition, found: Definition | None) -> Iterator[Change]:
        name, place = wanted["Name"], wanted["StorageDescriptor"]["Location"]
        arguments = {"DatabaseName": self._database, "TableInput": wanted}
        if found is None:
            columns = len(wanted["StorageDescriptor"]["Columns"]) + len(wanted["PartitionKeys"])
            yield Change("create_table", arguments, (f"+ {name}: {columns} columns at {place}",))
            return
        elsewhere = found.get("StorageDescriptor", {}).get("Location", "")
        if elsewhere.rstrip("/") != place.rstrip("/"):
            raise ConfigurationError(
                f"table {self._database}.{name} of Glue is at {elsewhere!r}, not at {place!r}, and nothing was changed;"
                " take another --database, or delete that table first"
            )
        updated = _merged(found, wanted)
        if lines := tuple(_differences(name, _merged(found, {}), updated)):
            yield Change("update_table", {**arguments, "TableInput": updated}, lines)


def definition(table: Table, lake_url: str) -> Definition:
    """A table of the lake as Glue should have it."""
    place = location(lake_url, table)
    columns = [
        {"Name": column.name, "Type": column.type, "Comment": column.description}
        for column in declared(table, Engine.ATHENA)
    ]
    return {
        "Name": table.name,
        "Description": one_line(table.description),
        "TableType": "EXTERNAL_TABLE",
        "Parameters": PARAMETERS,
        "PartitionKeys": [column for column in columns if column["Name"] == PARTITION_COLUMN],
        "StorageDescriptor": {
            **STORAGE,
            "Location": f"{place}/",
            "Columns": [column for column in columns if column["Name"] != PARTITION_COLUMN],
            "SerdeInfo": {"SerializationLibrary": SERDE, "Parameters": {"serialization.format": "1", "path": place}},
        },
    }


def _merged(found: Definition, wanted: Definition) -> Definition:
    """What Glue has, without what it alone may set, changed to what is wanted; parameters of others stay."""
    kept = {name: value for name, value in found.items() if name in WRITABLE}
    return {
        **kept,
        **wanted,
        "Parameters": {**kept.get("Parameters", {}), **wanted.get("Parameters", {})},
        "StorageDescriptor": {**kept.get("StorageDescriptor", {}), **wanted.get("StorageDescriptor", {})},
    }


def _differences(name: str, before: Definition, after: Definition) -> Iterator[str]:
    """A line for each column that comes, changes or goes, and one for each other part that changes."""
    old, new = _columns(before), _columns(after)
    yield from (f"~ {name}: + column {column} {new[column][0]}" for column in new if column not in old)
    yield from (f"~ {name}: - column {column} {old[column][0]}" for column in old if column not in new)
    for column in new:
        if column in old and old[column] != new[column]:
            yield f"~ {name}: column {column} {' '.join(old[column])!r} -> {' '.join(new[column])!r}"
    for part in ("Description", "TableType", "Parameters"):
        if before.get(part) != after.get(part):
            yield f"~ {name}: {part} {before.get(part)!r} -> {after.get(part)!r}"
    if _storage(before) != _storage(after):
        yield f"~ {name}: storage {_storage(before)!r} -> {_storage(after)!r}"


def _columns(table: Definition) -> dict[str, tuple[str, str]]:
    """Type and comment by name."""
    columns = [*table["StorageDescriptor"].get("Columns", []), *table.get("PartitionKeys", [])]
    return {column["Name"]: (column.get("Type", ""), column.get("Comment", "")) for column in columns}


def _storage(table: Definition) -> Definition:
    return {name: value for name, value in table["StorageDescriptor"].items() if name != "Columns"}


@contextmanager
def _answered() -> Iterator[None]:
    """Whatever keeps Glue from answering is a ConfigurationError with the next step."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise ConfigurationError(
            f"the Glue Data Catalog: {str(error).rstrip('.')}; look at the AWS settings (AWS_REGION, AWS_PROFILE)"
            " and the policy of this role (docs/production/lake.md), and run it again"
        ) from error
