"""Which event dates the models have to build: those that loads, and builds that re-keyed events, touched."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date

Query = Callable[[str, Sequence[object]], list[tuple[object, ...]]]

TOUCHED = "select event_date, max(load_seq) from headrace.touched where table_name <> 'rejected' group by event_date"


def stale_dates(query: Query, built: Mapping[date, int], before: int = 0) -> dict[date, int]:
    """Dates to pass to dbt as the var `dates`, each with the load that touched it last.

    `built` has for each date the load up to which it was built; dates that it lacks were built up to `before`.
    After a build of these dates has succeeded, they are built up to the loads given here, and no further: read them
    before dbt starts. A build may touch earlier dates itself, where a login re-keys their events: ask again after it.
    """
    touched = {day: int(str(load)) for day, load in query(TOUCHED, []) if isinstance(day, date)}
    return {day: load for day, load in sorted(touched.items()) if load > built.get(day, before)}
