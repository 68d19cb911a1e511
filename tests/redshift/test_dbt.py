"""The whole dbt project runs on the stand-in, and every table is what DuckDB makes of the same rows."""

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

from ingestion.tables import all_tables
from orchestration.dbt_runner import PROJECT, environment
from tests.dbt_project.analytics import problems
from tests.dbt_project.conftest import Shop
from tests.dbt_project.histories import FIRST, burst, event
from tests.redshift.raw_tables import BUCKET, copy_rows, create_tables
from tests.redshift.server import Database, StandIn
from tests.services.s3 import S3

Row = tuple[object, ...]
MODELS = ("--resource-type", "model", "--resource-type", "seed")


class Build(NamedTuple):
    """A build of both warehouses from the same raw rows: every table by its name."""

    duckdb: dict[str, list[Row]]
    redshift: dict[str, list[Row]]


class Twins:
    """A shop's DuckDB warehouse and a database of the stand-in."""

    def __init__(self, shop: Shop, database: Database, s3: S3, folder: Path) -> None:
        self._manifest: Manifest | None = None
        self._shop, self._database, self._s3, self._folder = shop, database, s3, folder
        with database.connect() as db:
            create_tables(db)

    def build(self, dates: Sequence[date] | None = None, *arguments: str) -> Build:
        """Build what `dates` ask for, or everything, from what DuckDB's raw tables have."""
        with self._database.connect() as db:
            with duckdb.connect(str(self._shop.platform.warehouse.path)) as source:
                copy_rows(source, db, self._s3, all_tables())
            self._shop.analytics.build(dates, *MODELS)
            done = self._dbt(dates, arguments)
            assert done.success, problems(done)
            names = self._shop.analytics.tables()
            return Build(
                {name: ordered(self._shop.analytics.rows(name)) for name in names},
                {name: ordered(self._rows(db, name)) for name in names},
            )

    def _rows(self, db: Any, table: str) -> list[Row]:
        named = "select column_name from information_schema.columns where table_schema = 'analytics' and table_name = ?"
        columns = ", ".join(str(name) for (name,) in self._shop.analytics.warehouse.query(named, [table]))
        cursor = db.cursor()
        cursor.execute(f"select {columns} from analytics.{table}")
        return [tuple(row) for row in cursor.fetchall()]

    def _dbt(self, dates: Sequence[date] | None, arguments: Sequence[str]) -> dbtRunnerResult:
        places = ["--profiles-dir", str(PROJECT), "--project-dir", str(PROJECT), "--target-path", str(self._folder)]
        quiet = ["--quiet", "--log-path", str(self._folder), "--log-level-file", "none"]
        named = json.dumps({} if dates is None else {"dates": [str(day) for day in dates]})
        with environment(**self._database.environment):
            if self._manifest is None:
                parsed = dbtRunner().invoke([*quiet, "parse", *places]).result
                assert isinstance(parsed, Manifest)
                self._manifest = parsed
            return dbtRunner(self._manifest).invoke([*quiet, "build", *places, "--vars", named, *arguments])


def ordered(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=repr)


@pytest.fixture
def twins(tmp_path: Path, shop: Shop, redshift: StandIn, s3: S3) -> Iterator[Twins]:
    redshift.s3 = s3.endpoint
    s3.create_bucket(BUCKET)
    with redshift.database() as database:
        yield Twins(shop, database, s3, tmp_path / "redshift")


def test_every_table_is_as_on_duckdb_first_for_some_dates_and_from_anew(twins: Twins, shop: Shop) -> None:
    chance, numbers = random.Random(7), itertools.count()
    shop.receive([one for _ in range(30) for one in burst(chance, numbers, FIRST, "")])
    same(twins.build())
    late = datetime(2025, 10, 20, 9, tzinfo=UTC)
    shop.receive([event(9_000, "order_completed", late, anonymous_id="b-1", user_id="u-new")])
    same(twins.build([late.date()], *MODELS))
    same(twins.build([late.date()], *MODELS))
    same(twins.build(None, "--full-refresh", *MODELS))


def same(build: Build) -> None:
    assert build.redshift.keys() == build.duckdb.keys()
    assert sum(map(len, build.duckdb.values())) > 500, "something was built"
    for name, rows in build.duckdb.items():
        assert build.redshift[name] == rows, name
