"""The platform as its user runs it, with Redshift's stand-in for a warehouse and the lake in S3."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingestion.broker import open_broker
from ingestion.settings import Settings
from ingestion.tables import all_tables
from ingestion.warehouse import open_warehouse, read
from tests.platform import NOON, event, record
from tests.redshift.server import StandIn
from tests.services.s3 import S3

HEADRACE = str(Path(sys.executable).with_name("headrace"))
BUCKET = "redshift-deployment"
Headrace = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def headrace(tmp_path: Path, redshift: StandIn, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Headrace]:
    """`headrace …` in an environment that names the stand-in and a bucket."""
    redshift.s3 = s3.endpoint
    s3.create_bucket(BUCKET)
    with redshift.database() as database:
        settings = {
            **s3.endpoint.environment,
            "HEADRACE_HOME": str(tmp_path),
            "HEADRACE_LAKE": f"s3://{BUCKET}/lake",
            **database.settings,
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield lambda *command: subprocess.run([HEADRACE, *command], capture_output=True, text=True, check=False)


@pytest.mark.timeout(600)
def test_what_is_in_the_log_is_loaded_built_replayed_and_balanced_in_redshift(headrace: Headrace) -> None:
    settings = Settings()
    broker = open_broker(settings.broker_url)
    broker.ensure_topics(table.topic for table in all_tables())
    names = ("product_viewed", "product_added", "order_completed")
    broker.publish([record(event(name, number)) for name in names for number in range(20)])
    landed = [
        "--from",
        f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%d-%H}",
        "--to",
        f"{datetime.now(UTC):%Y-%m-%d-%H}",
    ]
    for command in (
        ["land", "--once"],
        ["load"],
        ["build"],
        ["replay", *landed],
        ["views", "repair", *landed],
        ["audit"],
    ):
        done = headrace(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    warehouse = open_warehouse(settings.warehouse_url, redshift=settings.redshift)
    counts = read(warehouse, "select event_type, count(*) as events from analytics.fct_events group by 1 order by 1")
    assert counts.to_pylist() == [{"event_type": name, "events": 20} for name in sorted(names)]
    refused = headrace("query", "select no_such_column from analytics.fct_events")
    assert refused.returncode == 1
    assert settings.warehouse_url.removeprefix("redshift://") in refused.stderr and "headrace read" in refused.stderr
    report = settings.home / "report.html"
    days = [f"{day:%Y-%m-%d}" for day in (NOON - timedelta(days=1), NOON)]
    assert headrace("report", "--from", days[0], "--to", days[1], "--output", str(report)).returncode == 0
    assert "revenue" in report.read_text().lower()
    status = headrace("status").stdout
    assert f"{settings.warehouse_url} answers" in status and "Every event date is built" in status
