"""The loader against DuckDB reading the same files into a table."""

import tempfile
import time
from pathlib import Path

import duckdb
from rich.table import Table

from benchmarks.workload import cpu_seconds, records
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.lake import Lake
from ingestion.lander import Lander, Rotation
from ingestion.loader import load
from ingestion.steps import run
from ingestion.tables import all_tables
from ingestion.warehouse.duckdb import DuckDBWarehouse

EVENTS = 400_000


def measure() -> Table:
    """Thousand events per CPU-second: lake to committed raw rows, ledger and touched dates."""
    appended = records(EVENTS // 4)
    with tempfile.TemporaryDirectory() as folder:
        broker, lake = EmbeddedBroker(Path(folder) / "log"), Lake(f"file://{folder}/lake")
        broker.ensure_topics([table.topic for table in all_tables()])
        for _ in range(4):
            broker.publish(appended)
            lander = Lander(broker, lake, all_tables(), Rotation(seconds=0), time.monotonic)
            while run(lander.round(flush=True), lambda point: None).rows:
                pass
        broker.close()
        bare, _ = cpu_seconds(lambda: _bare(Path(folder), lake))
        warehouse = DuckDBWarehouse(Path(folder) / "warehouse.duckdb")
        loading, rows = cpu_seconds(lambda: _load(lake, warehouse))
    if rows != EVENTS:
        raise RuntimeError(f"{rows} of {EVENTS} events were loaded")
    table = Table("k events/CPU-s", "bare DuckDB", "cost ratio", title="loader")
    table.add_row(f"{EVENTS / loading / 1000:.0f}", f"{EVENTS / bare / 1000:.0f}", f"{loading / bare:.2f}")
    return table


def _load(lake: Lake, warehouse: DuckDBWarehouse) -> int:
    return sum(run(load(lake, warehouse, table), lambda point: None).rows for table in all_tables())


def _bare(folder: Path, lake: Lake) -> None:
    with duckdb.connect(str(folder / "bare.duckdb")) as db:
        for table in all_tables():
            if files := [file.uri for file in lake.table(table).snapshot().files()]:
                db.execute(f"create table {table.name} as from read_parquet(?, hive_partitioning = false)", [files])
