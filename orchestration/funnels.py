"""The funnels of a date range, read from the models: who reached which step, by day, and where they left.

Visitors are distinct over the range, so days do not add up to it. Of an attempt whose window has not ended `as_of` the
data, nobody knows whether it goes on: it is open, and not lost. Rows of an earlier definition are left out and counted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

from ingestion.warehouse import Warehouse

Query = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]
"""Runs SQL with `?` for its parameters and returns the rows."""


@contextmanager
def published(warehouse: Warehouse) -> Iterator[Query]:
    """Asks what readers of a warehouse see, one and the same for as long as the block runs."""
    with warehouse.snapshot() as read:

        def query(sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
            columns = read(sql, parameters).columns
            return list(zip(*(column.to_pylist() for column in columns), strict=True))

        yield query


@dataclass(frozen=True)
class Step:
    """A step, with the visitors that reached it, those that got no further, and those of them that still may."""

    name: str
    event_type: str
    visitors: int
    stopped: int
    open: int

    @property
    def lost(self) -> int:
        """Visitors that stopped here for good."""
        return self.stopped - self.open


@dataclass(frozen=True)
class FunnelDay:
    """The visitors that entered on a date, by the step that they reached; open attempts make it not final."""

    day: date
    visitors: tuple[int, ...]
    is_final: bool

    def conversion(self, step: int) -> float | None:
        """The share of those that entered that reached step number `step`."""
        return share(self.visitors[step - 1], self.visitors[0])


@dataclass(frozen=True)
class Place:
    """Where visitors were when they left: a product, a category or a device, and how many."""

    name: str
    visitors: int


@dataclass(frozen=True)
class Funnel:
    """A funnel with its definition and what a range says of it."""

    funnel_id: str
    description: str
    scope: str
    window: timedelta
    is_strict: bool
    steps: tuple[Step, ...]
    exclusions: tuple[str, ...]
    days: tuple[FunnelDay, ...]
    places: Mapping[tuple[int, str], tuple[Place, ...]]
    """By number of the last step reached, and kind: product, category or device."""
    outdated_days: int
    """Dates of the range that were built with an earlier definition."""

    @property
    def entered(self) -> int:
        """Visitors that entered."""
        return self.steps[0].visitors

    @property
    def open(self) -> int:
        """Visitors that have not converted and may still."""
        return self.may_reach(len(self.steps))

    @property
    def converted(self) -> int:
        """Visitors that reached the last step."""
        return self.steps[-1].visitors

    def may_reach(self, number: int) -> int:
        """Visitors that have not reached step `number` and may still."""
        return sum(step.open for step in self.steps[: number - 1])


def share(part: int, whole: int) -> float | None:
    """What part of the whole; None where there is nothing to share."""
    return part / whole if whole else None


DEFINITIONS = """
select
    funnels.funnel_id, coalesce(funnels.description, ''), funnels.scope, cast(funnels.window_seconds as bigint),
    definitions.is_strict
from analytics.funnels as funnels
inner join analytics.int_funnel_definitions as definitions on definitions.funnel_id = funnels.funnel_id
order by funnels.funnel_id
"""

STEPS = """
select funnel_id, kind, step, to_step, step_name, event_type from analytics.funnel_steps order by funnel_id, kind, step
"""

ATTEMPTS = """
with attempts as (
    select
        attempts.funnel_id, attempts.visitor_id, attempts.entry_date, attempts.level, attempts.is_converted,
        attempts.last_product_id, attempts.last_category, attempts.last_device_type,
        case
            when not attempts.is_converted and attempts.excluded_after_step is null and attempts.window_ends_at > ?
                then 1
            else 0
        end as is_open
    from analytics.fct_funnel_attempts as attempts
    inner join analytics.int_funnel_definitions as definitions
        on definitions.funnel_id = attempts.funnel_id and definitions.definition_hash = attempts.definition_hash
    where attempts.entry_date between ? and ?
)"""

VISITORS = """,

visitors as (
    select funnel_id, visitor_id, max(level) as level, max(is_open) as is_open
    from attempts
    group by funnel_id, visitor_id
)"""

LEVELS = f"""{ATTEMPTS}{VISITORS}

select funnel_id, level, cast(count(*) as bigint), cast(sum(is_open) as bigint)
from visitors
group by funnel_id, level
"""

DAYS = f"""{ATTEMPTS},

days as (
    select funnel_id, entry_date, max(is_open) as is_open from attempts group by funnel_id, entry_date
)

select daily.funnel_id, daily.entry_date, daily.step, daily.visitors, days.is_open
from analytics.agg_funnel_daily as daily
inner join analytics.int_funnel_definitions as definitions
    on definitions.funnel_id = daily.funnel_id and definitions.definition_hash = daily.definition_hash
