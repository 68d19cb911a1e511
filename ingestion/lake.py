"""The lake: one Delta table per record type, partitioned by landing hour, with the log's positions in its commits.

A commit holds rows and, as Delta `txn` actions, the position that it reached in each partition (application id =
topic id + partition). Delta refuses a commit whose writer has not seen another commit of the same application id, so
no record can come in twice and none can be passed over, whoever writes. The position in the table is the only truth.

Whoever acts on a commit, by moving the group's position or by loading it, calls `sync` first: on a local disk nothing
is durable before. `repair` removes a last commit that a power failure tore.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import ColumnProperties, CommitProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import Transaction

from ingestion.errors import LakeConflict, LakeHistoryGone, PermanentError
from ingestion.storage import LOG, Storage, open_storage
from ingestion.tables import PARTITION_COLUMN, Table

METADATA_KEY = "headrace"
STATISTICS_PRECISION = timedelta(milliseconds=1)
"""Delta may cut the times of its statistics to milliseconds."""


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
    committed_at: float = field(default=0.0, compare=False)
    """By its writer's clock, in seconds since 1970; 0 where it does not say."""

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
    """The tables under one URL: `file:///path/to/lake` or `s3://bucket/prefix`."""

    def __init__(self, url: str) -> None:
        self._storage = open_storage(url)

    def table(self, table: Table) -> "LakeTable":
        """The lake table of a record type; created where it does not exist."""
        return LakeTable(self._storage, table)


class LakeTable:
    """One Delta table."""

    def __init__(self, storage: Storage, table: Table) -> None:
        self._storage, self.table = storage, table
        self.uri = storage.uri(table.name)

    def snapshot(self, version: int | None = None) -> "Snapshot":
        """The table as it is now, or as it was at `version`. Raises LakeUnavailable where it cannot be read."""
        with _answered(self._storage, self.table):
            try:
                return self._at(version)
            except TableNotFoundError:
                self._create()
                return self._at(version)

    def latest(self, known: int = -1) -> int:
        """The last version. Where the table had version `known` already, its log need not be read for that.

        For a look that may err: where somebody took an entry out of the log, it stops there.
        """
        if known < 0 or not self._storage.exists(self._entry(known)):
            return self.snapshot().version
        while self._storage.exists(self._entry(known + 1)):
            known += 1
        return known

    def delta(self, version: int | None = None) -> DeltaTable:
        """The table as Delta's library has it."""
        return DeltaTable(self.uri, version=version, storage_options=dict(self._storage.options))

    def _create(self) -> None:
        DeltaTable.create(
            self.uri,
            self.table.schema,
            mode="ignore",
            partition_by=[PARTITION_COLUMN],
            name=self.table.name,
            description=self.table.description,
            storage_options=dict(self._storage.options),
        )

    def _at(self, version: int | None) -> "Snapshot":
        return Snapshot(self._storage, self.table, self.delta(version))

    def commits(self, after: int, until: int | None = None) -> Iterator[Commit]:
        """The commits after version `after`, in order, to `until` or the last; those without rows included."""
        latest = self.snapshot().version if until is None else until
        for version in range(after + 1, latest + 1):
            try:
                yield self._commit(version)
            except FileNotFoundError:
                raise LakeHistoryGone(
                    f"{self.uri} no longer lists version {version}, which is to be loaded: Delta cleans entries that"
                    " are older than delta.logRetentionDuration (30 days)"
                ) from None

    def sync(self, after: int) -> None:
        """Make the commits after version `after` durable: their files, their log entries and the folders.

        Entries that Delta has cleaned away meanwhile are long on the disk.
        """
        self._storage.sync(self._written(after))

    def repair(self) -> list[int]:
        """Remove last commits whose files a power failure took, and say which; their records land again."""
        return self._storage.repair(self.table.name)

    def _written(self, after: int) -> Iterator[str]:
        """The names of what the commits after version `after` wrote."""
        for version in range(max(-1, after) + 1, self.snapshot().version + 1):
            with suppress(FileNotFoundError):
                yield from (self._name(add["path"]) for add in _adds(self._actions(version)))
                yield self._entry(version)

    def _name(self, path: str) -> str:
        return f"{self.table.name}/{unquote(path)}"

    def _entry(self, version: int) -> str:
        return self._name(f"{LOG}/{version:020d}.json")

    def _actions(self, version: int) -> list[Mapping[str, Any]]:
        """What an entry of the table's log says; FileNotFoundError where there is none."""
        actions = [json.loads(line) for line in self._storage.read(self._entry(version)).splitlines()]
        if not actions:
            raise PermanentError(f"version {version} of {self.uri} is empty: a lander that starts repairs it")
        return actions

    def _commit(self, version: int) -> Commit:
        actions = self._actions(version)
        info: Mapping[str, Any] = next((a["commitInfo"] for a in actions if "commitInfo" in a), {})
        committed_at = info.get("timestamp", 0) / 1_000
        if info.get("operation") != "WRITE":
            return Commit(version, (), (), committed_at)
        ranges = tuple(Range(**entry) for entry in json.loads(info.get(METADATA_KEY, "[]")))
        return Commit(version, tuple(map(self._file, _adds(actions))), ranges, committed_at)

    def _file(self, add: Mapping[str, Any]) -> LakeFile:
        uri = self._storage.uri(self._name(add["path"]))
        return LakeFile(uri, add["partitionValues"][PARTITION_COLUMN], json.loads(add["stats"])["numRecords"])


