"""The compiled funnel models on random sequences full of ties, against ClickHouse's windowFunnel in chdb.

The models keep attempts, windowFunnel gives one level per visitor: the highest of the visitor's attempts. Below, each
bug that the SQL could plausibly have is planted in its text, and the comparison sees it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chdb
import duckdb
import pyarrow.parquet as pq
import pytest

from tests.dbt_project.analytics import dbt, parsed, problems

SEQUENCES = 2_000_000 if os.environ.get("HEADRACE_LONG") else 200_000
FEWER = 12_000
WINDOWS = (1, 3, 10, 40)
"""Seconds. The sequences lie on a grid of whole seconds, so that many a step is just at the end of its window."""

FUNNELS = f"""
select row_number() over () - 1 as number, 'funnel ' || steps || ' ' || seconds || ' ' || strict as funnel_id, *
from unnest([2, 3, 4, 5]) as s(steps), unnest({list(WINDOWS)}) as w(seconds), unnest([true, false]) as t(strict)
"""

# A hash is chance that needs no seed and no order of rows: a sequence is the same whenever it is made.
CHANCE = "create macro chance(below, about, of_, at_) as cast(hash(about, of_, at_) % below as bigint)"
HISTORIES = f"""
with sequences as (
    select sequence, funnels.*,
        1 + chance([6, 12, 20][1 + sequence % 3], 'length', sequence, 0) as length,
        [4, 10, 60][1 + chance(3, 'grid', sequence, 0)] as grid
    from range({{sequences}}) as r(sequence) inner join ({FUNNELS}) as funnels on funnels.number = sequence % 32
), events as (
    select *, chance(grid, 'second', sequence, place) as second,
        least(chance(steps + 1, 'step', sequence, place), chance(steps + 2, 'or step', sequence, place)) as step
    from sequences inner join range(20) as p(place) on place < length
)
select sequence, 'visitor ' || sequence as visitor_id, funnel_id, funnel_id || ' ' || step as event_type, step, seconds,
    strict, second, (20000 * 86400 - 5 + second) * 1000000 as occurred_us,
    make_timestamp(occurred_us)::date as event_date, sequence || ' ' || place as event_key
from events
"""

WAREHOUSE = f"""
create schema analytics;
create table analytics.funnels as
    select funnel_id, 'visitor' as scope, seconds::bigint as window_seconds, strict from ({FUNNELS});
create table analytics.funnel_steps as
    select funnel_id, 'step' as kind, step::integer as step, null::integer as to_step, 'step ' || step as step_name,
        funnel_id || ' ' || step as event_type
    from ({FUNNELS}), range(1, 6) as s(step) where step <= steps;
create table analytics.fct_events as
    select *, null::varchar as session_id, null::varchar as product_id, 'shop' as source, null::varchar as category,
        null::varchar as device_type
    from histories;
create table analytics.int_event_products (event_key varchar, event_date date, product_id varchar);
"""

STEPS = ", ".join(f"step = {step}" for step in range(1, 6))
Levels = dict[str, int]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The SQL of the funnel models, compiled by dbt."""
    folder = tmp_path_factory.mktemp("funnels")
    result = dbt(folder / "warehouse.duckdb", "compile", "--select", "+fct_funnel_attempts", manifest=parsed())
    assert result.success, problems(result)
    paths = (folder / "dbt" / "compiled" / "headrace" / "models").rglob("*.sql")
    return {path.stem: path.read_text() for path in paths}


