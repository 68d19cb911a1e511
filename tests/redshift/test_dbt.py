"""The whole dbt project runs on the stand-in, and every table is what DuckDB makes of the same rows."""

import itertools
import json
import random
from datetime import date
from pathlib import Path

import duckdb
from dbt.cli.main import dbtRunner, dbtRunnerResult

from ingestion.tables import all_tables
from orchestration.dbt_runner import PROJECT, environment
from tests.dbt_project.analytics import problems
from tests.dbt_project.conftest import Shop
from tests.dbt_project.histories import FIRST, burst
from tests.redshift.raw_tables import BUCKET, copy_rows, create_tables
from tests.redshift.server import Database, StandIn
from tests.services.s3 import S3

Rows = dict[str, list[tuple[object, ...]]]


def build(database: Database, folder: Path, *arguments: str, dates: list[date] | None = None) -> dbtRunnerResult:
    """`dbt build` on the stand-in."""
    places = ["--profiles-dir", str(PROJECT), "--project-dir", str(PROJECT), "--target-path", str(folder / "dbt")]
    quiet = ["--quiet", "--log-path", str(folder / "dbt"), "--log-level-file", "debug"]
    named = {} if dates is None else {"dates": [str(day) for day in dates]}
    with environment(**database.environment):
        return dbtRunner().invoke([*quiet, "build", *places, "--vars", json.dumps(named), *arguments])


def test_the_project_is_built_as_on_duckdb(tmp_path: Path, shop: Shop, redshift: StandIn, s3: S3) -> None:
    chance, numbers = random.Random(7), itertools.count()
    shop.receive([one for _ in range(30) for one in burst(chance, numbers, FIRST, "")])
    redshift.s3 = s3.endpoint
    s3.create_bucket(BUCKET)
    with redshift.database() as database, database.connect() as db:
        create_tables(db)
        with duckdb.connect(str(shop.platform.warehouse.path)) as source:
            copy_rows(source, db, s3, all_tables())
        first = build(database, tmp_path)
        assert first.success, problems(first)
