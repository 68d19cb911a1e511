"""A funnel, a window or a query that changes: everything is built once more, and no table mixes two definitions."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration import dbt_runner, models
from orchestration.dbt_runner import Outcome, hash_definitions
from orchestration.definitions import definitions
from tests.orchestration import control as control_module
from tests.orchestration.control import Control

HASHES = """
select definition_hash from analytics.fct_funnel_attempts where funnel_id = 'view_to_purchase'
union
select definition_hash from analytics.agg_funnel_daily where funnel_id = 'view_to_purchase'
union
select definition_hash from analytics.int_funnel_definitions where funnel_id = 'view_to_purchase'
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the dbt project, to change."""
    control_module.repository()  # which every other test shares, of the project itself
    copy = shutil.copytree(dbt_runner.PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("target", "logs"))
    monkeypatch.setattr(dbt_runner, "PROJECT", copy)
    return copy


def start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster reads the project, as each of its processes does when it starts."""
    repository = definitions().get_repository_def()
    monkeypatch.setattr(control_module, "repository", lambda: repository)


def change(path: Path, before: str, after: str) -> None:
    path.write_text(path.read_text().replace(before, after))


WEEK, HALF = ",604800,", ",302400,"


def test_a_changed_funnel_and_a_changed_column_are_built_for_every_date_in_one_run(
    control: Control, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(monkeypatch)
    for days in (0, 9):
        control.land("product_viewed", datetime.now(UTC) - timedelta(days=days))
    control.run("landed_commits")
    (run,) = control.run("stale_dates")
    assert run.success and not control.tick("stale_dates").run_requests
    old = control.platform.warehouse.query(HASHES)

    change(project / "seeds/funnels.csv", WEEK, HALF)
    change(project / "models/marts/mart_revenue_daily.sql", "refunds_made", "refunds_counted")
    change(project / "models/marts/_shop.yml", "name: refunds_made", "name: refunds_counted")
    (request,) = control.tick("stale_dates").run_requests or ()
    start(monkeypatch)
    assert control.execute("build_models", request).success
    new = control.platform.warehouse.query(HASHES)
    assert len(old) == len(new) == 1, "one definition in every table"
    assert old != new
    control.platform.warehouse.query("select refunds_counted from analytics.mart_revenue_daily")
    built = control.platform.warehouse.staleness()
    assert (built.definitions, built.dates) == (hash_definitions(), ())
    assert not control.tick("stale_dates").run_requests


def test_a_build_of_everything_that_fails_leaves_every_date_stale_even_if_the_change_is_taken_back(
    control: Control, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.land("product_viewed")
    control.run("landed_commits")
    monkeypatch.setattr(models, "run_dbt", lambda arguments, target: Outcome())
    control.run("stale_dates")
    change(project / "seeds/funnels.csv", WEEK, HALF)
    (request,) = control.tick("stale_dates").run_requests or ()
    monkeypatch.setattr(models, "run_dbt", lambda arguments, target: Outcome([], "killed between two tables"))
    run = control.execute("build_models", request)
    assert "all dates stay stale: killed" in str(run.failure_data_for_node("models"))
    change(project / "seeds/funnels.csv", HALF, WEEK)
    staleness = control.platform.warehouse.staleness()
    assert (staleness.definitions, len(staleness.dates)) == ("", 1)
    assert not control.tick("stale_dates").run_requests, "it waits a little"


def test_descriptions_and_tests_are_no_definitions_and_seeds_variables_and_queries_are(project: Path) -> None:
    before = hash_definitions()
    for name in ("models/columns.md", "models/marts/_shop.yml", "tests/assert_funnel_entries_are_conserved.sql"):
        append_line(project / name)
    assert hash_definitions() == before
    seen = {before}
    for name in ("dbt_project.yml", "seeds/funnel_steps.csv", "models/marts/fct_sessions.sql", "macros/time.sql"):
        append_line(project / name)
        seen.add(hash_definitions())
    assert len(seen) == 5


def append_line(path: Path) -> None:
    path.write_text(path.read_text() + "\n")
