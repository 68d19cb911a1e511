"""The adapter of Redshift, on the stand-in and an S3 server."""

from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import pytest

from ingestion.lake import Lake
from ingestion.warehouse.redshift import RedshiftWarehouse
from ingestion.warehouse.redshift_login import RedshiftOptions
from tests.ingestion.warehouse.contract import Site, WarehouseContract
from tests.redshift.server import Database, StandIn
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


def overwrite(s3: S3, uri: str, content: bytes) -> None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    s3.endpoint.client().put_object(Bucket=bucket, Key=key, Body=content)


class TestRedshiftWarehouse(WarehouseContract):
    @pytest.fixture
    def site(self, database: Database, s3: S3, lake_url: str) -> Site:
        url = f"redshift://{database.host}:{database.port}/{database.name}"
        opened = partial(open_redshift, url, database.user, database.password, lake_url)
        return Site(opened(), Lake(lake_url), another=partial(opened, 0.3), overwrite=partial(overwrite, s3))
