"""Real processes that count products, killed with -9 at every named point: the next one makes it whole."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.proof.test_counter_interleavings import Counters
from tests.proof.view_checker import due_counters, held_counters

COUNT = """
import sys
from ingestion.steps import crash_at, run
from ingestion.views.product_counters import dates_published, recount
from ingestion.views.sqlite import SQLiteViews
from ingestion.warehouse.duckdb import DuckDBWarehouse

warehouse, views, point = sys.argv[1:]
with DuckDBWarehouse(warehouse).snapshot() as query:
    run(recount(query, SQLiteViews(views), dates_published(query, None)), crash_at(point))
"""


@pytest.fixture(scope="module")
def built() -> Iterator[Counters]:
    """A warehouse that is built and published, and of which nothing is counted."""
    machine = Counters()
    for name in ("product_viewed", "order_completed", "product_added"):
        for product in range(3):
            machine.events_are_sent(name, product, late=product == 1, loaded=False)
    machine.what_came_is_loaded()
    for _ in machine._build(True):
        pass
    yield machine
    machine.teardown()


def count(machine: Counters, views: str, point: str = "") -> int:
    """A process that counts everything into the store `views`, and its exit code."""
    arguments = [str(machine.path / "warehouse.duckdb"), str(machine.path / views), point]
    return subprocess.run([sys.executable, "-c", COUNT, *arguments], check=False).returncode


@pytest.mark.parametrize("point", ["counters.read", "counters.read:3", "counters.replaced", "counters.replaced:4"])
def test_a_kill_at_a_point_leaves_nothing_that_the_next_does_not_make_whole(built: Counters, point: str) -> None:
    due, views = due_counters(built.path / "lake"), f"{point}.db"
    assert count(built, views, point) == -signal.SIGKILL
    killed = held_counters(built.path / views)
    assert len(killed) < len(due) and set(killed) < set(due), "what it wrote is right, and not all"
    assert count(built, views) == 0
    assert held_counters(built.path / views) == due
