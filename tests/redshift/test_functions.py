"""Functions mean what they mean on Redshift, where PostgreSQL means something else."""

from datetime import date, datetime
from decimal import Decimal

import pytest

from tests.redshift.conftest import Client
from tests.redshift.functions import AGGREGATES, LEADER_ONLY, SCALARS, WINDOWS

ANSWERS = {
    "select 7 / 2": 3,
    "select avg(a) from (select 1 as a union all select 2) as t": 1,
    "select avg(a) from (select cast(1 as decimal(5, 2)) as a union all select 1.01) as t": Decimal("1.00"),
    "select sum(cast(1 as bigint))": Decimal(1),
    "select datediff(day, cast('2026-01-01 23:59' as timestamp), cast('2026-01-02' as timestamp))": 1,
    "select datediff(hours, cast('2026-01-01 00:59' as timestamp), cast('2026-01-01 01:00' as timestamp))": 1,
    "select datediff(microsecond, cast('1970-01-01' as timestamp), cast('2026-01-01 00:00:00.000001' as timestamp))": (
        1_767_225_600_000_001
    ),
    "select datediff(qtr, cast('2025-12-31' as timestamp), cast('2026-01-01' as timestamp))": 1,
    "select dateadd(month, 1, cast('2026-01-31' as date))": datetime(2026, 2, 28),
    "select cast(dateadd(d, -1, cast('2026-01-01' as date)) as date)": date(2025, 12, 31),
    "select concat('a', null)": None,
    "select len('äöü')": 3,
    "select nvl(null, 'b')": "b",
    "select regexp_replace('aaa', 'a', 'b')": "bbb",
    "select regexp_substr('abc', '[0-9]+')": "",
    "select listagg(a, ',') within group (order by a desc) from (select 'x' as a union all select 'y') as t": "y,x",
    "select cast(cast('äöü' as varchar(5)) as varchar(16))": "äö",
    "select listagg(datediff(day, a, dateadd(day, 2, a)), ',') from (select getdate() as a) as t": "2",
    "select charindex('b', 'abc')": 2,
    "select getdate() = date_trunc('second', getdate())": True,
    r"select 'a5' ~ '\\d'": True,
}


@pytest.mark.parametrize("query", ANSWERS)
def test_it_means_what_redshift_means(query: str, client: Client) -> None:
    assert client.ask(query) == [(ANSWERS[query],)]


@pytest.mark.parametrize("call", ["listagg(distinct a, ';') within group (order by a)", "listagg(a, ';') over ()"])
def test_what_the_stand_in_cannot_run_is_no_answer(call: str, client: Client) -> None:
    assert client.refusal(f"select {call} from (select 'x' as a) as t")[0] == "0A000"


def test_rows_without_a_value_come_first_where_the_order_descends(client: Client) -> None:
    query = "select a from (select 1 as a union all select cast(null as integer)) as t order by a desc"
    assert client.ask(query) == [(None,), (1,)]


def test_a_boolean_does_not_become_a_varchar(client: Client) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/c_Supported_data_types.html"""
    assert client.refusal("select cast(true as varchar(8))")[0] == "42846"


@pytest.mark.parametrize("name", sorted(AGGREGATES | WINDOWS | SCALARS | LEADER_ONLY))
def test_every_function_of_the_list_is_there(name: str, client: Client) -> None:
    there = client.ask("select count(*) from pg_proc where proname = %s", (name,))
    assert there > [(0,)] or name in ("coalesce", "greatest", "least", "nullif", "listagg")
