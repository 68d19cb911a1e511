"""Counting what Redshift's raw tables hold, recomputed from each row's value, as `ingestion.counting` does elsewhere.

Redshift's MD5 takes strings. The few values that are kept as bytes come here for theirs, and go back as a number; they
come as hex digits, in pieces that fit a string, because the driver cannot read a VARBYTE that is no UTF-8.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence

from ingestion.counting import CommitCount, Count, PartitionCount
from ingestion.encoding import checksum
from ingestion.lake import Range
from ingestion.tables import PARTITION_COLUMN
from ingestion.warehouse.redshift_session import RAW, Session

PIECE = 30_000
"""Bytes, of which each is two digits."""
PLACE = "topic_id, kafka_partition, kafka_offset"
COUNTED = f"""
select stored.{PARTITION_COLUMN}, stored.topic_id, stored.kafka_partition,
    stored.kafka_offset, stored.checksum,
    coalesce(strtol(substring(md5(stored.kafka_value), 1, 15), 16), of_bytes.recomputed, 0) as recomputed
from {RAW}.{{table}} as stored left join of_bytes on of_bytes.topic_id = stored.topic_id
    and of_bytes.kafka_partition = stored.kafka_partition and of_bytes.kafka_offset = stored.kafka_offset
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
    session.insert("of_bytes", [[*place, checksum(value)] for place, value in _kept_as_bytes(session, table).items()])


def _kept_as_bytes(session: Session, table: str) -> Mapping[tuple[object, ...], bytes]:
    """The values of a raw table that are kept as bytes, by their places."""
    values: dict[tuple[object, ...], bytes] = defaultdict(bytes)
    for start in itertools.count(0, PIECE):
        pieces = session.rows(
            f"select distinct {PLACE}, from_varbyte(substring(kafka_value_bytes, {start + 1}, {PIECE}), 'hex')"
            f" from {RAW}.{table} where octet_length(kafka_value_bytes) > {start}"
        )
        if not pieces:
            return values
        for *place, digits in pieces:
            values[tuple(place)] += bytes.fromhex(digits)
    return values
