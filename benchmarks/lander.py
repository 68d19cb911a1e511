"""The lander against writing the same rows with pyarrow alone."""

import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from benchmarks.workload import cpu_seconds, records
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.encoding import Block, encode
from ingestion.lake import Lake
from ingestion.lander import Lander, Rotation
from ingestion.steps import run
from ingestion.tables import Table as LakeTable
from ingestion.tables import all_tables

EVENTS = 200_000
ROTATION = Rotation(rows=100_000, bytes=64 * 1024 * 1024, seconds=0)


def measure() -> Table:
    """Thousand events per CPU-second: log to typed, committed, synced rows."""
    appended = records(EVENTS)
    size = sum(len(record.value) for record in appended) / len(appended)
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker(Path(folder) / "log")
        broker.ensure_topics([table.topic for table in all_tables()])
        for start in range(0, EVENTS, 5_000):
            broker.publish(appended[start : start + 5_000])
        lander = Lander(broker, Lake(f"file://{folder}/lake"), all_tables(), ROTATION, time.monotonic)
        landing, landed = cpu_seconds(lambda: _land(lander))
        reading, _ = cpu_seconds(lambda: [_read(broker, table.topic) for table in all_tables()])
        writing = sum(_write(Path(folder), broker, table) for table in all_tables())
        broker.close()
    if landed != EVENTS:
        raise RuntimeError(f"{landed} of {EVENTS} events landed")
    table = Table("k events/CPU-s", "reading the log alone", "pyarrow alone", "cost ratio", title="lander")
    rates = [EVENTS / seconds / 1000 for seconds in (landing, reading, writing)]
    table.add_row(*(f"{rate:.0f}" for rate in rates), f"{rates[2] / rates[0]:.1f}")
    table.caption = f"values of {size:.0f} bytes"
    return table


def _land(lander: Lander) -> int:
    """Rounds until the log has nothing more; the rows that landed."""
    total = 0
    while rows := run(lander.round(flush=True), lambda point: None).rows:
        total += rows
    return total


def _read(broker: EmbeddedBroker, topic: str) -> int:
    return sum(len(broker.read(topic, p, 0, EVENTS, 1 << 30).offsets) for p in broker.topic(topic).partitions)


def _write(folder: Path, broker: EmbeddedBroker, table: LakeTable) -> float:
    chunks = [broker.read(table.topic, p, 0, EVENTS, 1 << 30) for p in broker.topic(table.topic).partitions]
    blocks = [Block("id", table.topic, c.partition, c.offsets, c.timestamps, c.values) for c in chunks if c.offsets]
    if not blocks:
        return 0.0
    rows: pa.Table = encode(table, blocks)
    plain = [name for name in rows.column_names if name != "kafka_value"]
    seconds, _ = cpu_seconds(
        lambda: pq.write_table(
            rows, folder / "bare.parquet", compression="zstd", compression_level=1, use_dictionary=plain
        )
    )
    return seconds
