from datetime import date

from orchestration.stale_dates import stale_dates

FIRST, SECOND = date(2026, 3, 1), date(2026, 3, 2)


def touched(_sql: str, _parameters: object) -> list[tuple[object, ...]]:
    return [(SECOND, 7), (FIRST, 3)]


def test_a_date_that_was_touched_after_it_was_built_is_stale() -> None:
    assert stale_dates(touched, {}) == {FIRST: 3, SECOND: 7}
    assert stale_dates(touched, {FIRST: 3, SECOND: 6}) == {SECOND: 7}
    assert stale_dates(touched, {}, before=7) == {}
