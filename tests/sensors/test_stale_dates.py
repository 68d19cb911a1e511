from datetime import date, timedelta

import dagster as dg
from hypothesis import given
from hypothesis import strategies as st

from ingestion.warehouse import StaleDate, Staleness
from sensors.attempts import Attempt
from sensors.stale_dates import REPORT_KEY, Build, decide, decide_everything, read_reports, report, split

NOW = 1_000.0
FIRST_DAY = date(2026, 5, 1)


def day(number: int) -> str:
    return (FIRST_DAY + timedelta(days=number)).isoformat()


def stale(*numbers: int, touched: int = 9, built: int = 0) -> list[StaleDate]:
    return [StaleDate(day(number), touched, built) for number in numbers]


def test_nothing_stale_asks_for_nothing() -> None:
    assert decide([], [], NOW) is None


def test_dates_that_follow_each_other_are_one_run() -> None:
    assert decide(stale(1, 2, 3), [], NOW) == Build(day(1), day(3))


def test_a_run_never_reaches_over_a_date_that_is_not_stale() -> None:
    assert decide(stale(1, 2, 5, 6), [], NOW) == Build(day(5), day(6))


def test_a_run_has_at_most_so_many_dates() -> None:
    assert decide(stale(*range(10)), [], NOW, limit=3) == Build(day(7), day(9))


def test_the_date_that_waits_longest_goes_first_however_often_another_is_touched() -> None:
    assert decide([*stale(9, touched=50, built=40), *stale(1, touched=30, built=20)], [], NOW) == Build(day(1), day(1))


def test_a_date_that_just_failed_waits_and_the_others_do_not() -> None:
    failed = Attempt(NOW - 2, NOW - 1, False, lambda asked: asked == day(5))
    assert decide(stale(1, 5), [failed], NOW) == Build(day(1), day(1))
    assert decide(stale(5), [failed], NOW) is None


def test_a_date_without_a_partition_is_named_and_asked_for_by_nobody() -> None:
    known, unknown = split(stale(1, 2), lambda name: name == day(1))
    assert (known, unknown) == (stale(1), [day(2)])


def test_a_build_of_everything_is_shown_under_the_newest_stale_dates_or_under_today() -> None:
    assert decide_everything(stale(1, 2, 5, 6), [], NOW, day(9)) == Build(day(5), day(6))
    assert decide_everything([], [], NOW, day(9)) == Build(day(9), day(9))
    assert decide_everything([], [], NOW, None) is None


def test_a_build_of_everything_that_just_failed_waits_whatever_else_is_stale() -> None:
    failed = Attempt(NOW - 2, NOW - 1, False, lambda asked: asked in (day(5), day(6)))
    assert decide_everything(stale(1, 2, 5, 6), [failed], NOW, day(9)) is None


def test_the_report_that_saw_the_most_loads_holds_whoever_wrote_last() -> None:
    older, newer = report(Staleness(4, tuple(stale(1)), "a")), report(Staleness(7, tuple(stale(2)), "b", 5))
    by_hand = dg.AssetMaterialization(REPORT_KEY)
    assert read_reports([by_hand, older, newer]) == Staleness(7, tuple(stale(2)), "b", 5)


def test_without_a_report_nothing_is_known() -> None:
    assert read_reports([]).dates == ()


SEQS = st.integers(0, 20)
STALE = st.lists(
    st.builds(lambda n, a, b: StaleDate(day(n), max(a, b) + 1, min(a, b)), st.integers(0, 60), SEQS, SEQS),
    unique_by=lambda one: one.event_date,
)


@given(STALE, st.integers(1, 10))
def test_a_run_is_a_range_of_stale_dates_within_the_limit(dates: list[StaleDate], limit: int) -> None:
    build = decide(dates, [], NOW, limit)
    assert (build is None) == (not dates)
    if build:
        asked = days_between(build)
        assert len(asked) <= limit
        assert set(asked) <= {one.event_date for one in dates}


@given(st.sets(st.integers(0, 60), min_size=1), st.sets(st.integers(0, 60)), st.integers(1, 5))
def test_every_date_gets_its_turn_while_some_are_touched_by_every_load(
    waiting: set[int], busy: set[int], limit: int
) -> None:
    built = {day(number): 0 for number in waiting | busy}
    never = {day(number) for number in waiting}
    for load_seq in range(1, len(built) * 2 + 2):
        open_dates = never | {day(number) for number in busy}
        build = decide([StaleDate(name, load_seq + 1, built[name]) for name in open_dates], [], NOW, limit)
        if build is None:
            break
        for name in days_between(build):
            built[name] = load_seq
            never.discard(name)
    assert not never


def days_between(build: Build) -> list[str]:
    first, last = date.fromisoformat(build.first), date.fromisoformat(build.last)
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
