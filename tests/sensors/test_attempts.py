from hypothesis import given
from hypothesis import strategies as st

from sensors.attempts import FIRST_PAUSE, LONGEST_PAUSE, Attempt, is_due


def attempt(started: float, succeeded: bool = False, name: str = "carts") -> Attempt:
    return Attempt(started, started + 1, succeeded, lambda asked: asked == name)


def test_what_was_never_tried_is_due() -> None:
    assert is_due("carts", [], now=0)


def test_what_failed_waits_and_then_is_due_again() -> None:
    assert not is_due("carts", [attempt(100)], now=101)
    assert is_due("carts", [attempt(100)], now=101 + FIRST_PAUSE)


def test_the_pause_doubles_with_each_failure_up_to_a_bound() -> None:
    two = [attempt(200), attempt(100)]
    assert not is_due("carts", two, now=201 + FIRST_PAUSE)
    assert is_due("carts", two, now=201 + 2 * FIRST_PAUSE)
    assert is_due("carts", [attempt(at) for at in range(0, 500, 10)], now=491 + LONGEST_PAUSE)


def test_success_ends_the_pause() -> None:
    assert is_due("carts", [attempt(200, succeeded=True), attempt(100)], now=201)


def test_what_was_done_within_a_run_that_failed_of_another_is_due() -> None:
    assert is_due("carts", [attempt(100)], now=101, done_at=100.5)


def test_the_failures_of_one_hold_up_no_other() -> None:
    assert is_due("views", [attempt(100)], now=101)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=20), st.floats(0, 1e6))
def test_whatever_happened_it_is_due_after_the_longest_pause(tries: list[tuple[float, bool]], done_at: float) -> None:
    attempts = [attempt(started, succeeded) for started, succeeded in tries]
    assert is_due("carts", attempts, now=1e6 + 1 + LONGEST_PAUSE, done_at=done_at)
