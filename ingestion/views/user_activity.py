"""What a visitor did last: one row per event, kept for some days after the event's date."""

from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from ingestion.events import EVENT_TYPES
from ingestion.views import Row
from ingestion.views.facts import Lookups, View, fact
from ingestion.views.landed import LandedEvent

SHOWN = (
    "product_id", "name", "category", "brand", "variant", "price", "currency", "quantity", "query", "cart_id",
    "order_id", "total",
)  # fmt: skip
"""Properties that a row has where the event has them."""


def user_activity(days: int = 90) -> View:
    """Every event of a visitor."""
    return View("user_activity", tuple(EVENT_TYPES), partial(_rows, days=days), days)


def shown(event: LandedEvent, names: tuple[str, ...]) -> Mapping[str, object]:
    """What the event itself says: its id, type and time, and those of the named properties that it has."""
    said = {name: _plain(event.properties[name]) for name in names if event.properties.get(name) is not None}
    return {"event_id": event.event_id, "event_type": event.event_type, "occurred_at": event.occurred_at, **said}


def _rows(event: LandedEvent, lookups: Lookups, days: int) -> list[Row]:
    if event.visitor is None:
        return []
    joined = lookups.products.join(event.properties["product_id"]) if "product_id" in event.properties else {}
    item = {**shown(event, SHOWN), **joined}
    return [fact(event, event.visitor, item, lookups.products.version, days)]


def _plain(value: Any) -> object:
    return str(value) if isinstance(value, Decimal) else value
