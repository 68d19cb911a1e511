"""The warehouse as the loader and the audit need it. DuckDB stands in for Redshift locally.

Raw tables live in schema `raw`, one per record type; what was loaded is in schema `headrace`:

    load_ledger   one row per commit of a lake table and landing hour: rows, checksum, and the load that brought it
    load_ranges   the ranges of the log that a commit covers
    touched       the last load that brought rows of an event date, per table
    built         the last load that the models of an event date have seen; a date touched since is stale
    published     the last publication that shows a build of an event date
    definitions   what the models meant when everything was built: a hash, one row
    load_lock     counts loads, builds and publications: whatever changes takes the next number
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from ingestion.counting import CommitCount, Count, PartitionCount
from ingestion.errors import ConfigurationError
from ingestion.lake import Commit, LakeFile, Range
from ingestion.tables import Table

if TYPE_CHECKING:
    from ingestion.warehouse.redshift_login import RedshiftOptions

Read = Callable[..., pa.Table]
"""Runs SQL, with its parameters as a second argument, and returns the result."""


@dataclass(frozen=True)
class LedgerEntry:
    """What one commit brought to one landing hour; `landing_hour` is None for a commit without rows."""

    table: str
    version: int
    landing_hour: str | None
    count: Count
    load_seq: int


@dataclass(frozen=True)
class LoadedRange:
    """A range of the log that a load covered, with the lake table and version that it came from."""

    table: str
    version: int
    range: Range


@dataclass(frozen=True)
class StaleDate:
    """An event date that a load touched after it was built; `built` is 0 for one never built."""

    event_date: str
    touched: int
    built: int


@dataclass(frozen=True)
class Staleness:
    """The event dates to build again, at the moment `load_seq`: of two answers the one with the higher is later."""

    load_seq: int
    dates: tuple[StaleDate, ...]
    definitions: str = ""
    """What the models meant when everything was built; empty where that is not so."""
    published: int = 0
    """The last publication that shows a build."""


@dataclass(frozen=True)
class Holdings:
    """What the warehouse holds at one moment."""

    ledger: Sequence[LedgerEntry]
    ranges: Sequence[LoadedRange]
    counts: Mapping[str, Sequence[PartitionCount]]
    """What each raw table holds, recomputed from its rows."""


class Load(Protocol):
    """One transaction on one raw table, which no other load of that table can overlap."""

    def loaded_version(self) -> int:
        """The last version of the lake table that the ledger has; -1 for none."""

    def loaded_hour(self, hour: str) -> Count:
        """What the ledger has of a landing hour."""

    def append(self, schema: pa.Schema, files: Sequence[LakeFile]) -> int:
        """Insert the rows of `files` and return how many; `schema` may have columns that the raw table lacks."""

    def delete_hour(self, hour: str) -> None:
        """Delete the rows of a landing hour."""

    def count(self, files: Sequence[LakeFile]) -> Mapping[str, Count]:
        """What is in each of `files`, by URI."""

    def record(self, commits: Sequence[Commit], counts: Mapping[str, Count]) -> None:
        """Write the ledger entries of `commits` and the ranges that they cover."""

    def touch(self, files: Sequence[LakeFile]) -> list[str]:
        """Note the event dates of the rows in `files` as touched by this load, and return them."""


class Warehouse(Protocol):
    """An adapter of a warehouse. Methods raise WarehouseBusy where another process holds it for too long."""

    def load(self, table: Table) -> AbstractContextManager[Load]:
        """Begin a load: the table is locked, everything is committed at the end or nothing is."""

    def holdings(self, tables: Sequence[Table]) -> Holdings:
        """Ledger, ranges and counted rows of `tables`, all of one moment."""

    def count_commits(self, table: Table, ranges: Sequence[LoadedRange]) -> Sequence[CommitCount]:
        """What a raw table holds of each commit, recomputed from its rows; the ranges say whose a row is."""

    def copies(self, table: Table, event_ids: Sequence[str]) -> Mapping[str, int]:
        """How many rows of a raw table carry each of `event_ids`; ids without a row are left out."""

    def staleness(self) -> Staleness:
        """The event dates that were touched after they were built."""

    def forget_built(self) -> None:
        """Begin to build everything: until that is recorded, every date ever touched is stale."""

    def record_built(self, dates: Sequence[str], load_seq: int, definitions: str = "") -> None:
        """Note that the models of `dates` have seen every load up to `load_seq`, which was read before they ran; and,
        where that was everything, by which definitions."""

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Rows of a query."""

    def publish(self, dates: Sequence[str] = ()) -> None:
        """Show readers what is committed, under the next number, and note that it shows a build of `dates`.

        A publication's number names one content: of two, the one with the higher was made later.
        """

    def snapshot(self) -> AbstractContextManager[Read]:
        """Queries on what was published last, all of them on the same publication, whatever writers do meanwhile."""


def read(warehouse: Warehouse, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
    """The result of one query on what was published last."""
    with warehouse.snapshot() as query:
        return query(sql, parameters)


def open_warehouse(url: str, wait: float = 30.0, redshift: "RedshiftOptions | None" = None) -> Warehouse:
    """The adapter for a URL like `duckdb:///var/lib/headrace/warehouse.duckdb` or `redshift://host:5439/database`.

    `wait` is how long to wait for a turn, in seconds, `redshift` what that adapter has to know beside the URL.
    """
    scheme, _, path = url.partition("://")
    if scheme == "duckdb" and path:
        from ingestion.warehouse.duckdb import DuckDBWarehouse

        return DuckDBWarehouse(path, wait)
    if scheme == "redshift" and path:
        from ingestion.warehouse.redshift import RedshiftWarehouse
        from ingestion.warehouse.redshift_login import RedshiftOptions

        return RedshiftWarehouse(url, redshift or RedshiftOptions(), wait)
    raise ConfigurationError(
        f"HEADRACE_WAREHOUSE is {url!r}; use duckdb:///path/to/warehouse.duckdb or redshift://host:5439/database"
    )
