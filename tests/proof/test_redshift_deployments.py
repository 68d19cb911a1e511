"""Real processes with Redshift's stand-in for a warehouse and the lake in S3: killed with -9, and with a real log."""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.ingestion.lake.test_bucket import bucket_of
from tests.proof.deployment import Deployment
from tests.proof.redshift_rows import read_redshift
from tests.proof.test_kills import POINTS, events
from tests.proof.test_real_logs import NAMES, REES46, needs_logs, read, send_rees46, truth_by_hour
from tests.redshift.server import Database, StandIn
from tests.services.s3 import S3

UNTIL = "2020" if os.environ.get("HEADRACE_LONG") else "2019-10-01T02"
"""The log's first two hours have 1,204 events, its third has fourteen times as many."""
ROUNDS = POINTS if os.environ.get("HEADRACE_LONG") else POINTS[2:4]
HEADRACE = str(Path(sys.executable).with_name("headrace"))
BY_HOUR = """
select to_char(date_trunc('hour', occurred_at), 'YYYY-MM-DD HH24:MI:SS'), event_type, count(*)
from analytics.fct_events group by 1, 2
"""
pytestmark = pytest.mark.timeout(600)


def environment(s3: S3, database: Database, home: Path) -> dict[str, str]:
    bucket = bucket_of(s3)
    return {**s3.endpoint.environment, **database.settings, "HEADRACE_HOME": str(home), "HEADRACE_LAKE": bucket}


def deployed(home: Path, database: Database, settings: Mapping[str, str], crashes: Mapping[str, str]) -> Deployment:
    deployment = Deployment(home, crashes, None, **settings)
    deployment.read_warehouse = partial(read_redshift, database.connect)
    return deployment


@pytest.mark.parametrize("points", ROUNDS, ids=" ".join)
def test_a_kill_at_a_point_loses_and_doubles_nothing_in_redshift(
    points: tuple[str, str, str], tmp_path: Path, redshift: StandIn, s3: S3
) -> None:
    redshift.s3 = s3.endpoint
    crashes = dict(zip(("collector", "lander", "loader"), points, strict=True))
    with redshift.database() as database:
        with deployed(tmp_path, database, environment(s3, database, tmp_path), crashes) as deployment:
            summary = deployment.send(events(seed=1, count=300))
            deployment.wait_for_deaths(crashes, 60)
            assert summary.unknown == 0, "every event has an answer in the end"
            audit = deployment.run("audit", "--wait", "60", "--sent", str(deployment.record))
            assert audit.returncode == 0, audit.stdout + audit.stderr
        assert deployment.judge() == []


@needs_logs
def test_rees46_loaded_into_redshift_and_built_there_counts_as_known(tmp_path: Path, redshift: StandIn, s3: S3) -> None:
    redshift.s3 = s3.endpoint
    with redshift.database() as database:
        settings = environment(s3, database, tmp_path)
        send_rees46(deployed(tmp_path, database, settings, {}), UNTIL)
        build = subprocess.run(
            [HEADRACE, "build"], env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )
        assert build.returncode == 0, build.stdout + build.stderr
        known = {(hour, name): n for (hour, name), n in truth_by_hour(REES46).items() if hour.replace(" ", "T") < UNTIL}
        assert {(hour, NAMES[name]): rows for hour, name, rows in ask(database, BY_HOUR)} == known
        orders = [event for event in read(REES46) if event["event_type"] == "order_completed"]
        revenue = sum(Decimal(order["properties"]["total"]) for order in orders if order["occurred_at"] < UNTIL)
        assert ask(database, "select sum(total) from raw.order_completed") == ([revenue],)


def ask(database: Database, sql: str) -> Any:
    with closing(database.connect()) as db:
        cursor = db.cursor()
        cursor.execute(sql)
        return cursor.fetchall()
