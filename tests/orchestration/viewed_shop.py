"""A small shop whose views a listener keeps, for tests of what compares them with the lake."""

import sqlite3
from datetime import date
from pathlib import Path

from ingestion.listener import Listener
from ingestion.steps import run
from ingestion.tables import all_tables
from ingestion.views.facts import Lookups
from ingestion.views.products import Products
from ingestion.views.registry import fact_view, fact_views
from ingestion.views.replay import replay_hour
from ingestion.views.sqlite import SQLiteViews
from orchestration.fact_comparison import FactView, Sides
from orchestration.view_comparison import Comparison, Scope
from tests.platform import NOON, Platform, Stored

EVERYTHING = Scope(date(2026, 4, 1))


class ViewedShop:
    """Log, lake and views, where the listener and the lander go on when a test says so."""

    def __init__(self, folder: Path) -> None:
        self.platform = Platform(folder, all_tables())
        self.path = folder / "views.db"
        self.store = SQLiteViews(self.path, clock=NOON.timestamp)
        sides = Sides(self.platform.broker, self.platform.lake, self.store)
        self.activity = FactView(sides, "user_activity", "listener.user_activity", days=90)
        self.carts = FactView(sides, "cart_events", "listener.cart_events")

    def publish(self, *events: Stored) -> None:
        """Append events that are all of one type."""
        self.platform.publish(events[0]["event_type"], list(events))

    def listen(self) -> None:
        """One round of a listener, with a catalogue."""
        lookups = Lookups(Products(1_000, {"p1": {"title": "Kettle"}}))
        run(Listener(self.platform.broker, self.store, list(fact_views().values()), lambda: lookups).round(), anywhere)

    def replay(self, view: str = "user_activity") -> None:
        """Bring what the lake holds into a view."""
        run(replay_hour(self.platform.lake, self.store, fact_view(view), None, Lookups()), anywhere)

    def compare(self, view: FactView | None = None, scope: Scope = EVERYTHING) -> Comparison:
        """What one look at a view finds, at the activity where none is named."""
        return (view or self.activity).compare(scope, NOON)

    def damage(self, sql: str) -> None:
        """Change the file behind everybody's back."""
        with sqlite3.connect(self.path) as db:
            assert db.execute(sql).rowcount == 1
        db.close()

    def close(self) -> None:
        """Close the log and the views."""
        self.store.close()
        self.platform.close()


def anywhere(point: str) -> None:
    """Go on, whatever the point."""