def _adds(actions: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The files that the actions of a commit bring."""
    return (action["add"] for action in actions if "add" in action and action["add"]["dataChange"])


@contextmanager
def _answered(storage: Storage, table: Table) -> Iterator[None]:
    """Whatever keeps the Delta library from reading or writing a table, as the storage explains it."""
    try:
        yield
    except (DeltaError, OSError) as error:
        raise storage.explain(table.name, error) from error


class Snapshot:
    """A lake table at one version; `append` commits from exactly this version."""

    def __init__(self, storage: Storage, table: Table, delta: DeltaTable) -> None:
        self._storage, self.table, self._delta = storage, table, delta
        self.version = delta.version()  # of what was read: `append` moves the library's own table on

    @property
    def schema(self) -> pa.Schema:
        """The columns at this version."""
        return pa.schema(self._delta.schema())

    def position(self, topic_id: str, partition: int) -> int:
        """The offset at which the next record of a partition is to be read; 0 for one never read."""
        with _answered(self._storage, self.table):
            return self._delta.transaction_version(app_id(topic_id, partition)) or 0

    def files(self, hour: str | None = None) -> list[LakeFile]:
        """The files with the table's rows, of one landing hour or of all."""
        return [file for file in self._files(self._adds()) if hour in (None, file.landing_hour)]

    def files_since(self, column: str, moment: datetime) -> list[LakeFile]:
        """The files that may hold a row whose `column` is `moment` or later, by what the table's log says of them."""
        adds = self._adds()
        if f"max.{column}" in adds.column_names:
            latest = adds.column(f"max.{column}")
            is_late = pc.greater_equal(latest, moment - STATISTICS_PRECISION)
            adds = adds.filter(pc.or_kleene(pc.is_null(latest), is_late))
        return self._files(adds)

    def _adds(self) -> pa.Table:
        """The table's files as its log has them."""
        with _answered(self._storage, self.table):
            return pa.table(self._delta.get_add_actions(flatten=True))

    def _files(self, adds: pa.Table) -> list[LakeFile]:
        hour = f"partition.{PARTITION_COLUMN}"
        named = adds.select(["path", hour, "num_records"]).to_pylist()
        return [LakeFile(self._uri(a["path"]), a[hour], a["num_records"]) for a in named]

    def size(self) -> Size:
        """Files, rows and bytes of the table, as its log has them."""
        adds = self._adds().to_pylist()
        return Size(len(adds), sum(add["num_records"] for add in adds), sum(add["size_bytes"] for add in adds))

    def write_manifests(self) -> list[str]:
        """Write the files' names where Redshift Spectrum looks for them, a manifest per landing hour; say which."""
        with _answered(self._storage, self.table):
            self._delta.generate()
        return sorted({file.landing_hour for file in self.files()})

    def append(self, rows: pa.Table, ranges: Sequence[Range]) -> None:
        """Commit `rows` and the positions that `ranges` reach.

        Raises LakeConflict where another writer moved one of the partitions on since this snapshot was read, and
        LakeUnavailable where it is not known whether the commit was stored.
        """
        ends = {app_id(r.topic_id, r.partition): r.end for r in ranges}
        commit = CommitProperties(
            app_transactions=[Transaction(app, end) for app, end in ends.items()],
            custom_metadata={METADATA_KEY: json.dumps([asdict(entry) for entry in ranges])},
        )
        with _answered(self._storage, self.table):
            try:
                write_deltalake(
                    self._delta,
                    rows,
                    mode="append",
                    schema_mode="merge",
                    writer_properties=WRITER,
                    commit_properties=commit,
                )
            except CommitFailedError as error:
                raise LakeConflict(f"{self.table.name}: {error}") from error

    def _uri(self, path: str) -> str:
        return self._storage.uri(f"{self.table.name}/{unquote(path)}")


WRITER = WriterProperties(
    compression="ZSTD",
    compression_level=1,
    column_properties={"kafka_value": ColumnProperties(dictionary_enabled=False)},
)
