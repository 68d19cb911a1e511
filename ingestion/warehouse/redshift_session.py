"""One connection to Redshift: how to log in, transactions, and what its errors mean."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import redshift_connector
from redshift_connector.core import Connection
from redshift_connector.error import Error, InterfaceError, OperationalError

from ingestion.errors import ConfigurationError, HeadraceError, PermanentError, WarehouseBusy, WarehouseUnavailable
from ingestion.warehouse.redshift_login import RedshiftOptions, credentials, read_address

RAW = '"raw"'
"""The schema of the raw tables, in quotes: its name is a reserved word of Redshift."""
MOST_PARAMETERS = 10_000
"""Of one statement; the protocol ends at 32,767."""
CANCELLED, SERIALIZATION, LOCK_TIMEOUT = "57014", "40001", "55P03"
SERIALIZABLE = re.compile(r"1023\b")
"""Redshift's number of a conflict of two transactions; it comes as a text with a general SQLSTATE."""
NO_LOGIN, NO_DATABASE = "28", "3D000"
LOAD_ERROR = (
    "select trim(column_name), trim(file_name), trim(error_message) from sys_load_error_detail"
    " where session_id = ? order by start_time desc limit 1"
)


class Session:
    """A connection whose statements belong to one transaction; `where` names it in messages."""

    def __init__(self, connection: Connection, where: str) -> None:
        self._connection, self.where = connection, where

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a statement with `?` parameters, and return its rows; nothing for one that has none."""
        cursor = self._connection.cursor()
        cursor.paramstyle = "qmark"
        try:
            cursor.execute(sql, tuple(parameters))
        except OSError as error:  # which the driver leaves as they are
            raise OperationalError(str(error)) from error
        self.columns = [_text(column[0]) for column in cursor.description or ()]
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def one(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """The value of a query that has one."""
        return self.rows(sql, parameters)[0][0]

    def copy(self, sql: str) -> int:
        """Run a COPY and return its rows. Raises PermanentError with the file and the column that it did not take."""
        try:
            self.rows(sql)
            return int(self.one("select pg_last_copy_count()"))
        except Error as error:
            if refused := self._load_error():
                raise PermanentError(f"{self.where}: {refused}; nothing was changed") from error
            raise

    def _load_error(self) -> str:
        """Why a COPY of this session failed; nothing where that is not known. Ends the transaction."""
        with suppress(Error, OSError):
            self._connection.rollback()
            for column, file, reason in self.rows(LOAD_ERROR, [self.one("select pg_backend_pid()")]):
                return f"COPY did not take {f'column {column} of ' if column else ''}{file}: {reason}"
        return ""

    def insert(self, table: str, rows: Sequence[Sequence[object]]) -> None:
        """Insert rows, many with one statement: each costs a round trip and a block."""
        if not rows:
            return
        width = len(rows[0])
        for start in range(0, len(rows), many := max(1, MOST_PARAMETERS // width)):
            some = rows[start : start + many]
            places = ", ".join([f"({', '.join('?' * width)})"] * len(some))
            self.rows(f"insert into {table} values {places}", [value for row in some for value in row])


class Login:
    """Opens sessions of one warehouse."""

    def __init__(self, url: str, options: RedshiftOptions) -> None:
        self._address, self._options = read_address(url), options

    @contextmanager
    def transaction(self, label: str) -> Iterator[Session]:
        """A transaction that is committed at the end of the block, and of which nothing stays where that fails."""
        with self._connected(label) as connection:
            session = Session(connection, f"{self._address}, {label}")
            try:
                session.rows(f"set query_group to '{label}'")
                yield session
                session.rows("commit")
            except Error as error:
                raise self._meant(error, label) from error

    @contextmanager
    def _connected(self, label: str) -> Iterator[Connection]:
        address = self._address
        user, password = credentials(self._options, address.database)
        try:
            connection = redshift_connector.connect(
                host=address.host,
                port=address.port,
                database=address.database,
                user=user,
                password=password,
                ssl=self._options.tls,
                application_name="headrace",
            )
        except (Error, OSError) as error:
            if sqlstate(error).startswith((NO_LOGIN, NO_DATABASE)):
                raise ConfigurationError(
                    f"Redshift at {address} does not let {user} in: {said(error)}; look at the database in"
                    " HEADRACE_WAREHOUSE and at the settings HEADRACE_REDSHIFT_…"
                ) from error
            raise WarehouseUnavailable(
                f"Redshift at {address} takes no connection: {said(error)}; see that it runs, and the settings"
                " HEADRACE_REDSHIFT_…"
            ) from error
        try:
            yield connection
        finally:
            with suppress(Error, OSError):
                connection.close()  # and with it goes what was not committed

    def _meant(self, error: Error, label: str) -> HeadraceError:
        where = f"{self._address}, {label}"
        code, text = sqlstate(error), said(error)
        if code in (CANCELLED, LOCK_TIMEOUT):
            return WarehouseBusy(f"{where}: another load or build is under way: {text}; run it again")
        if code == SERIALIZATION or SERIALIZABLE.match(text):
            return WarehouseBusy(f"{where}: another transaction changed the same: {text}; run it again")
        if isinstance(error, InterfaceError | OperationalError):
            return WarehouseUnavailable(f"{where}: the connection was lost: {text}; nothing is known to be stored")
        return PermanentError(f"{where}: {text} (query_group '{label}' in sys_query_history); nothing was changed")


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of a statement's error, or nothing."""
    said = error.args[0] if error.args else None
    return str(said.get("C", "")) if isinstance(said, Mapping) else ""


def said(error: BaseException) -> str:
    """What the server said, or the driver."""
    first = error.args[0] if error.args else error
    if isinstance(first, Mapping):
        return ": ".join(str(first[part]) for part in ("M", "D", "H") if first.get(part))
    return str(error)


def _text(name: object) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
