"""Counting what the hops hold: the log's records one by one, and rows by SQL.

SQL asks the lake's files and DuckDB's raw tables the same question, from what a row holds.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import duckdb

from ingestion.broker import Broker, Topic
from ingestion.broker.shared import only
from ingestion.encoding import checksum
from ingestion.errors import OffsetOutOfRange
from ingestion.lake import LakeFile, Range
from ingestion.storage import readable
from ingestion.tables import PARTITION_COLUMN

READ_AT_ONCE = 10_000, 32 * 1024 * 1024
HOUR_US = 3_600_000_000
VALUE_CHECKSUM = "('0x' || substr(coalesce(md5(kafka_value), md5(kafka_value_bytes)), 1, 15))::bigint"
"""The checksum of encoding.py from a row's value; other engines spell the cast from hex differently."""

FILES = (
    f"(select *, strftime(kafka_timestamp at time zone 'UTC', '%Y-%m-%d-%H') as {PARTITION_COLUMN}"
    " from read_parquet(?, union_by_name = true, hive_partitioning = false))"
)


@dataclass(frozen=True)
class Count:
    """How many rows, and the sum of their checksums: equal for equal rows in whatever order."""

    rows: int = 0
    checksum: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.rows + other.rows, self.checksum + other.checksum)

    def __sub__(self, other: "Count") -> "Count":
        return Count(self.rows - other.rows, self.checksum - other.checksum)


@dataclass(frozen=True)
class PartitionCount:
    """The rows of a table from one partition and landing hour.

    `offsets` counts distinct offsets, `corrupt` the rows with another checksum than they landed with, and `recent`
    the rows from an offset on that was asked for.
    """

    landing_hour: str
    topic_id: str
    partition: int
    count: Count
    offsets: int
    corrupt: int
    recent: Count


@dataclass(frozen=True)
class CommitCount:
    """The rows of a table in the ranges of one commit (None: of no commit) and in one landing hour.

    `repeated` are rows beyond the first with their offset, `corrupt` those with another checksum than they landed with.
    """

    version: int | None
    landing_hour: str
    count: Count
    repeated: int
    corrupt: int


def count_rows(
    db: duckdb.DuckDBPyConnection, source: str, parameters: Sequence[object], since: Mapping[tuple[str, int], int]
) -> list[PartitionCount]:
    """Count the rows of `source`, with the rows from offset `since[topic_id, partition]` on counted again as recent."""
    db.execute("create or replace temp table since (topic_id varchar, kafka_partition integer, start_offset bigint)")
    if since:
        db.executemany("insert into since values (?, ?, ?)", [[*key, start] for key, start in since.items()])
    recent = "filter (where kafka_offset >= start_offset)"
    rows = db.execute(
        f"with counted as (select *, {VALUE_CHECKSUM} as recomputed from {source})"
        f" select {PARTITION_COLUMN}, topic_id, kafka_partition, count(*), sum(recomputed),"
        " count(distinct kafka_offset), count_if(checksum <> recomputed),"
        f" count(*) {recent}, coalesce(sum(recomputed) {recent}, 0)"
        " from counted left join since using (topic_id, kafka_partition) group by 1, 2, 3",
        list(parameters),
    ).fetchall()
    return [
        PartitionCount(hour, topic_id, partition, Count(n, int(total)), offsets, corrupt, Count(m, int(part)))
        for hour, topic_id, partition, n, total, offsets, corrupt, m, part in rows
    ]


