"""What every warehouse answers about the dates to build again."""

from ingestion.warehouse import StaleDate, Staleness
from tests.platform import Platform

DATE = "2026-05-01"


def load(platform: Platform) -> int:
    platform.publish("product_viewed", 2)
    platform.land()
    platform.load()
    return platform.warehouse.staleness().load_seq


def test_nothing_is_stale_at_the_beginning(platform: Platform) -> None:
    assert platform.warehouse.staleness() == Staleness(0, ())


def test_a_load_makes_the_dates_of_its_rows_stale(platform: Platform) -> None:
    load_seq = load(platform)
    assert platform.warehouse.staleness().dates == (StaleDate(DATE, load_seq, 0),)


def test_a_date_is_no_longer_stale_once_it_was_built(platform: Platform) -> None:
    platform.warehouse.record_built([DATE, "2026-04-30"], load(platform))
    assert platform.warehouse.staleness().dates == ()


def test_a_load_after_the_build_began_leaves_the_date_stale(platform: Platform) -> None:
    seen, later = load(platform), load(platform)
    platform.warehouse.record_built([DATE], seen)
    assert platform.warehouse.staleness().dates == (StaleDate(DATE, later, seen),)


def test_a_build_that_ends_late_takes_nothing_back(platform: Platform) -> None:
    first, second = load(platform), load(platform)
    platform.warehouse.record_built([DATE], second)
    platform.warehouse.record_built([DATE], first)
    assert platform.warehouse.staleness().dates == ()


def test_a_reload_makes_its_dates_stale_again(platform: Platform) -> None:
    platform.warehouse.record_built([DATE], load(platform))
    platform.reload()
    assert [stale.event_date for stale in platform.warehouse.staleness().dates] == [DATE]


def test_whatever_changes_what_is_stale_has_a_number_of_its_own(platform: Platform) -> None:
    loaded = load(platform)
    platform.warehouse.record_built([DATE], loaded)
    assert platform.warehouse.staleness().load_seq > loaded


def test_by_which_definitions_everything_was_built_is_remembered(platform: Platform) -> None:
    assert platform.warehouse.staleness().definitions == ""
    platform.warehouse.record_built([DATE], load(platform), "old")
    platform.warehouse.record_built([DATE], load(platform), "new")
    platform.warehouse.record_built([DATE], load(platform))
    assert platform.warehouse.staleness().definitions == "new"


def test_a_build_of_everything_that_began_and_did_not_end_leaves_every_date_stale(platform: Platform) -> None:
    seen = load(platform)
    platform.warehouse.record_built([DATE], seen, "old")
    before = platform.warehouse.staleness().load_seq
    platform.warehouse.forget_built()
    after = platform.warehouse.staleness()
    assert after == Staleness(after.load_seq, (StaleDate(DATE, seen, 0),), "")
    assert after.load_seq > before


def test_no_dates_are_no_problem(platform: Platform) -> None:
    platform.warehouse.record_built([], load(platform))
    assert len(platform.warehouse.staleness().dates) == 1
