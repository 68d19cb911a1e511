"""Whatever arrives, lands, loads, is loaded again and is built in whatever order, ends in the same tables.

They are those that one build of everything makes of the same lake, loaded once.
"""

import os
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from ingestion.loader import load
from ingestion.steps import run
from ingestion.tables import all_tables, table_named
from ingestion.warehouse.duckdb import DuckDBWarehouse
from tests.dbt_project.analytics import Analytics
from tests.dbt_project.conftest import Shop
from tests.dbt_project.histories import TYPES, histories, pieces
from tests.platform import Platform

ROUNDS = range(30) if os.environ.get("HEADRACE_LONG") else range(2)
BURSTS, LATE = 12, 5
TRANSIENT = "int_rekeyed_dates"
"""What the last build found, not what is."""

HARD = {
    "logins re-keyed earlier dates": "headrace.touched where table_name = 'rekeyed'",
    "copies did not count": "analytics.agg_event_copies_daily where duplicates > 0",
    "copies on dates apart counted": "analytics.stg_events group by left(event_key, 32) having count(*) > 1",
    "sessions crossed midnight": "analytics.fct_sessions where session_ended_at::date > session_date",
    "bots outlived their session": "analytics.fct_events where session_id is null and visitor_id is not null",
    "events had no visitor": "analytics.fct_events where visitor_id is null",
    "clocks were of no use": "raw.product_viewed where flags = 'occurred_at_replaced'",
    "attempts were converted on a later date": "analytics.fct_funnel_attempts where step_3_at::date > entry_date",
}
"""What a history must have had for the proof to say anything."""

pytestmark = pytest.mark.timeout(600)


class Operator:
    """Does to a shop what sensors, schedules and people do, at moments of chance.

    It lands and loads the tables of the history; the others are loaded once, and stay empty.
    """

    def __init__(self, shop: Shop, chance: random.Random) -> None:
        self.shop, self.chance = shop, chance
        shop.load()
        shop.platform.tables = [table_named(name) for name in sorted({*TYPES})]
        self.hours = [shop.platform.now]

    def interfere(self, times: int) -> None:
        """Land, load and load again in any order; then build once, or not."""
        platform = self.shop.platform
        moves: list[Callable[[], object]] = [self.pass_time, platform.land, platform.load, self.replay]
        for move in self.chance.choices(moves, k=times):
            move()
        if self.chance.random() < 0.9:
            self.build()

    def pass_time(self) -> None:
        """Some hours, so that what lands next lies in another landing hour."""
        self.shop.platform.now += timedelta(hours=self.chance.randint(1, 30))
        self.hours.append(self.shop.platform.now)

    def replay(self) -> None:
        """Load a landing hour again, of which some may not be loaded yet; or do so twice."""
        hour = f"{self.chance.choice(self.hours):%Y-%m-%d-%H}"
        for _ in range(self.chance.choice((1, 1, 2))):
            self.shop.platform.reload(hour)

    def build(self) -> None:
        """Build the stale dates once, or only some of them; what that makes stale has to wait."""
        stale = self.shop.staleness()
        share = self.chance.choice((0.5, 1.0))
        dates = [date.event_date for date in stale.dates if self.chance.random() < share]
        self.shop.build(dates, stale.load_seq)


def loaded_once(platform: Platform, path: Path) -> Analytics:
    """The models built at once, on a warehouse that has loaded the platform's lake once."""
    analytics = Analytics(DuckDBWarehouse(path))
    for table in all_tables():
        run(load(platform.lake, analytics.warehouse, table), lambda point: None)
    analytics.build()
    return analytics


@pytest.mark.parametrize("seed", ROUNDS)
def test_at_the_end_every_table_is_that_of_one_load_and_one_build(seed: int, shop: Shop, tmp_path: Path) -> None:
    chance = random.Random(seed)
    operator = Operator(shop, chance)
    for piece in pieces(chance, histories(chance, BURSTS), LATE):
        for sending in piece:
            shop.publish({"sent_at": sending.sent_at.isoformat(), "batch": sending.events}, sending.received_at)
        operator.interfere(5)
    shop.platform.publish("product_viewed", [b"not an event"])
    shop.load()
    shop.build_stale()
    found, expected = shop.analytics, loaded_once(shop.platform, tmp_path / "once" / "warehouse.duckdb")
    assert found.tables() == expected.tables()
    for table in set(found.tables()) - {TRANSIENT}:
        assert found.rows(table) == expected.rows(table), table
        assert found.rows(table), table
    for what, rows in HARD.items():
        assert found.warehouse.query(f"select 1 from {rows} limit 1"), what
