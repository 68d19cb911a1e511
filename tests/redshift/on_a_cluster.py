"""The warehouse's contract and the platform on a real cluster, which the environment names: `make test-redshift`.

No other run collects this module. It empties the database that it is given, so that one's name has to end in `_test`.
"""

import os
import subprocess
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
import redshift_connector

from ingestion.lake import Lake
from ingestion.settings import Settings
from ingestion.warehouse import open_warehouse
from ingestion.warehouse.redshift_login import credentials, read_address
from tests.ingestion.warehouse.contract import Site, WarehouseContract
from tests.redshift.test_deployment import (
    HEADRACE,
    Headrace,
    test_what_is_in_the_log_is_loaded_built_replayed_and_balanced_in_redshift,
)

__all__ = ["test_what_is_in_the_log_is_loaded_built_replayed_and_balanced_in_redshift"]

NAMED_BY = ("HEADRACE_TEST_REDSHIFT", "HEADRACE_TEST_LAKE")
SCHEMAS = ("raw", "headrace", "analytics")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of an empty warehouse on the cluster, and of a lake with nothing in it."""
    url, lake = (os.environ.get(name, "") for name in NAMED_BY)
    if not (url.endswith("_test") and lake.startswith("s3://")):
        pytest.fail(f"set {NAMED_BY[0]}=redshift://host:5439/…_test and {NAMED_BY[1]}=s3://bucket/prefix")
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.setenv("HEADRACE_WAREHOUSE", url)
    monkeypatch.setenv("HEADRACE_LAKE", f"{lake}/{uuid4()}")
    settings = Settings()
    empty(settings)
    return settings


@pytest.fixture
def headrace(settings: Settings) -> Headrace:
    """`headrace …` on the cluster."""
    return lambda *command: subprocess.run([HEADRACE, *command], capture_output=True, text=True, check=False)


class TestCluster(WarehouseContract):
    @pytest.fixture
    def site(self, settings: Settings) -> Site:
        opened = partial(open_warehouse, settings.warehouse_url, redshift=settings.redshift)
        return Site(opened(), Lake(settings.lake_url), another=partial(opened, wait=2.0), overwrite=overwrite)


def empty(settings: Settings) -> None:
    """Drop what Headrace keeps in the database."""
    address = read_address(settings.warehouse_url)
    user, password = credentials(settings.redshift, address.database)
    connection = redshift_connector.connect(
        host=address.host,
        port=address.port,
        database=address.database,
        user=user,
        password=password,
        ssl=settings.redshift.tls,
    )
    with closing(connection) as db:
        for schema in SCHEMAS:
            db.cursor().execute(f'drop schema if exists "{schema}" cascade')
        db.commit()


def overwrite(uri: str, content: bytes) -> None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=content)
