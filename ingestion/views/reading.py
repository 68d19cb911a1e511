"""What a view answers when it is asked for a key, to the backend over HTTP and to a person on the command line."""

from collections.abc import Callable, Mapping
from typing import Any

from ingestion.errors import UnknownView
from ingestion.views import ViewStore, check_text, read_all
from ingestion.views.open_cart import open_cart

Answer = Mapping[str, Any]
"""JSON: `rows`, newest first, and the token of the page after them; or what a fold made of all rows."""
Reader = Callable[[ViewStore, str, int, str | None], Answer]

VISITORS = ("user:", "anonymous:")
DEFAULT_LIMIT = 50


def answer(store: ViewStore, view: str, key: str, limit: int = DEFAULT_LIMIT, page: str | None = None) -> Answer:
    """What `view` says of `key`. Raises UnknownView, and ItemRefused for a key, limit or page that cannot be."""
    if view not in READERS:
        raise UnknownView(f"there is no view {view!r}; the views are {', '.join(READERS)}")
    check_text(view, "key", key)
    return {"view": view, **READERS[view](store, key, limit, page)}


def visitor_key(key: str) -> str:
    """`user:…` or `anonymous:…`; what is neither is a user's id."""
    return key if key.startswith(VISITORS) else f"user:{key}"


def _rows_of(view: str) -> Reader:
    def read(store: ViewStore, key: str, limit: int, page: str | None) -> Answer:
        key = visitor_key(key)
        found = store.read(view, key, limit, page)
        return {"key": key, "rows": [row.item for row in found.rows], "next": found.next}

    return read


def _open_cart(store: ViewStore, key: str, limit: int, page: str | None) -> Answer:
    key = visitor_key(key)
    cart = open_cart(row.item for row in read_all(store, "cart_events", key) if row.item is not None)
    lines = [{"product_id": line.product_id, "quantity": line.quantity, "last_event": line.last} for line in cart.lines]
    return {"key": key, "lines": lines, "touched_at": cart.touched_at}


READERS: Mapping[str, Reader] = {
    "user_activity": _rows_of("user_activity"),
    "cart_events": _rows_of("cart_events"),
    "open_cart": _open_cart,
}
"""Every view that can be asked for."""
