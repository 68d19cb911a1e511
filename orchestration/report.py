"""A date range of the shop as one page of HTML that asks nothing of any server: to forward, to print, to keep."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from orchestration import charts, marts, numbers
from orchestration.funnels import Funnel, Query, read_funnels, share

SCOPES = {
    "visitor": "by one visitor",
    "visitor_product": "by one visitor with one product",
    "session": "within one session",
}


@dataclass(frozen=True)
class Tile:
    """A figure with what it is made of, and its days."""

    label: str
    values: Sequence[str]
    detail: str
    picture: Markup | None = None


@dataclass(frozen=True)
class PicturedFunnel:
    """A funnel with its pictures."""

    funnel: Funnel
    definition: str
    steps: Markup
    days: Markup


def write_report(query: Query, first: date, last: date) -> str:
    """The page of the dates from `first` to `last`; ModelsNotBuilt where the models to read are missing."""
    marts.check_built(query)
    as_of = marts.read_as_of(query)
    days = marts.read_days(query, first, last, as_of) if as_of else []
    facts = {"title": numbers.as_range(first, last), "as_of": as_of, "days": days, "notes": []}
    if as_of and days:
        facts |= _read_facts(query, first, last, as_of, days)
    return _template().render(facts)


def _read_facts(query: Query, first: date, last: date, as_of: datetime, days: Sequence[marts.Day]) -> Mapping[str, Any]:
    """What the template shows."""
    funnels = read_funnels(query, first, last, as_of)
    cohorts = marts.read_cohorts(query, first, last, as_of)
    revenue = marts.read_revenue(query, first, last)
    left = {
        place.name
        for funnel in funnels
        for (_, kind), top in funnel.places.items()
        for place in top
        if kind == "product"
    }
    return {
        "notes": list(_notes(last, as_of, marts.read_stale_dates(query, first, last), funnels)),
        "tiles": _tiles(
            days, marts.count_visitors(query, first, last), revenue, marts.read_carts(query, first, last, as_of)
        ),
        "revenue": revenue,
        "funnels": [_picture(funnel, first, last) for funnel in funnels],
        "cohorts": cohorts,
        "weeks": max((len(cohort.returned) for cohort in cohorts), default=0),
        "best_return": max(
            (share(c.visitors, cohort.visitors) or 0 for cohort in cohorts for c in cohort.returned), default=0
        ),
        "products": marts.read_products(query, first, last),
        "names": marts.read_names(query, sorted(left), last),
    }


def define(funnel: Funnel) -> str:
    """What counts as going through the funnel, in a sentence."""
    steps = ", then ".join(f"{step.name} ({step.event_type})" for step in funnel.steps)
    order = "each step later than the one before" if funnel.is_strict else "steps of the same moment count"
    within = f"within {numbers.as_duration(funnel.window)} of the first step"
    ends = "".join(f"; {exclusion} ends the attempt" for exclusion in funnel.exclusions)
    return f"{steps}: {SCOPES.get(funnel.scope, funnel.scope)}, {within}, {order}{ends}."


def _picture(funnel: Funnel, first: date, last: date) -> PicturedFunnel:
    steps, days = charts.funnel_chart(funnel), charts.conversion_chart(funnel, first, last)
    return PicturedFunnel(funnel, define(funnel), Markup(steps), Markup(days))  # noqa: S704  matplotlib has escaped it


def _tiles(
    days: Sequence[marts.Day], visitors: int, revenue: Sequence[marts.Revenue], carts: marts.Carts
) -> list[Tile]:
    sessions, orders = sum(day.sessions for day in days), sum(day.orders for day in days)
    converting = sum(day.converting_sessions for day in days)
    return [
        Tile(
            "Visitors",
            [numbers.as_count(visitors)],
            "different people, counted once",
            _bars("Visitors", [d.visitors for d in days]),
        ),
        Tile(
            "Sessions",
            [numbers.as_count(sessions)],
            "begun on these dates",
            _bars("Sessions", [d.sessions for d in days]),
        ),
        Tile("Orders", [numbers.as_count(orders)], "placed on these dates", _bars("Orders", [d.orders for d in days])),
        Tile(
            "Conversion",
            [numbers.as_percent(share(converting, sessions))],
            f"{numbers.as_count(converting)} sessions with an order",
            _bars("Conversion", [d.conversion for d in days]),
        ),
        Tile(
            "Net revenue",
            [numbers.as_money(money.net, money.currency) for money in revenue] or [numbers.DASH],
            "orders less refunds, never added across currencies",
        ),
        Tile(
            "Cart abandonment",
            [numbers.as_percent(share(carts.abandoned, carts.decided))],
            f"{numbers.as_count(carts.abandoned)} of {numbers.as_count(carts.decided)} products put into a cart;"
            f" {numbers.as_count(carts.recovered)} more were ordered late"
            + (f"; {numbers.as_count(carts.open)} are not final yet and not counted" if carts.open else ""),
        ),
    ]


def _bars(name: str, values: Sequence[float | None]) -> Markup:
    return Markup(charts.day_bars(name, values))  # noqa: S704  matplotlib has escaped it


def _notes(last: date, as_of: datetime, stale: Sequence[date], funnels: Sequence[Funnel]) -> Iterator[str]:
    """What a reader has to know before believing the numbers."""
    if last > as_of.date():
        yield f"The range goes on after the data: nothing is known of the dates after {numbers.as_date(as_of.date())}."
    if last >= as_of.date():
        yield f"{numbers.as_date(as_of.date())} is not over in the data: it has events up to {as_of:%H:%M} UTC."
    if stale:
        yield (
            f"More is loaded than these numbers have seen, for {len(stale)} of the dates"
            f" ({numbers.as_range(stale[0], stale[-1])}); they change with the next build."
        )
    for funnel in funnels:
        if funnel.outdated_days:
            yield (
                f"{numbers.as_count(funnel.outdated_days)} dates of the funnel {funnel.funnel_id} were built with an"
                " earlier definition and are left out; build the models again."
            )


def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {name: getattr(numbers, name) for name in dir(numbers) if name.startswith("as_")}
    environment.globals |= {"share": share, "dash": numbers.DASH}
    return environment.from_string(files("orchestration").joinpath("report.html.j2").read_text("utf-8"))
