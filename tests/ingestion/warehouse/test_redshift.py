"""The adapter of Redshift, on the stand-in and an S3 server: the contract, and what goes wrong on Redshift alone."""

import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from io import BytesIO
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from redshift_connector.error import ProgrammingError

from ingestion import loader
from ingestion.errors import ConfigurationError, PermanentError, WarehouseBusy, WarehouseUnavailable
from ingestion.lake import Lake, LakeTable
from ingestion.loader import Loaded
from ingestion.steps import run
from ingestion.tables import Column, Table
from ingestion.warehouse import read
from ingestion.warehouse.redshift import RedshiftWarehouse
from ingestion.warehouse.redshift_login import RedshiftOptions
from tests.ingestion.warehouse.contract import VIEWS, Site, WarehouseContract, land, load, raw, views
from tests.platform import event, steps_until
from tests.redshift.server import Database, StandIn
from tests.services.process import free_ports
from tests.services.s3 import S3


@pytest.fixture
def lake_url(s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.endpoint.environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"lake-{uuid4()}"
    s3.create_bucket(bucket)
    return f"s3://{bucket}/lake"


@pytest.fixture
def database(redshift: StandIn, s3: S3) -> Iterator[Database]:
    redshift.s3 = s3.endpoint
    with redshift.database() as database:
        yield database


def open_redshift(url: str, user: str, password: str, lake: str, wait: float = 30.0) -> RedshiftWarehouse:
    options = RedshiftOptions(user, password, role="arn:aws:iam::123456789012:role/headrace", tls=False, lake=lake)
    return RedshiftWarehouse(url, options, wait)


@pytest.fixture
def opened(database: Database, lake_url: str) -> Callable[..., RedshiftWarehouse]:
    """Opens the warehouse, with a `wait` or as somebody else."""
    url = f"redshift://{database.host}:{database.port}/{database.name}"
    return partial(open_redshift, url, database.user, database.password, lake_url)


@pytest.fixture
def site(opened: Callable[..., RedshiftWarehouse], s3: S3, lake_url: str) -> Site:
    return Site(opened(), Lake(lake_url), another=partial(opened, 0.3), overwrite=partial(overwrite, s3))


def overwrite(s3: S3, uri: str, content: bytes) -> None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    s3.endpoint.client().put_object(Bucket=bucket, Key=key, Body=content)


class TestRedshiftWarehouse(WarehouseContract):
    """On the stand-in."""


def change(s3: S3, lake_table: LakeTable, changed: Callable[[pa.Table], pa.Table]) -> str:
    """Change what the lake's only file holds, behind the back of the table's log; returns its URI."""
    (file,) = lake_table.snapshot().files()
    bucket, _, key = file.uri.removeprefix("s3://").partition("/")
    body = s3.endpoint.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    sink = BytesIO()
    pq.write_table(changed(pq.read_table(BytesIO(body))), sink)
    overwrite(s3, file.uri, sink.getvalue())
    return file.uri


def load_all(site: Site, table: Table = VIEWS) -> Loaded:
    """Load a table as `headrace load` does."""
    return run(loader.load(site.lake, site.warehouse, table), lambda _: None)


def is_empty(site: Site) -> bool:
    """Whether no load has left anything."""
    raw_tables = site.warehouse.query("select count(*) from information_schema.tables where table_schema = 'raw'")
    return raw_tables == [(0,)] and site.warehouse.query("select count(*) from headrace.load_ledger") == [(0,)]


def test_a_file_that_copy_does_not_take_is_named_with_its_column(site: Site, s3: S3) -> None:
    lake_table = site.lake.table(VIEWS)
    land(lake_table, views(0, 3), 0)
    uri = change(s3, lake_table, with_long_ids)
    with pytest.raises(PermanentError, match=f"column event_id of {uri}: .*longer than.*nothing was changed"):
        load_all(site)
    assert is_empty(site)


def with_long_ids(rows: pa.Table) -> pa.Table:
    at = rows.schema.get_field_index("event_id")
    return rows.set_column(at, rows.schema.field(at), pa.array(["x" * 200] * len(rows)))


def test_a_file_with_fewer_rows_than_its_commit_promised_loads_nothing(site: Site, s3: S3) -> None:
    lake_table = site.lake.table(VIEWS)
    land(lake_table, views(0, 3), 0)
    change(s3, lake_table, lambda rows: rows.slice(1))
    with pytest.raises(PermanentError, match="product_viewed: 2 rows were inserted where the commits name 3"):
        load_all(site)
    assert is_empty(site)


def test_files_of_an_older_contract_load_beside_new_ones(site: Site) -> None:
    campaign = Column("campaign", ("properties", "campaign"), pa.string(), False, 64, "a field that came later")
    extended = replace(VIEWS, columns=(*VIEWS.columns, campaign))
    land(site.lake.table(VIEWS), views(0, 2), 0)
    land(site.lake.table(extended), [event("product_viewed", 2, campaign="spring")], 2)
    assert load_all(site, extended).rows == 3
    assert raw(site.warehouse, "campaign") == [None, None, "spring"]
    assert raw(site.warehouse, "event_id") == [f"product_viewed-{number}" for number in range(3)]


def test_a_load_that_waited_for_another_sees_what_that_one_loaded(
    site: Site, opened: Callable[..., RedshiftWarehouse]
) -> None:
    land(site.lake.table(VIEWS), views(0, 3), 0)
    first = loader.load(site.lake, site.warehouse, VIEWS)
    steps_until(first, "loader.recorded")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(lambda: run(loader.load(site.lake, opened(), VIEWS), lambda _: None))
        with pytest.raises(TimeoutError):
            second.result(timeout=1)
        assert run(first, lambda _: None).rows == 3
        assert second.result() == Loaded("product_viewed"), "nothing was left to load"
    assert raw(site.warehouse) == [0, 1, 2]


def test_columns_of_one_name_are_as_many_columns(site: Site) -> None:
    found = read(site.warehouse, "select 1 as n, 2 as n")
    assert [column.to_pylist() for column in found.columns] == [[1], [2]]


def test_staleness_is_not_waited_for_as_long_as_a_load_takes(
    site: Site, opened: Callable[..., RedshiftWarehouse]
) -> None:
    assert site.warehouse.staleness().load_seq == 0
    with site.warehouse.load(VIEWS), pytest.raises(WarehouseBusy):
        opened(0.3).staleness()


@pytest.mark.parametrize("said", ["1023", "1023 DETAIL: Serializable isolation violation on table - 119371"])
def test_a_serialization_conflict_is_a_warehouse_that_is_busy(site: Site, said: str) -> None:
    report = {"S": "ERROR", "C": "XX000", "M": said, "D": "Serializable isolation violation on table - 119371"}
    with pytest.raises(WarehouseBusy, match="another transaction changed the same"), site.warehouse.load(VIEWS):
        raise ProgrammingError(report)
    assert is_empty(site)


@pytest.mark.parametrize("point", ["loader.listed", "loader.appended", "loader.recorded"])
def test_a_connection_that_is_lost_leaves_nothing_of_its_load(
    site: Site, redshift: StandIn, database: Database, point: str
) -> None:
    land(site.lake.table(VIEWS), views(0, 3), 0)
    loading = loader.load(site.lake, site.warehouse, VIEWS)
    steps_until(loading, point)
    redshift.disconnect(database)
    with pytest.raises(WarehouseUnavailable, match="the connection was lost"):
        run(loading, lambda _: None)
    assert is_empty(site)
    assert load_all(site).rows == 3


def test_a_lake_that_redshift_cannot_read_is_refused_by_its_setting(database: Database) -> None:
    url = f"redshift://{database.host}:{database.port}/{database.name}"
    warehouse = open_redshift(url, database.user, database.password, "file:///var/lib/headrace/lake")
    with pytest.raises(ConfigurationError, match="HEADRACE_LAKE is 'file:///var/lib/headrace/lake'"):
        load(warehouse, Lake("file:///nowhere").table(VIEWS))


@pytest.mark.usefixtures("sockets_collected")
def test_a_login_that_is_refused_is_a_setting_and_shows_no_password(database: Database, lake_url: str) -> None:
    url = f"redshift://{database.host}:{database.port}/{database.name}"
    warehouse = open_redshift(url, database.user, "not-the-Passw0rd", lake_url)
    with pytest.raises(ConfigurationError, match=f"does not let {database.user} in.*HEADRACE_REDSHIFT_") as refused:
        warehouse.query("select 1")
    assert "not-the-Passw0rd" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.usefixtures("sockets_collected")
def test_a_server_that_does_not_answer_is_unavailable(lake_url: str) -> None:
    warehouse = open_redshift(f"redshift://127.0.0.1:{free_ports(1)[0]}/shop", "headrace", "Passw0rd", lake_url)
    with pytest.raises(WarehouseUnavailable, match="takes no connection") as unavailable:
        warehouse.query("select 1")
    assert "Passw0rd" not in "".join(traceback.format_exception(unavailable.value))
