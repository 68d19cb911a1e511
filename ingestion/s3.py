"""The lake in a bucket of S3, and its files as DuckDB and Arrow read them where they lie.

Endpoint, region, credentials, profile and encryption are the usual AWS settings (`AWS_ENDPOINT_URL`, `AWS_REGION`,
`AWS_PROFILE`, `AWS_SERVER_SIDE_ENCRYPTION`, …). The server has to honour `If-None-Match: *` atomically, as S3 does:
two landers' commits meet there.

DuckDB's own reader of S3 is an extension that it downloads when it runs. Its Parquet reader takes any fsspec file
system instead; it reads one file from several threads, so each thread has a position of its own in it.
"""

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache, lru_cache
from typing import Any, cast

import boto3
import obstore
from fsspec import AbstractFileSystem
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import BaseError
from obstore.store import S3Store

from ingestion.errors import ConfigurationError, HeadraceError, LakeUnavailable

SCHEME = "s3://"
COLOURS = re.compile(r"\x1b\[\d*m|↳")
MOST_SAID = 600
TRIES, TRY_SECONDS, TIMEOUT_SECONDS = 4, 20, 15


class Bucket:
    """The files below a prefix of a bucket. What S3 has answered is durable, and never torn."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix

    @property
    def options(self) -> Mapping[str, str]:
        """Endpoint, region and the credentials of now, which may be of a role and short-lived."""
        found = session().get_credentials()
        if found is None:
            raise ConfigurationError(
                f"HEADRACE_LAKE is {self.uri('')!r}, and there are no AWS credentials; set AWS_PROFILE or"
                " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role"
            )
        keys = found.get_frozen_credentials()
        return {
            "max_retries": str(TRIES - 1),
            "retry_timeout": f"{TRY_SECONDS}s",
            "timeout": f"{TIMEOUT_SECONDS}s",
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
            **({"aws_session_token": keys.token} if keys.token else {}),
            **_connection(),
        }

    def uri(self, name: str) -> str:
        """Like `s3://bucket/prefix/name`."""
        return f"{SCHEME}{self._bucket}/{self._key(name)}"

    def read(self, name: str) -> bytes:
        """What is in an object."""
        with _answered(self.uri(name)):
            return bytes(obstore.get(store(self._bucket), self._key(name)).bytes())

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        try:
            with _answered(self.uri(name)):
                obstore.head(store(self._bucket), self._key(name))
        except FileNotFoundError:
            return False
        return True

    def write(self, name: str, content: bytes) -> None:
        """Make or replace an object."""
        with _answered(self.uri(name)):
            obstore.put(store(self._bucket), self._key(name), content)

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        with _answered(self.uri(name)):
            obstore.delete(store(self._bucket), self._key(name))

    def sync(self, names: Iterable[str]) -> None:
        """Nothing: what was answered is durable."""

    def repair(self, table: str) -> list[int]:
        """Nothing: an object is there as a whole or not at all."""
        return []

    def explain(self, name: str, error: Exception) -> HeadraceError:
        """S3 may answer later, or somebody gives the permission meanwhile."""
        return _unavailable(self.uri(name), error)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name


class S3Files(AbstractFileSystem):  # type: ignore[misc]  # it has no types
    """Objects as files to read."""

    protocol = "s3"
    cachable = False

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, type and size in bytes."""
        return {"name": path.removeprefix(SCHEME), "type": "file", "size": _head(path)["size"]}

    def glob(self, path: str, **_: Any) -> list[str]:
        """The path itself: the lake is read through its log, never by a pattern."""
        return [path.removeprefix(SCHEME)]

    def modified(self, path: str) -> Any:
        """When the object was written."""
        return _head(path)["last_modified"]

    def _open(self, path: str, mode: str = "rb", **_: Any) -> "S3File":
        return S3File(path)


class S3File:
    """An object, read by ranges; each thread has its own position in it."""

    closed = False

    def __init__(self, path: str) -> None:
        self._path = path
        self.size: int = _head(path)["size"]
        self._of_thread = threading.local()

    def tell(self) -> int:
        """This thread's position."""
        return int(getattr(self._of_thread, "position", 0))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move this thread's position."""
        self._of_thread.position = offset + (0, self.tell(), self.size)[whence]
        return self.tell()

    def read(self, length: int = -1) -> bytes:
        """The next `length` bytes, or all that are left."""
        start = self.tell()
        end = self.size if length < 0 else min(self.size, start + length)
        self._of_thread.position = max(start, end)
        if start >= end:
            return b""
        bucket, key = _parts(self._path)
        with _answered(self._path):
            return bytes(obstore.get_range(store(bucket), key, start=start, end=end))

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def writable(self) -> bool:
        """Never."""
        return False

    def close(self) -> None:
        """Nothing is held."""


@cache
def store(bucket: str) -> S3Store:
    """The client of a bucket, by the AWS settings of this process."""
    return S3Store(
        bucket,
        credential_provider=Boto3CredentialProvider(session()),
        client_options={"timeout": timedelta(seconds=TIMEOUT_SECONDS)},
        retry_config={"max_retries": TRIES - 1, "retry_timeout": timedelta(seconds=TRY_SECONDS)},
        config=cast("Any", _connection()),
    )


@cache
def session() -> boto3.Session:
    """Who this process is to AWS; it renews credentials that expire."""
    return boto3.Session()


def _connection() -> dict[str, str]:
    """What both libraries do not take from the environment as the AWS tools do."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or session().region_name
    return {
        **({"aws_endpoint": endpoint} if endpoint else {}),
        **({"aws_region": region} if region else {}),
        **({"allow_http": "true"} if (endpoint or "").startswith("http://") else {}),
    }


@lru_cache(10_000)
def _head(path: str) -> Any:
    """What S3 says of an object; asked once, for what is in the lake is never written again."""
    bucket, key = _parts(path)
    with _answered(path):
        return obstore.head(store(bucket), key)


@contextmanager
def _answered(uri: str) -> Iterator[None]:
    """Whatever S3 does, but an object that is not there, is LakeUnavailable."""
    try:
        yield
    except FileNotFoundError:
        raise
    except BaseError as error:
        raise _unavailable(uri, error) from error


def _unavailable(uri: str, error: Exception) -> LakeUnavailable:
    return LakeUnavailable(
        f"{uri}: {_one_line(error)}; nothing is known to be stored. It is tried again; where it stays so, look at the"
        " AWS settings and the policy of this role"
    )


def _parts(path: str) -> tuple[str, str]:
    bucket, _, key = path.removeprefix(SCHEME).partition("/")
    return bucket, key


def _one_line(error: Exception) -> str:
    """What a library says in a coloured tree of lines."""
    return " ".join(COLOURS.sub("", str(error)).split())[:MOST_SAID] or repr(error)
