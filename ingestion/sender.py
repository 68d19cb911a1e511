"""Sends events to a collector until each of them has an answer, and records every attempt.

A repetition carries the same event ids, so an event whose fate is unknown may always be sent again: copies are
counted once downstream. What an attempt proves is written down before the next one is made, because the audit
demands exactly the events of which any attempt was answered "accepted".
"""

import gzip
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count, islice
from pathlib import Path
from threading import Lock
from typing import Any, TextIO, TypeVar

import httpx
import msgspec
from msgspec import Struct

from ingestion.errors import ConfigurationError
from ingestion.replies import EventVerdict, Reply, Verdict

T = TypeVar("T")
RawEvent = dict[str, Any] | bytes
"""An event as a dict, or as the bytes of its JSON."""

ENDPOINT = "/v1/events"

# Through a float, an amount of 18 digits would leave a file differently from how it stands there.
_READ = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_WRITE = msgspec.json.Encoder(decimal_format="number")


class Answer(Struct, frozen=True):
    """How it ended for one event.

    `accepted` and `rejected` are the collector's word on the event. `refused`: no attempt can have stored it.
    `unknown`: an attempt may have stored it, and none was answered.
    """

    verdict: Verdict
    code: str | None = None
    tries: int = 1


class Attempt(Struct, frozen=True, omit_defaults=True):
    """A line of the record: what one attempt proved about one event."""

    event_id: str | None
    event_type: str | None
    attempt: int
    answer: Verdict
    code: str | None = None


class Patience(Struct, frozen=True, kw_only=True):
    """How often and how long a batch is tried; times in seconds."""

    tries: int = 8
    seconds: float = 120.0
    first_pause: float = 0.2
    longest_pause: float = 10.0

    def pause(self, tries: int, retry_after: int, luck: float) -> float:
        """Exponential with full jitter, and never sooner than the collector asked for."""
        return retry_after + luck * min(self.longest_pause, self.first_pause * 2.0 ** (tries - 1))


class Summary(Struct, frozen=True, kw_only=True):
    """Events by how it ended for them; `retries` counts an event's deliveries after its first."""

    sent: int
    accepted: int
    rejected: dict[str, int]
    refused: dict[str, int]
    unknown: int
    retries: int
    seconds: float


USUAL_PATIENCE = Patience()


class Sender:
    """Sends batches to the collector at `url` under a write key; may be shared by threads.

    `sleep`, `clock` (monotonic seconds) and `luck` (0 to 1) are arguments so that a test needs no time. A `sleep`
    that returns at once, like an `Event.wait` that was set, makes a sender run out of tries instead of time.
    """

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        write_key: str,
        *,
        record: TextIO | None = None,
        compress: bool = False,
        patience: Patience = USUAL_PATIENCE,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._client, self._url = client, _endpoint(url)
        self._headers = {"Content-Type": "application/json", "X-Write-Key": write_key}
        self._headers |= {"Content-Encoding": "gzip"} if compress else {}
        self._record, self._record_lock, self._compress = record, Lock(), compress
        self._patience, self._sleep, self._clock, self._luck = patience, sleep, clock, luck

    def send(self, batch: Sequence[RawEvent]) -> list[Answer]:
        """Deliver one batch, retrying what may succeed later; an answer for each event, in order."""
        parcels = [_Parcel.of(event) for event in batch]
        if parcels:
            self._deliver(parcels, self._clock() + self._patience.seconds)
        return [parcel.result() for parcel in parcels]

    def send_all(
        self,
        batches: Iterable[Sequence[RawEvent]],
        concurrency: int = 4,
        progress: Callable[[int], object] = lambda _: None,
    ) -> Summary:
        """Deliver every batch with `concurrency` in flight, reading no further ahead than that.

        `progress` is told the number of events of each batch that is over, in the caller's thread.
        """
        started, tally = self._clock(), _Tally()
        with ThreadPoolExecutor(concurrency, thread_name_prefix="sender") as pool:
            in_flight: set[Future[list[Answer]]] = set()
            for batch in batches:
                in_flight.add(pool.submit(self.send, batch))
                timeout = None if len(in_flight) >= concurrency else 0
                in_flight = _collect(in_flight, timeout, tally, progress)
            while in_flight:
                in_flight = _collect(in_flight, None, tally, progress)
        return tally.summary(self._clock() - started)

    def _deliver(self, parcels: "list[_Parcel]", deadline: float) -> None:
        for tries in count(1):
            reply = self._post(parcels)
            verdicts = reply.verdicts(len(parcels))
            self._settle(parcels, verdicts)
            if reply.status == 413 and len(parcels) > 1:
                middle = len(parcels) // 2
                self._deliver(parcels[:middle], deadline)
                return self._deliver(parcels[middle:], deadline)
            parcels = [parcel for parcel, verdict in zip(parcels, verdicts, strict=True) if verdict.again]
            pause = self._patience.pause(tries, reply.retry_after, self._luck())
            if not parcels or tries >= self._patience.tries or self._clock() + pause > deadline:
                return None
            self._sleep(pause)
        return None

    def _post(self, parcels: "list[_Parcel]") -> Reply:
        body = b"[" + b",".join(parcel.body for parcel in parcels) + b"]"
        content = gzip.compress(body, mtime=0) if self._compress else body
        try:
            response = self._client.post(self._url, content=content, headers=self._headers)
        except httpx.RequestError:
            return Reply()
        wait_for = response.headers.get("Retry-After", "")
        retry_after = int(wait_for) if wait_for.isascii() and wait_for.isdigit() else 0
        return Reply(response.status_code, response.content, retry_after)

    def _settle(self, parcels: "list[_Parcel]", verdicts: list[EventVerdict]) -> None:
        attempts = [parcel.learn(verdict) for parcel, verdict in zip(parcels, verdicts, strict=True)]
        if self._record is not None:
            lines = b"".join(msgspec.json.encode(attempt) + b"\n" for attempt in attempts)
            with self._record_lock:
                self._record.write(lines.decode())
                self._record.flush()


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a file with one JSON object per line, fractions as Decimal; blank lines are skipped."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _read_line(path, number, line)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}); name a file of events") from error


