"""When an event happened, by a device clock that may be wrong."""

from datetime import UTC, datetime, timedelta

EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)
LATEST_AHEAD = timedelta(hours=24)
REPLACED = "occurred_at_replaced"


def utc(time: datetime) -> datetime:
    """`time` in UTC; one without a zone is taken as UTC. OverflowError within a day of year 1 or 9999."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def skew(sent_at: datetime | None, received_at: datetime) -> timedelta:
    """How far the device's clock is behind, in whole minutes.

    Whole minutes keep the order within a device and let a resend of the same event come to the same time.
    """
    if sent_at is None:
        return timedelta(0)
    return timedelta(minutes=round((received_at - sent_at) / timedelta(minutes=1)))


def occurred_at(
    device: datetime | None, sent_at: datetime | None, received_at: datetime
) -> tuple[datetime, str | None]:
    """The corrected time of an event, and a flag where the device's time was of no use.

    Before 2015, or more than 24 hours after `received_at`, nothing is known but that it was received.
    """
    if device is None:
        return received_at, None
    try:
        corrected = device + skew(sent_at, received_at)
    except OverflowError:
        return received_at, REPLACED
    if EARLIEST <= corrected <= received_at + LATEST_AHEAD:
        return corrected, None
    return received_at, REPLACED
