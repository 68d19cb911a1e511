"""Numbers, money and dates as people read them; what there is not is a dash."""

from datetime import date, datetime, timedelta
from decimal import Decimal

DASH = "\N{EN DASH}"
SMALLEST_SHARE = 0.0005


def as_count(number: int | None) -> str:
    """1234 is 1,234."""
    return DASH if number is None else f"{number:,}"


def as_percent(share: float | None) -> str:
    """0.1234 is 12.3%; what is there is never 0.0%, and what is missing never hides in 100.0%."""
    if share is None:
        return DASH
    if 0 < share < SMALLEST_SHARE:
        return "<0.1%"
    if 1 - SMALLEST_SHARE < share < 1:
        return ">99.9%"
    return f"{share:.1%}"


def as_money(amount: Decimal, currency: str | None) -> str:
    """1234.5 EUR is 1,234.50 EUR."""
    return f"{amount:,.2f} {currency or '(no currency)'}".replace("-", "\N{MINUS SIGN}")


def as_date(day: date) -> str:
    """1 November 2026."""
    return f"{day.day} {day:%B %Y}"


def as_short_date(day: date) -> str:
    """1 Nov."""
    return f"{day.day} {day:%b}"


def as_range(first: date, last: date) -> str:
    """Two dates, without what they share."""
    if first == last:
        return as_date(first)
    if first.year != last.year:
        return f"{as_date(first)} {DASH} {as_date(last)}"
    begin = f"{first.day}" if first.month == last.month else f"{first.day} {first:%B}"
    return f"{begin} {DASH} {as_date(last)}"


def as_moment(at: datetime) -> str:
    """A date and a time of day, UTC."""
    return f"{as_date(at.date())}, {at:%H:%M} UTC"


def as_duration(duration: timedelta) -> str:
    """A duration in the largest unit that divides it."""
    for unit, seconds in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        count, rest = divmod(int(duration.total_seconds()), seconds)
        if not rest:
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    raise AssertionError("a second divides every whole number of seconds")
