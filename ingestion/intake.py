"""Taking in a request's body: bounded on the wire, bounded when inflated, bounded over all requests together."""

import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

GZIP_WINDOW = 16 + zlib.MAX_WBITS
PIECE = 16 * 1024
"""What follows a gzip member is copied out; in pieces, thousands of tiny members cost no more than their length."""


class Refusal(Exception):
    """A request that is answered with `status` and kept nowhere; `retry_after` is in seconds."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


@dataclass(frozen=True)
class BodyLimits:
    """Bytes of one body on the wire and decoded, and of all bodies that are in flight, per source and together."""

    wire: int
    decoded: int
    inflight: int
    inflight_source: int


class InFlight:
    """Counts the bytes of the requests that have not been answered."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self.total = 0
        self._sources: dict[str, int] = defaultdict(int)

    @contextmanager
    def of(self, source: str) -> Iterator["Share"]:
        """One request's share; given back at the end unless it was handed on."""
        share = Share(self, source)
        try:
            yield share
        finally:
            if not share.handed_on:
                share.release()

    def take(self, source: str, size: int) -> None:
        """Count `size` bytes more; Refusal 429 where the source has too many, 503 where all have."""
        if self._sources[source] + size > self._limits.inflight_source:
            raise Refusal(429, "too_many_requests", f"source {source} has too much in flight; send slower", 1)
        if self.total + size > self._limits.inflight:
            raise Refusal(503, "overloaded", "the collector has too much in flight; send again later", 1)
        self.total += size
        self._sources[source] += size

    def give_back(self, source: str, size: int) -> None:
        """Count `size` bytes less."""
        self.total -= size
        self._sources[source] -= size
        if not self._sources[source]:
            del self._sources[source]


class Share:
    """The bytes that one request holds."""

    def __init__(self, inflight: InFlight, source: str) -> None:
        self._inflight, self._source, self._size = inflight, source, 0
        self.handed_on = False

    def take(self, size: int) -> None:
        """Hold `size` bytes more, or raise Refusal."""
        self._inflight.take(self._source, size)
        self._size += size

    def release(self) -> None:
        """Hold nothing any more."""
        self._inflight.give_back(self._source, self._size)
        self._size = 0


async def read_body(stream: AsyncIterator[bytes], encoding: str, limits: BodyLimits, share: Share) -> bytes:
    """The decoded body. A gzip bomb is stopped while it inflates; how well a body packs is no crime in itself.

    Raises Refusal 413 beyond a limit, 415 for another encoding than gzip, 400 for broken gzip.
    """
    decoder = _decoder(encoding)
    wire, body = 0, bytearray()
    async for chunk in stream:
        wire += len(chunk)
        if wire > limits.wire:
            raise Refusal(413, "body_too_large", f"at most {limits.wire} bytes on the wire; send less at once")
        decoded = decoder.decode(chunk, limits.decoded + 1 - len(body))
        share.take(len(decoded))
        body += decoded
        if len(body) > limits.decoded:
            raise Refusal(413, "body_too_large", f"at most {limits.decoded} bytes decoded; send less at once")
    decoder.finish()
    return bytes(body)


def _decoder(encoding: str) -> "Identity | Gzip":
    if encoding in ("", "identity"):
        return Identity()
    if encoding == "gzip":
        return Gzip()
    raise Refusal(415, "unsupported_encoding", f"Content-Encoding {encoding!r:.64} is not known; use gzip or none")


class Identity:
    """A body as it is."""

    def decode(self, chunk: bytes, at_most: int) -> bytes:
        """The chunk, or as much of it as is needed to see that it is too long."""
        return chunk[:at_most]

    def finish(self) -> None:
        """Nothing can be missing."""


class Gzip:
    """A gzip body, of one member or several, inflated no further than asked."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(GZIP_WINDOW)
        self._started = False

    def decode(self, chunk: bytes, at_most: int) -> bytes:
        """At most `at_most` bytes out of `chunk`."""
        out = bytearray()
        try:
            for start in range(0, len(chunk), PIECE):
                out += self._inflate(chunk[start : start + PIECE], at_most - len(out))
        except zlib.error as error:
            raise Refusal(400, "invalid_gzip", f"the body is not gzip: {error}") from None
        return bytes(out)

    def _inflate(self, piece: bytes, at_most: int) -> bytes:
        out = bytearray()
        while piece and len(out) < at_most:
            if self._inflater.eof:
                self._inflater = zlib.decompressobj(GZIP_WINDOW)
            self._started = True
            out += self._inflater.decompress(piece, at_most - len(out))
            piece = self._inflater.unused_data or self._inflater.unconsumed_tail
        return bytes(out)

    def finish(self) -> None:
        """Refusal where the end is missing."""
        if not self._started or not self._inflater.eof:
            raise Refusal(400, "invalid_gzip", "the gzip body is cut short; send it again whole")
