"""A database of the stand-in for each test, and a client of it."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from redshift_connector.core import Connection
from redshift_connector.error import Error

from tests.redshift.server import Database, StandIn


class Client:
    """A connection with autocommit off, and short ways to ask."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def run(self, *statements: str) -> None:
        """Run statements in the open transaction."""
        for statement in statements:
            self.connection.cursor().execute(statement)

    def ask(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        cursor = self.connection.cursor()
        cursor.execute(query, parameters)
        return [tuple(row) for row in cursor.fetchall()]

    def commit(self, *statements: str) -> None:
        """Run statements and commit them."""
        self.run(*statements)
        self.connection.commit()

    def refusal(self, statement: str) -> tuple[str, str]:
        """SQLSTATE and message of the error that a statement ends in; its transaction is rolled back."""
        with pytest.raises(Error) as caught:
            self.run(statement)
        self.connection.rollback()
        report = caught.value.args[0]
        return report["C"], report["M"]


@pytest.fixture
def database(redshift: StandIn) -> Iterator[Database]:
    with redshift.database() as database:
        yield database


@pytest.fixture
def client(database: Database) -> Iterator[Client]:
    with database.connect() as connection:
        yield Client(connection)
