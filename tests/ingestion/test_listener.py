from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion.errors import BrokerUnavailable
from ingestion.listened import group
from ingestion.listener import Heard, Listener
from ingestion.steps import run
from ingestion.tables import all_tables, table_named
from ingestion.views import ViewStore
from ingestion.views.facts import Lookups
from ingestion.views.products import Products
from ingestion.views.registry import fact_view, fact_views
from ingestion.views.sqlite import SQLiteViews
from tests.ingestion.views.landing import event_ids, everything, later, stored
from tests.platform import NOON, Platform, steps_until

ACTIVITY = fact_view("user_activity")
VIEWED = "product_viewed"


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path, all_tables())
    yield platform
    platform.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ViewStore]:
    store = SQLiteViews(tmp_path / "views.db", clock=NOON.timestamp)
    yield store
    store.close()


def listener(platform: Platform, store: ViewStore) -> Listener:
    return Listener(platform.broker, store, list(fact_views().values()), Lookups)


def listen(platform: Platform, store: ViewStore) -> Heard:
    return run(listener(platform, store).round(), lambda point: None)


def behind(platform: Platform, name: str = VIEWED) -> int:
    """Records of a topic that the activity's group has not passed."""
    topic = platform.broker.topic(f"events.{name}")
    positions = platform.broker.positions(group(ACTIVITY), topic)
    return sum(held.end - positions.get(p, 0) for p, held in platform.broker.bounds(topic.name).items())


def test_what_the_log_has_is_in_the_views_that_ask_for_it(platform: Platform, store: ViewStore) -> None:
    platform.publish(VIEWED, [stored()])
    platform.publish("product_added", [stored("product_added", "e2", occurred_at=later(seconds=1))])
    heard = listen(platform, store)
    assert (heard.written.rows, heard.problems) == (3, [])
    assert event_ids(store, "user_activity") == ["e2", "e1"]
    assert event_ids(store, "cart_events") == ["e2"]
    assert behind(platform) == behind(platform, "product_added") == 0


def test_a_second_round_goes_on_where_the_first_ended(platform: Platform, store: ViewStore) -> None:
    platform.publish(VIEWED, 5)
    assert listen(platform, store).read == 5
    platform.publish(VIEWED, 2)
    assert listen(platform, store).read == 2
    assert listen(platform, store).read == 0
    assert len(everything(store, "user_activity")) == 7


def test_a_bad_record_stops_nobody(platform: Platform, store: ViewStore) -> None:
    platform.publish(VIEWED, [stored(), b"\xff", b"{}", b"", stored(event_id="e2")])
    platform.publish("rejected", 1)
    heard = listen(platform, store)
    assert (heard.read, heard.written.rows, heard.problems) == (5, 2, [])
    assert event_ids(store, "user_activity") == ["e2", "e1"] and behind(platform) == 0


def test_a_topic_that_is_missing_is_told_and_does_not_hold_up_the_others(tmp_path: Path, store: ViewStore) -> None:
    platform = Platform(tmp_path, [table_named(VIEWED)])
    platform.publish(VIEWED, [stored()])
    heard = listen(platform, store)
    assert event_ids(store, "user_activity") == ["e1"]
    assert "no topic 'events.category_viewed'" in heard.problems[0]
    platform.close()


@pytest.mark.parametrize(
    "point", ["listener.read", "facts.claimed", "facts.judged", "facts.written", "listener.written"]
)
def test_what_a_crash_leaves_is_written_again(platform: Platform, store: ViewStore, point: str) -> None:
    platform.publish(VIEWED, [stored(), stored(received_at=later(seconds=1), occurred_at=later(minutes=1))])
    steps_until(listener(platform, store).round(), point)
    assert behind(platform) == 2, "the position moves after the write"
    listen(platform, store)
    assert event_ids(store, "user_activity") == ["e1"] and behind(platform) == 0


def test_two_listeners_that_read_the_same_records_write_the_same_rows(platform: Platform, store: ViewStore) -> None:
    platform.publish(VIEWED, 9)
    first, second = listener(platform, store).round(), listener(platform, store).round()
    steps_until(first, "listener.read")
    run(second, lambda point: None)
    before = everything(store, "user_activity")
    run(first, lambda point: None)
    assert everything(store, "user_activity") == before and len(before) == 9
    assert behind(platform) == 0


