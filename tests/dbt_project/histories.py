"""Random histories of a shop's visitors, and how they arrive: late, repeated, by clocks that are wrong.

A history falls into eras, so far apart that nothing in one can reach another. A build of the few dates that a piece
touches in each era is therefore many builds at once, and none of them hides what another one misses.
"""

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

FIRST = datetime(2025, 10, 1, 22, 0, tzinfo=UTC)
"""A late evening: what lasts an hour or two crosses midnight."""

DAYS = 40
FIRST_ERA, ERAS, ERA_DAYS = datetime(2015, 2, 1, 22, 0, tzinfo=UTC), 25, 150
RECEIVED = datetime(2026, 6, 1, tzinfo=UTC)
TYPES = (
    "product_viewed",
    "product_viewed",
    "product_added",
    "product_removed",
    "checkout_started",
    "order_completed",
    "order_refunded",
)
NATIVE = dict[str, Any]
Burst = list[NATIVE]


class Sending(NamedTuple):
    """A request: events in the native form, when the device says it sent them, and when they were received."""

    events: Burst
    sent_at: datetime
    received_at: datetime


def event(number: int, event_type: str, at: datetime, **fields: Any) -> NATIVE:
    """Event `number`, in the native form."""
    properties: dict[str, Any] = {"product_id": f"p{number % 3}", "price": "10.10", "currency": "EUR"}
    if event_type in ("order_completed", "order_refunded", "checkout_started"):
        product = {"product_id": f"p{number % 3}", "quantity": 2, "price": "10.10"}
        properties = {"order_id": f"o{number}", "total": "20.20", "currency": "EUR", "products": [product]}
    return {
        "event_id": f"e{number}",
        "event_type": event_type,
        "occurred_at": at.isoformat(),
        "properties": properties,
        "device": {"type": "phone" if number % 2 else "desktop"},
        **fields,
    }


def histories(chance: random.Random, bursts: int) -> list[list[Burst]]:
    """The bursts of each era, with visitors of its own."""
    numbers = itertools.count()
    starts = [FIRST_ERA + timedelta(days=era * ERA_DAYS) for era in range(ERAS)]
    return [[burst(chance, numbers, start, f"{start:%y%m}") for _ in range(bursts)] for start in starts]


def burst(chance: random.Random, numbers: Iterator[int], start: datetime, names: str) -> Burst:
    """What one of a few visitors does, with pauses around half an hour and across midnight.

    Some are logged in, some are nobody, and some are bots that make no pause for days.
    """
    at = start + timedelta(days=chance.randrange(DAYS), minutes=chance.randrange(240))
    who = {} if chance.random() < 0.02 else {"anonymous_id": f"b{names}-{chance.randrange(4)}"}
    if chance.random() < 0.25:
        who["user_id"] = f"u{names}-{chance.randrange(3)}"
    is_bot = chance.random() < 0.02
    events = []
    for _ in range(170 if is_bot else chance.randint(1, 8)):
        one = event(next(numbers), chance.choice(TYPES), at, **who)
        if chance.random() < 0.1:
            one["properties"].pop("products", None)
        events.append(one)
        pause = 29 if is_bot else chance.choice((0, 0, 1, 5, 30, 31, 200))
        at += timedelta(minutes=pause, microseconds=chance.randrange(2))
    if chance.random() < 0.05:
        events[0]["occurred_at"] = chance.choice(("1970-01-01T00:00:00Z", "2999-12-31T00:00:00Z"))
    return events


def pieces(chance: random.Random, eras: list[list[Burst]], late: int) -> Iterator[list[Sending]]:
    """Most of every era, then `late` times a burst of most eras, and here and there an event once more."""
    yield sendings(chance, [one for bursts in eras for one in bursts[:-late]])
    for turn in range(late):
        piece: list[Burst] = []
        for bursts in eras:
            if chance.random() < 0.8:
                piece.append(bursts[turn - late])
            if chance.random() < 0.5:
                piece.append([chance.choice(chance.choice(bursts))])
        yield sendings(chance, piece)


def sendings(chance: random.Random, bursts: list[Burst]) -> list[Sending]:
    """`bursts` as requests of one moment. What was received first does not arrive first.

    From the time of sending the collector takes by how much the device's clock is off. That moves an event, also to the
    next date: a late copy may be the one that counts.
    """
    at = RECEIVED + timedelta(hours=chance.randrange(500))
    by_skew: dict[int, Burst] = {}
    for one in bursts:
        by_skew.setdefault(chance.choice((0, 0, 0, 5, -5, 30)), []).extend(one)
    return [Sending(batch, at - timedelta(hours=skew), at) for skew, batch in by_skew.items()]
