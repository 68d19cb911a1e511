import itertools
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.steps import run
from ingestion.views import MAX_ITEM_BYTES, Row, ViewStore
from ingestion.views.cart_events import cart_events
from ingestion.views.facts import Lookups, View, fact, write
from ingestion.views.landed import LandedEvent
from ingestion.views.sqlite import SQLiteViews
from ingestion.views.user_activity import user_activity
from tests.ingestion.views.landing import bring, event_ids, everything, landed, landed_each, later, stored
from tests.platform import NOON, Stored

VIEW = user_activity()
SEEN = "user_activity"


def test_an_event_is_a_row_under_its_visitor(store: ViewStore) -> None:
    written = bring(store, VIEW, landed(stored(), stored(event_id="e2", user_id="u2"), stored(user_id=None)))
    assert (written.rows, written.copies, written.problems) == (2, 0, [])
    assert list(store.keys(SEEN)) == ["user:u1", "user:u2"]


def test_rows_come_by_when_it_happened_and_then_by_event_id(store: ViewStore) -> None:
    moments = (("b", 0), ("a", 0), ("ab", 0), ("c", -5), ("d", 5))
    events = [stored(event_id=name, occurred_at=later(seconds=seconds)) for name, seconds in moments]
    bring(store, VIEW, landed(*events))
    assert event_ids(store, SEEN) == ["d", "b", "ab", "a", "c"]


def test_an_event_that_comes_again_is_the_same_row(store: ViewStore) -> None:
    events = landed(stored(), stored(event_id="e2"))
    bring(store, VIEW, events)
    before = everything(store, SEEN)
    bring(store, VIEW, events)
    assert everything(store, SEEN) == before


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_copies_the_one_that_was_received_first_counts(store: ViewStore, order: Sequence[int]) -> None:
    copies = landed(
        stored(received_at=later(seconds=2), occurred_at=later(minutes=1)),
        stored(received_at=later(seconds=1), occurred_at=later(minutes=2)),
        stored(received_at=later(seconds=3), occurred_at=later(minutes=1)),
    )
    for number in order:
        bring(store, VIEW, [copies[number]])
    (row,) = everything(store, SEEN)
    assert row.item and row.item["occurred_at"] == "2026-05-01T12:32:00.000000Z"


def test_copies_in_one_batch_count_once(store: ViewStore) -> None:
    written = bring(store, VIEW, landed(stored(), stored(), stored(occurred_at=later(minutes=1))))
    assert (written.rows, written.copies, len(everything(store, SEEN))) == (1, 2, 1)


def test_a_copy_counts_again_two_days_away_and_not_one_day_away(store: ViewStore) -> None:
    days = [stored(received_at=later(days=day), occurred_at=later(days=day)) for day in (0, 1, 3)]
    for event in landed(*days):
        bring(store, VIEW, [event])
    assert [row.sort[:10] for row in everything(store, SEEN)] == ["2026-05-04", "2026-05-01"]


def test_a_copy_that_does_not_count_itself_still_outranks_a_later_one(store: ViewStore) -> None:
    days = [stored(received_at=later(days=day), occurred_at=later(days=day)) for day in (0, 1, 2)]
    for event in reversed(landed(*days)):
        bring(store, VIEW, [event])
    assert [row.sort[:10] for row in everything(store, SEEN)] == ["2026-05-01"]


def test_one_constant_id_with_a_devices_times_loses_nothing(store: ViewStore) -> None:
    times = [later(seconds=n) for n in range(20)]
    bring(store, VIEW, landed(*[stored(occurred_at=time, device_occurred_at=time) for time in times]))
    assert len(everything(store, SEEN)) == 20


@pytest.mark.parametrize("view", [user_activity, cart_events])
def test_a_row_is_kept_for_days_after_its_event_date(view: Callable[..., View]) -> None:
    (event,), midnight = landed(stored("product_added")), NOON.replace(hour=0, minute=0)
    for days, made in ((90, view()), (7, view(7))):
        (row,) = made.rows(event, Lookups())
        assert row.expires_at == (midnight + timedelta(days=days)).timestamp() and made.days == days


