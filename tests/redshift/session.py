"""One client's session: its statements translated and sent on, PostgreSQL's answers made Redshift's.

A batch of the client's messages is read to its end before anything is sent on. So PostgreSQL is idle in between, and
the proxy may ask questions of its own in the client's session and transaction.
"""

import re
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO, Protocol, cast

from tests.redshift import wire
from tests.redshift.backend import Backend, Failed
from tests.redshift.dialect import Statement, translate
from tests.redshift.errors import Refused
from tests.redshift.transfers import Transfer
from tests.redshift.wire import Message

VERSION = "8.0.2"
"""What Redshift says that it is."""
CLEARTEXT_PASSWORD = Message(b"R", struct.pack("!i", 3))
ABORTED = wire.error("25P02", "current transaction is aborted, commands ignored until end of transaction block")
TOO_LONG = re.compile(r"^longer_than_(\d+)")
"""The name of the constraint that counts the bytes of a varchar."""
KEPT = ("user", "database", "application_name")


class Server(Protocol):
    """What a session needs of the stand-in."""

    user: str
    password: str

    def connect(self) -> socket.socket:
        """A bare connection to PostgreSQL."""

    def transfer(self, transfer: Transfer, backend: Backend, database: str) -> str:
        """Run a COPY or UNLOAD in the client's session; returns its command tag. Raises Refused."""


class Session:
    """One client, from its first message to its last."""

    def __init__(self, client: socket.socket, server: Server) -> None:
        self._client, self._server = client, server
        self._stream = cast("BinaryIO", client.makefile("rb"))
        self._prepared: dict[bytes, Statement] = {}
        self._portals: dict[bytes, Statement] = {}
        self._backend: Backend | None = None

    def run(self) -> None:
        """Until the client has gone."""
        try:
            with suppress(OSError):  # the client may go without a word
                going = self._begin()
                while going:
                    going = self._answer(self._batch())
        finally:
            if self._backend:
                self._backend.close()
            self._stream.close()
            wire.shut(self._client)

    def _begin(self) -> bool:
        """Greet the client; False where it wanted something else, or may not come in."""
        code, body = wire.read_startup(self._stream)
        while code in wire.WANTS_ENCRYPTION:
            self._client.sendall(b"N")  # no TLS on the loopback
            code, body = wire.read_startup(self._stream)
        if code != wire.PROTOCOL:
            return False  # a wish to cancel a statement of another session, which ends by itself
        parameters = wire.parse_startup(body)
        self._database = parameters.get("database", "")
        self._send(CLEARTEXT_PASSWORD)
        password = wire.read_message(self._stream).body.rstrip(b"\0").decode()
        if (parameters.get("user"), password) != (self._server.user, self._server.password):
            self._send(wire.error("28000", f'password authentication failed for user "{parameters.get("user")}"'))
            return False
        try:
            kept = {name: value for name, value in parameters.items() if name in KEPT}
            self._backend = Backend(self._server.connect(), kept)
        except Failed as failed:
            self._send(failed.report)
            return False
        self._send(*map(_with_version, self._backend.greeting))
        return True

    def _batch(self) -> list[Message]:
        batch = [wire.read_message(self._stream)]
        while batch[-1].kind not in (b"S", b"Q", b"X"):
            batch.append(wire.read_message(self._stream))
        return batch

    def _answer(self, batch: Sequence[Message]) -> bool:
        """Serve a batch; False where it was the last."""
        if batch[-1].kind == b"X" or self._backend is None:
            return False
        before = self._backend.status
        try:
            translated, run = self._translate(batch)
            if before != "I" and any(statement.alone for statement in run):
                raise Refused("ALTER TABLE ALTER COLUMN cannot run inside a transaction block", "25001")
            tags = [self._transfer(statement.transfer, self._backend) for statement in run if statement.transfer]
        except (Refused, Failed) as refusal:
            self._refuse(refusal, self._backend, before)
            return True
        except Exception as error:  # a mistake of the stand-in's is an error to the client, never a silence
            self._refuse(Refused(f"the stand-in failed: {error!r}", "XX000"), self._backend, before)
            return True
        self._backend.send(*translated)
        while (message := self._backend.receive()).kind != b"Z":
            self._send(_as_redshift(message, tags))
        if self._backend.status == "T" and any(statement.commits for statement in run):
            self._backend.ask("commit")
        self._ready(self._backend)
        return True

    def _translate(self, batch: Sequence[Message]) -> tuple[list[Message], list[Statement]]:
        """What to send on for a batch, and the statements that it runs."""
        translated, run = [], []
        for message in batch:
            sent = message
            if message.kind == b"Q":
                run.append(translate(message.body.rstrip(b"\0").decode()))
                sent = wire.query(run[-1].sql)
            elif message.kind == b"P":
                name, sql, rest = message.body.split(b"\0", 2)
                self._prepared[name] = translate(sql.decode())
                sent = wire.parse(name, self._prepared[name].sql, rest)
            elif message.kind == b"B":
                portal, name = message.body.split(b"\0", 2)[:2]
                self._portals[portal] = self._prepared[name]
            elif message.kind == b"E":
                run.append(self._portals[message.body.split(b"\0")[0]])
            translated.append(sent)
        return translated, run

    def _transfer(self, transfer: Transfer, backend: Backend) -> str:
        return self._server.transfer(transfer, backend, self._database)

    def _refuse(self, refusal: Refused | Failed, backend: Backend, before: str) -> None:
        """Report it as the server's own error, which aborts an open transaction."""
        report = refusal.report if isinstance(refusal, Failed) else wire.error(refusal.code, str(refusal))
        if before == "E":
            report = ABORTED
        elif backend.status == "T":
            with suppress(Failed):
                backend.ask("select 1 / 0")
        self._send(_as_redshift(report, []))
        self._ready(backend)

    def _ready(self, backend: Backend) -> None:
        self._send(Message(b"Z", backend.status.encode()))

    def _send(self, *messages: Message) -> None:
        self._client.sendall(b"".join(map(bytes, messages)))


def _with_version(message: Message) -> Message:
    if message.kind == b"S" and message.body.startswith(b"server_version\0"):
        return Message(b"S", f"server_version\0{VERSION}\0".encode())
    return message


def _as_redshift(message: Message, tags: Sequence[str]) -> Message:
    """PostgreSQL's answer in Redshift's words; `tags` are of what ran in place of the statement."""
    if message.kind == b"T":
        return wire.as_redshift(message)
    if message.kind == b"C" and tags:
        return Message(b"C", tags[0].encode() + b"\0")
    if message.kind == b"E" and (too_long := TOO_LONG.search(wire.fields_of(message).get("n", ""))):
        return wire.error("22001", f"value too long for type character varying({too_long[1]})")
    return message
