"""The loader: commits of the lake that the ledger lacks become rows of the warehouse's raw tables, exactly once.

Rows, ledger and touched dates are one transaction, in this order: lock, read the ledger, and only *then* list the
commits after it. Listing before the lock would load what another loader has just loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ingestion.counting import Count
from ingestion.errors import PermanentError, ReloadRefused
from ingestion.lake import Lake, LakeFile, LakeTable
from ingestion.steps import Steps
from ingestion.tables import Table
from ingestion.warehouse import Load, Warehouse


@dataclass(frozen=True)
class Loaded:
    """What a load brought to one raw table: versions of the lake table, rows, and the event dates to build again."""

    table: str
    commits: int = 0
    rows: int = 0
    touched: tuple[str, ...] = ()


def load(lake: Lake, warehouse: Warehouse, table: Table) -> Steps[Loaded]:
    """Load the commits of one lake table that are not in the ledger. Costs what they hold, not what was loaded before.

    Raises LakeHistoryGone where the lake has forgotten a commit before it was loaded, and PermanentError where a
    file has not got the rows that its commit promised: nothing of the table is loaded then.
    """
    lake_table = lake.table(table)
    with warehouse.load(table) as transaction:
        yield "loader.locked"
        after = transaction.loaded_version()
        commits = list(lake_table.commits(after))
        yield "loader.listed"
        if not commits:
            return Loaded(table.name)
        lake_table.sync(after)
        files = [file for commit in commits for file in commit.files]
        touched: list[str] = []
        if files:
            _append(transaction, lake_table, files, commits[-1].version)
            yield "loader.appended"
            touched = transaction.touch(files)
        transaction.record(commits, transaction.count(files) if files else {})
        yield "loader.recorded"
    yield "loader.committed"
    return Loaded(table.name, len(commits), _rows(files), tuple(touched))


def reload(lake: Lake, warehouse: Warehouse, table: Table, hour: str) -> Steps[Loaded]:
    """Load a landing hour again: delete its rows and insert what the lake holds of it, as far as the ledger reaches.

    Raises ReloadRefused where the lake no longer holds what the ledger names: the rows stay as they are. Commits
    that the ledger lacks are left to the next load.
    """
    lake_table = lake.table(table)
    with warehouse.load(table) as transaction:
        yield "loader.locked"
        version = transaction.loaded_version()
        expected = transaction.loaded_hour(hour)
        files = lake_table.snapshot(version).files(hour) if expected.rows else []
        yield "loader.listed"
        _check(transaction, table, hour, files, expected)
        transaction.delete_hour(hour)
        yield "loader.deleted"
        touched: list[str] = []
        if files:
            _append(transaction, lake_table, files, version)
            yield "loader.appended"
            touched = transaction.touch(files)
    yield "loader.committed"
    return Loaded(table.name, 0, _rows(files), tuple(touched))


def _append(transaction: Load, lake_table: LakeTable, files: Sequence[LakeFile], version: int) -> None:
    inserted = transaction.append(lake_table.snapshot(version).schema, files)
    if inserted != _rows(files):
        raise PermanentError(
            f"{lake_table.table.name}: {inserted} rows were inserted where the commits name {_rows(files)};"
            " nothing was loaded. Compare the files with the table's log: headrace audit"
        )


def _check(transaction: Load, table: Table, hour: str, files: Sequence[LakeFile], expected: Count) -> None:
    found = sum(transaction.count(files).values(), Count()) if files else Count()
    if found != expected:
        raise ReloadRefused(
            f"{table.name}, hour {hour}: the ledger names {expected.rows} rows, the lake holds {found.rows}"
            f" (checksums {expected.checksum} and {found.checksum}). Nothing was changed; restore the lake's files"
        )


def _rows(files: Sequence[LakeFile]) -> int:
    return sum(file.rows for file in files)