def test_a_copy_does_not_come_up_when_the_one_that_counts_has_expired(tmp_path: Path) -> None:
    first, copy = landed(stored(), stored(received_at=later(days=1), occurred_at=later(days=1)))
    store = SQLiteViews(tmp_path / "views.db", clock=later(days=90).timestamp)
    for _ in range(2):
        bring(store, VIEW, [first, copy])
        assert everything(store, SEEN) == []
        store.expire()
    store.close()


def test_an_event_that_a_view_cannot_read_is_told_and_the_rest_is_written(store: ViewStore) -> None:
    def choosy(event: LandedEvent, lookups: Lookups) -> list[Row]:
        if event.event_id == "odd":
            raise ZeroDivisionError("by zero")
        size = MAX_ITEM_BYTES if event.event_id == "large" else 1
        return [fact(event, "key", {"event_id": event.event_id, "pad": "x" * size}, 0, None)]

    view = View("choosy", ("product_viewed",), choosy)
    written = bring(store, view, landed(*[stored(event_id=name) for name in ("e1", "odd", "large", "e2")]))
    assert event_ids(store, "choosy", "key") == ["e2", "e1"]
    assert (written.rows, written.left_out) == (2, 2)
    assert "product_viewed 'odd'" in written.problems[0] and "view choosy, key 'key'" in written.problems[1]


# -- any order ---------------------------------------------------------------------------------------------------------

HISTORIES = st.lists(
    st.builds(
        stored,
        event_type=st.sampled_from(("product_viewed", "product_added")),
        event_id=st.sampled_from(("e1", "e2")),
        user_id=st.sampled_from(("u1", "u2", None)),
        occurred_at=st.sampled_from([later(days=day, minutes=minute) for day in range(4) for minute in (0, 1)]),
        received_at=st.sampled_from([later(days=day) for day in range(5)]),
        product_id=st.sampled_from(("p1", "p2")),
    ),
    max_size=9,
)


def counted(events: Sequence[Stored]) -> set[tuple[str, str, str, str]]:
    """What has to be in the view, by the words of DESIGN §4: visitor, event, time and product."""

    def identity(event: Stored) -> tuple[object, ...]:
        return event["event_type"], event["event_id"], event["user_id"]

    counting = set()
    for offset, event in enumerate(events):
        ranked_before = [
            other
            for other_offset, other in enumerate(events)
            if identity(other) == identity(event)
            and abs((other["occurred_at"].date() - event["occurred_at"].date()).days) <= 1
            and (other["received_at"], other_offset) < (event["received_at"], offset)
        ]
        if event["user_id"] and not ranked_before:
            time = f"{event['occurred_at']:%Y-%m-%dT%H:%M:%S.%fZ}"
            counting.add((f"user:{event['user_id']}", event["event_id"], time, event["properties"]["product_id"]))
    return counting


def shown(store: ViewStore) -> set[tuple[str, str, str, str]]:
    return {
        (row.key, row.item["event_id"], row.item["occurred_at"], row.item["product_id"])
        for row in everything(store, SEEN)
        if row.item
    }


@settings(max_examples=60, deadline=None)
@given(events=HISTORIES, data=st.data())
def test_any_mixture_order_and_repetition_shows_what_counts(events: list[Stored], data: st.DataObject) -> None:
    known = landed_each(events)
    order = data.draw(st.permutations(known * 2))
    with TemporaryDirectory() as folder:
        store = SQLiteViews(f"{folder}/views.db", clock=NOON.timestamp)
        while order:
            size = data.draw(st.integers(1, 4))
            bring(store, VIEW, order[:size])
            order = order[size:]
        assert shown(store) == counted(events)
        store.close()


@settings(max_examples=60, deadline=None)
@given(events=HISTORIES, data=st.data())
def test_writers_that_interleave_and_die_show_what_counts_in_the_end(events: list[Stored], data: st.DataObject) -> None:
    known = landed_each(events)
    with TemporaryDirectory() as folder:
        store = SQLiteViews(f"{folder}/views.db", clock=NOON.timestamp)
        writers = [write(store, VIEW, data.draw(st.permutations(known)), Lookups()) for _ in range(3)]
        for number in data.draw(st.lists(st.integers(0, 2), max_size=12)):
            next(writers[number], None)
        for each in known:
            run(write(store, VIEW, [each], Lookups()), lambda point: None)
        for writer in data.draw(st.lists(st.sampled_from(writers))):
            next(writer, None)
        assert shown(store) == counted(events)
        store.close()
