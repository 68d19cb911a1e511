"""Where the lake's files are: a folder of this machine, or a bucket of S3. Names are relative to the lake's URL."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

import pyarrow.fs

from ingestion.errors import ConfigurationError, HeadraceError, LakeUnavailable, PermanentError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

UNREADABLE = re.compile(r"[\[\]*?]|%[0-9A-Fa-f]{2}")
"""Taken for a pattern by one library, or decoded once too often by another."""
LOG = "_delta_log"
S3 = "s3://"
PARQUET_END = b"PAR1"


class Storage(Protocol):
    """Where files are."""

    @property
    def options(self) -> Mapping[str, str]:
        """What the Delta library needs to know besides the URI."""

    def uri(self, name: str) -> str:
        """Where a file or a table is, for the libraries that read it."""

    def read(self, name: str) -> bytes:
        """What is in a file. Raises FileNotFoundError, and LakeUnavailable where the storage does not answer."""

    def exists(self, name: str) -> bool:
        """Whether there is such a file. Raises LakeUnavailable."""

    def sync(self, names: Iterable[str]) -> None:
        """Make written files durable, with the folders that they are in."""

    def repair(self, table: str) -> list[int]:
        """Remove last versions of a table that a power failure tore, and say which."""

    def explain(self, name: str, error: Exception) -> HeadraceError:
        """Why the Delta library could not read or write `name`, and what to do."""


def open_storage(url: str) -> Storage:
    """The storage behind `file:///path/to/lake` or `s3://bucket/prefix`."""
    scheme, _, path = url.partition("://")
    if scheme not in ("file", "s3") or not path:
        raise ConfigurationError(f"HEADRACE_LAKE is {url!r}; use file:///path/to/lake or s3://bucket/prefix")
    if found := UNREADABLE.search(path):
        raise ConfigurationError(f"HEADRACE_LAKE is {url!r}: the lake's library cannot read {found[0]!r} in a path")
    if scheme == "file":
        return Folder(Path(path))
    from ingestion.s3 import Bucket

    return Bucket(*path.rstrip("/").partition("/")[::2])


def readable(db: "DuckDBPyConnection", uris: Sequence[str]) -> list[str]:
    """`uris`, after DuckDB was told how to open those that are in S3."""
    if any(uri.startswith(S3) for uri in uris) and "s3" not in db.list_filesystems():
        from ingestion.s3 import S3Files

        db.register_filesystem(S3Files())
    return list(uris)


def arrow_files(uris: Sequence[str]) -> tuple[list[str], pyarrow.fs.FileSystem | None]:
    """`uris` as Arrow takes them: paths, and the file system that they are in (None: the local one)."""
    if any(uri.startswith(S3) for uri in uris):
        from ingestion.s3 import S3Files

        return [uri.removeprefix(S3) for uri in uris], pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(S3Files()))
    return list(uris), None


class Folder:
    """A folder of a local disk. Nothing is durable there before an fsync, and a power failure can tear what is not."""

    options: Mapping[str, str] = {}

    def __init__(self, path: Path) -> None:
        self.path = path

    def uri(self, name: str) -> str:
        """The path."""
        return str(self.path / name)

    def read(self, name: str) -> bytes:
        """What is in a file."""
        return (self.path / name).read_bytes()

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.path / name).exists()

    def sync(self, names: Iterable[str]) -> None:
        """Write files through to the disk, with the folders that they are in and those above these."""
        folders = set()
        for path in (self.path / name for name in names):
            try:
                _fsync(path)
            except FileNotFoundError:
                raise PermanentError(f"{path} is missing; restore the file") from None
            folders |= {path.parent, path.parent.parent}
        for folder in folders:
            _fsync(folder)

    def repair(self, table: str) -> list[int]:
        """Remove last versions whose files a power failure took, and say which."""
        removed = []
        log = self.path / table / LOG
        for entry in sorted(log.glob("*.json"), reverse=True):
            if _is_whole(entry):
                break
            entry.unlink()
            removed.append(int(entry.stem))
        for checkpoint in log.glob("*.checkpoint.parquet"):  # it only repeats the entries before it
            if int(checkpoint.name.partition(".")[0]) in removed or not _is_parquet(checkpoint):
                checkpoint.unlink()
                (log / "_last_checkpoint").unlink(missing_ok=True)
        return removed

    def explain(self, name: str, error: Exception) -> HeadraceError:
        """A disk that is full or gone may come back; what is torn has to be repaired."""
        if isinstance(error, OSError):
            return LakeUnavailable(f"{self.path / name}: {error}; nothing is known to be stored")
        return PermanentError(
            f"{self.path / name} cannot be read: {error}; what a power failure tore is repaired when a lander starts"
        )


def _is_whole(entry: Path) -> bool:
    """Whether an entry of a table's log can be read, and every file that it adds is there."""
    table = entry.parent.parent
    try:
        actions = [json.loads(line) for line in entry.read_text().splitlines()]
        adds = [(table / unquote(action["add"]["path"]), action["add"]) for action in actions if "add" in action]
        return bool(actions) and all(path.stat().st_size == add["size"] and _is_parquet(path) for path, add in adds)
    except (ValueError, OSError):
        return False


def _is_parquet(path: Path) -> bool:
    """Whether a file ends as Parquet does: what was never written is missing, short or full of zeros."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(PARQUET_END)))
        return file.read() == PARQUET_END


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
