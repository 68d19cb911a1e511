"""The stand-in as a server on 127.0.0.1: a PostgreSQL, the proxy before it, and databases for tests to take."""

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redshift_connector
from redshift_connector.core import Connection

from tests.redshift import wire
from tests.redshift.backend import Backend
from tests.redshift.copying import copy, unload
from tests.redshift.dialect import quote
from tests.redshift.errors import Refused
from tests.redshift.parquet import LoadError
from tests.redshift.postgres import PostgreSQL, postgresql
from tests.redshift.session import Session
from tests.redshift.storage import Storage
from tests.redshift.transfers import Transfer
from tests.services.aws import Endpoint

USER, PASSWORD = "headrace", "Headrace1"
TEMPLATE = "redshift"
CATALOGUE = tuple(Path(__file__).parent / name for name in ("catalogue.sql", "functions.sql"))


@dataclass(frozen=True)
class Database:
    """One database, and how to reach it."""

    name: str
    port: int
    host: str = "127.0.0.1"
    user: str = USER
    password: str = PASSWORD

    def connect(self) -> Connection:
        """A connection of redshift_connector, autocommit off; close it."""
        address: dict[str, Any] = {"host": self.host, "port": self.port, "database": self.name}
        return redshift_connector.connect(**address, user=self.user, password=self.password, ssl=False)

    @property
    def settings(self) -> dict[str, str]:
        """What Headrace is told of it; any role will do."""
        return {
            "HEADRACE_WAREHOUSE": f"redshift://{self.host}:{self.port}/{self.name}",
            "HEADRACE_REDSHIFT_USER": self.user,
            "HEADRACE_REDSHIFT_PASSWORD": self.password,
            "HEADRACE_REDSHIFT_ROLE": "arn:aws:iam::123456789012:role/headrace",
            "HEADRACE_REDSHIFT_TLS": "false",
        }

    @property
    def environment(self) -> dict[str, str]:
        """What dbt's target `redshift` reads."""
        return {
            "HEADRACE_DBT_TARGET": "redshift",
            "HEADRACE_REDSHIFT_HOST": self.host,
            "HEADRACE_REDSHIFT_PORT": str(self.port),
            "HEADRACE_REDSHIFT_USER": self.user,
            "HEADRACE_REDSHIFT_PASSWORD": self.password,
            "HEADRACE_REDSHIFT_DATABASE": self.name,
            "HEADRACE_REDSHIFT_SSLMODE": "disable",
        }


class StandIn:
    """The stand-in. `s3` is the server that COPY and UNLOAD reach, None for none."""

    def __init__(self, postgres: PostgreSQL) -> None:
        self.user, self.password = USER, PASSWORD
        self.s3: Endpoint | None = None
        self._postgres, self._names = postgres, itertools.count()
        self._clients: list[socket.socket] = []
        self._make_template()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, name="redshift", daemon=True).start()

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A database with nothing in it, gone after the block."""
        database = Database(f"headrace_{next(self._names)}", self.port)
        with closing(self._postgres.superuser()) as backend:
            backend.ask(f"create database {database.name} template {TEMPLATE} owner {self.user}")
        try:
            yield database
        finally:
            with closing(self._postgres.superuser()) as backend:
                backend.ask(f"drop database {database.name} with (force)")

    def superuser(self, database: Database) -> Backend:
        """A session of PostgreSQL that no rule of Redshift's holds; close it."""
        return self._postgres.superuser(database.name)

    def connect(self) -> socket.socket:
        """A bare connection to PostgreSQL."""
        return self._postgres.connect()

    def transfer(self, transfer: Transfer, backend: Backend, database: str) -> str:
        """Run a COPY or UNLOAD in the client's session; returns its command tag. Raises Refused."""
        if self.s3 is None:
            raise Refused("the stand-in has no S3 server: set redshift.s3 = s3.endpoint", "XX000")
        storage = Storage(self.s3)
        if transfer.command == "UNLOAD":
            unload(transfer, backend, storage)
            return "UNLOAD"
        try:
            rows = copy(transfer, backend, storage)
        except LoadError as error:
            self._remember(error, transfer, database, backend.process)
            raise
        backend.ask(f"select set_config('redshift.last_copy_count', '{rows}', false)")
        return "COPY"

    def _remember(self, error: LoadError, transfer: Transfer, database: str, process: int) -> None:
        """Outside the client's transaction, which is lost."""
        values = ", ".join(map(quote, (transfer.subject.replace('"', ""), error.file, error.column, error.reason)))
        with closing(self._postgres.superuser(database)) as backend:
            backend.ask(
                "insert into redshift.load_errors (session_id, table_name, file_name, column_name, reason)"
                f" values ({process}, {values})"
            )

    def disconnect(self, database: Database) -> None:
        """End all sessions of a database, as a cluster does that fails or is restarted."""
        with closing(self._postgres.superuser()) as backend:
            backend.ask(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database.name}'")

    def close(self) -> None:
        """Take no more clients, and let go of those that are there."""
        wire.shut(self._listener)
        for client in self._clients:
            wire.shut(client)

    def _make_template(self) -> None:
        with closing(self._postgres.superuser()) as backend:
            backend.ask(f"create role {self.user} login createrole")
            backend.ask(f"create database {TEMPLATE}")
            backend.ask(f"alter role {self.user} set default_transaction_isolation = 'repeatable read'")
            backend.ask(f'alter role {self.user} set search_path = "$user", public, redshift, pg_catalog')
        with closing(self._postgres.superuser(TEMPLATE)) as backend:
            for path in CATALOGUE:
                if path.exists():
                    backend.ask(path.read_text())

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._clients.append(client)
            threading.Thread(target=Session(client, self).run, daemon=True).start()


@contextmanager
def redshift() -> Iterator[StandIn]:
    """Ready until the end of the block. Raises Unavailable."""
    with postgresql() as postgres, closing(StandIn(postgres)) as stand_in:
        yield stand_in
