"""A seeded shop: shoppers who browse, log in and buy, as native events in the order in which they are sent.

Pure. Time comes in as the `moments` of sending, so one function serves a day that is over in a second and live
traffic: `traffic(7, every(start, gap))` or `traffic(7, moments)` with a generator that reads a clock and waits.

The same seed and moments give the same events. Other moments change times only: whoever sends live traffic twice to
one collector takes another seed, or the second run repeats the ids of the first.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import count
from random import Random
from typing import Any, TypeVar

from msgspec import Struct

from ingestion.shop import EPOCH, Catalogue, Kind, Shopper, Visit, new_shopper

T = TypeVar("T")
RESTING_SHOPPERS = 2_000
REMEMBERED_EVENTS = 2_000

MISTAKES: tuple[dict[str, Any], ...] = (
    {"event_type": "product_seen"},
    {"event_id": ""},
    {"occurred_at": "yesterday"},
    {"properties": "none"},
    {"event_type": "product_viewed", "properties": {"name": "a view without its product"}},
    {"event_type": "product_clicked", "properties": {"product_id": "", "position": 3}},
    {"event_type": "product_added", "properties": {"product_id": "P-1001", "price": "1,299.00"}},
    {"event_type": "product_removed", "properties": {"product_id": "P-1001", "quantity": "two"}},
    {"event_type": "cart_viewed", "properties": {"currency": "Euro"}},
    {"event_type": "order_completed", "properties": {"total": 49.9, "currency": "EUR"}},
)
"""What a malformed event says instead; a collector rejects each of them."""


class Simulated(Struct, frozen=True):
    """An event as an app sends it, not to be changed, and what is the matter with it."""

    event: dict[str, Any]
    kind: Kind


class Faults(Struct, frozen=True, kw_only=True):
    """Shares of what goes wrong: of the events sent, of the visits (`late`), of the devices (`wrong_clock`)."""

    repeated: float = 0.01
    late: float = 0.02
    malformed: float = 0.01
    wrong_clock: float = 0.01


USUAL_FAULTS = Faults()


def traffic(
    seed: int, moments: Iterable[datetime], faults: Faults = USUAL_FAULTS, present: int = 200
) -> Iterator[Simulated]:
    """One event for each moment of sending, from `present` shoppers who visit at the same time.

    A shopper acts at every `present`-th moment on average, so `present` is the rate times the seconds between two
    clicks. A moment is taken only when its event is asked for.
    """
    crowd = _Crowd(Random(seed), faults, present)  # noqa: S311  a simulation has to be repeatable
    for moment in moments:
        yield crowd.send(moment)


def every(start: datetime, gap: timedelta) -> Iterator[datetime]:
    """Moments without end from `start`, `gap` apart."""
    return (start + number * gap for number in count())


class _Crowd:
    """Everybody who is in the shop, those who may come back, and what goes wrong on the way."""

    def __init__(self, rng: Random, faults: Faults, present: int) -> None:
        self._rng, self._faults = rng, faults
        self._catalogue = Catalogue(rng)
        self._visits: list[Visit | None] = [None] * present
        self._resting: list[Shopper] = []
        self._remembered: list[dict[str, Any]] = []

    def send(self, now: datetime) -> Simulated:
        luck = self._rng.random()
        if luck < self._faults.repeated and self._remembered:
            return Simulated(self._rng.choice(self._remembered), "repeated")
        sent = self._act(now)
        if luck > 1 - self._faults.malformed:
            return Simulated({**sent.event, **self._rng.choice(MISTAKES)}, "malformed")
        _keep(self._remembered, sent.event, REMEMBERED_EVENTS, self._rng)
        return sent

    def _act(self, now: datetime) -> Simulated:
        place = self._rng.randrange(len(self._visits))
        while (visit := self._visits[place]) is None or (event := visit.next_event(now)) is None:
            if visit is not None:
                _keep(self._resting, visit.shopper, RESTING_SHOPPERS, self._rng)
            self._visits[place] = self._arrive(now)
        return Simulated(event, visit.kind)

    def _arrive(self, now: datetime) -> Visit:
        if self._rng.random() < self._faults.late:
            # Only a device that has sent nothing yet, or its own events would run backwards.
            delay = timedelta(hours=self._rng.uniform(2, 120))
            return self._visit(new_shopper(self._rng, timedelta()), -delay, "late")
        shopper = self._come_back() or new_shopper(self._rng, self._clock_error(now))
        return self._visit(shopper, shopper.clock_error, "wrong_clock" if shopper.clock_error else "valid")

    def _come_back(self) -> Shopper | None:
        if not self._resting or self._rng.random() < 0.5:
            return None
        return self._resting.pop(self._rng.randrange(len(self._resting)))

    def _visit(self, shopper: Shopper, shift: timedelta, kind: Kind) -> Visit:
        return Visit(self._rng, self._catalogue, shopper, shift, kind)

    def _clock_error(self, now: datetime) -> timedelta:
        if self._rng.random() >= self._faults.wrong_clock:
            return timedelta()
        just_reset = EPOCH - now + timedelta(days=self._rng.uniform(0.01, 1))
        years_ahead = timedelta(days=365 * self._rng.randint(1, 10))
        hours_wrong = timedelta(hours=self._rng.choice((-11, -5, -2, 2, 5, 11)))
        return self._rng.choice((just_reset, years_ahead, hours_wrong))


def _keep(kept: list[T], item: T, limit: int, rng: Random) -> None:
    """Endless traffic must not fill the memory: beyond the limit, forget one at random."""
    if len(kept) < limit:
        kept.append(item)
    else:
        kept[rng.randrange(limit)] = item
