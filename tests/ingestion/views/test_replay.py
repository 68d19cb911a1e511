"""The lake's rows as a view: the same as what the log's records were."""

from pathlib import Path

import pytest

from ingestion.errors import UnknownView
from ingestion.steps import run
from ingestion.tables import event_table
from ingestion.views import ViewStore
from ingestion.views.facts import Lookups, Written
from ingestion.views.landed import landed_events
from ingestion.views.registry import fact_view, fact_views
from ingestion.views.replay import lake_rows, replay_hour
from tests.ingestion.views.landing import event_ids, everything, landed, later, stored
from tests.platform import HOUR, Platform

VIEWED = event_table("product_viewed")
VIEW = fact_view("user_activity")


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    tables = [event_table(name) for name in VIEW.event_types]
    return Platform(tmp_path, tables)


def replay(platform: Platform, store: ViewStore, hour: str | None = HOUR) -> Written:
    return run(replay_hour(platform.lake, store, VIEW, hour, Lookups()), lambda point: None)


def test_an_hour_of_the_lake_becomes_the_rows_of_its_events(platform: Platform, store: ViewStore) -> None:
    platform.publish("product_viewed", [stored(), b"junk", stored(event_id="e2")])
    platform.publish("product_added", [stored("product_added", "e3", occurred_at=later(minutes=1))])
    platform.land()
    assert replay(platform, store).rows == 3
    assert event_ids(store, "user_activity") == ["e3", "e2", "e1"]
    before = everything(store, "user_activity")
    replay(platform, store)
    assert everything(store, "user_activity") == before
    platform.close()


def test_another_hour_is_left_alone(platform: Platform, store: ViewStore) -> None:
    platform.publish("product_viewed", [stored()])
    platform.now = later(hours=1)
    platform.publish("product_viewed", [stored(event_id="e2")])
    platform.land()
    assert replay(platform, store, "2026-05-01-13").rows == 1
    assert event_ids(store, "user_activity") == ["e2"]
    assert replay(platform, store, None).rows == 2
    assert event_ids(store, "user_activity") == ["e2", "e1"]
    platform.close()


def test_the_lake_and_the_log_tell_the_same_events(platform: Platform) -> None:
    told = [stored(event_id=f"e{n}", price=f"{n}.25", device_occurred_at=later(seconds=n)) for n in range(9)]
    platform.publish("product_viewed", told)
    platform.land()
    (batch,) = lake_rows(platform.lake, VIEWED, HOUR)
    from_lake = {event.event_id: event for event in landed_events(VIEWED, batch)}
    for event in landed(*told):
        found = from_lake[event.event_id]
        assert (found.identity, found.visitor, found.occurred_us) == (event.identity, event.visitor, event.occurred_us)
        assert found.properties == event.properties
    platform.close()


def test_an_empty_lake_has_nothing_to_say(platform: Platform, store: ViewStore) -> None:
    assert replay(platform, store) == Written()
    platform.close()


def test_a_view_is_known_by_its_name() -> None:
    assert [view.name for view in fact_views().values()] == ["user_activity", "cart_events"]
    with pytest.raises(UnknownView, match=r"no view 'nothing'.*user_activity, cart_events"):
        fact_view("nothing")
