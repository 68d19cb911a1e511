"""Keys: each belongs to a named source and may write events or read views; only its hash is kept.

A key is 32 random bytes, so a plain SHA-256 of it cannot be guessed back. The file is replaced as a whole, and a
service reads it again when it has changed: a disabled key stops working within a second, without a restart.
"""

import hashlib
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from ingestion.errors import ConfigurationError

SOURCE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
Scope = Literal["write", "read"]
"""A write key may send events, a read key may ask for views; none may do both."""
PREFIX_LENGTH = 8
LOOK_AGAIN_SECONDS = 1.0
log = logging.getLogger(__name__)


class Key(Struct, frozen=True, kw_only=True):
    """What is kept of a key; `prefix` is its beginning, to tell keys apart."""

    source: str
    prefix: str
    sha256: str
    created_at: datetime
    disabled_at: datetime | None = None
    scope: Scope = "write"


class KeyFile:
    """The keys in one JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Key]:
        """Every key, in the order in which they were added; none where there is no file."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=list[Key])
        except FileNotFoundError:
            return []
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise ConfigurationError(f"{self.path} holds no keys: {error}; restore or delete it") from error

    def add(self, source: str, scope: Scope = "write") -> str:
        """Make a key for `source` and return it: it can never be shown again."""
        if not SOURCE.fullmatch(source):
            raise ConfigurationError(
                f"source {source!r} is no name: use a to z, 0 to 9, - and _, first a letter, at most 64"
            )
        key = f"hr_{secrets.token_urlsafe(32)}"
        entry = Key(
            source=source, prefix=key[:PREFIX_LENGTH], sha256=_hash(key), created_at=datetime.now(UTC), scope=scope
        )
        self._write([*self.read(), entry])
        return key

    def disable(self, prefix: str) -> Key:
        """Disable the one key that begins with `prefix`."""
        keys = self.read()
        found = [entry for entry in keys if prefix.startswith(entry.prefix) and entry.disabled_at is None]
        if len(found) != 1:
            raise ConfigurationError(f"{len(found)} enabled keys begin with {prefix!r}; see: headrace keys list")
        disabled = msgspec.structs.replace(found[0], disabled_at=datetime.now(UTC))
        self._write([disabled if entry is found[0] else entry for entry in keys])
        return disabled

    def _write(self, keys: list[Key]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(keys)))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)


class Keyring:
    """The keys of one scope as a service asks for them; looks at the file again at most once a second.

    ConfigurationError where the file is broken at the start. One that breaks later changes nothing: to refuse the keys
    that were known would make their senders drop what they have.
    """

    def __init__(self, file: KeyFile, clock: Callable[[], float] = time.monotonic, scope: Scope = "write") -> None:
        self._file, self._clock, self._scope = file, clock, scope
        self._looked_at = float("-inf")
        self._stamp: tuple[int, int] | None = None
        self._keys: Mapping[str, Key] = {}
        self._read_again()

    def source_of(self, key: str) -> str | None:
        """The source of an enabled key, or None."""
        self._refresh()
        entry = self._keys.get(_hash(key))
        return entry.source if entry and entry.disabled_at is None else None

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._looked_at < LOOK_AGAIN_SECONDS:
            return
        self._looked_at = now
        try:
            self._read_again()
        except (ConfigurationError, OSError) as error:
            log.error("the keys stay as they were: %s", error)

    def _read_again(self) -> None:
        """Read the file where it is another than before."""
        stamp = self._stamp_of_file()
        if stamp != self._stamp:
            self._keys = {entry.sha256: entry for entry in self._file.read() if entry.scope == self._scope}
            self._stamp = stamp

    def _stamp_of_file(self) -> tuple[int, int] | None:
        try:
            status = self._file.path.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_ino


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
