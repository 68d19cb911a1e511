"""A date range of the shop as one page of HTML that asks nothing of any server: to forward, to print, to keep."""

from collections.abc import Iterator, Sequence
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
    facts: dict[str, Any] = {"title": numbers.as_range(first, last), "as_of": as_of, "days": days, "notes": []}
    if as_of and days:
        facts |= _read_facts(query, first, last, as_of, days)
    return _template().render(facts)


def _read_facts(query: Query, first: date, last: date, as_of: datetime, days: Sequence[marts.Day]) -> dict[str, Any]:
    """What the template shows."""
    funnels = read_funnels(query, first, last, as_of)
    cohorts = marts.read_cohorts(query, first, last, as_of)
    returns = [share(returned.visitors, cohort.visitors) or 0 for cohort in cohorts for returned in cohort.returned]
    return {
        "notes": list(_notes(last, as_of, marts.read_stale_dates(query, first, last), funnels)),
        "tiles": _tiles(query, first, last, as_of, days),
        "revenue": marts.read_revenue(query, first, last),
        "funnels": [_picture(funnel, first, last) for funnel in funnels],
        "cohorts": cohorts,
        "weeks": max((len(cohort.returned) for cohort in cohorts), default=0),
        "best_return": max(returns, default=0),
        "products": marts.read_products(query, first, last),
        "names": marts.read_names(query, _left_products(funnels), last),
    }


def _left_products(funnels: Sequence[Funnel]) -> list[str]:
    """The products before which people left."""
    places = [places for funnel in funnels for (_, kind), places in funnel.places.items() if kind == "product"]
    return sorted({place.name for top in places for place in top})


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


def _tiles(query: Query, first: date, last: date, as_of: datetime, days: Sequence[marts.Day]) -> list[Tile]:
    """The key figures of the range."""
    sessions, converting = sum(day.sessions for day in days), sum(day.converting_sessions for day in days)
    running = days[-1].day >= as_of.date()
    counted = {
        "Visitors": (marts.count_visitors(query, first, last), "counted once, however often they came"),
        "Sessions": (sessions, "begun on these dates"),
        "Orders": (sum(day.orders for day in days), "placed on these dates"),
    }
    tiles = [
        Tile(label, [numbers.as_count(count)], detail, _bars(label, [getattr(d, label.lower()) for d in days], running))
        for label, (count, detail) in counted.items()
    ]
    conversion = _bars("Conversion", [day.conversion for day in days], running)
    with_order = f"{numbers.as_count(converting)} sessions with an order"
    tiles.append(Tile("Conversion", [numbers.as_percent(share(converting, sessions))], with_order, conversion))
    net = [numbers.as_money(money.net, money.currency) for money in marts.read_revenue(query, first, last)]
    tiles.append(Tile("Net revenue", net or [numbers.DASH], "orders less refunds, each currency by itself"))
    return [*tiles, _cart_tile(marts.read_carts(query, first, last, as_of))]


def _cart_tile(carts: marts.Carts) -> Tile:
    decided = f"{numbers.as_count(carts.abandoned)} of {numbers.as_count(carts.decided)} additions to a cart"
    recovered = f"{numbers.as_count(carts.recovered)} more were abandoned and ordered later"
    still_open = f"; {numbers.as_count(carts.open)} are not final yet and not counted" if carts.open else ""
    share_abandoned = numbers.as_percent(share(carts.abandoned, carts.decided))
    return Tile("Cart abandonment", [share_abandoned], f"{decided}; {recovered}{still_open}")


def _bars(name: str, values: Sequence[float | None], running: bool) -> Markup:
    return Markup(charts.day_bars(name, values, running))  # noqa: S704  matplotlib has escaped it


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
