"""The cart's events as a view, and what the fold makes of them."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.views import Item, ViewStore, read_all
from ingestion.views.cart_events import cart_events
from ingestion.views.open_cart import OpenCart, open_cart
from ingestion.views.sqlite import SQLiteViews
from tests.ingestion.views.landing import bring, everything, landed, landed_each, later, stored
from tests.platform import NOON, Stored

VIEW = cart_events()


def at(minute: int, event_type: str, product_id: str | None = "p1", event_id: str = "", **properties: Any) -> Stored:
    """What happened in a minute."""
    if event_type == "order_completed":
        properties, product_id = {"order_id": "o1", **properties}, None
    named = {"product_id": product_id} if product_id else {}
    event_id = event_id or f"e{minute}"
    return stored(event_type, event_id, occurred_at=later(minutes=minute), **named, **properties)


def items(store: ViewStore, key: str = "user:u1") -> Iterator[Item]:
    return (row.item for row in read_all(store, "cart_events", key) if row.item)


def cart_of(store: ViewStore, *events: Stored) -> dict[str, int]:
    bring(store, VIEW, landed_each(events))
    return quantities(open_cart(items(store)))


def quantities(cart: OpenCart) -> dict[str, int]:
    return {line.product_id: line.quantity for line in cart.lines}


def test_what_was_added_is_in_the_cart(store: ViewStore) -> None:
    added = at(0, "product_added", quantity=2), at(1, "product_added", "p2"), at(2, "product_added")
    assert cart_of(store, *added) == {"p1": 3, "p2": 1}


def test_what_was_removed_is_not(store: ViewStore) -> None:
    assert cart_of(
        store, at(0, "product_added", quantity=3), at(1, "product_removed"), at(2, "product_added", "p2"),
        at(3, "product_removed", "p2"),
    ) == {"p1": 2}  # fmt: skip


def test_a_removal_of_more_than_there_is_leaves_no_debt(store: ViewStore) -> None:
    assert cart_of(store, at(0, "product_removed", quantity=5), at(1, "product_added", quantity=2)) == {"p1": 2}


def test_what_was_added_so_long_ago_that_it_expired_is_not(tmp_path: Path) -> None:
    store = SQLiteViews(tmp_path / "views.db", clock=later(days=90).timestamp)
    for event in (
        stored("product_added", "old", quantity=3),
        stored("product_added", "new", occurred_at=later(days=1), product_id="p2"),
        stored("product_removed", "newer", occurred_at=later(days=2)),
    ):
        bring(store, cart_events(), landed(event))
    assert [row.item["event_id"] for row in everything(store, "cart_events") if row.item] == ["newer", "new"]
    cart = open_cart(row.item for row in everything(store, "cart_events") if row.item)
    assert [(line.product_id, line.quantity) for line in cart.lines] == [("p2", 1)]
    store.close()


def test_an_order_empties_the_cart(store: ViewStore) -> None:
    events = at(0, "product_added"), at(1, "order_completed"), at(2, "product_added", "p2")
    assert cart_of(store, *events) == {"p2": 1}


def test_events_of_one_moment_go_by_their_ids(store: ViewStore) -> None:
    assert cart_of(store, at(0, "product_added", event_id="b"), at(0, "order_completed", event_id="a")) == {"p1": 1}


def test_a_quantity_of_none_is_none(store: ViewStore) -> None:
    assert cart_of(store, at(0, "product_added", quantity=0)) == {}


def test_a_resent_add_counts_once(store: ViewStore) -> None:
    resent = at(0, "product_added") | {"received_at": later(seconds=9), "occurred_at": later(minutes=1)}
    assert cart_of(store, at(0, "product_added"), resent) == {"p1": 1}


def test_a_cart_says_when_it_was_last_changed_and_what_was_last_said_of_a_product(store: ViewStore) -> None:
    bring(store, VIEW, landed_each([at(0, "product_added", name="old"), at(7, "product_added", name="new")]))
    cart = open_cart(items(store))
    assert cart.touched_at == "2026-05-01T12:37:00.000000Z"
    assert [line.last["name"] for line in cart.lines] == ["new"]


def test_nothing_was_touched_since_the_last_order() -> None:
    assert open_cart(iter([])) == OpenCart((), None)
    assert open_cart(iter([{"event_type": "order_completed"}])) == OpenCart((), None)


def test_nothing_older_than_the_last_order_is_read() -> None:
    def rows() -> Iterator[Item]:
        yield {"event_type": "product_added", "product_id": "p1", "occurred_at": "2026"}
        yield {"event_type": "order_completed"}
        raise AssertionError("read on")

    assert quantities(open_cart(rows())) == {"p1": 1}


def recounted(events: list[Stored]) -> dict[str, int]:
    """The same, the slow way: for each product, from the last order on, one event after the other."""
    counts: dict[str, int] = {}
    for event in sorted(events, key=lambda e: (e["occurred_at"], e["event_id"])):
        said, kind = event["properties"], event["event_type"]
        if kind == "order_completed":
            counts = {}
            continue
        sign = 1 if kind == "product_added" else -1
        before = counts.get(said["product_id"], 0)
        counts[said["product_id"]] = max(before + sign * said.get("quantity", 1), 0)
    return {product: count for product, count in counts.items() if count > 0}


QUANTITIES = st.fixed_dictionaries({}, optional={"quantity": st.integers(0, 4)})
MOVES = st.tuples(
    st.integers(0, 6),
    st.sampled_from(("product_added", "product_added", "product_removed", "order_completed")),
    st.sampled_from(("p1", "p2")),
    QUANTITIES,
)


@settings(max_examples=60, deadline=None)
@given(moves=st.lists(MOVES, max_size=14), data=st.data())
def test_a_cart_from_events_in_any_order_equals_a_recount(
    moves: list[tuple[int, str, str, dict[str, int]]], data: st.DataObject
) -> None:
    events = [
        at(minute, kind, product, f"{n % 5}-{n}", **({} if kind == "order_completed" else said))
        for n, (minute, kind, product, said) in enumerate(moves)
    ]
    with TemporaryDirectory() as folder:
        store = SQLiteViews(Path(folder) / "views.db", clock=NOON.timestamp)
        for each in data.draw(st.permutations(landed_each(events) * 2)):
            bring(store, VIEW, [each])
        assert quantities(open_cart(items(store))) == recounted(events)
        store.close()
