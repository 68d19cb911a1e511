"""Building one more day on histories of different lengths: it should cost what the day brings."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from benchmarks.history import add_days
from benchmarks.workload import cpu_seconds
from ingestion.warehouse.duckdb import DuckDBWarehouse
from orchestration.dbt_runner import prepare_manifest, run_dbt
from orchestration.models import dbt_arguments

EVENTS_A_DAY = 5_000
HISTORIES = (10, 100, 300)
DAYS_BUILT = 2
"""The cheapest of them counts."""


def measure() -> Table:
    """CPU seconds of a build without tests: of everything, and of the stale dates after one more day."""
    table = Table(
        "days before", "events", "everything, CPU-s", "one more day, CPU-s", "of no date, CPU-s", title="models"
    )
    days, costs = 0, []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HEADRACE_HOME"] = folder
        warehouse, target = DuckDBWarehouse(Path(folder) / "warehouse.duckdb"), prepare_manifest()
        for history in HISTORIES:
            add_days(warehouse, days, history, EVENTS_A_DAY)
            everything, _ = cpu_seconds(lambda: build(target, None))
            nothing = min(cpu_seconds(lambda: build(target, []))[0] for _ in range(2))
            one_day = min(build_next_day(warehouse, target, day) for day in range(history, history + DAYS_BUILT))
            days = history + DAYS_BUILT
            costs.append(one_day)
            figures = (everything, one_day, nothing)
            table.add_row(str(history), f"{history * EVENTS_A_DAY:,}", *(f"{seconds:.1f}" for seconds in figures))
    table.caption = f"{HISTORIES[-1]} days : {HISTORIES[0]} days = {costs[-1] / costs[0]:.2f}"
    return table


def build_next_day(warehouse: DuckDBWarehouse, target: Path, day: int) -> float:
    """CPU seconds of building a day that was not there before."""
    dates = add_days(warehouse, day, day + 1, EVENTS_A_DAY)
    seconds, _ = cpu_seconds(lambda: build(target, dates))
    return seconds


def build(target: Path, dates: Sequence[str] | None) -> None:
    """Build the models as a run of Dagster does."""
    outcome = run_dbt(dbt_arguments(dates, [], with_tests=False), target)
    if outcome.failure:
        raise RuntimeError(outcome.failure)
