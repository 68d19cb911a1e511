"""Counting what Redshift's raw tables hold, recomputed from each row's value, as `ingestion.counting` does elsewhere.

Redshift's MD5 takes strings. The few values that are kept as bytes come here for theirs, and go back as a number.
"""

from collections.abc import Sequence

from ingestion.counting import CommitCount, Count, PartitionCount
from ingestion.encoding import checksum
from ingestion.lake import Range
from ingestion.tables import PARTITION_COLUMN
from ingestion.warehouse.redshift_session import Session

PLACE = "topic_id, kafka_partition, kafka_offset"
COUNTED = f"""
select raw.{{table}}.{PARTITION_COLUMN}, raw.{{table}}.topic_id, raw.{{table}}.kafka_partition,
    raw.{{table}}.kafka_offset, raw.{{table}}.checksum,
    coalesce(strtol(substring(md5(raw.{{table}}.kafka_value), 1, 15), 16), of_bytes.recomputed, 0) as recomputed
from raw.{{table}} left join of_bytes on of_bytes.topic_id = raw.{{table}}.topic_id
    and of_bytes.kafka_partition = raw.{{table}}.kafka_partition and of_bytes.kafka_offset = raw.{{table}}.kafka_offset
"""


def count_rows(session: Session, table: str) -> list[PartitionCount]:
    """What each partition and landing hour of a raw table holds."""
    _sum_bytes(session, table)
    rows = session.rows(
        f"with counted as ({COUNTED.format(table=table)})"
        f" select {PARTITION_COLUMN}, topic_id, kafka_partition, count(*), sum(cast(recomputed as decimal(38, 0))),"
        " count(distinct kafka_offset), sum(case when checksum <> recomputed then 1 else 0 end)"
        f" from counted group by {PARTITION_COLUMN}, topic_id, kafka_partition"
    )
    return [
        PartitionCount(hour, topic_id, partition, Count(n, int(total)), offsets, int(corrupt), Count())
        for hour, topic_id, partition, n, total, offsets, corrupt in rows
    ]


def count_commits(session: Session, table: str, ranges: Sequence[tuple[int, Range]]) -> list[CommitCount]:
    """The rows of a raw table by the commit in whose ranges they lie."""
    _sum_bytes(session, table)
    session.rows("drop table if exists covered")
    session.rows(
        "create temporary table covered (version bigint, topic_id varchar(64), kafka_partition integer,"
        " start_offset bigint, end_offset bigint) diststyle all"
    )
    covered = sorted({(version, r.topic_id, r.partition, r.start, r.end) for version, r in ranges})
    session.insert("covered", [list(each) for each in covered])
    rows = session.rows(
        f"with counted as ({COUNTED.format(table=table)})"
        f" select version, {PARTITION_COLUMN}, count(*), sum(cast(recomputed as decimal(38, 0))),"
        " count(*) - count(distinct counted.topic_id || '/' || cast(counted.kafka_partition as varchar(11))"
        " || '/' || cast(kafka_offset as varchar(20))),"
        " sum(case when checksum <> recomputed then 1 else 0 end)"
        " from counted left join covered on covered.topic_id = counted.topic_id"
        " and covered.kafka_partition = counted.kafka_partition"
        " and counted.kafka_offset >= covered.start_offset and counted.kafka_offset < covered.end_offset"
        f" group by version, {PARTITION_COLUMN} order by version, {PARTITION_COLUMN}"
    )
    return [
        CommitCount(version, hour, Count(n, int(total)), int(repeated), int(corrupt))
        for version, hour, n, total, repeated, corrupt in rows
    ]


def _sum_bytes(session: Session, table: str) -> None:
    """The checksums of the values that are kept as bytes, in a table of this session; one of each place."""
    session.rows("drop table if exists of_bytes")
    session.rows(
        "create temporary table of_bytes"
        " (topic_id varchar(64), kafka_partition integer, kafka_offset bigint, recomputed bigint) diststyle all"
    )
    found: dict[tuple[str, int, int], int] = {}
    kept_as_bytes = "kafka_value is null and kafka_value_bytes is not null"
    for *place, value in session.rows(f"select {PLACE}, kafka_value_bytes from raw.{table} where {kept_as_bytes}"):
        found.setdefault(tuple(place), checksum(_bytes(value)))
    session.insert("of_bytes", [[*place, total] for place, total in found.items()])


def _bytes(value: bytes | str) -> bytes:
    """A VARBYTE, which the driver may give as hex digits."""
    return value if isinstance(value, bytes) else bytes.fromhex(value)