def batched(events: Iterable[T], size: int) -> Iterator[list[T]]:
    """Events in lists of `size`, the last one shorter; takes no event before its list is asked for."""
    rest = iter(events)
    while batch := list(islice(rest, size)):
        yield batch


def _read_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        return _READ.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(
            f"{path}, line {number} is not a JSON object ({error}); write one event per line and send the file again:"
            " what was sent already is counted once"
        ) from error


def _endpoint(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ConfigurationError(f"the collector's address {url!r} is none; write it like http://127.0.0.1:8080")
    return url.rstrip("/") + ENDPOINT


def _collect(
    in_flight: set[Future[list[Answer]]],
    timeout: float | None,
    tally: "_Tally",
    progress: Callable[[int], object],
) -> set[Future[list[Answer]]]:
    """Wait until a batch is over, count what is over, and return what is still under way."""
    over, under_way = wait(in_flight, timeout, return_when=FIRST_COMPLETED)
    for future in over:
        answers = future.result()
        tally.add(answers)
        progress(len(answers))
    return under_way


@dataclass
class _Parcel:
    """An event on its way."""

    body: bytes
    event_id: str | None
    event_type: str | None
    tries: int = 0
    last: EventVerdict = field(default_factory=lambda: EventVerdict("unknown"))
    may_be_stored: bool = False

    @classmethod
    def of(cls, event: RawEvent) -> "_Parcel":
        if isinstance(event, bytes):
            body, content = event, _content(event)
        else:
            body, content = _WRITE.encode(event), event
        return cls(body, _text(content.get("event_id")), _text(content.get("event_type")))

    def learn(self, verdict: EventVerdict) -> Attempt:
        self.tries += 1
        self.last = verdict
        self.may_be_stored |= verdict.verdict == "unknown"
        return Attempt(self.event_id, self.event_type, self.tries, verdict.verdict, verdict.code)

    def result(self) -> Answer:
        # A refusal is no proof about an earlier attempt that was not answered.
        doubtful = self.last.verdict == "refused" and self.may_be_stored
        return Answer("unknown" if doubtful else self.last.verdict, self.last.code, self.tries)


def _content(event: bytes) -> dict[str, Any]:
    try:
        return _READ.decode(event)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


@dataclass
class _Tally:
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    tries: int = 0

    def add(self, answers: Iterable[Answer]) -> None:
        by_code = {"rejected": self.rejected, "refused": self.refused}
        for answer in answers:
            self.verdicts[answer.verdict] += 1
            self.tries += answer.tries
            if answer.verdict in by_code:
                by_code[answer.verdict][answer.code or "no_code"] += 1

    def summary(self, seconds: float) -> Summary:
        sent = self.verdicts.total()
        return Summary(
            sent=sent,
            accepted=self.verdicts["accepted"],
            rejected=dict(self.rejected),
            refused=dict(self.refused),
            unknown=self.verdicts["unknown"],
            retries=self.tries - sent,
            seconds=seconds,
        )