def test_two_listeners_divide_the_partitions(platform: Platform, store: ViewStore) -> None:
    other = Listener(platform.another_broker(), store, list(fact_views().values()), Lookups)
    run(other.round(), lambda point: None)
    platform.publish(VIEWED, 20)
    read = listen(platform, store).read, run(other.round(), lambda point: None).read
    assert min(read) > 0 and sum(read) == 20 == len(everything(store, "user_activity"))
    other._broker.close()
    platform.publish(VIEWED, 20)
    assert listen(platform, store).read == 20


def test_a_listener_of_the_whole_does_not_wait_for_who_else_is_there(platform: Platform, store: ViewStore) -> None:
    platform.another_broker().share(group(ACTIVITY), [f"events.{name}" for name in ACTIVITY.event_types])
    platform.publish(VIEWED, 20)
    assert run(Listener(platform.broker, store, [ACTIVITY], Lookups).round(), lambda point: None).read < 20
    whole = Listener(platform.broker, store, [ACTIVITY], Lookups, whole=True)
    run(whole.round(), lambda point: None)
    assert len(everything(store, "user_activity")) == 20


def test_records_that_retention_took_are_told_and_come_from_the_lake(platform: Platform, store: ViewStore) -> None:
    platform.publish(VIEWED, 6)
    listen(platform, store)
    platform.publish(VIEWED, 6)
    for partition, held in platform.broker.bounds("events.product_viewed").items():
        platform.broker.truncate("events.product_viewed", partition, held.end)
    platform.publish(VIEWED, 6)
    heard = listen(platform, store)
    assert (heard.read, heard.unread) == (6, 6)
    assert all("replay the view from the lake" in problem for problem in heard.problems)


def test_a_recreated_topic_is_read_from_its_beginning(platform: Platform, store: ViewStore) -> None:
    platform.publish(VIEWED, [stored()])
    listen(platform, store)
    platform.broker.recreate("events.product_viewed")
    platform.publish(VIEWED, [stored(event_id="e2")])
    assert listen(platform, store).read == 1
    assert event_ids(store, "user_activity") == ["e2", "e1"]


def test_a_topic_that_is_recreated_while_it_is_read_moves_no_position(platform: Platform, store: ViewStore) -> None:
    platform.publish(VIEWED, [stored()])
    steps = listener(platform, store).round()
    steps_until(steps, "listener.read")
    platform.broker.recreate("events.product_viewed")
    platform.publish(VIEWED, [stored(event_id="e2")])
    run(steps, lambda point: None)
    assert everything(store, "user_activity") == [] and behind(platform) == 1
    listen(platform, store)
    assert event_ids(store, "user_activity") == ["e2"]


def test_a_new_view_begins_where_the_log_begins(platform: Platform, store: ViewStore) -> None:
    platform.publish("product_added", [stored("product_added")])
    run(Listener(platform.broker, store, [ACTIVITY], Lookups).round(), lambda point: None)
    assert event_ids(store, "cart_events") == []
    listen(platform, store)
    assert event_ids(store, "cart_events") == ["e1"]


def test_a_new_view_says_what_the_log_no_longer_has(platform: Platform, store: ViewStore) -> None:
    platform.publish(VIEWED, [stored(), stored(event_id="e2")])
    (partition,) = [p for p, held in platform.broker.bounds("events.product_viewed").items() if held.end]
    platform.broker.truncate("events.product_viewed", partition, 1)
    heard = listen(platform, store)
    assert heard.unread == 1 and "retention took 1 records" in heard.problems[0]
    assert listen(platform, store).problems == []


def test_the_catalogue_is_asked_for_every_batch(platform: Platform, store: ViewStore) -> None:
    versions = iter((1_000, 2_000))
    catalogue = {"p1": {"title": "Kettle"}}
    listening = Listener(platform.broker, store, [ACTIVITY], lambda: Lookups(Products(next(versions), catalogue)))
    for name in ("e1", "e2"):
        platform.publish(VIEWED, [stored(event_id=name)])
        run(listening.round(), lambda point: None)
    assert [row.version for row in everything(store, "user_activity")] == [2_000, 1_000]


def test_a_log_that_does_not_answer_is_an_error_that_passes(
    platform: Platform, store: ViewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(name: str) -> None:
        raise BrokerUnavailable("gone")

    monkeypatch.setattr(platform.broker, "topic", unavailable)
    with pytest.raises(BrokerUnavailable):
        listen(platform, store)
