"""Tables hold what Redshift's would, under the lengths, keys and designs that they were made with."""

import pytest

from tests.redshift.conftest import Client
from tests.redshift.table_design import Design, cut_design

INFO = 'select "table", diststyle, sortkey1, sortkey_num from svv_table_info order by 1'
DESIGNS = {
    "create table t (a bigint, b integer) diststyle key distkey (a) compound sortkey (b, a)": ("KEY(a)", "b", 2),
    "create table t (a bigint encode az64 distkey, b integer encode raw not null default 0 sortkey)": (
        "KEY(a)",
        "b",
        1,
    ),
    "create table t (a bigint, b integer) diststyle all interleaved sortkey (a, b)": ("ALL", "INTERLEAVED", 2),
    "create table t (a bigint, b integer) backup no diststyle even sortkey auto encode auto": (
        "EVEN",
        "AUTO(SORTKEY)",
        0,
    ),
    "create table t (a varchar(8) default 'distkey', distkey bigint)": ("AUTO(ALL)", "AUTO(SORTKEY)", 0),
    "create table t distkey (a) sortkey (a) as (select 1 as a)": ("KEY(a)", "a", 1),
}


@pytest.mark.parametrize("sql", DESIGNS)
def test_a_table_has_the_design_that_it_was_made_with(sql: str, client: Client) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/r_SVV_TABLE_INFO.html, which leaves out empty tables."""
    client.commit(sql, "create table empty (a bigint)", "insert into t (a) values ('1')")
    assert client.ask(INFO) == [("t", *DESIGNS[sql])]


def test_a_statement_loses_its_design_and_nothing_else() -> None:
    written = "create table t (a bigint distkey, b varchar(8) default 'sortkey') sortkey (a) as select 1"
    sql, design = cut_design(written)
    assert " ".join(sql.split()) == "create table t (a bigint , b varchar(8) default 'sortkey') as select 1"
    assert design == Design("key", "a", ("a",))


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("create table t (a bigint) distkey (b)", "42703"),
        ("create table t (a super) distkey (a)", "0A000"),
        ("create table t (a super) sortkey (a)", "0A000"),
        (f"create table t ({', '.join(f'c{n} bigint' for n in range(9))}) interleaved sortkey"
         f" ({', '.join(f'c{n}' for n in range(9))})", "54011"),
    ],
)  # fmt: skip
def test_a_design_that_redshift_does_not_take_makes_no_table(sql: str, code: str, client: Client) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/r_CREATE_TABLE_NEW.html and super-limitations.html"""
    assert client.refusal(sql)[0] == code
    assert client.ask("select count(*) from svv_redshift_columns where table_name = 't'") == [(0,)]


@pytest.mark.parametrize(
    ("kind", "fits"),
    [("varchar(6)", "äöü"), ("varchar", "ä" * 128), ("text", "a" * 256), ("varchar(max)", "a" * 65_535)],
)
def test_the_length_of_a_varchar_counts_bytes(kind: str, fits: str, client: Client) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html"""
    client.commit(f"create table t (a {kind})", f"insert into t values ('{fits}')")
    code, message = client.refusal("insert into t select a || 'b' from t")
    assert code == "22001" and message.startswith("value too long for type character varying(")
    assert client.ask("select a from t") == [(fits,)]


@pytest.mark.parametrize("sql", ["create table t as select a from s", "create table t (like s)"])
def test_the_length_is_that_of_the_table_that_it_was_made_from(sql: str, client: Client) -> None:
    client.commit("create table s (a varchar(3))", sql)
    assert client.refusal("insert into t values ('äö')")[0] == "22001"


def test_no_varchar_is_longer_than_65535_bytes(client: Client) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html"""
    assert client.refusal("create table t (a varchar(65536))")[0] == "22023"


def test_a_cast_to_varchar_cuts_after_whole_characters(client: Client) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/r_CAST_function.html"""
    assert client.ask("select cast('äöü' as varchar(5)), 'abcd'::varchar(3), cast(null as varchar(3))") == [
        ("äö", "abc", None)
    ]


def test_keys_are_information_that_nothing_enforces(client: Client) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/t_Defining_constraints.html"""
    client.commit(
        "create table s (a bigint primary key)",
        "create table t (a bigint unique, b bigint not null, primary key (a), foreign key (a) references s (a))",
        "insert into t values (1, 1), (1, 1), (null, 2)",
    )
    assert client.ask("select count(*) from t") == [(3,)]
    assert client.refusal("insert into t values (2, null)")[0] == "23502"


def test_an_identity_counts(client: Client) -> None:
    client.commit("create table t (id bigint identity(0, 1), a integer)", "insert into t (a) values (7), (8)")
    assert client.ask("select id, a from t order by id") == [(0, 7), (1, 8)]


def test_a_column_is_added_with_its_length(client: Client) -> None:
    client.commit("create table t (a bigint)", "insert into t values (1)", "alter table t add column b varchar(3)")
    assert client.ask("select a, b from t") == [(1, None)]
    assert client.refusal("update t set b = 'äö'")[0] == "22001"


def test_the_length_of_a_varchar_changes_outside_a_transaction_only(client: Client) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/r_ALTER_TABLE.html"""
    client.commit("create table t (a varchar(3))")
    change = "alter table t alter column a type varchar(6)"
    assert client.refusal(change)[0] == "25001"
    client.connection.autocommit = True
    client.run(change, "insert into t values ('äöü')")
    assert client.refusal("insert into t values ('äöüa')")[0] == "22001"


def test_a_view_without_schema_binding_outlives_its_table(client: Client) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/r_CREATE_VIEW.html"""
    client.commit("create table t (a bigint)", "insert into t values (1)")
    client.commit("create view v as select a, a + 1 as b from t with no schema binding")
    client.commit("drop table t", "create table t (a bigint)", "insert into t values (5)")
    assert client.ask("select a, b from v") == [(5, 6)]


def test_the_catalogue_names_types_as_redshift_does(client: Client) -> None:
    client.commit("create table t (a bigint, b varchar(8), c super, d decimal(18, 4), e timestamp, f varbyte(8))")
    columns = "select column_name, data_type from svv_redshift_columns where table_name = 't' order by ordinal_position"
    assert client.ask(columns) == [
        ("a", "bigint"),
        ("b", "character varying"),
        ("c", "super"),
        ("d", "numeric"),
        ("e", "timestamp without time zone"),
        ("f", "binary varying"),
    ]
