"""The lake: one Delta table per record type, partitioned by landing hour, with the log's positions in its commits.

A commit holds rows and, as Delta `txn` actions, the position that it reached in each partition (application id =
topic id + partition). Delta refuses a commit whose writer has not seen another commit of the same application id, so
no record can come in twice and none can be passed over, whoever writes. The position in the table is the only truth.

On a local disk nothing is durable before an fsync: whoever acts on a commit, by moving the group's position or by
loading it, calls `sync` first. `repair` removes a last commit that a power failure tore.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import ColumnProperties, CommitProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import Transaction

from ingestion.errors import ConfigurationError, LakeConflict, LakeHistoryGone, PermanentError
from ingestion.tables import PARTITION_COLUMN, Table

METADATA_KEY = "headrace"
UNREADABLE = re.compile(r"[\[\]*?]|%[0-9A-Fa-f]{2}")
"""Taken for a pattern by one library, or decoded once too often by another."""


@dataclass(frozen=True)
class Range:
    """Offsets `start` (inclusive) to `end` (exclusive) of a partition, and what became of them.

    `rows` of them are in the commit; the first `unread` were taken by the log's retention before they were read.
    """

    topic_id: str
    partition: int
    start: int
    end: int
    rows: int
    unread: int = 0


@dataclass(frozen=True)
class LakeFile:
    """A Parquet file of a commit: its URI, landing hour and rows."""

    uri: str
    landing_hour: str
    rows: int


@dataclass(frozen=True)
class Commit:
    """What one version of a lake table added, and which ranges of the log it covers."""

    version: int
    files: tuple[LakeFile, ...]
    ranges: tuple[Range, ...]

    @property
    def rows(self) -> int:
        """Rows that the commit added."""
        return sum(file.rows for file in self.files)


@dataclass(frozen=True)
class Size:
    """What a lake table holds."""

    files: int
    rows: int
    bytes: int


def app_id(topic_id: str, partition: int) -> str:
    """The Delta application id that stands for a partition."""
    return f"{topic_id}/{partition}"


class Lake:
    """The tables under one URL, `file:///…` by now."""

    def __init__(self, url: str) -> None:
        scheme, _, path = url.partition("://")
        if scheme != "file" or not path:
            raise ConfigurationError(f"HEADRACE_LAKE is {url!r}; use file:///path/to/lake")
        if found := UNREADABLE.search(path):
            raise ConfigurationError(f"HEADRACE_LAKE is {url!r}: the lake's library cannot read {found[0]!r} in a path")
        self.root = Path(path)

    def table(self, table: Table) -> "LakeTable":
        """The lake table of a record type; created where it does not exist."""
        return LakeTable(self.root / table.name, table)


class LakeTable:
    """One Delta table in a local folder."""

    def __init__(self, path: Path, table: Table) -> None:
        self.path, self.table = path, table
        self._log = path / "_delta_log"

    def snapshot(self, version: int | None = None) -> "Snapshot":
        """The table as it is now, or as it was at `version`."""
        try:
            return self._at(version)
        except TableNotFoundError:
            DeltaTable.create(
                self.path,
                self.table.schema,
                mode="ignore",
                partition_by=[PARTITION_COLUMN],
                name=self.table.name,
                description=self.table.description,
            )
            return self._at(version)

    def _at(self, version: int | None) -> "Snapshot":
        try:
            return Snapshot(self.path, self.table, DeltaTable(self.path, version=version))
        except TableNotFoundError:
            raise
        except DeltaError as error:
            raise PermanentError(
                f"{self.path} cannot be read: {error}; what a power failure tore is repaired when a lander starts"
            ) from error

    def commits(self, after: int, until: int | None = None) -> Iterator[Commit]:
        """The commits after version `after`, in order, to `until` or the last; those without rows included."""
        latest = self.snapshot().version if until is None else until
        for version in range(after + 1, latest + 1):
            try:
                yield self._commit(version)
            except FileNotFoundError:
                raise LakeHistoryGone(
                    f"{self.path} no longer lists version {version}, which is to be loaded: Delta cleans entries that"
                    " are older than delta.logRetentionDuration (30 days)"
                ) from None

    def sync(self, after: int) -> None:
        """Make the commits after version `after` durable: their files, their log entries and the folders.

        Entries that Delta has cleaned away meanwhile are long on the disk.
        """
        folders = {self._log}
        for version in range(max(-1, after) + 1, self.snapshot().version + 1):
            if not self._entry(version).exists():
                continue
            commit = self._commit(version)
            for path in (*(Path(file.uri) for file in commit.files), self._entry(version)):
                try:
                    _fsync(path)
                except FileNotFoundError:
                    raise PermanentError(f"{path} of version {version} is missing; restore the file") from None
                folders.add(path.parent)
        for folder in (*folders, self.path):
            _fsync(folder)

    def repair(self) -> list[int]:
        """Remove last commits whose files a power failure took, and say which; their records land again."""
        removed = []
        for entry in sorted(self._log.glob("*.json"), reverse=True):
            version = int(entry.stem)
            if self._is_whole(version):
                break
            entry.unlink()
            removed.append(version)
        for checkpoint in self._log.glob("*.checkpoint.parquet"):  # it only repeats the entries before it
            if int(checkpoint.name.partition(".")[0]) in removed or not _is_parquet(checkpoint):
                checkpoint.unlink()
                (self._log / "_last_checkpoint").unlink(missing_ok=True)
        return removed

    def _entry(self, version: int) -> Path:
        return self._log / f"{version:020d}.json"

    def _commit(self, version: int) -> Commit:
        actions = [json.loads(line) for line in self._entry(version).read_text().splitlines()]
        if not actions:
            raise PermanentError(f"version {version} of {self.path} is empty: a lander that starts repairs it")
        info: Mapping[str, Any] = next((a["commitInfo"] for a in actions if "commitInfo" in a), {})
        if info.get("operation") != "WRITE":
            return Commit(version, (), ())
        files = tuple(self._file(a["add"]) for a in actions if "add" in a and a["add"]["dataChange"])
        ranges = tuple(Range(**entry) for entry in json.loads(info.get(METADATA_KEY, "[]")))
        return Commit(version, files, ranges)

    def _file(self, add: Mapping[str, Any]) -> LakeFile:
        path = self.path / unquote(add["path"])
        return LakeFile(str(path), add["partitionValues"][PARTITION_COLUMN], json.loads(add["stats"])["numRecords"])

    def _is_whole(self, version: int) -> bool:
        try:
            actions = [json.loads(line) for line in self._entry(version).read_text().splitlines()]
            adds = [
                (self.path / unquote(action["add"]["path"]), action["add"]) for action in actions if "add" in action
            ]
            return bool(actions) and all(path.stat().st_size == a["size"] and _is_parquet(path) for path, a in adds)
        except (ValueError, OSError):
            return False


class Snapshot:
    """A lake table at one version; `append` commits from exactly this version."""

    def __init__(self, path: Path, table: Table, delta: DeltaTable) -> None:
        self.path, self.table, self._delta = path, table, delta
        self.version = delta.version()  # of what was read: `append` moves the library's own table on

    @property
    def schema(self) -> pa.Schema:
        """The columns at this version."""
        return pa.schema(self._delta.schema())

    def position(self, topic_id: str, partition: int) -> int:
        """The offset at which the next record of a partition is to be read; 0 for one never read."""
        return self._delta.transaction_version(app_id(topic_id, partition)) or 0

    def files(self, hour: str | None = None) -> list[LakeFile]:
        """The files with the table's rows, of one landing hour or of all."""
        adds = pa.table(self._delta.get_add_actions(flatten=True)).to_pylist()
        files = [
            LakeFile(str(self.path / unquote(a["path"])), a[f"partition.{PARTITION_COLUMN}"], a["num_records"])
            for a in adds
        ]
        return [file for file in files if hour in (None, file.landing_hour)]

    def size(self) -> Size:
        """Files, rows and bytes of the table, as its log has them."""
        adds = pa.table(self._delta.get_add_actions(flatten=True)).to_pylist()
        return Size(len(adds), sum(add["num_records"] for add in adds), sum(add["size_bytes"] for add in adds))

    def append(self, rows: pa.Table, ranges: Sequence[Range]) -> None:
        """Commit `rows` and the positions that `ranges` reach.

        Raises LakeConflict where another writer moved one of the partitions on since this snapshot was read.
        """
        ends = {app_id(r.topic_id, r.partition): r.end for r in ranges}
        try:
            write_deltalake(
                self._delta,
                rows,
                mode="append",
                schema_mode="merge",
                writer_properties=WRITER,
                commit_properties=CommitProperties(
                    app_transactions=[Transaction(app, end) for app, end in ends.items()],
                    custom_metadata={METADATA_KEY: json.dumps([asdict(entry) for entry in ranges])},
                ),
            )
        except CommitFailedError as error:
            raise LakeConflict(f"{self.table.name}: {error}") from error


PARQUET_END = b"PAR1"
WRITER = WriterProperties(
    compression="ZSTD",
    compression_level=1,
    column_properties={"kafka_value": ColumnProperties(dictionary_enabled=False)},
)


def _is_parquet(path: Path) -> bool:
    """Whether a file ends as Parquet does: what was never written is missing, short or full of zeros."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(PARQUET_END)))
        return file.read() == PARQUET_END


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
