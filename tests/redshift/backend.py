"""A session of PostgreSQL: what the proxy sends on, and questions of its own between two messages of the client."""

import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import BinaryIO, cast

from tests.redshift import wire
from tests.redshift.wire import Message


class Failed(Exception):
    """PostgreSQL said no; `report` is its error."""

    def __init__(self, report: Message) -> None:
        self.report = report
        super().__init__(wire.fields_of(report).get("M", ""))


class Backend:
    """One session. `greeting` is what PostgreSQL said when it began, `status` its transaction: I(dle), T or E."""

    def __init__(self, connection: socket.socket, parameters: Mapping[str, str]) -> None:
        """Raises Failed where PostgreSQL refuses the session."""
        self._socket = connection
        self._stream = cast("BinaryIO", connection.makefile("rb"))
        self.status = "I"
        try:
            self._socket.sendall(wire.startup(parameters))
            self.greeting = self._until_ready()
        except (Failed, OSError):
            self.close()
            raise

    @property
    def process(self) -> int:
        """What `pg_backend_pid()` says in it."""
        (keys,) = [message for message in self.greeting if message.kind == b"K"]
        return int.from_bytes(keys.body[:4])

    def send(self, *messages: Message) -> None:
        """Send messages as they are."""
        self._socket.sendall(b"".join(map(bytes, messages)))

    def receive(self) -> Message:
        """The next message; keeps the status of the transaction."""
        message = wire.read_message(self._stream)
        if message.kind == b"Z":
            self.status = message.body.decode()
        return message

    def ask(self, sql: str) -> list[list[str | None]]:
        """The rows of a query, as text; of the last one where there are several. Raises Failed."""
        self.send(wire.query(sql))
        return [wire.cells(message) for message in self._until_ready() if message.kind == b"D"]

    def describe(self, sql: str) -> list[wire.Column]:
        """The columns of a query. Raises Failed."""
        self.send(wire.parse(b"", sql), Message(b"D", b"S\0"), wire.SYNC)
        return [column for message in self._until_ready() if message.kind == b"T" for column in wire.columns(message)]

    def copy_in(self, sql: str, chunks: Iterable[bytes]) -> int:
        """Send CSV to `copy … from stdin` and return the rows it took. Raises Failed, and what `chunks` raises."""
        self.send(wire.query(sql))
        while (message := self.receive()).kind not in (b"G", b"E"):
            pass
        if message.kind == b"E":
            self._until_ready()
            raise Failed(message)
        try:
            for chunk in chunks:
                self.send(Message(b"d", chunk))
        except BaseException as error:
            self.send(Message(b"f", str(error).encode() + b"\0"))
            self._until_ready(tolerant=True)
            raise
        self.send(wire.COPY_DONE)
        (done,) = [message for message in self._until_ready() if message.kind == b"C"]
        return int(done.body.rstrip(b"\0").split()[-1])

    def close(self) -> None:
        """End the session."""
        with suppress(OSError):
            self.send(wire.TERMINATE)
        self._stream.close()
        wire.shut(self._socket)

    def _until_ready(self, tolerant: bool = False) -> list[Message]:
        messages: list[Message] = []
        failed: Message | None = None
        while not messages or messages[-1].kind != b"Z":
            messages.append(self.receive())
            if messages[-1].kind == b"E":
                failed = failed or messages[-1]
                if wire.fields_of(failed)["S"] == "FATAL":
                    break
        if failed and not tolerant:
            raise Failed(failed)
        return messages
