"""Sending rejected events again after a fix, each at most once.

What is sent again is first claimed in a lake table of its own, with a position that only one replay can move on; so
two replays, or one that was killed, never send a rejection twice. One that was killed after its claim leaves the
rejection unsent but kept: `again=True` sends claimed ones too, and a copy that results counts once downstream.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC

import duckdb
import msgspec
import pyarrow as pa

from ingestion.broker import Broker, Record
from ingestion.contracts.json_text import ContentError
from ingestion.contracts.native import Limits, Reception, map_body
from ingestion.contracts.rejections import payload_of
from ingestion.events import Rejection, topic
from ingestion.lake import Lake, Range
from ingestion.steps import Steps
from ingestion.storage import readable
from ingestion.tables import COORDINATES, PARTITION_COLUMN, REJECTED, REJECTED_TABLE, Table

CLAIMS = Table(
    "rejected_replays", "Rejected records that were sent again, by their coordinates.", (), "kafka_timestamp"
)
CLAIM_ID = "rejected-replay"
KEY = ("topic_id", "kafka_partition", "kafka_offset")


@dataclass
class Replayed:
    """What a replay did with the rejections that it looked at."""

    sent: int = 0
    still_rejected: int = 0
    cut: int = 0
    """Longer than the 16 KiB that were kept."""
    claimed_before: int = 0
    records: list[Record] = field(default_factory=list)


def replay(broker: Broker, lake: Lake, limits: Limits, code: str | None = None, again: bool = False) -> Steps[Replayed]:
    """Map every kept rejection (of one `code`) again and publish what is accepted now.

    Raises LakeConflict where another replay claims at the same time: nothing was sent, run it again.
    """
    claims = lake.table(CLAIMS).snapshot()
    claimed = set() if again else {tuple(row[name] for name in KEY) for row in _rows(lake, CLAIMS, None)}
    outcome, taken = Replayed(), []
    for row in _rows(lake, REJECTED_TABLE, code):
        if tuple(row[name] for name in KEY) in claimed:
            outcome.claimed_before += 1
        elif records := _map_again(row, limits, outcome):
            outcome.records += records
            taken.append({name: row[name] for name in COORDINATES.names})
    if not taken:
        return outcome
    broker.ensure_topics({record.topic for record in outcome.records})  # a claim must not fail to be sent for that
    position = claims.position(CLAIM_ID, 0)
    claims.append(
        pa.Table.from_pylist(taken, CLAIMS.schema),
        [Range(CLAIM_ID, 0, position, position + len(taken), len(taken))],
    )
    lake.table(CLAIMS).sync(claims.version)
    yield "replay.claimed"
    broker.publish(outcome.records)
    yield "replay.published"
    outcome.sent = len(outcome.records)
    return outcome


def _rows(lake: Lake, table: Table, code: str | None) -> Iterator[dict[str, object]]:
    files = [file.uri for file in lake.table(table).snapshot().files()]
    if not files:
        return
    with duckdb.connect() as db:
        db.execute("set timezone = 'UTC'")
        wanted = "landing_error is null" + (" and code = ?" if code else "")
        found = db.sql(
            f"select *, strftime(kafka_timestamp, '%Y-%m-%d-%H') as {PARTITION_COLUMN}"
            f" from read_parquet(?, union_by_name = true, hive_partitioning = false) where {wanted}"
            " order by kafka_timestamp, kafka_partition, kafka_offset",
            params=[readable(db, files), *([code] if code else [])],
        )
        for batch in found.to_arrow_reader():  # Arrow's times need no time zone package, DuckDB's do
            yield from batch.to_pylist()


def _map_again(row: dict[str, object], limits: Limits, outcome: Replayed) -> list[Record]:
    """The records that a rejection becomes now; none where it would be rejected again or was not kept whole."""
    rejection = msgspec.json.decode(str(row["kafka_value"]), type=Rejection)
    payload = payload_of(rejection)
    if payload is None:
        outcome.cut += 1
        return []
    body = payload if rejection.whole_request else _batch_of(payload, rejection)
    reception = Reception(rejection.source, rejection.received_at.astimezone(UTC))
    try:
        results = map_body(body, reception, limits)
    except ContentError:
        results = []
    if not any(isinstance(result, Record) for result in results):
        outcome.still_rejected += 1
        return []
    return [
        result
        if isinstance(result, Record)
        else Record(topic(REJECTED), result.source.encode(), msgspec.json.encode(result))
        for result in results
    ]


def _batch_of(payload: bytes, rejection: Rejection) -> bytes:
    return b'{"sent_at":%s,"batch":[%s]}' % (msgspec.json.encode(rejection.sent_at), payload)
