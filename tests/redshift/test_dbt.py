"""The whole dbt project runs on the stand-in, and every table is what DuckDB makes of the same rows."""

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

from ingestion.tables import all_tables
from orchestration.dbt_runner import PROJECT, environment
from tests.dbt_project.analytics import EVERYTHING, STORED, problems
from tests.dbt_project.conftest import Shop
from tests.dbt_project.histories import FIRST, burst, event
from tests.redshift.conftest import Client
from tests.redshift.raw_tables import BUCKET, copy_rows, create_tables
from tests.redshift.server import Database, StandIn
from tests.services.s3 import S3

Row = tuple[object, ...]
Tables = dict[str, list[Row]]
LATE = datetime(2025, 10, 20, 9, tzinfo=UTC)


class Contents(NamedTuple):
    """Every table of the models, with its rows in one order, on both."""

    duckdb: Tables
    redshift: Tables


class Twins:
    """A shop's DuckDB warehouse and a database of the stand-in, built from the same raw rows."""

    def __init__(self, shop: Shop, database: Database, s3: S3, folder: Path) -> None:
        self.shop, self.database, self._s3, self._folder = shop, database, s3, folder
        with database.connect() as db:
            create_tables(db)
        self._manifest: Manifest | None = None
        parsed = self._dbt("parse").result
        assert isinstance(parsed, Manifest)
        self._manifest = parsed

    def build(self, *arguments: str, dates: Sequence[date] | None = None) -> None:
        """Build both from what DuckDB's raw tables have; fail where dbt does."""
        with self.database.connect() as db, duckdb.connect(str(self.shop.platform.warehouse.path)) as source:
            copy_rows(source, db, self._s3, all_tables())
        self.shop.analytics.build(dates)
        done = self.build_redshift(*arguments, dates=dates)
        assert done.success, problems(done)

    def build_redshift(self, *arguments: str, dates: Sequence[date] | None = None) -> dbtRunnerResult:
        """`dbt build` on the stand-in."""
        named = {} if dates is None else {"dates": [str(day) for day in dates]}
        return self._dbt("build", *arguments, "--vars", json.dumps(named))

    def contents(self) -> Contents:
        """What both hold."""
        analytics = self.shop.analytics
        queries = {name: f"select {self._columns(name)} from analytics.{name}" for name in analytics.tables()}
        with self.database.connect() as db:
            rows = {name: ordered(Client(db).ask(query)) for name, query in queries.items()}
        return Contents({name: ordered(analytics.rows(name)) for name in queries}, rows)

    def _columns(self, table: str) -> str:
        named = "select column_name from information_schema.columns where table_schema = 'analytics' and table_name = ?"
        return ", ".join(str(name) for (name,) in self.shop.analytics.warehouse.query(named, [table]))

    def _dbt(self, command: str, *arguments: str) -> dbtRunnerResult:
        places = ["--profiles-dir", str(PROJECT), "--project-dir", str(PROJECT), "--target-path", str(self._folder)]
        quiet = ["--quiet", "--log-path", str(self._folder), "--log-level-file", "none"]
        with environment(**self.database.environment):
            return dbtRunner(self._manifest).invoke([*quiet, command, *places, *arguments])


def ordered(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=repr)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory, redshift: StandIn, s3: S3) -> Iterator[Twins]:
    """Built with every test of the project."""
    redshift.s3 = s3.endpoint
    s3.create_bucket(BUCKET)
    chance, numbers = random.Random(7), itertools.count()
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.receive([one for _ in range(30) for one in burst(chance, numbers, FIRST, "")])
    with closing(shop.platform), redshift.database() as database:
        twins = Twins(shop, database, s3, tmp_path_factory.mktemp("redshift"))
        twins.build()
        yield twins


def test_every_table_is_as_on_duckdb(twins: Twins) -> None:
    contents = twins.contents()
    assert sum(map(len, contents.duckdb.values())) > 500, "something was built"
    assert differing(contents) == []


def test_the_dates_that_a_late_login_touches_are_built_as_on_duckdb(twins: Twins) -> None:
    before = twins.contents()
    twins.shop.receive([event(9_000, "order_completed", LATE, anonymous_id="b-1", user_id="u-new")])
    for _ in range(2):
        twins.build(*STORED, dates=[LATE.date()])
        after = twins.contents()
        assert differing(after) == []
        assert after.redshift["fct_orders"] != before.redshift["fct_orders"]


def test_everything_is_built_anew_as_on_duckdb(twins: Twins) -> None:
    twins.build("--full-refresh", *EVERYTHING)
    assert differing(twins.contents()) == []


def test_a_failed_insert_leaves_the_table_as_it_was(twins: Twins, redshift: StandIn) -> None:
    before = twins.contents().redshift["fct_sessions"]
    with closing(redshift.superuser(twins.database)) as backend:
        backend.ask("alter table analytics.fct_sessions add constraint nothing_fits check (false) not valid")
        failed = twins.build_redshift("--select", "fct_sessions", *EVERYTHING, dates=[FIRST.date()])
        backend.ask("alter table analytics.fct_sessions drop constraint nothing_fits")
    assert not failed.success and "nothing_fits" in problems(failed)
    assert twins.contents().redshift["fct_sessions"] == before


def test_a_difference_is_seen() -> None:
    assert differing(Contents({"t": [(1, None)]}, {"t": [(1, 0)]})) == ["t"]


def differing(contents: Contents) -> list[str]:
    return [name for name, rows in contents.duckdb.items() if contents.redshift[name] != rows]