class Sequences:
    """Random sequences where the models look for events, and in a file for ClickHouse."""

    def __init__(self, path: Path, number: int, models: dict[str, str]) -> None:
        self.path = path
        self.db = duckdb.connect()
        self.db.execute("attach ':memory:' as warehouse; use warehouse")
        self.db.execute(CHANCE)
        self.db.execute(f"create table histories as {HISTORIES.format(sequences=number)}")
        self.db.execute(WAREHOUSE)
        for view in ("int_funnel_definitions", "int_funnel_step_events"):
            self.db.execute(f"create view analytics.{view} as {models[view]}")
        pq.write_table(
            self.db.sql("select sequence, step, seconds, strict, second from histories").to_arrow_table(), path
        )

    def modelled(self, attempts: str) -> Levels:
        """The levels by the SQL of the model, of the visitors that have an attempt."""
        sql = f"select visitor_id, cast(max(level) as integer) from ({attempts}) group by 1"
        return dict(self.db.execute(sql).fetchall())

    def counted(self, strict: bool, moment: str = "second", window: str = "{}", mode: str = "") -> Levels:
        """The levels by windowFunnel."""
        query: Any = chdb.query
        found: Levels = {}
        for seconds in WINDOWS:
            table = query(
                f"select sequence, windowFunnel({window.format(seconds)}{mode})(toUInt32({moment}), {STEPS}) as level"
                f" from file('{self.path}', Parquet) where seconds = {seconds} and strict = {strict} group by sequence",
                "ArrowTable",
            )
            found |= {f"visitor {n}": level for n, level in zip(*table.to_pydict().values(), strict=True) if level}
        return found

    def expected(self) -> Levels:
        """What windowFunnel says; where a funnel is strict, of sequences whose ties stand the wrong way round.

        Eight moments to a second, and of one second the later step before the earlier: a step at the moment of the one
        before it is then too early. windowFunnel's own strict_increase is too low where steps are tied (issue 93789).
        """
        backwards = self.counted(True, "second * 8 + 8 - step", window="8 * {}")
        return self.counted(False) | backwards

    def visitors(self, where: str) -> set[str]:
        """The visitors of whom a condition on their events holds."""
        sql = f"select visitor_id from histories group by visitor_id having {where}"
        return {visitor for (visitor,) in self.db.execute(sql).fetchall()}


@pytest.fixture(scope="module")
def many(models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequences]:
    sequences = Sequences(tmp_path_factory.mktemp("many") / "histories.parquet", SEQUENCES, models)
    yield sequences
    sequences.db.close()


@pytest.fixture(scope="module")
def fewer(models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequences]:
    sequences = Sequences(tmp_path_factory.mktemp("fewer") / "histories.parquet", FEWER, models)
    yield sequences
    sequences.db.close()


def test_the_level_of_every_visitor_is_that_of_window_funnel(many: Sequences, models: dict[str, str]) -> None:
    found = many.modelled(models["fct_funnel_attempts"])
    assert found == many.expected()
    assert len(many.visitors("true")) == SEQUENCES
    assert len(many.visitors("count(distinct (step, second)) > count(distinct second)")) > SEQUENCES / 2, "ties"
    assert set(found.values()) == {1, 2, 3, 4, 5}


def test_a_strict_funnel_agrees_with_strict_increase_where_no_steps_are_tied(
    many: Sequences, models: dict[str, str]
) -> None:
    theirs = many.counted(True, mode=", 'strict_increase'")
    ours = many.modelled(models["fct_funnel_attempts"])
    untied = many.visitors("bool_and(strict) and count(distinct second) = count(*)")
    assert all(theirs.get(visitor) == ours.get(visitor) for visitor in untied)
    assert len(untied & theirs.keys()) > SEQUENCES / 20
    assert all(level <= ours[visitor] for visitor, level in theirs.items())


TIE_ORDER = "case when is_strict then 0 else 3 end as tie_order"
BUGS = {
    "a tie does not count": (TIE_ORDER, "0 as tie_order"),
    "a tie counts though the funnel is strict": (TIE_ORDER, "3 as tie_order"),
    "ties have no order": ("order by occurred_us desc, tie_order desc", "order by occurred_us desc"),
    "the end of the window is outside": ("_us <= deadline_us then 1", "_us < deadline_us then 1"),
    "there is no window": ("_us <= deadline_us then 1", "_us is not null then 1"),
    "of a run the first entry counts": ("max(occurred_us) as entry_us", "min(occurred_us) as entry_us"),
    "the next step is the last there is": ("min(case when role = 'next'", "max(case when role = 'next'"),
    "an entry at the last step is not judged": ("us <= reaches.last_us", "us < reaches.last_us"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_the_sql_is_seen(bug: str, fewer: Sequences, models: dict[str, str]) -> None:
    sound, (old, new) = models["fct_funnel_attempts"], BUGS[bug]
    expected = fewer.expected()
    assert old in sound
    assert fewer.modelled(sound) == expected
    assert fewer.modelled(sound.replace(old, new)) != expected
