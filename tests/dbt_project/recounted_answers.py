"""What the queries of the page of questions should return, recounted from the events: a function per question.

Each returns the rows in the order and up to the limit of the page's query.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal
from statistics import fmean, quantiles

from tests.dbt_project.questions import Row
from tests.dbt_project.recount import (
    Happening,
    attempts,
    by_user,
    by_user_and_product,
    cart_outcomes,
    retention,
    sessions,
)


def by_day(all_events: Sequence[Happening]) -> list[Row]:
    reached: dict[tuple[date, int], set[str]] = defaultdict(set)
    for tried in attempts(all_events):
        for step in range(1, tried.level + 1):
            reached[tried.entry.at.date(), step].add(tried.entry.user)
    rows: list[Row] = []
    for day in sorted({day for day, _ in reached}):
        first, second, third = (len(reached[day, step]) for step in (1, 2, 3))
        rows += [
            (day, 1, "viewed", first, 0, None, 1),
            (day, 2, "added", second, first - second, second / first, second / first),
            (day, 3, "ordered", third, second - third, third / second if second else None, third / first),
        ]
    return rows[:9]


def by_device(all_events: Sequence[Happening]) -> list[Row]:
    tried = attempts(all_events)
    converted = {one.entry.user for one in tried if one.level == 3}
    return [("(none)", len({one.entry.user for one in tried}), len(converted))]


def by_category(all_events: Sequence[Happening]) -> list[Row]:
    users: dict[tuple[date, str, bool], set[str]] = defaultdict(set)
    for one in attempts(all_events):
        for converted in {False, one.level == 3}:
            users[one.entry.at.date(), one.entry.category, converted].add(one.entry.user)
    rows = [
        (day, category, len(ordered), len(ordered) / len(users[day, category, False]))
        for (day, category, converted), ordered in list(users.items())
        if converted
    ]
    return [*sorted(rows, key=lambda row: (row[0], -row[2], row[1]))[:5]]


def durations(all_events: Sequence[Happening]) -> list[Row]:
    rows: list[Row] = []
    for funnel, entity in (("view_to_purchase", by_user), ("view_to_purchase_same_product", by_user_and_product)):
        seconds = [one.seconds for one in attempts(all_events, entity) if one.level == 3]
        tenths = quantiles(seconds, n=10, method="inclusive")
        rows.append((funnel, len(seconds), tenths[4], tenths[8]))
    return rows


def stops(all_events: Sequence[Happening]) -> list[Row]:
    carts = {(one.user, one.at.date()) for one in all_events if one.kind == "product_added"}
    rows: list[Row] = [("cart_to_order", 1, "added", len(carts))]
    for funnel, entity in (("view_to_purchase", by_user), ("view_to_purchase_same_product", by_user_and_product)):
        levels = Counter(one.level for one in attempts(all_events, entity))
        rows += [(funnel, step, name, levels[step]) for step, name in enumerate(("viewed", "added", "ordered"), 1)]
    return rows


def viewed_not_added(all_events: Sequence[Happening]) -> list[Row]:
    entries = [one.entry for one in attempts(all_events, by_user_and_product) if one.level == 1]
    tried = Counter(entry.product for entry in entries)
    users = Counter(product for product, _ in {(entry.product, entry.user) for entry in entries})
    rows = [(product, tried[product], users[product]) for product in tried]
    return [*sorted(rows, key=lambda row: (-row[2], -row[1], row[0]))[:5]]


def added_not_ordered(all_events: Sequence[Happening]) -> list[Row]:
    values: dict[str, list[Decimal | None]] = defaultdict(list)
    for one, outcome in cart_outcomes(all_events):
        if outcome == "abandoned":
            values[one.product].append(one.value)
    rows = [(product, len(lines), total(lines)) for product, lines in values.items()]
    return [*sorted(rows, key=lambda row: (-row[1], row[0]))[:5]]


def carts(all_events: Sequence[Happening]) -> list[Row]:
    counted: dict[date, Counter[str]] = defaultdict(Counter)
    for one, outcome in cart_outcomes(all_events):
        counted[one.at.date()].update(["added", outcome])
    names = ("added", "ordered", "removed", "abandoned", "recovered")
    return [(day, *(counted[day][name] for name in names)) for day in sorted(counted)][:8]


def cart_worth(all_events: Sequence[Happening]) -> list[Row]:
    outcomes = cart_outcomes(all_events)
    return [(None, *(total(o.value for o, what in outcomes if what == name) for name in ("abandoned", "recovered")))]


def kpis(all_events: Sequence[Happening]) -> list[Row]:
    rows: list[Row] = []
    begun = sessions(all_events)
    for day in sorted({one.at.date() for one in all_events})[:5]:
        mine = [session for session in begun if session[0].at.date() == day]
        of_day = [one for one in all_events if one.at.date() == day]
        orders = sum(one.kind == "order_completed" for one in of_day)
        converting = sum(any(one.kind == "order_completed" for one in session) for session in mine)
        bounces = sum(len(session) == 1 for session in mine)
        users = len({one.user for one in of_day})
        rows.append((day, users, len(mine), bounces, orders, converting, converting / len(mine)))
    return rows


def cohorts(all_events: Sequence[Happening]) -> list[Row]:
    active = retention(all_events)
    return [(day, week, active[day, 0], n, n / active[day, 0]) for (day, week), n in sorted(active.items())]


def buyers(all_events: Sequence[Happening]) -> list[Row]:
    return sorted(Counter(Counter(one.user for one in orders(all_events)).values()).items())


def revenue(all_events: Sequence[Happening]) -> list[Row]:
    days: dict[date, Decimal] = defaultdict(Decimal)
    for one in orders(all_events):
        days[one.at.date()] += one.value or 0
    return [*[(day, None, days[day], 0, days[day]) for day in sorted(days)][:8]]


def products(all_events: Sequence[Happening]) -> list[Row]:
    views = Counter(one.product for one in all_events if one.kind == "product_viewed")
    units = Counter(one.product for one in orders(all_events))
    net = {
        product: total(one.value or Decimal(0) for one in orders(all_events) if one.product == product)
        for product in units
    }
    best = sorted(units, key=lambda product: (-(net[product] or 0), product))[:5]
    return [(product, views[product], units[product], net[product]) for product in best]


def order_values(all_events: Sequence[Happening]) -> list[Row]:
    values = [float(one.value) for one in orders(all_events) if one.value is not None]
    return [("(none)", len(orders(all_events)), round(fmean(values), 2))]


def touches(all_events: Sequence[Happening]) -> list[Row]:
    return [(s, s, len(o), total(one.value for one in o)) for s in ("rees46", "taobao") if (o := orders(all_events, s))]


def copies(all_events: Sequence[Happening]) -> list[Row]:
    return [(kind, n, n, 0) for kind, n in Counter(one.kind for one in all_events).most_common(3)]


def orders(all_events: Sequence[Happening], source: str | None = None) -> list[Happening]:
    return [one for one in all_events if one.kind == "order_completed" and source in (None, one.source)]


def total(values: Iterable[Decimal | None]) -> Decimal | None:
    known = [value for value in values if value is not None]
    return sum(known, Decimal(0)) if known else None


RECOUNTS: dict[str, Callable[[Sequence[Happening]], list[Row]]] = {
    "How many visitors convert, day by day?": by_day,
    "Which device converts best?": by_device,
    "Which category leads to orders, day by day?": by_category,
    "How long does it take to convert?": durations,
    "At which step do attempts stop?": stops,
    "Which products are viewed and not added?": viewed_not_added,
    "Which products are added and not ordered, and what are they worth?": added_not_ordered,
    "How many carts are abandoned, and how many are recovered?": carts,
    "What are abandoned carts worth, and what came back?": cart_worth,
    "How many visitors and sessions are there, and how many sessions have an order?": kpis,
    "How many visitors come back?": cohorts,
    "How many buyers buy again?": buyers,
    "What is the revenue net of refunds?": revenue,
    "Which products bring the most, net of refunds?": products,
    "What is an average order worth, by device?": order_values,
    "Which source did an order's first visit come from, and which its last?": touches,
    "How many records are copies, or fit no columns?": copies,
}
