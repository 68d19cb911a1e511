"""Replays change nothing: whoever asks for them, twice, while new data lands."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from ingestion.loader import load
from ingestion.steps import run
from ingestion.tables import all_tables
from ingestion.warehouse.duckdb import DuckDBWarehouse
from orchestration.partitions import HOUR_FORMAT
from sensors.attempts import RANGE_END, RANGE_START
from tests.dbt_project.analytics import Analytics, Row
from tests.orchestration.control import Control, repository

TYPES = ("product_viewed", "product_added", "order_completed", "rejected")
RAW_COLUMNS = """
select column_name from information_schema.columns where table_schema = 'raw' and table_name = ? order by column_name
"""


def land(control: Control, days_late: int) -> None:
    """Events of several types, late by so many days."""
    for event_type in TYPES:
        control.land(event_type, datetime.now(UTC) - timedelta(days=days_late))


def settle(control: Control) -> None:
    """Let the sensors have their way until they ask for nothing."""
    while control.run("landed_commits") or control.run("stale_dates"):
        pass


def asked_by_the_schedule() -> dg.RunRequest:
    """What `nightly_replay` asks for in an hour, when this one is over."""
    at = datetime.now(UTC) + timedelta(hours=1)
    context = dg.build_schedule_context(scheduled_execution_time=at)
    (request,) = repository().get_schedule_def("nightly_replay").evaluate_tick(context).run_requests or ()
    return request


def asked_by_a_person() -> dg.RunRequest:
    """What a backfill of some hours launches: one run, with a range of partitions."""
    now = datetime.now(UTC)
    first, last = (f"{now - timedelta(hours=hours):{HOUR_FORMAT}}" for hours in (3, 0))
    return dg.RunRequest(tags={RANGE_START: first, RANGE_END: last})


def contents(warehouse: DuckDBWarehouse) -> Mapping[str, list[Row]]:
    """Every row of every raw table and of every table of the models."""
    raw = {}
    for table in all_tables():
        columns = ", ".join(f'"{name}"' for (name,) in warehouse.query(RAW_COLUMNS, [table.name]))
        raw[f"raw.{table.name}"] = warehouse.query(f"select {columns} from raw.{table.name} order by all")
    return {**raw, **Analytics(warehouse).contents()}


def built_once(control: Control) -> DuckDBWarehouse:
    """A warehouse that was loaded and built from the same lake, once and without replays."""
    folder = control.platform.path / "once"
    folder.mkdir()
    warehouse = DuckDBWarehouse(folder / "warehouse.duckdb")
    for table in all_tables():
        run(load(control.platform.lake, warehouse, table), lambda _: None)
    Analytics(warehouse).build()
    return warehouse


def test_replays_by_schedule_and_by_hand_while_new_data_lands_leave_every_table_as_without_them(
    control: Control,
) -> None:
    land(control, days_late=0)
    settle(control)
    for days_late, request in ((40, asked_by_the_schedule()), (1, asked_by_a_person())):
        land(control, days_late)
        assert control.execute("replay_raw", request).success
        land(control, days_late + 1)
        assert control.execute("replay_raw", request).success
        settle(control)
    assert control.platform.audit().status == 0
    assert contents(control.platform.warehouse) == contents(built_once(control))