def count_by_commit(
    db: duckdb.DuckDBPyConnection, source: str, parameters: Sequence[object], ranges: Iterable[tuple[int, Range]]
) -> list[CommitCount]:
    """Count the rows of `source` by the commit in whose ranges they lie: `ranges` are versions with a range each."""
    db.execute(
        "create or replace temp table covered"
        " (version bigint, topic_id varchar, kafka_partition integer, start_offset bigint, end_offset bigint)"
    )
    if covered := {(version, r.topic_id, r.partition, r.start, r.end) for version, r in ranges}:
        db.executemany("insert into covered values (?, ?, ?, ?, ?)", sorted(covered))
    rows = db.execute(
        f"with counted as (select *, {VALUE_CHECKSUM} as recomputed from {source})"
        f" select version, {PARTITION_COLUMN}, count(*), sum(recomputed),"
        " count(*) - count(distinct (counted.topic_id, counted.kafka_partition, kafka_offset)),"
        " count_if(checksum <> recomputed)"
        " from counted left join covered on covered.topic_id = counted.topic_id"
        " and covered.kafka_partition = counted.kafka_partition"
        " and kafka_offset >= start_offset and kafka_offset < end_offset"
        " group by 1, 2 order by 1, 2",
        list(parameters),
    ).fetchall()
    return [CommitCount(version, hour, Count(n, int(total)), *wrong) for version, hour, n, total, *wrong in rows]


def count_files(
    files: Sequence[LakeFile], since: Mapping[tuple[str, int], int]
) -> tuple[list[PartitionCount], Mapping[LakeFile, str]]:
    """Count the rows of lake files; files that cannot be read are left out, with the reason why."""
    with duckdb.connect() as db:
        try:
            return _count_files(db, files, since), {}
        except duckdb.Error:
            problems = {file: problem for file in files if (problem := _why_unreadable(db, file))}
            return _count_files(db, [file for file in files if file not in problems], since), problems


def _count_files(
    db: duckdb.DuckDBPyConnection, files: Sequence[LakeFile], since: Mapping[tuple[str, int], int]
) -> list[PartitionCount]:
    return count_rows(db, FILES, [readable(db, [file.uri for file in files])], since) if files else []


def _why_unreadable(db: duckdb.DuckDBPyConnection, file: LakeFile) -> str | None:
    try:
        _count_files(db, [file], {})
    except duckdb.Error as error:
        return str(error).splitlines()[0]
    return None


def count_files_by_commit(files: Sequence[LakeFile], ranges: Iterable[tuple[int, Range]]) -> list[CommitCount]:
    """Count the rows of lake files by the commit in whose ranges they lie."""
    if not files:
        return []
    with duckdb.connect() as db:
        return count_by_commit(db, FILES, [readable(db, [file.uri for file in files])], ranges)


def count_log(
    broker: Broker, topic: Topic, name: str, partition: int, position: int, ranges: Iterable[tuple[int, Range]]
) -> tuple[int, Mapping[tuple[int | None, str], Count]]:
    """Count what the log holds for table `name` before `position`, by commit and hour, and say from which offset on.

    Where retention takes records while they are counted, counting begins again at what is left.
    """
    commits = sorted((r.start, r.end, version) for version, r in ranges if r.partition == partition)
    while True:
        start = broker.bounds(topic.name)[partition].start
        try:
            return start, _count_log(broker, topic, name, partition, start, position, commits)
        except OffsetOutOfRange:
            continue


def _count_log(
    broker: Broker,
    topic: Topic,
    name: str,
    partition: int,
    offset: int,
    position: int,
    commits: Sequence[tuple[int, int, int]],
) -> Mapping[tuple[int | None, str], Count]:
    sums: dict[tuple[int | None, str], list[int]] = defaultdict(lambda: [0, 0])
    ends = [end for _, end, _ in commits]
    while offset < position:
        read = broker.read(topic.name, partition, offset, *READ_AT_ONCE)
        if not read.offsets:
            break
        chunk = only(name, topic, read)
        for at, timestamp, value in zip(chunk.offsets, chunk.timestamps, chunk.values, strict=True):
            if at < position:
                index = bisect_right(ends, at)
                version = commits[index][2] if index < len(commits) and commits[index][0] <= at else None
                total = sums[version, landing_hour(timestamp // HOUR_US)]
                total[0] += 1
                total[1] += checksum(value)
        offset = chunk.next_offset
    return {key: Count(*total) for key, total in sums.items()}


@cache
def landing_hour(hours: int) -> str:
    """The landing hour that is so many hours after 1970 began."""
    return datetime.fromtimestamp(hours * 3600, UTC).strftime("%Y-%m-%d-%H")
