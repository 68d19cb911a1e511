import os
import time
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from ingestion.errors import ConfigurationError, WarehouseBusy
from ingestion.lake import Lake
from ingestion.tables import all_tables
from ingestion.warehouse import open_warehouse
from ingestion.warehouse.duckdb import DuckDBWarehouse, connect
from ingestion.warehouse.duckdb_load import sql_type
from tests.ingestion.warehouse.contract import VIEWS, Site, WarehouseContract


class TestDuckDBWarehouse(WarehouseContract):
    @pytest.fixture
    def site(self, tmp_path: Path) -> Site:
        path = tmp_path / "warehouse.duckdb"
        return Site(DuckDBWarehouse(path), Lake(f"file://{tmp_path}/lake"), another=partial(DuckDBWarehouse, path, 0.3))


@pytest.fixture
def warehouse(tmp_path: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(tmp_path / "warehouse.duckdb", wait=0.2)


def test_the_file_is_closed_after_every_use(warehouse: DuckDBWarehouse) -> None:
    with warehouse.load(VIEWS):
        assert is_open(warehouse.path)
    assert not is_open(warehouse.path)
    warehouse.query("select 1")
    assert not is_open(warehouse.path)
    with pytest.raises(duckdb.CatalogException):
        warehouse.query("from nothing")
    assert not is_open(warehouse.path)


def is_open(path: Path) -> bool:
    links = Path("/proc/self/fd")
    return str(path) in [os.readlink(link) for link in links.iterdir() if link.exists()]


def test_every_column_of_every_table_has_a_type(warehouse: DuckDBWarehouse) -> None:
    with warehouse._connection() as db:
        for table in all_tables():
            definition = ", ".join(f'"{field.name}" {sql_type(field.type)}' for field in table.schema)
            db.execute(f"create table raw.{table.name} ({definition})")
    assert warehouse.query("select count(distinct table_name) from duckdb_columns() where schema_name = 'raw'") == [
        (len(all_tables()),)
    ]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (pa.timestamp("us", tz="UTC"), "timestamp"),
        (pa.decimal128(18, 4), "decimal(18, 4)"),
        (pa.list_(pa.struct([("a", pa.string()), ("b", pa.int64())])), 'struct("a" varchar, "b" bigint)[]'),
        (pa.bool_(), "boolean"),
        (pa.binary(), "blob"),
        (pa.int32(), "integer"),
    ],
)
def test_types_of_the_lake_are_types_of_duckdb(kind: pa.DataType, name: str) -> None:
    assert sql_type(kind) == name


def test_times_are_utc_wherever_the_process_runs(warehouse: DuckDBWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        query = "select strftime('2026-05-01 12:00:00Z'::timestamptz, '%H')"
        assert warehouse.query(query) == [("12",)]
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    warehouse = open_warehouse(f"duckdb://{tmp_path}/a/b/warehouse.duckdb")
    assert warehouse.query("select 1") == [(1,)]
    assert (tmp_path / "a" / "b" / "warehouse.duckdb").exists()


@pytest.mark.parametrize("name", ["warehouse.duckdb", "blocked.duckdb"])
def test_a_file_that_is_no_warehouse_is_said_so_at_once_and_not_waited_for(tmp_path: Path, name: str) -> None:
    """Though its name may hold the word that an error about a held file has."""
    (tmp_path / name).write_bytes(b"no database" * 1_000)
    warehouse, began = DuckDBWarehouse(tmp_path / name, wait=30), time.monotonic()
    with pytest.raises(ConfigurationError, match="not a valid DuckDB"):
        warehouse.query("select 1")
    assert time.monotonic() - began < 10


def test_a_folder_that_cannot_be_made_names_the_warehouse(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigurationError, match="warehouse"):
        DuckDBWarehouse(tmp_path / "file" / "warehouse.duckdb").query("select 1")


def test_tables_that_cannot_be_made_at_the_same_moment_are_busy(warehouse: DuckDBWarehouse) -> None:
    with duckdb.connect(str(warehouse.path)) as other:
        other.execute("begin")
        other.execute("create schema raw")
        with pytest.raises(WarehouseBusy, match="run it again"):
            warehouse.query("select 1")
    assert warehouse.query("select 1") == [(1,)]


def test_opening_again_changes_nothing(warehouse: DuckDBWarehouse) -> None:
    with warehouse.load(VIEWS):
        pass
    for _ in range(3):
        connect(warehouse.path, 0).close()
    assert warehouse.query("from headrace.load_lock") == [(1,)]


@pytest.mark.parametrize(
    "url",
    [
        "redshift://host",
        "redshift://user:secret@host/db",
        "bigquery://project/set",
        "duckdb://",
        "warehouse.duckdb",
        "",
    ],
)
def test_a_url_without_an_adapter_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="HEADRACE_WAREHOUSE"):
        open_warehouse(url)
