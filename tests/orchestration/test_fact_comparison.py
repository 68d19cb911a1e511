"""A view of facts beside the lake: what was damaged is seen, and what is only ahead or behind is not."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ingestion.tables import event_table
from orchestration.view_comparison import Comparison, Sample, Scope
from tests.ingestion.views.landing import later, stored
from tests.orchestration.viewed_shop import ViewedShop
from tests.platform import NOON

VIEWED = "product_viewed"


@pytest.fixture
def shop(viewed_shop: ViewedShop) -> ViewedShop:
    return viewed_shop


def test_a_view_that_was_kept_up_is_what_the_lake_says(shop: ViewedShop) -> None:
    assert shop.compare() == Comparison(same=3, pending=0, different=0)
    assert shop.compare(shop.carts) == Comparison(same=1, pending=0, different=0)


def test_every_type_with_every_field_reads_the_same_on_both_sides(shop: ViewedShop) -> None:
    for event_type in shop.activity.event_types:
        shop.platform.publish(event_type, 20)
    shop.platform.land()
    shop.listen()
    assert shop.compare() == Comparison(same=3 + 13 * 20, pending=0, different=0)
    assert shop.compare(shop.carts) == Comparison(same=1 + 3 * 20, pending=0, different=0)


@pytest.mark.parametrize("missing", ["e1", "e2", "e3"])
def test_a_row_that_was_lost_is_a_difference(shop: ViewedShop, missing: str) -> None:
    shop.damage(f"delete from rows where view = 'user_activity' and cast(item as text) like '%\"{missing}\"%'")
    found = shop.compare()
    (difference,) = found.differences
    assert (found.same, found.pending, found.different) == (2, 0, 1)
    assert difference.key == ("anonymous:a" if missing == "e2" else "user:u1")
    assert f"event_id={missing}" in str(difference.lake_says) and difference.view_says is None


def test_a_row_that_says_something_else_is_a_difference(shop: ViewedShop) -> None:
    shop.damage("update rows set item = replace(item, '\"quantity\":2', '\"quantity\":3') where view = 'cart_events'")
    (difference,) = shop.compare(shop.carts).differences
    assert "quantity:2" in str(difference.lake_says) and "quantity:3" in str(difference.view_says)
    assert shop.compare().different == 0


def test_a_number_that_became_a_text_is_a_difference(shop: ViewedShop) -> None:
    shop.damage(
        "update rows set item = replace(item, '\"quantity\":2', '\"quantity\":\"2\"') where view = 'cart_events'"
    )
    assert shop.compare(shop.carts).different == 1


@pytest.mark.parametrize("at", ["2026-05-01T12:31%", "2026-05-02%"])
def test_a_copy_whose_tombstone_is_gone_is_a_difference(shop: ViewedShop, at: str) -> None:
    tombstone = f"view = 'user_activity' and item is null and sort like '{at}'"
    shop.damage(
        f"update rows set item = (select item from rows where cast(item as text) like '%\"e1\"%') where {tombstone}"
    )
    (difference,) = shop.compare().differences
    assert (difference.key, difference.lake_says) == ("user:u1", None)
    assert difference.sort.startswith(at[:-1])


def test_a_row_that_nobody_sent_is_a_difference(shop: ViewedShop) -> None:
    shop.damage("insert into rows select view, key, sort || 'x', 0, item, null from rows where view = 'cart_events'")
    assert shop.compare(shop.carts).different == 1


def test_a_row_from_beyond_the_end_of_the_log_is_a_difference(shop: ViewedShop) -> None:
    later_offset = "replace(sort, '.0000000000000000000.', '.0000000000000000999.')"
    shop.damage(
        f"insert into rows select view, key, {later_offset}, 0, item, null from rows where view = 'cart_events'"
    )
    assert shop.compare(shop.carts).different == 1


def test_what_the_lake_has_not_landed_is_pending(shop: ViewedShop) -> None:
    shop.publish(stored(event_id="e5"), stored(event_id="e6", user_id="u6"))
    shop.listen()
    assert shop.compare() == Comparison(same=3, pending=2, different=0)
    shop.platform.land()
    assert shop.compare() == Comparison(same=5, pending=0, different=0)


def test_a_copy_that_the_lake_has_not_landed_may_have_come_first(shop: ViewedShop) -> None:
    shop.publish(stored(received_at=later(seconds=-1), occurred_at=later(minutes=2)))
    shop.listen()
    assert shop.compare() == Comparison(same=2, pending=2, different=0)
    shop.platform.land()
    assert shop.compare() == Comparison(same=3, pending=0, different=0)


def test_what_the_listener_has_not_read_is_pending(shop: ViewedShop) -> None:
    shop.publish(stored(event_id="e5"))
    shop.platform.land()
    assert shop.compare() == Comparison(same=3, pending=1, different=0)
    shop.listen()
    assert shop.compare() == Comparison(same=4, pending=0, different=0)


def test_a_copy_that_the_listener_has_not_read_may_have_come_first(shop: ViewedShop) -> None:
    shop.publish(stored(received_at=later(seconds=-1), occurred_at=later(minutes=2)))
    shop.platform.land()
    assert shop.compare() == Comparison(same=3, pending=1, different=0)


def test_where_nobody_listens_what_dagster_brought_in_is_due(shop: ViewedShop) -> None:
    shop.publish(stored(event_id="e5"))
    shop.platform.land()
    shop.replay()
    unheard = replace(shop.activity, group="nobody")
    assert shop.compare(unheard).pending == 0
    shop.damage("delete from rows where view = 'user_activity' and cast(item as text) like '%\"e5\"%'")
    assert shop.compare(unheard).different == 0
    version = shop.platform.lake.table(event_table(VIEWED)).snapshot().version
    assert shop.compare(replace(unheard, replayed={VIEWED: version})).different == 1


def test_events_of_a_topic_that_was_made_anew_are_due(shop: ViewedShop) -> None:
    shop.platform.broker.recreate("events.product_viewed")
    shop.publish(stored(event_id="e5"))
    shop.platform.land()
    assert shop.compare() == Comparison(same=3, pending=1, different=0)
    shop.damage("delete from rows where view = 'user_activity' and cast(item as text) like '%\"e2\"%'")
    assert shop.compare().different == 1


def test_what_expired_is_not_compared(shop: ViewedShop) -> None:
    old = later(days=-90)
    shop.publish(
        stored(event_id="old", occurred_at=old, received_at=old), stored(event_id="e5", occurred_at=later(days=-89))
    )
    shop.platform.land()
    shop.listen()
    assert shop.activity.first_date(NOON) == date(2026, 2, 1)
    assert shop.compare(scope=Scope(shop.activity.first_date(NOON))) == Comparison(same=4, pending=0, different=0)


def test_a_row_that_expires_within_the_hour_is_not_compared(shop: ViewedShop) -> None:
    assert shop.activity.first_date(datetime(2026, 5, 1, 23, 30, tzinfo=UTC)) == date(2026, 2, 2)
    assert shop.carts.first_date(NOON) < date(2, 1, 1)


def test_what_was_joined_is_not_compared(shop: ViewedShop) -> None:
    shop.damage("update rows set item = replace(item, 'Kettle', 'Pot') where view = 'cart_events'")
    assert shop.compare(shop.carts).different == 0


def test_only_the_dates_and_keys_that_are_asked_for_are_compared(shop: ViewedShop) -> None:
    shop.publish(stored(event_id="e5", occurred_at=later(days=-3)))
    shop.platform.land()
    shop.listen()
    assert shop.compare(scope=Scope(date(2026, 4, 28))).same == 4
    assert shop.compare(scope=Scope(date(2026, 4, 29))).same == 3
    assert shop.compare(scope=Scope(date(2026, 4, 29), ("anonymous:a",))).same == 1
    assert shop.compare(scope=Scope(date(2026, 4, 28), ("user:u1", "user:nobody"))).same == 3


def test_files_that_hold_only_older_events_are_not_opened(shop: ViewedShop) -> None:
    table = shop.platform.lake.table(event_table(VIEWED))
    (before,) = table.snapshot().files()
    shop.publish(stored(event_id="e5", occurred_at=later(days=5)), stored(event_id="e6", occurred_at=later(days=-5)))
    shop.platform.publish(VIEWED, [b"\xff"])
    shop.platform.land()
    recent = table.snapshot().files_since("occurred_at", NOON + timedelta(days=2))
    assert len(table.snapshot().files()) == 2
    assert before not in recent and len(recent) == 1
    Path(before.uri).unlink()
    assert shop.compare(scope=Scope(date(2026, 5, 5))).pending == 1


def test_the_sample_is_of_visitors_whose_events_have_landed_lately(shop: ViewedShop) -> None:
    def sample(now: datetime = NOON, since: date = date(2026, 5, 1), most: int = 10, salt: str = "x") -> list[str]:
        return shop.activity.sample(Sample(since, salt, files=20, keys=most), now)

    assert sorted(sample()) == ["anonymous:a", "user:u1"]
    assert sample(now=later(hours=2)) == []
    assert sample(since=date(2026, 5, 3)) == []
    assert {tuple(sample(most=1, salt=str(salt))) for salt in range(9)} == {("anonymous:a",), ("user:u1",)}
