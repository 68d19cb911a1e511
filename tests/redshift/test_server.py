"""Clients of Redshift reach the stand-in as they are, and a transaction is one."""

import gc
from contextlib import closing
from dataclasses import replace

import psycopg2
import pytest
from redshift_connector.error import Error

from tests.redshift.conftest import Client
from tests.redshift.server import Database


def test_a_client_of_redshift_reaches_it(client: Client) -> None:
    rows = client.ask("select 1, cast('a' as varchar(8)), cast(%s as bigint)", (3,))
    assert rows == [(1, "a", 3)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("sockets_collected")
def test_a_wrong_password_is_refused(database: Database) -> None:
    with pytest.raises(Error, match="password authentication failed"):
        replace(database, password="x").connect()
    gc.collect()  # the client forgets to close the socket of a refused session


def test_a_database_begins_empty(client: Client) -> None:
    assert client.ask("select count(*) from svv_redshift_columns") == [(0,)]


def test_what_is_not_committed_nobody_else_sees(client: Client, database: Database) -> None:
    client.commit("create table t (id bigint)")
    client.run("insert into t values (1)")
    with database.connect() as other:
        assert Client(other).ask("select count(*) from t") == [(0,)]
        other.rollback()
        client.connection.commit()
        assert Client(other).ask("select count(*) from t") == [(1,)]


def test_a_table_comes_and_goes_with_its_transaction(client: Client) -> None:
    client.run("create table t (id bigint) distkey (id)")
    client.connection.rollback()
    assert client.refusal("select id from t")[0] == "42P01"


def test_a_failed_statement_aborts_the_transaction(client: Client) -> None:
    client.commit("create table t (id bigint)")
    client.run("insert into t values (1)")
    with pytest.raises(Error, match="FILTER"):
        client.run("select count(*) filter (where id > 1) from t")
    with pytest.raises(Error, match="current transaction is aborted"):
        client.run("insert into t values (2)")
    client.connection.rollback()
    assert client.ask("select count(*) from t") == [(0,)]


def test_with_autocommit_each_statement_is_a_transaction(client: Client) -> None:
    client.connection.autocommit = True
    client.run("create table t (id bigint)", "insert into t values (1)")
    with pytest.raises(Error, match="FILTER"):
        client.run("select count(*) filter (where id > 1) from t")
    client.connection.rollback()
    assert client.ask("select count(*) from t") == [(1,)]


def test_a_locked_table_waits_for_the_end_of_the_transaction(client: Client, database: Database) -> None:
    client.commit("create table t (id bigint)")
    client.run("lock t")
    with database.connect() as other:
        Client(other).run("set statement_timeout to 200")
        with pytest.raises(Error, match="statement timeout"):
            Client(other).run("lock table t")
        other.rollback()
        client.connection.commit()
        Client(other).run("lock table t")
        other.rollback()


def test_a_transaction_sees_one_moment_from_its_first_query_on(client: Client, database: Database) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/c_serial_isolation.html: LOCK alone takes no snapshot."""
    client.commit("create table t (id bigint)", "create table lock_only (id bigint)")
    with database.connect() as connection:
        other = Client(connection)
        other.run("lock lock_only")
        client.commit("insert into t values (1)")
        assert other.ask("select count(*) from t") == [(1,)]
        client.commit("insert into t values (2)")
        assert other.ask("select count(*) from t") == [(1,)]
        connection.rollback()


def test_truncate_commits(client: Client) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/r_TRUNCATE.html"""
    client.commit("create table t (id bigint)", "insert into t values (1)")
    client.run("insert into t values (2)", "truncate t")
    client.connection.rollback()
    assert client.ask("select count(*) from t") == [(0,)]


def dsn(database: Database) -> str:
    address = f"host={database.host} port={database.port} dbname={database.name} user={database.user}"
    return f"{address} password={database.password} sslmode=disable"


def test_a_client_of_the_simple_protocol_reaches_it(database: Database) -> None:
    """psycopg2 speaks it."""
    with closing(psycopg2.connect(dsn(database))) as db:
        cursor = db.cursor()
        cursor.execute("create table t (id bigint distkey)")
        cursor.execute("insert into t values (%s)", (1,))
        with pytest.raises(psycopg2.Error, match="FILTER") as caught:
            cursor.execute("select count(*) filter (where id > 1) from t")
        assert caught.value.pgcode == "42601"
        db.rollback()
        cursor.execute("select count(*) from svv_redshift_columns")
        assert cursor.fetchall() == [(0,)]
