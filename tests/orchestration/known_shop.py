"""Four weeks of a small shop, and what is true of them: counted one by one in Python, with nothing of the models."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from typing import Any

Event = dict[str, Any]
BEGIN = datetime(2026, 2, 23, tzinfo=UTC)
"""A Monday."""
AS_OF = datetime(2026, 3, 20, 18, tzinfo=UTC)
FIRST, LAST = date(2026, 3, 4), date(2026, 3, 22)
"""The range of the report: it begins within a week, and goes on after the data."""
HOSTILE = "<script>alert('lamp')</script> & \"co\""
NAMES = {"p1": HOSTILE, "p2": "Kettle", "p3": "Spade", "p4": None}
CURRENCIES = {"p1": "EUR", "p2": "EUR", "p3": "GBP", "p4": None}
WEEK, CART, ABANDONED, PAUSE = timedelta(days=7), timedelta(days=7), timedelta(hours=24), timedelta(minutes=30)
VISIT = ("product_viewed", "product_viewed", "product_added", "product_removed", "checkout_started", "order_completed")


def history(seed: int = 1) -> list[Event]:
    """The events in their order; no two of one visitor are of the same moment."""
    chance = random.Random(seed)
    events = [event for visit in range(420) for event in _visit(chance, visit)]
    events = sorted((event for event in events if at(event) < AS_OF), key=at)
    for number, event in enumerate(events):
        event["event_id"] = f"e{number}"
    return events


def _visit(chance: random.Random, visit: int) -> Iterator[Event]:
    moment = BEGIN + timedelta(days=chance.randrange(26), minutes=chance.randrange(1440), microseconds=visit)
    visitor, product = f"u{chance.randrange(240)}", chance.choice(list(NAMES))
    for event_type in VISIT[: chance.choice((1, 2, 2, 3, 4, 5, 6, 6))]:
        if event_type == "product_removed" and chance.random() < 0.7:
            continue
        yield _event(event_type, moment, visitor, product)
        moment += timedelta(minutes=chance.choice((2, 9, 31, 300, 2000, 9000)))
    if chance.random() < 0.03:
        yield _event("order_refunded", moment, visitor, product)


def _event(event_type: str, moment: datetime, visitor: str, product: str) -> Event:
    line = {"product_id": product, "name": NAMES[product], "price": "10.10", "currency": CURRENCIES[product]}
    properties: Event = {key: value for key, value in line.items() if value is not None}
    if event_type in ("checkout_started", "order_completed", "order_refunded"):
        listed = {"products": [{**properties, "quantity": 2}], "total": "20.20", "currency": CURRENCIES[product]}
        properties = {"order_id": f"o-{visitor}-{moment:%d%H%M}"} | {k: v for k, v in listed.items() if v is not None}
    return {"event_type": event_type, "occurred_at": moment.isoformat(), "user_id": visitor, "properties": properties}


def at(event: Event) -> datetime:
    return datetime.fromisoformat(event["occurred_at"])


def product_of(event: Event) -> str:
    properties = event["properties"]
    return str(properties.get("product_id") or properties["products"][0]["product_id"])


def in_range(event: Event) -> bool:
    return FIRST <= at(event).date() <= LAST


@dataclass(frozen=True)
class Truth:
    """What is true of the range."""

    visitors: int
    sessions: int
    converting_sessions: int
    orders: int
    net: dict[str | None, Decimal]
    abandoned: int
    decided: int
    undecided: int
    products: dict[str, list[int]]
    cohorts: dict[date, list[int]]


def find_truth(events: Sequence[Event]) -> Truth:
    ranged = [event for event in events if in_range(event)]
    sessions = [visit for visit in _sessions(events) if in_range(visit[0])]
    fates = [_fate(event, events) for event in ranged if event["event_type"] == "product_added"]
    types = Counter(event["event_type"] for event in ranged)
    return Truth(
        visitors=len({event["user_id"] for event in ranged}),
        sessions=len(sessions),
        converting_sessions=sum(any(e["event_type"] == "order_completed" for e in visit) for visit in sessions),
        orders=types["order_completed"],
        net=_net(ranged),
        abandoned=fates.count("abandoned"),
        decided=len(fates) - fates.count("undecided"),
        undecided=fates.count("undecided"),
        products=_products(ranged),
        cohorts=_cohorts(events),
    )


def of_visitors(events: Iterable[Event]) -> list[list[Event]]:
    ordered = sorted(events, key=lambda event: (event["user_id"], at(event)))
    return [list(group) for _, group in groupby(ordered, key=lambda event: event["user_id"])]


def _sessions(events: Iterable[Event]) -> list[list[Event]]:
    sessions: list[list[Event]] = []
    for mine in of_visitors(events):
        sessions.append([mine[0]])
        for before, event in pairwise(mine):
            if at(event) - at(before) > PAUSE:
                sessions.append([])
            sessions[-1].append(event)
    return sessions


def _fate(added: Event, events: Sequence[Event]) -> str:
    """What the first removal or order of the product made of a cart line."""
    if at(added) + CART > AS_OF:
        return "undecided"
    for event in events:
        mine = event["user_id"] == added["user_id"] and product_of(event) == product_of(added)
        if mine and at(added) < at(event) <= at(added) + CART:
            if event["event_type"] == "product_removed":
                return "removed"
            if event["event_type"] == "order_completed":
                return "ordered" if at(event) - at(added) <= ABANDONED else "recovered"
    return "abandoned"


def _net(ranged: Iterable[Event]) -> dict[str | None, Decimal]:
    net: dict[str | None, Decimal] = defaultdict(Decimal)
    for event in ranged:
        sign = {"order_completed": 1, "order_refunded": -1}.get(event["event_type"])
        if sign:
            net[event["properties"].get("currency")] += sign * Decimal(event["properties"]["total"])
    return dict(net)


def _products(ranged: Iterable[Event]) -> dict[str, list[int]]:
    counts = Counter((product_of(event), event["event_type"]) for event in ranged)
    types = ("product_viewed", "product_added", "order_completed")
    return {product: [counts[product, event_type] for event_type in types] for product in NAMES}


def _cohorts(events: Iterable[Event]) -> dict[date, list[int]]:
    """By Monday of the first week: who was there in each week up to the one that runs."""
    cohorts: dict[date, list[int]] = {}
    for mine in of_visitors(events):
        mondays = {at(event).date() - timedelta(days=at(event).weekday()) for event in mine}
        first = min(mondays)
        counts = cohorts.setdefault(first, [0] * ((AS_OF.date() - first).days // 7 + 1))
        for monday in mondays:
            counts[(monday - first).days // 7] += 1
    return {monday: counts for monday, counts in cohorts.items() if monday + timedelta(days=7) > FIRST}


@dataclass(frozen=True)
class Journey:
    """How far a visitor came in a funnel of a week, and whether they may still come further."""

    events: Sequence[Event]
    level: int
    is_open: bool


def journeys(steps: Sequence[str], excluded: str | None, events: Sequence[Event]) -> Iterator[Journey]:
    for mine in of_visitors(events):
        attempts = [_attempt(n, steps, excluded, mine) for n, event in enumerate(mine) if _enters(event, steps[0])]
        if attempts:
            level = max(level for level, _ in attempts)
            yield Journey(mine, level, level < len(steps) and any(is_open for _, is_open in attempts))


def through(steps: Sequence[str], excluded: str | None, events: Sequence[Event]) -> list[tuple[int, int]]:
    """Per step: who reached it, and who stopped there and may still go on."""
    all_journeys = list(journeys(steps, excluded, events))
    return [
        (sum(j.level >= step for j in all_journeys), sum(j.level == step and j.is_open for j in all_journeys))
        for step in range(1, len(steps) + 1)
    ]


def left_at_entry(steps: Sequence[str], events: Sequence[Event]) -> list[tuple[str, int]]:
    """The last products per date of visitors who got no further than to enter, and no longer can; most first."""
    counts: Counter[str] = Counter()
    for journey in journeys(steps, None, events):
        if journey.level == 1 and not journey.is_open:
            entries = {at(event).date(): product_of(event) for event in journey.events if _enters(event, steps[0])}
            counts.update(set(entries.values()))
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _enters(event: Event, step: str) -> bool:
    return bool(event["event_type"] == step and in_range(event))


def _attempt(entry: int, steps: Sequence[str], excluded: str | None, mine: Sequence[Event]) -> tuple[int, bool]:
    """How far an entry came, and whether it may come further; the exclusion ends it before the second step."""
    level, deadline = 1, at(mine[entry]) + WEEK
    for event in mine[entry + 1 :]:
        if at(event) > deadline or level == len(steps):
            break
        if level == 1 and event["event_type"] == excluded:
            return level, False
        level += event["event_type"] == steps[level]
    return level, level < len(steps) and deadline > AS_OF


Publish = Callable[[Sequence[Event], datetime], None]


def receive(events: Sequence[Event], publish: Publish) -> None:
    """Publish the events of each date when it is over, the last ones now."""
    for _, group in groupby(events, key=lambda event: at(event).date()):
        of_date = list(group)
        publish(of_date, min(AS_OF, at(of_date[0]).replace(hour=23, minute=59)))
