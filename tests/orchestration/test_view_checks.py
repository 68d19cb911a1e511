"""The checks of the views: red where a row differs twice, with its key and what to do."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ingestion.lake import Lake
from orchestration.view_checks import (
    CHECK_VIEWS,
    SAMPLE,
    SHOWN,
    WHOLE,
    Found,
    check_keys,
    counters,
    difference_table,
    facts,
    judge,
    look_at_all,
    look_at_sample,
    view_checks,
    what_to_do,
)
from orchestration.view_comparison import Comparison, Difference
from sensors.stores import Stores
from tests.ingestion.views.landing import later, stored
from tests.orchestration.viewed_shop import ViewedShop
from tests.platform import NOON

CART, COUNTERS = dg.AssetKey(["views", "cart_events"]), dg.AssetKey(["views", "product_counters"])
LOST = "delete from rows where view = 'cart_events' and item is not null"


@pytest.fixture
def shop(viewed_shop: ViewedShop) -> ViewedShop:
    return viewed_shop


def never(seconds: float) -> None:
    raise AssertionError("there was nothing to look at again")


def meanwhile(*work: Callable[[], object]) -> Callable[[float], None]:
    """What happens between the first look and the second."""

    def pause(seconds: float) -> None:
        assert seconds > 15, "a lander gathers rows for so long"
        for each in work:
            each()

    return pause


def clock() -> datetime:
    return NOON


def test_a_view_that_was_kept_up_passes_without_a_second_look(shop: ViewedShop) -> None:
    result = judge("user_activity", WHOLE, look_at_all(shop.activity, clock, never))
    assert result.passed and result.metadata["rows_equal"].value == 3
    assert "differences" not in result.metadata


def test_a_lost_row_is_red_and_its_table_names_the_key_and_what_both_sides_say(shop: ViewedShop) -> None:
    shop.damage(LOST)
    result = judge("cart_events", WHOLE, look_at_all(shop.carts, clock, meanwhile()))
    assert not result.passed and result.metadata["rows_different"].value == 1
    *_, row = str(result.metadata["differences"].value).splitlines()
    assert row.startswith("| cart_events | user:u1 | 2026-05-01T12:30:00.000000Z e3 0") and row.endswith("| nothing |")
    assert "product_id=p1, quantity:2" in row
    assert "--from 2026-05-01 --to 2026-05-01 --view cart_events" in str(result.description)


def test_what_is_well_again_at_the_second_look_passes_and_is_told(shop: ViewedShop) -> None:
    shop.damage(LOST)
    found = look_at_all(shop.carts, clock, meanwhile(lambda: shop.replay("cart_events")))
    assert (found.comparison.different, found.settled) == (0, 1)
    assert judge("cart_events", WHOLE, found).passed


def test_a_row_that_only_differs_at_the_second_look_is_left_to_the_next_check(shop: ViewedShop) -> None:
    shop.damage("delete from rows where view = 'user_activity' and key = 'anonymous:a' and item is not null")
    other = "delete from rows where view = 'user_activity' and cast(item as text) like '%\"e3\"%'"
    found = look_at_all(shop.activity, clock, meanwhile(lambda: shop.damage(other)))
    assert [each.key for each in found.comparison.differences] == ["anonymous:a"]
    assert found.comparison.different == 1


def test_more_than_can_be_listed_is_looked_at_again_as_a_whole(
    shop: ViewedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.view_comparison.MOST_DIFFERENCES", 1)
    shop.damage("delete from rows where view = 'user_activity' and key = 'anonymous:a' and item is not null")
    shop.damage("delete from rows where view = 'user_activity' and cast(item as text) like '%\"e3\"%'")
    found = look_at_all(shop.activity, clock, meanwhile())
    assert (found.comparison.different, len(found.comparison.differences)) == (2, 1)
    found = look_at_all(shop.activity, clock, meanwhile(lambda: shop.replay("user_activity")))
    assert found.comparison == Comparison(same=3, pending=0, different=0)


def test_the_sample_compares_what_landed_lately_and_sees_what_was_lost(shop: ViewedShop) -> None:
    found = look_at_sample(shop.activity, clock, never)
    assert (found.keys, found.comparison.same) == (2, 3)
    shop.damage("delete from rows where view = 'user_activity' and key = 'anonymous:a' and item is not null")
    found = look_at_sample(shop.activity, clock, meanwhile())
    assert found.comparison.different == 1
    assert not judge("user_activity", SAMPLE, found).passed


def test_the_sample_does_not_read_what_is_old(shop: ViewedShop) -> None:
    shop.publish(stored(event_id="old", occurred_at=later(days=-20)))
    shop.platform.land()
    shop.listen()
    shop.damage("delete from rows where view = 'user_activity' and cast(item as text) like '%\"old\"%'")
    oldest = shop.platform.lake.table(shop.platform.tables[3]).snapshot()
    assert oldest.table.name == "product_viewed"
    for file in set(oldest.files()) - set(oldest.files_since("occurred_at", later(days=-2))):
        Path(file.uri).unlink()
    assert look_at_sample(shop.activity, clock, never).comparison == Comparison(3, 0, 0)


def test_where_nothing_landed_lately_there_is_nothing_to_sample(shop: ViewedShop) -> None:
    found = look_at_sample(shop.activity, lambda: later(hours=3), never)
    assert (found.keys, found.comparison) == (0, Comparison(0, 0, 0))
    assert judge("user_activity", SAMPLE, found).passed


def test_an_empty_lake_and_an_empty_view_agree(tmp_path: Path) -> None:
    shop = ViewedShop(tmp_path)
    assert look_at_all(shop.activity, clock, never).comparison == Comparison(0, 0, 0)
    sides = replace(shop.carts.sides, lake=Lake(f"file://{tmp_path}/elsewhere"))
    assert look_at_sample(replace(shop.carts, sides=sides), clock, never).keys == 0
    shop.close()


def test_what_to_do_names_the_event_dates_that_differ() -> None:
    facts = [Difference("user:a", f"2026-05-0{day}T12:00:00.000000Z", "x", None) for day in (3, 1)]
    assert "views repair --from 2026-05-01 --to 2026-05-03 --view user_activity" in what_to_do("user_activity", facts)
    counters = [Difference("p/1/2026-05-02", "2026-05-02T12:00:00Z", "x", None)]
    assert "--from 2026-05-02 --to 2026-05-02" in what_to_do("product_counters", counters)


def test_a_table_of_differences_shows_the_first_and_survives_what_people_type() -> None:
    many = tuple(Difference(f"user:{n:03}", "s", None, "name=a|b\n<script>") for n in range(50))
    result = judge("cart_events", WHOLE, Found(Comparison(0, 0, 70, many), keys=None))
    table = str(result.metadata["differences"].value)
    assert len(table.splitlines()) == 2 + SHOWN and "user:019" in table and "user:020" not in table
    assert result.metadata["rows_different"].value == 70
    assert difference_table("v", many[:1]).splitlines()[-1] == "| v | user:000 | s | nothing | name=a\\|b &lt;script> |"


@pytest.fixture
def definitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """The checks with the assets that they are of."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    return dg.Definitions(
        assets=[dg.AssetSpec(key) for key in {key.asset_key for key in check_keys([WHOLE])}],
        asset_checks=[view_checks],
        jobs=[CHECK_VIEWS],
        resources={"stores": Stores()},
    )


