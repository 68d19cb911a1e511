from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import DeltaTable

from ingestion.lake import LakeFile
from ingestion.listened import group
from ingestion.listener import Listener
from ingestion.steps import run
from ingestion.tables import event_table
from ingestion.views.facts import Lookups, View
from ingestion.views.registry import fact_view
from ingestion.views.sqlite import SQLiteViews
from sensors.attempts import Attempt
from sensors.views_behind import FOR_EVER, GRACE_SECONDS, Fill, Lacked, decide, lacked, read_lacked
from tests.ingestion.views.landing import later
from tests.platform import NOON, Platform

RECENT = [f"2026-05-01-{hour:02d}" for hour in range(24)]
NOW = 10_000.0
OLD = NOW - GRACE_SECONDS - 1
CARTS = fact_view("cart_events")
ACTIVITY = replace(fact_view("user_activity"), event_types=CARTS.event_types)
ADDED = event_table("product_added")


def missing(*hours: str, since: float = OLD) -> Lacked:
    return Lacked(7, tuple(LakeFile("file", hour, 1) for hour in hours), since, 5)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with closing(Platform(tmp_path, [event_table(name) for name in CARTS.event_types])) as platform:
        yield platform


def land(platform: Platform, hours: int = 0, events: int = 2) -> None:
    """Events in both partitions, so many hours after noon."""
    platform.now = later(hours=hours)
    platform.publish("product_added", events)
    platform.land()


def listen(platform: Platform, *views: View) -> None:
    with closing(SQLiteViews(platform.path / "views.db", clock=NOON.timestamp)) as store:
        run(Listener(platform.broker, store, views, Lookups).round(), lambda point: None)


def lacks(platform: Platform, after: int | None = None) -> Lacked:
    """What the carts lack that have every commit up to `after`."""
    topic = platform.broker.topic(ADDED.topic)
    return lacked(platform.lake.table(ADDED), after, topic, platform.broker.positions(group(CARTS), topic))


def hours(found: Lacked) -> list[str]:
    return [file.landing_hour for file in found.files]


# -- what to ask for -------------------------------------------------------------------------------------------------


def test_views_that_lack_nothing_are_not_asked_for() -> None:
    assert decide({"cart_events": [Lacked(7), Lacked(9)]}, [], NOW, RECENT) is None


def test_what_has_just_landed_is_left_to_the_listener() -> None:
    fresh = missing(RECENT[3], since=NOW - GRACE_SECONDS + 1)
    assert decide({"cart_events": [fresh]}, [], NOW, RECENT) is None
    assert decide({"cart_events": [fresh, missing(RECENT[2])]}, [], NOW, RECENT) == Fill(
        ("cart_events",), RECENT[2], RECENT[3]
    )


def test_one_run_for_all_views_that_are_behind_shown_under_their_hours() -> None:
    behind = {"cart_events": [missing(RECENT[7])], "other": [Lacked(1)], "user_activity": [missing(RECENT[4])]}
    assert decide(behind, [], NOW, RECENT) == Fill(("cart_events", "user_activity"), RECENT[4], RECENT[7])


def test_hours_that_no_partition_stands_for_are_shown_under_the_one_that_runs() -> None:
    assert decide({"cart_events": [missing("1970-01-01-00")]}, [], NOW, RECENT) == Fill(
        ("cart_events",), RECENT[-1], RECENT[-1]
    )


def test_a_view_that_just_failed_waits_and_the_others_do_not() -> None:
    failed = Attempt(NOW - 2, NOW - 1, False, {"cart_events"}.__contains__)
    behind = {"cart_events": [missing(RECENT[3])], "user_activity": [missing(RECENT[3])]}
    assert decide(behind, [failed], NOW, RECENT) == Fill(("user_activity",), RECENT[3], RECENT[3])
    assert decide(behind, [failed], NOW + 10, RECENT) == Fill(("cart_events", "user_activity"), RECENT[3], RECENT[3])


# -- what is lacking -------------------------------------------------------------------------------------------------


def test_without_a_listener_a_view_lacks_what_landed_after_its_last_materialisation(platform: Platform) -> None:
    for hour in range(3):
        land(platform, hour)
    assert hours(lacks(platform)) == RECENT[12:15]
    assert hours(lacks(platform, after=1)) == RECENT[13:15]
    assert lacks(platform, after=1).after == 1
    assert lacks(platform, after=3) == Lacked(3)


def test_what_a_listener_has_passed_is_not_lacking(platform: Platform) -> None:
    land(platform)
    listen(platform, CARTS)
    assert lacks(platform) == Lacked(1)
    land(platform, 1)
    assert hours(lacks(platform)) == [RECENT[13]], "nobody passed it"
    listen(platform, CARTS)
    assert lacks(platform) == Lacked(2)


def test_a_listener_that_stopped_within_a_commit_leaves_it_lacking(platform: Platform) -> None:
    for hour in range(3):
        land(platform, hour, events=9)
    topic = platform.broker.topic(ADDED.topic)
    ends = {p: held.end for p, held in platform.broker.bounds(ADDED.topic).items()}
    assert all(ends.values()), "both partitions have some"
    platform.broker.commit(group(CARTS), topic, {0: ends[0], 1: ends[1] - 1})
    assert hours(lacks(platform)) == [RECENT[14]]
    platform.broker.commit(group(CARTS), topic, {0: ends[0], 1: 1})
    assert hours(lacks(platform)) == RECENT[12:15]


def test_each_view_is_passed_by_a_listener_of_its_own(platform: Platform) -> None:
    land(platform)
    listen(platform, ACTIVITY)
    assert not any(found.files for found in read_lacked(platform.lake, platform.broker, ACTIVITY, {}).values())
    lacking = read_lacked(platform.lake, platform.broker, CARTS, {})
    assert [name for name, found in lacking.items() if found.files] == ["product_added"]
    assert not any(
        found.files for found in read_lacked(platform.lake, platform.broker, CARTS, {"product_added": 1}).values()
    )


def test_what_the_lake_no_longer_lists_is_brought_as_a_whole(platform: Platform) -> None:
    for hour in range(3):
        land(platform, hour)
    path = Path(platform.lake.table(ADDED).uri)
    DeltaTable(path).create_checkpoint()
    (path / "_delta_log" / f"{0:020d}.json").unlink()
    found = lacked(platform.lake.table(ADDED), None, None, {})
    assert sorted(hours(found)) == RECENT[12:15] and found.since == FOR_EVER


def test_a_log_that_lost_its_topic_has_no_listener(platform: Platform) -> None:
    for hour in range(3):
        land(platform, hour)
    assert hours(lacked(platform.lake.table(ADDED), 1, None, {})) == RECENT[13:15]


def test_a_lack_is_as_old_as_its_first_commit(platform: Platform) -> None:
    for hour in range(2):
        land(platform, hour)
    commits = list(platform.lake.table(ADDED).commits(0))
    assert lacks(platform).since == commits[0].committed_at < commits[1].committed_at
    assert lacks(platform, after=1).since == commits[1].committed_at
