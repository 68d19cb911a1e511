from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.contracts.clock import REPLACED, occurred_at, skew, utc

RECEIVED = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE, DAY, MICROSECOND = timedelta(minutes=1), timedelta(days=1), timedelta(microseconds=1)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def ago(**span: float) -> datetime:
    return RECEIVED - timedelta(**span)


def test_a_time_without_a_zone_is_taken_as_utc() -> None:
    assert utc(datetime(2026, 5, 1, 12)) == RECEIVED
    assert utc(datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))) == RECEIVED


@pytest.mark.parametrize(("year", "hours"), [(1, 1), (9999, -1)])
def test_a_time_beyond_the_calendar_is_an_overflow(year: int, hours: int) -> None:
    edge = datetime(1, 1, 1) if year == 1 else datetime(9999, 12, 31, 23, 59)
    with pytest.raises(OverflowError):
        utc(edge.replace(tzinfo=timezone(timedelta(hours=hours))))


def test_without_a_device_time_it_happened_when_it_was_received() -> None:
    assert occurred_at(None, None, RECEIVED) == (RECEIVED, None)
    assert occurred_at(None, ago(days=400), RECEIVED) == (RECEIVED, None)


def test_without_sent_at_the_device_is_believed() -> None:
    assert skew(None, RECEIVED) == timedelta(0)
    assert occurred_at(ago(hours=3), None, RECEIVED) == (ago(hours=3), None)


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(0, 0), (29, 0), (31, 1), (-29, 0), (-31, -1), (60, 1), (89, 1), (91, 2)]
)
def test_the_skew_is_in_whole_minutes(seconds: int, minutes: int) -> None:
    assert skew(ago(seconds=seconds), RECEIVED) == minutes * MINUTE


@pytest.mark.parametrize("device_now", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2099, 7, 1, 3, tzinfo=UTC)])
def test_a_wrong_clock_is_corrected_by_when_it_says_it_sent(device_now: datetime) -> None:
    corrected, flag = occurred_at(device_now - timedelta(minutes=7), device_now, RECEIVED)
    assert (corrected, flag) == (ago(minutes=7), None)


@pytest.mark.parametrize(
    ("device", "believed"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), False),
        (datetime(2015, 1, 1, tzinfo=UTC) - MICROSECOND, False),
        (datetime(2015, 1, 1, tzinfo=UTC), True),
        (RECEIVED + DAY, True),
        (RECEIVED + DAY + MICROSECOND, False),
        (datetime(2099, 1, 1, tzinfo=UTC), False),
        (datetime.min.replace(tzinfo=UTC), False),
        (datetime.max.replace(tzinfo=UTC), False),
    ],
)
def test_an_impossible_time_is_replaced_and_flagged(device: datetime, believed: bool) -> None:
    assert occurred_at(device, None, RECEIVED) == ((device, None) if believed else (RECEIVED, REPLACED))


@pytest.mark.parametrize(
    ("device", "sent_at"),
    [(datetime.max, datetime.min), (datetime.min, datetime.max), (datetime.max, datetime.max)],
)
def test_times_at_the_ends_of_the_calendar_stop_nothing(device: datetime, sent_at: datetime) -> None:
    when, flag = occurred_at(device.replace(tzinfo=UTC), sent_at.replace(tzinfo=UTC), RECEIVED)
    assert EARLIEST_PLAUSIBLE <= when <= RECEIVED + DAY
    assert flag in (None, REPLACED)


EARLIEST_PLAUSIBLE = datetime(2015, 1, 1, tzinfo=UTC)


@given(MOMENTS, st.timedeltas(-DAY, DAY), st.integers(0, 20), st.integers(0, 3_600_000_000))
def test_a_resend_within_seconds_comes_to_the_same_time(
    received: datetime, wrong_by: timedelta, seconds: int, ago_us: int
) -> None:
    """The device sends again later and says so: both its clock and ours have moved on by the same."""
    device = received + wrong_by - timedelta(microseconds=ago_us)
    again = timedelta(seconds=seconds)
    first = occurred_at(device, received + wrong_by, received)
    second = occurred_at(device, received + wrong_by + again, received + again)
    assert first == second


@given(MOMENTS, st.timedeltas(-1000 * DAY, 1000 * DAY), st.timedeltas(-DAY, DAY), st.timedeltas(-DAY, DAY))
def test_the_order_of_a_batch_is_kept(received: datetime, wrong_by: timedelta, a: timedelta, b: timedelta) -> None:
    sent_at = received + wrong_by
    (first, _), (second, _) = (occurred_at(sent_at + device, sent_at, received) for device in (a - DAY, b - DAY))
    assert first - second == a - b
