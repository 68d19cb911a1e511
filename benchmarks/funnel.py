"""The models' funnel SQL against ClickHouse's windowFunnel and a self-join, on one Parquet file."""

import tempfile
from functools import partial
from pathlib import Path

import chdb
import duckdb
import jinja2
from rich.table import Table

from benchmarks.history import EVENTS
from benchmarks.workload import cpu_seconds
from orchestration.dbt_runner import PROJECT

EVENTS_A_DAY, DAYS = 100_000, 30
CRAWLERS, EVENTS_OF_A_CRAWLER = 10, 5_000
WINDOW_US = 7 * 86_400 * 1_000_000
ROUNDS = 3
"""The cheapest counts; of the self-join, the first."""
Levels = list[tuple[int, int]]

STEPS = f"""
select visitor as entity_key, epoch_us(occurred_at) as occurred_us, number,
    case when lot < 70 then 1 when lot < 82 then 2 when lot between 92 and 94 then 3 else 0 end as step
from (
    select number, occurred_at, lot,
        case when number < {CRAWLERS * EVENTS_OF_A_CRAWLER} then -1 - number % {CRAWLERS} else visitor end as visitor
    from ({EVENTS})
)
"""
STEP_EVENTS = f"""
    select 'funnel' as funnel_id, entity_key, '' as definition_hash, entity_key as visitor_id, 'step' as kind, step,
        99 as to_step, occurred_us, {WINDOW_US} as window_us, false as is_strict, number as event_key
    from read_parquet('$file')
"""
SELF = "self-join"
SELF_JOIN = f"""
with events as (from read_parquet('$file')),
reached as (
    select first.entity_key, max(case when third.step = 3 then 3 when second.step = 2 then 2 else 1 end) as level
    from events as first
    left join events as second
        on second.entity_key = first.entity_key and second.step = 2
        and second.occurred_us between first.occurred_us and first.occurred_us + {WINDOW_US}
    left join events as third
        on third.entity_key = first.entity_key and third.step = 3
        and third.occurred_us between second.occurred_us and first.occurred_us + {WINDOW_US}
    where first.step = 1
    group by first.entity_key
)
select level, count(*) from reached group by level order by level
"""
WINDOW_FUNNEL = f"""
select level, count() from (
    select windowFunnel({WINDOW_US})(toUInt64(occurred_us), step = 1, step = 2, step = 3) as level
    from file('$file', Parquet) group by entity_key
) where level > 0 group by level order by level settings max_threads = 2
"""


def measure() -> Table:
    """CPU seconds from the file to visitors by the level that they reached; all three have to agree."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "steps.parquet"
        sizes = {"$events": EVENTS_A_DAY, "$first": 0, "$days": DAYS, "$file": file}
        duckdb.execute(f"copy ({filled(STEPS, sizes)}) to '{file}' (format parquet)")
        questions = {
            "ClickHouse windowFunnel": partial(ask_clickhouse, filled(WINDOW_FUNNEL, sizes)),
            "the models' SQL, with every attempt": partial(ask_duckdb, filled(attempts_sql(), sizes)),
            SELF: partial(ask_duckdb, filled(SELF_JOIN, sizes)),
        }
        taken = {
            name: min(cpu_seconds(ask) for _ in range(1 if name == SELF else ROUNDS)) for name, ask in questions.items()
        }
    if len({str(levels) for _, levels in taken.values()}) > 1:
        raise RuntimeError(f"they differ: {taken}")
    table = Table("", "CPU-s", "windowFunnel = 1", title="funnel of three steps")
    base = taken["ClickHouse windowFunnel"][0]
    for name, (seconds, _) in taken.items():
        table.add_row(name, f"{seconds:.2f}", f"{seconds / base:.1f}")
    table.caption = f"{EVENTS_A_DAY * DAYS:,} events, {CRAWLERS} crawlers of {EVENTS_OF_A_CRAWLER:,} events each"
    return table


def attempts_sql() -> str:
    """The models' query, rendered from the macro as dbt does."""
    environment = jinja2.Environment(autoescape=False)  # noqa: S701 - SQL
    environment.globals |= {"var": {"funnel_max_steps": 3}.__getitem__, "day_us": lambda: 86_400_000_000}
    macro = environment.from_string((PROJECT / "macros" / "funnel_attempts.sql").read_text()).module
    ctes = str(macro.funnel_attempts("entries", "later_steps"))  # type: ignore[attr-defined]
    return f"""
        with entries as ({STEP_EVENTS} where step = 1), later_steps as ({STEP_EVENTS} where step > 1), {ctes},
        reached as (select entity_key, max(level) as level from attempts group by entity_key)
        select level, count(*) from reached group by level order by level
    """


def filled(sql: str, values: dict[str, object]) -> str:
    """The query with its names replaced."""
    for name, value in values.items():
        sql = sql.replace(name, str(value))
    return sql


def ask_duckdb(sql: str) -> Levels:
    """The answer of DuckDB, with two threads."""
    with duckdb.connect(config={"threads": 2}) as db:
        return db.execute(sql).fetchall()


def ask_clickhouse(sql: str) -> Levels:
    """The answer of ClickHouse, embedded."""
    lines = str(chdb.query(sql, "CSV")).splitlines()  # type: ignore[no-untyped-call]
    return [(int(level), int(count)) for level, count in (line.split(",") for line in lines)]
