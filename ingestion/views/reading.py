"""What a view answers when it is asked for a key, to the backend over HTTP and to a person on the command line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ingestion.contracts.clock import EARLIEST
from ingestion.errors import ItemRefused, UnknownView
from ingestion.views import ViewStore, check_text, product_counters, read_all
from ingestion.views.open_cart import open_cart

Answer = Mapping[str, Any]
"""JSON: `rows`, newest first, and the token of the page after them; or what a fold made of all rows."""


@dataclass(frozen=True)
class Question:
    """What is asked of a key. `limit` counts rows, or days where a view has a key per day; `page` is the `next` of the
    page before."""

    key: str
    limit: int | None
    page: str | None
    today: date
    """The date in UTC."""


Reader = Callable[[ViewStore, Question], Answer]

VISITORS = ("user:", "anonymous:")
DEFAULT_LIMIT = 50
DEFAULT_DAYS, MAX_DAYS = 7, 31


def now() -> datetime:
    """The present, UTC."""
    return datetime.now(UTC)


def answer(
    store: ViewStore,
    view: str,
    key: str,
    limit: int | None = None,
    page: str | None = None,
    clock: Callable[[], datetime] = now,
) -> Answer:
    """What `view` says of `key`. Raises UnknownView, and ItemRefused for a key, limit or page that cannot be."""
    if view not in READERS:
        raise UnknownView(f"there is no view {view!r}; the views are {', '.join(READERS)}")
    check_text(view, "key", key)
    return {"view": view, **READERS[view](store, Question(key, limit, page, clock().date()))}


def visitor_key(key: str) -> str:
    """`user:…` or `anonymous:…`; what is neither is a user's id."""
    return key if key.startswith(VISITORS) else f"user:{key}"


def _rows_of(view: str) -> Reader:
    def read(store: ViewStore, asked: Question) -> Answer:
        key = visitor_key(asked.key)
        found = store.read(view, key, DEFAULT_LIMIT if asked.limit is None else asked.limit, asked.page)
        return {"key": key, "rows": [row.item for row in found.rows], "next": found.next}

    return read


def _open_cart(store: ViewStore, asked: Question) -> Answer:
    key = visitor_key(asked.key)
    cart = open_cart(row.item for row in read_all(store, "cart_events", key) if row.item is not None)
    lines = [{"product_id": line.product_id, "quantity": line.quantity, "last_event": line.last} for line in cart.lines]
    return {"key": key, "lines": lines, "touched_at": cart.touched_at}


def _product_counters(store: ViewStore, asked: Question) -> Answer:
    """A page is whole days, so that its totals are theirs: the last ones, or those that end with the date `page`."""
    days = DEFAULT_DAYS if asked.limit is None else asked.limit
    if not 1 <= days <= MAX_DAYS:
        raise ItemRefused(f"limit is {days}; ask for 1 to {MAX_DAYS} days of {product_counters.NAME}")
    last = _date(asked.page) if asked.page else asked.today
    before = last - timedelta(days=days)
    rows = product_counters.read_days(store, asked.key, last, days)
    return {
        "key": asked.key,
        "from": (before + timedelta(days=1)).isoformat(),
        "to": last.isoformat(),
        "totals": {name: sum(row[name] for row in rows) for name in product_counters.COUNTS},
        "rows": rows,
        "next": before.isoformat() if before >= EARLIEST.date() else None,
    }


def _date(page: str) -> date:
    try:
        found = datetime.strptime(page, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        found = None
    if found is None or found < EARLIEST:
        raise ItemRefused(f"page is {page[:20]!r}; use the `next` of the page before, or a date like 2026-11-22")
    return found.date()


READERS: Mapping[str, Reader] = {
    "user_activity": _rows_of("user_activity"),
    "cart_events": _rows_of("cart_events"),
    "open_cart": _open_cart,
    product_counters.NAME: _product_counters,
}
"""Every view that can be asked for."""
