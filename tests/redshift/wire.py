"""PostgreSQL's wire protocol, version 3, as far as a proxy has to understand it: framing, errors, columns."""

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

PROTOCOL = 196_608
WANTS_ENCRYPTION = (80_877_103, 80_877_104)
SUPER, VARCHAR, JSONB, NAME, TEXT = 4000, 1043, 3802, 19, 25
REDSHIFT_TYPES = {TEXT: VARCHAR, NAME: VARCHAR, JSONB: SUPER}
"""Redshift has no type `text`: it is another name of varchar."""


@dataclass(frozen=True)
class Message:
    """One message; `kind` is its letter."""

    kind: bytes
    body: bytes = b""

    def __bytes__(self) -> bytes:
        return self.kind + struct.pack("!i", len(self.body) + 4) + self.body


SYNC, TERMINATE, COPY_DONE = Message(b"S"), Message(b"X"), Message(b"c")


def read_message(stream: BinaryIO) -> Message:
    """The next message. ConnectionError where the other side has gone."""
    kind, size = struct.unpack("!ci", _read(stream, 5))
    return Message(kind, _read(stream, size - 4))


def read_startup(stream: BinaryIO) -> tuple[int, bytes]:
    """The code and the body of a start-up packet, which has no kind."""
    size, code = struct.unpack("!ii", _read(stream, 8))
    return code, _read(stream, size - 8)


def startup(parameters: Mapping[str, str]) -> bytes:
    """The packet that opens a session."""
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"
    return struct.pack("!ii", len(body) + 8, PROTOCOL) + body


def parse_startup(body: bytes) -> dict[str, str]:
    """The parameters of a start-up packet."""
    texts = body.decode().split("\0")
    return {name: value for name, value in zip(texts[::2], texts[1::2], strict=False) if name}


def query(sql: str) -> Message:
    """A query in the simple protocol."""
    return Message(b"Q", sql.encode() + b"\0")


def parse(name: bytes, sql: str, rest: bytes = b"\0\0") -> Message:
    """A statement to prepare; `rest` holds the types of its parameters."""
    return Message(b"P", name + b"\0" + sql.encode() + b"\0" + rest)


def error(code: str, text: str) -> Message:
    """An error as servers report them."""
    return Message(b"E", f"SERROR\0C{code}\0M{text}\0\0".encode())


def fields_of(report: Message) -> dict[str, str]:
    """The fields of an error or a notice by their letters: C is the SQLSTATE, M the message, n a constraint."""
    return {field[:1]: field[1:] for field in report.body.decode(errors="replace").split("\0") if field}


def cells(row: Message) -> list[str | None]:
    """The values of a row, as text."""
    found: list[str | None] = []
    at = 2
    for _ in range(struct.unpack_from("!h", row.body)[0]):
        (size,) = struct.unpack_from("!i", row.body, at)
        at += 4
        found.append(None if size < 0 else row.body[at : at + size].decode())
        at += max(size, 0)
    return found


@dataclass(frozen=True)
class Column:
    """A column of a result: the oid of its type, and the type's modifier, -1 for none."""

    name: str
    type: int
    modifier: int


def columns(description: Message) -> list[Column]:
    """The columns of a result."""
    found = []
    for start, end in _fields(description.body):
        kind, _, modifier = struct.unpack_from("!ihi", description.body, end + 7)
        found.append(Column(description.body[start:end].decode(), kind, modifier))
    return found


def as_redshift(description: Message) -> Message:
    """The same description with the types that Redshift would name."""
    body = bytearray(description.body)
    for _, end in _fields(description.body):
        (kind,) = struct.unpack_from("!i", body, end + 7)
        struct.pack_into("!i", body, end + 7, REDSHIFT_TYPES.get(kind, kind))
    return Message(description.kind, bytes(body))


def _fields(body: bytes) -> Iterator[tuple[int, int]]:
    """Where the name of each column begins and ends; 18 bytes about it follow."""
    at = 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        end = body.index(b"\0", at)
        yield at, end
        at = end + 19


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ConnectionError("the other side has closed the connection")
    return data


def shut(connection: socket.socket) -> None:
    """Close it, and wake up who waits for it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
