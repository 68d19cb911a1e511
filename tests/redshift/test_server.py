"""Clients of Redshift reach the stand-in as they are, and a transaction is one."""

from collections.abc import Iterator

import pytest
import redshift_connector
from redshift_connector.error import Error

from tests.redshift.server import Database, StandIn


@pytest.fixture
def database(redshift: StandIn) -> Iterator[Database]:
    with redshift.database() as database:
        yield database


def test_a_client_of_redshift_reaches_it(database: Database) -> None:
    with database.connect() as db, db.cursor() as cursor:
        cursor.execute("select 1, cast('a' as varchar(8)), cast(%s as bigint)", (3,))
        assert cursor.fetchall() == ([1, "a", 3],)


def test_a_wrong_password_is_refused(database: Database) -> None:
    with pytest.raises(Error, match="password authentication failed"):
        redshift_connector.connect(
            host=database.host, port=database.port, database=database.name, user=database.user, password="x", ssl=False
        )
