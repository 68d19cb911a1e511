"""What a collector's answer proves about each event of a request."""

from typing import Literal

import msgspec
from msgspec import Struct

Verdict = Literal["accepted", "rejected", "refused", "unknown"]


class EventVerdict(Struct, frozen=True):
    """What one attempt says about one event, and whether another attempt may say more."""

    verdict: Verdict
    code: str | None = None
    again: bool = False


class _Result(Struct, frozen=True):
    status: Literal["accepted", "rejected"]
    code: str | None = None
    retry: bool = False

    def verdict(self) -> EventVerdict:
        if self.status == "rejected" and self.retry:
            # The collector could not store it this time, which is no word on its content.
            return EventVerdict("unknown", self.code, again=True)
        return EventVerdict(self.status, self.code)


class _Results(Struct, frozen=True):
    results: list[_Result]


class _Refusal(Struct, frozen=True):
    code: str | None = None


class Reply(Struct, frozen=True):
    """An answer to a request; status 0 is none at all."""

    status: int = 0
    body: bytes = b""
    retry_after: int = 0

    def verdicts(self, events: int) -> list[EventVerdict]:
        """What the answer says about each of the request's events."""
        if self.status == 200:
            return self._results(events)
        if 300 <= self.status < 500:
            return [EventVerdict("refused", self._code(), again=self.status == 429)] * events
        # A 503 may be the log's acknowledgement that came too late: it proves nothing, like any 5xx.
        return [EventVerdict("unknown", self._code() if self.status else None, again=True)] * events

    def _results(self, events: int) -> list[EventVerdict]:
        try:
            results = msgspec.json.decode(self.body, type=_Results).results
        except (msgspec.DecodeError, UnicodeDecodeError):
            results = []
        if len(results) != events:
            return [EventVerdict("unknown", "unreadable_answer", again=True)] * events
        return [result.verdict() for result in results]

    def _code(self) -> str:
        try:
            code = msgspec.json.decode(self.body, type=_Refusal).code
        except (msgspec.DecodeError, UnicodeDecodeError):
            code = None
        return code or f"http_{self.status}"
