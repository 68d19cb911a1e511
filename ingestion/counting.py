"""Counting rows by SQL, from what they hold: the same question to the lake's files and to DuckDB's raw tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from ingestion.lake import LakeFile
from ingestion.tables import PARTITION_COLUMN

VALUE_CHECKSUM = "('0x' || substr(coalesce(md5(kafka_value), md5(kafka_value_bytes)), 1, 15))::bigint"
"""The checksum of encoding.py from a row's value; other engines spell the cast from hex differently."""


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


def count_files(files: Sequence[LakeFile], since: Mapping[tuple[str, int], int]) -> list[PartitionCount]:
    """Count the rows of lake files."""
    if not files:
        return []
    source = (
        f"(select *, strftime(kafka_timestamp at time zone 'UTC', '%Y-%m-%d-%H') as {PARTITION_COLUMN}"
        " from read_parquet(?, union_by_name = true, hive_partitioning = false))"
    )
    with duckdb.connect() as db:
        return count_rows(db, source, [[file.uri for file in files]], since)
