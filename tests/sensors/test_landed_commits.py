from hypothesis import given
from hypothesis import strategies as st

from sensors.attempts import Attempt
from sensors.landed_commits import LakeState, decide

RECENT = [f"2026-05-01-{hour:02d}" for hour in range(24)]
NOW = 1_000.0


def test_nothing_pending_asks_for_nothing() -> None:
    assert decide([LakeState("carts", 4, 4)], [], NOW, RECENT) is None


def test_one_run_for_all_that_is_pending_shown_under_the_hours_that_it_brings() -> None:
    states = [LakeState("carts", 4, 3, hours=(RECENT[7],)), LakeState("views", 9, 2, hours=(RECENT[5], RECENT[6]))]
    loads = decide([*states, LakeState("searches", 1, 1)], [], NOW, RECENT)
    assert loads is not None
    assert (loads.tables, loads.first, loads.last) == (("carts", "views"), RECENT[5], RECENT[7])


def test_a_table_of_which_nothing_is_known_is_asked_for_under_the_hour_that_runs() -> None:
    loads = decide([LakeState("carts", 0, None)], [], NOW, RECENT)
    assert loads is not None
    assert (loads.first, loads.last) == (RECENT[-1], RECENT[-1])


def test_hours_of_a_wrong_clock_are_loaded_and_reported() -> None:
    loads = decide([LakeState("carts", 4, 3, hours=("1970-01-01-00", "2099-01-01-00"))], [], NOW, RECENT)
    assert loads is not None
    assert (loads.tables, loads.first, loads.last) == (("carts",), RECENT[-1], RECENT[-1])
    assert loads.unmarked == ("1970-01-01-00", "2099-01-01-00")


def test_a_table_that_just_failed_waits_and_the_others_do_not() -> None:
    failed = Attempt(NOW - 2, NOW - 1, False, {"carts", "views"}.__contains__)
    states = [LakeState("carts", 4, 3, loaded_at=0.0), LakeState("views", 5, 4, loaded_at=NOW - 1.5)]
    loads = decide(states, [failed], NOW, RECENT)
    assert loads is not None
    assert loads.tables == ("views",)


NAMES = st.sampled_from(["carts", "views", "searches", "orders"])
STATES = st.lists(
    st.builds(
        LakeState,
        name=NAMES,
        version=st.integers(0, 9),
        loaded=st.none() | st.integers(0, 9),
        hours=st.lists(st.sampled_from([*RECENT, "1970-01-01-00", "2099-01-01-00"])).map(tuple),
    ),
    unique_by=lambda state: state.name,
)


@given(STATES)
def test_every_pending_table_is_in_the_run_and_every_hour_in_its_range_or_reported(states: list[LakeState]) -> None:
    loads = decide(states, [], NOW, RECENT)
    pending = [state for state in states if state.is_pending]
    assert (loads is None) == (not pending)
    if loads is not None:
        assert set(loads.tables) == {state.name for state in pending}
        assert {loads.first, loads.last} <= set(RECENT)
        for hour in {hour for state in pending for hour in state.hours}:
            assert hour in loads.unmarked or loads.first <= hour <= loads.last
