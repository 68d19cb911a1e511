"""Each refusal with the page of Redshift's Database Developer Guide that it rests on."""

import pytest

from tests.redshift.conftest import Client
from tests.redshift.errors import Refused
from tests.redshift.functions import LEADER_ONLY
from tests.redshift.grammar import parse
from tests.redshift.refusals import RULES, check, refusals

REFUSED = {
    "r_INSERT_30.html": [
        "insert into t (a) values (1) on conflict (a) do nothing",
        "insert into t (a) values (1) returning a",
        "delete from t returning a",
    ],
    "c_Aggregate_Functions.html": ["select count(*) filter (where a > 1) from t"],
    "r_FROM_clause30.html": [
        "select x.a from t, lateral (select t.a) as x",
        "select a from t tablesample bernoulli (10)",
    ],
    "r_SELECT_list.html": ["select distinct on (a) a, b from t"],
    "r_SELECT_synopsis.html": ["select a from t for update"],
    "r_WITH_clause.html": [
        "with x as materialized (select 1 as a) select a from x",
        "with x as (insert into t values (1)) select a from x",
    ],
    "r_comparison_condition.html": [
        "select a is distinct from b from t",
        "select a is not distinct from b from t",
    ],
    "c_unsupported-postgresql-datatypes.html": [
        "create table t (a json)",
        "create table t (a uuid)",
        "create table t (a integer[])",
        "create table t (a serial)",
        "select cast(a as jsonb) from t",
        "select array[1, 2]",
    ],
    "query-super.html": ["select a -> 'b' from t", "select a ->> 'b' from t"],
    "c_unsupported-postgresql-features.html": [
        "create index i on t (a)",
        "create sequence s",
        "create table t (a integer check (a > 1))",
        "select a from (values (1), (2)) as v (a)",
    ],
    "r_Window_function_synopsis.html": [
        "select sum(a) over (order by b) from t",
        "select first_value(a) over (partition by c order by b) from t",
        "select sum(a) over (order by b range between 1 preceding and current row) from t",
    ],
    "r_CONCAT.html": ["select concat(a, b, c) from t"],
    "r_MERGE.html": [
        "merge into t as x using s on x.a = s.a when matched then delete when not matched then insert (a) values (s.a)",
        "merge into t using s on t.a = s.a when matched and s.b > 1 then delete",
        "merge into t using (select 1 as a) as s on t.a = s.a when matched then delete",
        "merge into t using s on t.a = s.a when matched then delete when matched then update set b = 1",
    ],
    "r_Character_types.html": [f"select '{'ä' * 32_768}'"],
    "r_pg_keywords.html": ["select identity from t", "create table t (tag integer)", "select a from t as user"],
    "r_names.html": [f"select 1 as {'n' * 128}"],
    "r_ALTER_TABLE.html": [
        "alter table t add column if not exists a integer",
        "alter table t add column a integer, add column b integer",
        "alter table t add column a integer not null",
        "alter table t alter column a type bigint",
    ],
    "r_CREATE_TABLE_NEW.html": ["create unlogged table t (a integer)"],
    "materialized-view-overview.html": ["create materialized view v as select 1 as a"],
    "r_QUALIFY_clause.html": ["select a from t qualify row_number() over (order by a) = 1"],
    "r_WF_LAG.html": ["select lag(a) ignore nulls over (order by b) from t"],
    "r_FROM_clause-pivot-unpivot-examples.html": ["select * from t pivot (max(a) for b in (1, 2))"],
}
CORRELATED = [
    "select (select b from s where s.a = t.a limit 1) from t",
    "select a from t where exists (select 1 from s where s.a = t.a and s.b in (select c from u where u.d = t.d))",
    "select t.a from t left join s on s.a = (select max(u.a) from u where u.b = t.b)",
]
ACCEPTED = [
    "select sum(a) over (partition by b) from t",
    "select sum(a) over (order by b rows between unbounded preceding and current row) from t",
    "select row_number() over (order by b) from t",
    "select a from t where exists (select 1 from s where s.a = t.a)",
    "select (select max(b) from s where s.a = t.a) from t",
    "insert into t (a) values (1), (2)",
    "select generate_series(1, 3)",
    'select a as tag, t.oid, "identity" from t',
    f"select '{'a' * 65_535}'",
    "alter table t add column a integer default 1 not null",
]


@pytest.mark.parametrize(("page", "sql"), [(page, sql) for page, sqls in REFUSED.items() for sql in sqls])
def test_it_is_refused_with_the_page_that_says_so(page: str, sql: str) -> None:
    with pytest.raises(Refused, match=page):
        check(parse(sql))


def test_every_rule_is_broken_by_an_example() -> None:
    examples = [parse(sql) for sqls in REFUSED.values() for sql in sqls]
    for kind, rules in RULES.items():
        nodes = [node for tree in examples for node in tree.find_all(kind) if type(node) is kind]
        for rule in rules:
            assert any(rule.is_broken(node) for node in nodes), f"{kind.__name__}: {rule.message}"


@pytest.mark.parametrize("sql", CORRELATED)
def test_a_correlation_that_cannot_be_a_join_is_refused(sql: str) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/r_correlated_subqueries.html"""
    with pytest.raises(Refused, match="correlated subquery pattern"):
        check(parse(sql))


@pytest.mark.parametrize("sql", ACCEPTED)
def test_what_redshift_runs_is_accepted(sql: str) -> None:
    assert [str(refusal) for refusal in refusals(parse(sql))] == []


@pytest.mark.parametrize("name", sorted(LEADER_ONLY))
def test_a_function_of_the_leader_node_reads_no_table(name: str) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/c_SQL_functions_leader_node_only.html"""
    check(parse(f"with x as (select {name}() as a from pg_class) select a from x, {name}() as y"))
    for sql in (f"select {name}() from t", f"insert into t select {name}()"):
        with pytest.raises(Refused, match="not supported on Redshift tables"):
            check(parse(sql))


@pytest.mark.parametrize("name", ["string_agg", "unnest", "gen_random_uuid", "format", "epoch_us", "no_such_function"])
def test_a_function_that_is_not_in_the_list_is_refused(name: str) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/c_unsupported-postgresql-functions.html"""
    with pytest.raises(Refused, match=f"{name}.. does not exist") as caught:
        check(parse(f"select {name}(a) from t"))
    assert caught.value.code == "42883"


@pytest.mark.parametrize("sql", ["savepoint x", "explain select 1", "select from where", "", "no sql", "select 1; end"])
def test_what_the_stand_in_cannot_read_it_does_not_pass_on(sql: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(sql)
    assert caught.value.code == "42601"


@pytest.mark.parametrize("sql", ["select a @> b from t", "select a from t fetch first 5 rows only", "select a[1:2]"])
def test_grammar_that_nobody_looked_up_is_refused(sql: str) -> None:
    with pytest.raises(Refused, match="does not know this grammar"):
        check(parse(sql))


def test_a_client_sees_sqlstate_and_message(client: Client) -> None:
    code, message = client.refusal("insert into t (a) values (1) on conflict (a) do nothing")
    assert code == "42601" and message.startswith('syntax error at or near "ON"')
    assert client.refusal("select string_agg(a, ',') from t")[0] == "42883"