def test_in_dagster_each_view_is_checked_whole_by_night(
    shop: ViewedShop, definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.view_checks.LOOK_AGAIN_SECONDS", 0)
    now = datetime.now(UTC)
    shop.publish(stored("product_added", "today", occurred_at=now, received_at=now))
    shop.platform.land()
    shop.listen()
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_job_def("check_views")
        passed = job.execute_in_process(instance=instance).get_asset_check_evaluations()
        assert {(each.asset_key.path[-1], each.check_name, each.passed) for each in passed} == {
            ("cart_events", WHOLE, True),
            ("user_activity", WHOLE, True),
            ("product_counters", WHOLE, True),
        }
        shop.damage("delete from rows where view = 'cart_events' and cast(item as text) like '%\"today\"%'")
        found = job.execute_in_process(instance=instance).get_asset_check_evaluations()
        assert [each.asset_key for each in found if not each.passed] == [CART]


def test_what_dagster_did_is_read_from_the_last_materialisations(shop: ViewedShop) -> None:
    sides = shop.carts.sides
    with dg.DagsterInstance.ephemeral() as instance:
        assert facts(instance, sides, "cart_events").replayed == {}
        assert counters(instance, sides, Stores()).version is None
        versions = dg.MetadataValue.json({"product_added": 3})
        instance.report_runless_asset_event(dg.AssetMaterialization(CART, metadata={"lake_versions": versions}))
        instance.report_runless_asset_event(dg.AssetMaterialization(COUNTERS, metadata={"version": 7}))
        view = facts(instance, sides, "cart_events")
        assert (view.replayed, view.group) == ({"product_added": 3}, "listener.cart_events")
        assert counters(instance, sides, Stores()).version == 7
        assert facts(instance, sides, "user_activity").first_date(NOON) == NOON.date() - timedelta(days=89)
