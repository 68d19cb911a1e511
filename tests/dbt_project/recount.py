"""Events counted in Python, by the words of the page of questions, with no line of the models' SQL.

It knows views, additions and orders of logged-in users: what the two real click logs have.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

STEPS = ("product_viewed", "product_added", "order_completed")
WEEK, DAY, PAUSE = timedelta(days=7), timedelta(days=1), timedelta(minutes=30)


@dataclass(frozen=True)
class Happening:
    """An event as far as it is counted."""

    source: str
    kind: str
    user: str
    at: datetime
    product: str
    category: str
    value: Decimal | None


@dataclass(frozen=True)
class Tried:
    """An attempt: its entry, how far it got, and how long it took to the end."""

    entry: Happening
    level: int
    seconds: int


def happening(source: str, event: Mapping[str, Any]) -> Happening:
    """What a native event of the logs says."""
    properties = event["properties"]
    product = properties["products"][0] if "products" in properties else properties
    price = product.get("price")
    return Happening(
        source,
        event["event_type"],
        event["user_id"],
        datetime.fromisoformat(event["occurred_at"]).replace(tzinfo=None),
        product["product_id"],
        product.get("category") or "(none)",
        Decimal(price) if price else None,
    )


def by_user(happening: Happening) -> str:
    """Whose attempt it is."""
    return happening.user


def by_user_and_product(happening: Happening) -> str:
    """Whose attempt it is, where all steps have to be of one product."""
    return f"{happening.user} {happening.product}"


def attempts(happenings: Iterable[Happening], entity: Callable[[Happening], str] = by_user) -> list[Tried]:
    """Of the views of a day that lead to the same addition the last one, with the earliest later steps in a week."""
    moments: dict[str, dict[str, list[Happening]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(happenings, key=lambda one: one.at):
        moments[entity(one)][one.kind].append(one)
    tried: dict[tuple[str, date, datetime | None], Tried] = {}
    for who, kinds in moments.items():
        times = [[one.at for one in kinds[step]] for step in STEPS[1:]]
        for entry in kinds[STEPS[0]]:
            added = _after(times[0], entry.at, entry.at)
            ordered = added and _after(times[1], added, entry.at)
            seconds = int((ordered - entry.at).total_seconds()) if ordered else 0
            tried[who, entry.at.date(), added] = Tried(entry, 3 if ordered else 2 if added else 1, seconds)
    return list(tried.values())


def _after(times: list[datetime], at: datetime, entry: datetime) -> datetime | None:
    place = bisect_right(times, at)
    return times[place] if place < len(times) and times[place] <= entry + WEEK else None


def cart_outcomes(happenings: Iterable[Happening]) -> list[tuple[Happening, str]]:
    """What became of each addition: an order of the product by the user within a day, or within a week."""
    listed = list(happenings)
    orders: dict[str, list[datetime]] = defaultdict(list)
    for one in listed:
        if one.kind == STEPS[2]:
            orders[by_user_and_product(one)].append(one.at)
    found = []
    for one in listed:
        if one.kind == STEPS[1]:
            waits = [at - one.at for at in orders[by_user_and_product(one)] if at >= one.at]
            wait = min(waits, default=WEEK + DAY)
            found.append((one, "ordered" if wait <= DAY else "recovered" if wait <= WEEK else "abandoned"))
    return found


def sessions(happenings: Iterable[Happening]) -> list[list[Happening]]:
    """The sessions of every user, cut by pauses alone."""
    cut: list[list[Happening]] = []
    for one in sorted(happenings, key=lambda one: (one.user, one.at)):
        if not cut or cut[-1][-1].user != one.user or one.at - cut[-1][-1].at > PAUSE:
            cut.append([])
        cut[-1].append(one)
    return cut


def retention(happenings: Iterable[Happening]) -> dict[tuple[date, int], int]:
    """How many users of a first week were active so many weeks later."""
    weeks: dict[str, set[date]] = defaultdict(set)
    for one in happenings:
        weeks[one.user].add(one.at.date() - timedelta(days=one.at.weekday()))
    return dict(Counter((min(active), (week - min(active)).days // 7) for active in weeks.values() for week in active))
