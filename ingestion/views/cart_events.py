"""What a visitor put into the cart, took out and ordered: one row per event; `open_cart` tells what is in it now.

A row is kept for some days after the event's date; what a cart has had for longer is in it no more.
"""

from functools import partial

from ingestion.views import Row
from ingestion.views.facts import Lookups, View, fact
from ingestion.views.landed import LandedEvent
from ingestion.views.user_activity import shown

ADDED, REMOVED, ORDERED = "product_added", "product_removed", "order_completed"
SHOWN = ("product_id", "name", "quantity", "price", "currency", "cart_id", "order_id")


def cart_events(days: int = 90) -> View:
    """The events that change a visitor's cart."""
    return View("cart_events", (ADDED, REMOVED, ORDERED), partial(_rows, days=days), days)


def _rows(event: LandedEvent, lookups: Lookups, days: int) -> list[Row]:
    if event.visitor is None:
        return []
    joined = {} if event.event_type == ORDERED else lookups.products.join(event.properties["product_id"])
    return [fact(event, event.visitor, {**shown(event, SHOWN), **joined}, lookups.products.version, days)]
