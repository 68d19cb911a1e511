"""One connection to Redshift: how to log in, transactions, and what its errors mean."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import redshift_connector
from redshift_connector.core import Connection
from redshift_connector.error import Error, InterfaceError, OperationalError

from ingestion.errors import ConfigurationError, HeadraceError, PermanentError, WarehouseBusy, WarehouseUnavailable

log = logging.getLogger(__name__)

PORT = 5439
CONNECT_SECONDS = 10
MOST_PARAMETERS = 10_000
"""Of one statement; the protocol ends at 32,767."""
CANCELLED, SERIALIZATION, LOCK_TIMEOUT = "57014", "40001", "55P03"
SERIALIZABLE = "1023"
"""Redshift's number of a conflict of two transactions; it comes as a text with a general SQLSTATE."""


@dataclass(frozen=True)
class RedshiftOptions:
    """What the URL `redshift://host:5439/database` does not say. Secrets are left out of its text."""

    user: str = ""
    password: str = field(default="", repr=False)
    secret: str = ""
    """Name or ARN in Secrets Manager of a JSON with `username` and `password`, instead of both."""
    cluster: str = ""
    """Identifier of a provisioned cluster, for a login by IAM as `user`."""
    workgroup: str = ""
    """Name of a serverless workgroup, for a login by IAM."""
    region: str = ""
    role: str = "default"
    """ARN of the IAM role that COPY reads the lake with, or `default`: the one associated with the warehouse."""
    tls: bool = True


class Session:
    """A connection whose statements belong to one transaction; `label` names it in Redshift's own tables."""

    def __init__(self, connection: Connection, label: str) -> None:
        self._connection, self.label = connection, label

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a statement with `?` parameters, and return its rows; nothing for one that has none."""
        cursor = self._connection.cursor()
        cursor.paramstyle = "qmark"
        cursor.execute(sql, tuple(parameters))
        self.columns = [_text(column[0]) for column in cursor.description or ()]
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def one(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """The value of a query that has one."""
        return self.rows(sql, parameters)[0][0]

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
        parts = urlsplit(url)
        self.host, self.port, self.database = parts.hostname or "", parts.port or PORT, parts.path.strip("/")
        self.options = options
        if not (self.host and self.database) or parts.password:
            raise ConfigurationError(
                f"HEADRACE_WAREHOUSE is redshift://{parts.hostname or ''}…; use redshift://host:5439/database, and"
                " HEADRACE_REDSHIFT_USER and HEADRACE_REDSHIFT_PASSWORD (or …_PASSWORD_FILE, …_SECRET) for the login"
            )

    @contextmanager
    def transaction(self, label: str) -> Iterator[Session]:
        """A transaction that is committed at the end of the block, and of which nothing stays where that fails."""
        with self._connected(label) as connection:
            session = Session(connection, label)
            try:
                session.rows(f"set query_group to '{label}'")
                yield session
                connection.commit()
            except Error as error:
                raise self._meant(error, label) from error

    @contextmanager
    def _connected(self, label: str) -> Iterator[Connection]:
        try:
            connection = redshift_connector.connect(
                host=self.host,
                port=self.port,
                database=self.database,
                application_name="headrace",
                ssl=self.options.tls,
                timeout=None,
                **self._credentials(),
            )
        except (Error, OSError) as error:
            raise WarehouseUnavailable(
                f"{self.host}:{self.port}/{self.database} cannot be connected to: {said(error)}; see that it runs, and"
                " the HEADRACE_REDSHIFT_ settings"
            ) from error
        try:
            yield connection
        finally:
            connection.close()  # and with it goes what was not committed

    def _credentials(self) -> Mapping[str, Any]:
        options = self.options
        region = {"region": options.region} if options.region else {}
        if options.workgroup:
            return {"iam": True, "is_serverless": True, "serverless_work_group": options.workgroup, **region}
        if options.cluster:
            return {"iam": True, "cluster_identifier": options.cluster, "db_user": options.user, **region}
        if options.secret:
            return _from_secrets_manager(options.secret, options.region)
        if not (options.user and options.password):
            raise ConfigurationError(
                "HEADRACE_WAREHOUSE is in Redshift: set HEADRACE_REDSHIFT_USER and HEADRACE_REDSHIFT_PASSWORD (or"
                " …_PASSWORD_FILE), or HEADRACE_REDSHIFT_SECRET, _CLUSTER or _WORKGROUP for a login by AWS"
            )
        return {"user": options.user, "password": options.password}

    def _meant(self, error: Error, label: str) -> HeadraceError:
        where = f"{self.host}, {label}"
        code, text = sqlstate(error), said(error)
        if code in (CANCELLED, LOCK_TIMEOUT):
            return WarehouseBusy(f"{where}: another load or build is under way: {text}; run it again")
        if code == SERIALIZATION or SERIALIZABLE in text.split(maxsplit=1)[:1]:
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


def _from_secrets_manager(secret: str, region: str) -> Mapping[str, str]:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = boto3.client("secretsmanager", region_name=region or None)
        held = json.loads(client.get_secret_value(SecretId=secret)["SecretString"])
        return {"user": held["username"], "password": held["password"]}
    except (BotoCoreError, ClientError, KeyError, ValueError) as error:
        raise ConfigurationError(
            f"HEADRACE_REDSHIFT_SECRET is {secret!r}, which cannot be used: {type(error).__name__}: {error}; it has to"
            " be a JSON with username and password"
        ) from error
