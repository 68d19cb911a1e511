from datetime import UTC, datetime, timedelta

import dagster as dg

from ingestion.tables import all_tables
from orchestration.freshness import LATE, STALE
from orchestration.schedules import nightly_replay
from tests.orchestration.control import Control, repository


def test_raw_tables_and_marts_have_to_be_fresh_and_nothing_else() -> None:
    graph = repository().asset_graph
    kept = {key for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy}
    raw = {dg.AssetKey(["raw", table.name]) for table in all_tables()}
    marts = {key for key in graph.get_all_asset_keys() if graph.get(key).group_name == "marts"}
    assert len(marts) > 5
    assert kept == raw | marts


def test_the_window_is_longer_than_a_night_between_two_replays() -> None:
    night = timedelta(days=1)
    assert nightly_replay.cron_schedule == "30 3 * * *"
    assert night < LATE < STALE < 2 * night


def test_the_nightly_replay_makes_every_raw_table_where_nothing_landed(control: Control) -> None:
    context = dg.build_schedule_context(scheduled_execution_time=datetime.now(UTC))
    request = nightly_replay(context)
    assert isinstance(request, dg.RunRequest)
    run = control.execute("replay_raw", request)
    assert run.success
    made = {event.asset_key for event in run.get_asset_materialization_events()}
    assert {dg.AssetKey(["raw", table.name]) for table in all_tables()} <= made