inner join days on days.funnel_id = daily.funnel_id and days.entry_date = daily.entry_date
where daily.breakdown = 'all'
order by daily.funnel_id, daily.entry_date, daily.step
"""

KINDS = {"product": "last_product_id", "category": "last_category", "device": "last_device_type"}

PLACES = (
    f"""{ATTEMPTS}{VISITORS},

lost as (
    select attempts.*
    from attempts
    inner join visitors
        on visitors.funnel_id = attempts.funnel_id
        and visitors.visitor_id = attempts.visitor_id
        and visitors.level = attempts.level
    where visitors.is_open = 0 and not attempts.is_converted
),

counted as ("""
    + " union all ".join(
        f"""
    select funnel_id, level, '{kind}' as kind, {column} as place, cast(count(distinct visitor_id) as bigint) as visitors
    from lost
    where {column} is not null
    group by funnel_id, level, {column}"""
        for kind, column in KINDS.items()
    )
    + """
),

ranked as (
    select
        counted.*,
        row_number() over (partition by funnel_id, level, kind order by visitors desc, place) as place_rank
    from counted
)

select funnel_id, level, kind, place, visitors from ranked where place_rank <= ?
order by funnel_id, level, kind, place_rank
"""
)

OUTDATED = """
select attempts.funnel_id, cast(count(distinct attempts.entry_date) as bigint)
from analytics.fct_funnel_attempts as attempts
left join analytics.int_funnel_definitions as definitions
    on definitions.funnel_id = attempts.funnel_id and definitions.definition_hash = attempts.definition_hash
where attempts.entry_date between ? and ? and definitions.funnel_id is null
group by attempts.funnel_id
"""


def read_funnels(query: Query, first: date, last: date, as_of: datetime, places: int = 3) -> list[Funnel]:
    """Every funnel of the attempts that were entered from `first` to `last`; the one that most enter comes first."""
    span = [as_of, first, last]
    levels = {(row[0], row[1]): (row[2], row[3]) for row in query(LEVELS, span)}
    rows, steps = query(DAYS, span), query(STEPS, [])
    left = query(PLACES, [*span, places])
    outdated: dict[str, int] = dict(query(OUTDATED, [first, last]))
    funnels = [
        Funnel(
            funnel_id=funnel_id,
            description=description,
            scope=scope,
            window=timedelta(seconds=window),
            is_strict=strict,
            steps=_steps([row for row in steps if row[0] == funnel_id], levels),
            exclusions=_exclusions([row for row in steps if row[0] == funnel_id]),
            days=_days([row[1:] for row in rows if row[0] == funnel_id]),
            places=_places([row[1:] for row in left if row[0] == funnel_id]),
            outdated_days=outdated.get(funnel_id, 0),
        )
        for funnel_id, description, scope, window, strict in query(DEFINITIONS, [])
    ]
    return sorted(funnels, key=lambda funnel: (-funnel.entered, funnel.funnel_id))


def _steps(rows: list[tuple[Any, ...]], levels: Mapping[tuple[str, int], tuple[int, int]]) -> tuple[Step, ...]:
    """Whoever stopped at a step has reached every one before it."""
    steps: list[Step] = []
    for funnel_id, _, number, _, name, event_type in reversed([row for row in rows if row[1] == "step"]):
        stopped, still_open = levels.get((funnel_id, number), (0, 0))
        if steps:
            steps.append(Step(name, event_type, stopped + steps[-1].visitors, stopped, still_open))
        else:  # whoever is through has arrived, whatever other attempts are open
            steps.append(Step(name, event_type, stopped, 0, 0))
    return tuple(reversed(steps))


def _exclusions(rows: list[tuple[Any, ...]]) -> tuple[str, ...]:
    """What ends an attempt, in words."""
    names = {number: name for _, kind, number, _, name, _ in rows if kind == "step"}
    return tuple(
        f"{event_type} between {names[after]} and {names[before or max(names)]}"
        for _, kind, after, before, _, event_type in rows
        if kind == "exclude"
    )


def _days(rows: list[tuple[Any, ...]]) -> tuple[FunnelDay, ...]:
    days = []
    for day, group in groupby(rows, key=lambda row: row[0]):
        of_day = list(group)
        days.append(FunnelDay(day, tuple(row[2] for row in of_day), not of_day[0][3]))
    return tuple(days)


def _places(rows: list[tuple[Any, ...]]) -> dict[tuple[int, str], tuple[Place, ...]]:
    grouped = groupby(rows, key=lambda row: (row[0], row[1]))
    return {key: tuple(Place(row[2], row[3]) for row in group) for key, group in grouped}
