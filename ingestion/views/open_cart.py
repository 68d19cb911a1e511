"""What is in a visitor's cart now: a fold over the rows of `cart_events`, made when it is asked for."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from ingestion.views import Item
from ingestion.views.cart_events import ADDED, ORDERED


@dataclass(frozen=True)
class CartLine:
    """A product in the cart: how many, and what its last event said of it."""

    product_id: str
    quantity: int
    last: Item


@dataclass(frozen=True)
class OpenCart:
    """The lines in the order in which their products were first added, and when the cart was last changed."""

    lines: tuple[CartLine, ...]
    touched_at: str | None


def open_cart(newest_first: Iterable[Item]) -> OpenCart:
    """Adds minus removes per product since the last order, never below 0; without a quantity an event means one.

    Takes the items of `cart_events` in the store's order and asks for none that is older than the last order.
    """
    since_order = list(takewhile(lambda item: item["event_type"] != ORDERED, newest_first))
    quantities: dict[str, int] = {}
    last: dict[str, Item] = {}
    for item in reversed(since_order):
        product = item["product_id"]
        change = item.get("quantity", 1) if item["event_type"] == ADDED else -item.get("quantity", 1)
        quantities[product] = max(0, quantities.get(product, 0) + change)
        last[product] = item
    lines = tuple(CartLine(product, number, last[product]) for product, number in quantities.items() if number)
    return OpenCart(lines, since_order[0]["occurred_at"] if since_order else None)
