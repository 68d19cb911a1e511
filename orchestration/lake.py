"""The lake's tables as external assets: landers write them, Dagster only shows their versions."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from ingestion.tables import Table, all_tables

OWNERS = ["team:data-engineering"]


def lake_assets() -> list[dg.AssetSpec]:
    """One asset per record type; its data version is the version of the Delta table."""
    return [
        dg.AssetSpec(
            ["lake", table.name],
            group_name="lake",
            owners=OWNERS,
            kinds={"deltalake", "parquet"},
            description=f"{table.description} Landed from the log, by landing hour.",
            metadata=column_metadata(table),
        )
        for table in all_tables()
    ]


def column_metadata(table: Table) -> Mapping[str, Any]:
    """The columns of a record type, as the lake and the raw table have them."""
    columns = [
        dg.TableColumn(field.name, str(field.type), (field.metadata or {}).get(b"description", b"").decode())
        for field in table.schema
    ]
    return {"dagster/column_schema": dg.TableSchema(columns)}
