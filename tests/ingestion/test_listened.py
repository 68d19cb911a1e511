from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion.audit import BALANCED, BROKEN, PENDING, Balance, audit
from ingestion.errors import UnknownTopic
from ingestion.listened import oldest_waiting, read_listened
from ingestion.listener import Listener
from ingestion.steps import run
from ingestion.tables import all_tables, table_named
from ingestion.views.facts import Lookups
from ingestion.views.registry import fact_view
from ingestion.views.sqlite import SQLiteViews
from tests.ingestion.test_lander import lose_records
from tests.ingestion.views.landing import stored
from tests.platform import NOON, Platform

CARTS = fact_view("cart_events")
ADDED = "product_added"


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path, all_tables())
    yield platform
    platform.close()


def add(platform: Platform, *ids: str) -> None:
    platform.publish(ADDED, [stored(ADDED, each) for each in ids])


def listen(platform: Platform) -> None:
    store = SQLiteViews(platform.path / "views.db", clock=NOON.timestamp)
    run(Listener(platform.broker, store, [CARTS], Lookups).round(), lambda point: None)
    store.close()


def behind(platform: Platform) -> dict[str, int]:
    return {each.topic: each.pending for each in read_listened(platform.broker, CARTS) if each.pending}


def balance(platform: Platform) -> Balance:
    platform.land()
    platform.load()
    return audit(platform.broker, platform.lake, platform.warehouse, platform.tables, [CARTS])


def test_a_view_that_listened_to_everything_balances(platform: Platform) -> None:
    add(platform, "e1", "e2")
    listen(platform)
    assert behind(platform) == {}
    found = balance(platform)
    assert found.status == BALANCED
    assert {each.topic: each.appended for each in found.views}["events.product_added"] == 2


def test_what_waits_for_the_listener_is_pending(platform: Platform) -> None:
    add(platform, "e1")
    listen(platform)
    add(platform, "e2", "e3")
    platform.publish("order_completed", 1)
    assert behind(platform) == {"events.product_added": 2, "events.order_completed": 1}
    found = balance(platform)
    assert (found.status, found.not_heard, found.findings) == (PENDING, 3, [])


def test_a_view_that_no_listener_keeps_waits_for_nothing(platform: Platform) -> None:
    add(platform, "e1")
    assert read_listened(platform.broker, CARTS) == []
    assert balance(platform).status == BALANCED


def test_what_retention_took_before_the_listener_read_it_is_a_finding(platform: Platform) -> None:
    add(platform, "e1")
    listen(platform)
    add(platform, *map(str, range(20)))
    platform.land()
    bounds = platform.broker.bounds("events.product_added")
    (partition,) = [partition for partition, held in bounds.items() if held.end]
    platform.broker.truncate("events.product_added", partition, bounds[partition].end - 1)
    found = balance(platform)
    assert (found.status, found.not_heard) == (BROKEN, 1)
    (finding,) = found.findings
    assert finding.message.startswith(f"retention took offsets 1 to 19 of events.product_added/{partition} before")
    listen(platform)
    assert balance(platform).status == BALANCED


def test_a_position_beyond_the_end_is_a_finding(platform: Platform) -> None:
    add(platform, *map(str, range(20)))
    listen(platform)
    lose_records(platform.broker, table_named(ADDED), 20)
    found = audit(platform.broker, platform.lake, platform.warehouse, [], [CARTS])
    assert found.status == BROKEN
    assert {finding.hop for finding in found.findings} == {"log → view"}
    assert all("the log lost records" in finding.message for finding in found.findings)


def test_a_recreated_topic_waits_from_its_beginning(platform: Platform) -> None:
    add(platform, "e1", "e2")
    platform.publish("order_completed", 1)
    listen(platform)
    platform.broker.recreate("events.product_added")
    add(platform, "e3")
    assert behind(platform) == {"events.product_added": 1}


def test_the_oldest_record_that_waits_is_timed(platform: Platform) -> None:
    add(platform, "e1")
    listen(platform)
    (added, *_) = read_listened(platform.broker, CARTS)
    assert oldest_waiting(platform.broker, added) is None
    platform.now = NOON.replace(hour=15)
    add(platform, "e2")
    (added, *_) = read_listened(platform.broker, CARTS)
    assert oldest_waiting(platform.broker, added) == platform.now_us()


def test_a_view_without_its_topic_is_a_finding(platform: Platform) -> None:
    few = Platform(platform.path / "few", [table_named(ADDED)])
    with pytest.raises(UnknownTopic):
        read_listened(few.broker, CARTS)
    (finding,) = audit(few.broker, few.lake, few.warehouse, [], [CARTS]).findings
    assert (finding.hop, finding.table) == ("log", "cart_events")
    few.close()
