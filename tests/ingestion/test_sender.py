import gzip
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Barrier, Event, Lock, Thread
from typing import Any

import httpx
import pytest

from ingestion.errors import ConfigurationError
from ingestion.sender import Answer, Patience, RawEvent, Sender, Summary, batched, read_jsonl

Json = Any
Script = Callable[[list[Json]], "Reply"]


@dataclass(frozen=True)
class Reply:
    """What the scripted collector does with a request; status 0 cuts the connection."""

    status: int
    body: Json = None
    retry_after: str | None = None


@dataclass
class Collector:
    """A real server on this machine: a list of scripts, of which the last one answers all further requests."""

    url: str = ""
    scripts: list[Script] = field(default_factory=list)
    requests: list[list[Json]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def answers(self, *scripts: Script | Reply) -> None:
        self.scripts = [script if callable(script) else always(script) for script in scripts]

    def take(self, headers: dict[str, str], body: bytes) -> Reply:
        events = json.loads(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
        with self.lock:
            self.requests.append(events)
            self.headers.append(headers)
            script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        return script(events)


def always(reply: Reply) -> Script:
    return lambda _: reply


def results(*statuses: Json) -> Reply:
    return Reply(200, {"results": [{"status": one} if isinstance(one, str) else one for one in statuses]})


def accept(events: list[Json]) -> Reply:
    return results(*["accepted"] * len(events))


def at_most(limit: int) -> Script:
    too_large = Reply(413, {"code": "too_large", "message": "send fewer"})
    return lambda events: accept(events) if len(events) <= limit else too_large


CUT = Reply(0)
BUSY = Reply(503, {"code": "busy", "message": "later"}, retry_after="3")
REJECTED = {"status": "rejected", "code": "unknown_event_type", "message": "no such type", "retry": False}


def handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/events"
            reply = collector.take({name.lower(): value for name, value in self.headers.items()}, body)
            if reply.status:
                self.reply(reply)
            else:
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

        def reply(self, reply: Reply) -> None:
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(content)))
            if reply.retry_after:
                self.send_header("Retry-After", reply.retry_after)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it
            pass

    return Handler


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector(scripts=[accept])
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(collector)) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield collector
        server.shutdown()
        thread.join()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=10) as client:
        yield client


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


@dataclass
class Sending:
    """A sender with its record and its clock."""

    sender: Sender
    written: StringIO
    clock: Clock

    def send(self, batch: Sequence[RawEvent]) -> list[Answer]:
        return self.sender.send(batch)

    @property
    def record(self) -> list[Json]:
        return [json.loads(line) for line in self.written.getvalue().splitlines()]

    @property
    def attempts(self) -> list[tuple[str, int, str]]:
        return [(line["event_id"], line["attempt"], line["answer"]) for line in self.record]


@pytest.fixture
def sending(collector: Collector, client: httpx.Client) -> Callable[..., Sending]:
    def make(luck: float = 1.0, compress: bool = False, **patience: Any) -> Sending:
        written, clock = StringIO(), Clock()
        sender = Sender(
            client,
            collector.url,
            "key-1",
            record=written,
            compress=compress,
            patience=Patience(**patience),
            sleep=clock.sleep,
            clock=lambda: clock.now,
            luck=lambda: luck,
        )
        return Sending(sender, written, clock)

    return make


Make = Callable[..., Sending]


def event(name: str) -> dict[str, Json]:
    return {"event_id": name, "event_type": "product_viewed", "properties": {"product_id": "P-1"}}


def events(*names: str) -> list[dict[str, Json]]:
    return [event(name) for name in names]


def test_an_accepted_batch_is_one_request_under_the_write_key(collector: Collector, sending: Make) -> None:
    shop = sending()
    assert shop.send(events("a", "b")) == [Answer("accepted"), Answer("accepted")]
    assert collector.requests == [events("a", "b")]
    assert collector.headers[0]["x-write-key"] == "key-1"
    assert collector.headers[0]["content-type"] == "application/json"
    assert shop.record[0] == {
        "event_id": "a",
        "event_type": "product_viewed",
        "attempt": 1,
        "answer": "accepted",
    }


def test_bodies_are_compressed_on_request(collector: Collector, sending: Make) -> None:
    assert sending(compress=True).send([event("a")]) == [Answer("accepted")]
    assert collector.headers[0]["content-encoding"] == "gzip"
    assert collector.requests == [[event("a")]]


def test_an_empty_batch_is_no_request(collector: Collector, sending: Make) -> None:
    assert sending().send([]) == []
    assert collector.requests == []


def test_events_may_come_as_bytes(collector: Collector, sending: Make) -> None:
    shop = sending()
    assert shop.send([json.dumps(event("a")).encode()]) == [Answer("accepted")]
    assert collector.requests == [[event("a")]]
    assert shop.attempts == [("a", 1, "accepted")]


def test_a_mixed_answer_is_read_event_by_event(collector: Collector, sending: Make) -> None:
    collector.answers(results("accepted", REJECTED, "accepted"))
    shop = sending()
    assert [answer.verdict for answer in shop.send(events("a", "b", "c"))] == [
        "accepted",
        "rejected",
        "accepted",
    ]
    assert shop.attempts == [("a", 1, "accepted"), ("b", 1, "rejected"), ("c", 1, "accepted")]
    assert shop.record[1]["code"] == "unknown_event_type"
    assert "code" not in shop.record[0]


def test_only_the_events_that_may_be_repeated_are_sent_again(collector: Collector, sending: Make) -> None:
    not_stored = {"status": "rejected", "code": "log_unavailable", "retry": True}
    collector.answers(results("accepted", not_stored), accept)
    shop = sending()
    assert shop.send(events("a", "b")) == [Answer("accepted"), Answer("accepted", tries=2)]
    assert collector.requests == [events("a", "b"), events("b")]
    assert shop.attempts == [("a", 1, "accepted"), ("b", 1, "unknown"), ("b", 2, "accepted")]


def test_a_503_is_retried_after_the_pause_that_was_asked_for(collector: Collector, sending: Make) -> None:
    collector.answers(BUSY, accept)
    shop = sending(luck=0.0)
    assert shop.send([event("a")]) == [Answer("accepted", tries=2)]
    assert shop.clock.sleeps == [3.0]
    assert shop.attempts == [("a", 1, "unknown"), ("a", 2, "accepted")]


def test_a_429_stored_nothing_and_is_retried(collector: Collector, sending: Make) -> None:
    collector.answers(Reply(429, {"code": "too_many"}, retry_after="1"), accept)
    shop = sending(luck=0.0)
    assert shop.send([event("a")]) == [Answer("accepted", tries=2)]
    assert shop.clock.sleeps == [1.0]
    assert shop.record[0]["answer"] == "refused" and shop.record[0]["code"] == "too_many"


def test_a_cut_connection_is_unknown_and_the_same_ids_are_sent_again(collector: Collector, sending: Make) -> None:
    collector.answers(CUT, accept)
    shop = sending()
    assert shop.send(events("a", "b")) == [Answer("accepted", tries=2)] * 2
    assert collector.requests == [events("a", "b")] * 2
    assert shop.attempts == [("a", 1, "unknown"), ("b", 1, "unknown"), ("a", 2, "accepted"), ("b", 2, "accepted")]


def test_a_collector_that_is_not_there_is_unknown(client: httpx.Client) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        clock = Clock()
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        sender = Sender(client, url, "key", patience=Patience(tries=2), sleep=clock.sleep)
        assert sender.send([event("a")]) == [Answer("unknown", tries=2)]


def test_a_timeout_is_unknown(collector: Collector) -> None:
    answered = Event()

    def too_late(events: list[Json]) -> Reply:
        answered.wait(10)
        return CUT

    collector.answers(too_late)
    with httpx.Client(trust_env=False, timeout=0.05) as hasty:
        sender = Sender(hasty, collector.url, "key", patience=Patience(tries=1))
        assert sender.send([event("a")]) == [Answer("unknown")]
    answered.set()


@pytest.mark.parametrize("body", [b"<html>", {"results": []}, {"results": [{"status": "perhaps"}]}, {}])
def test_a_200_that_says_nothing_of_an_event_is_unknown(collector: Collector, sending: Make, body: Json) -> None:
    collector.answers(Reply(200, body))
    shop = sending(tries=1)
    assert shop.send([event("a")]) == [Answer("unknown", "unreadable_answer")]
    assert shop.attempts == [("a", 1, "unknown")]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 415, 422])
def test_a_refused_request_is_not_repeated(collector: Collector, sending: Make, status: int) -> None:
    collector.answers(Reply(status, {"code": "not_like_this", "message": "no"}))
    shop = sending()
    assert shop.send([event("a")]) == [Answer("refused", "not_like_this")]
    assert len(collector.requests) == 1
    assert shop.record[0]["answer"] == "refused" and shop.record[0]["code"] == "not_like_this"


def test_a_refusal_without_a_code_is_named_after_its_status(collector: Collector, sending: Make) -> None:
    collector.answers(Reply(404, b"not here"))
    assert sending().send([event("a")]) == [Answer("refused", "http_404")]


def test_a_refusal_after_an_attempt_without_an_answer_proves_nothing(collector: Collector, sending: Make) -> None:
    collector.answers(CUT, Reply(401, {"code": "unknown_key"}))
    shop = sending()
    assert shop.send([event("a")]) == [Answer("unknown", "unknown_key", tries=2)]
    assert shop.attempts == [("a", 1, "unknown"), ("a", 2, "refused")]


def test_a_batch_that_is_too_large_is_halved_until_it_fits(collector: Collector, sending: Make) -> None:
    collector.answers(at_most(2))
    shop = sending()
    answers = shop.send(events("a", "b", "c", "d", "e"))
    assert [answer.verdict for answer in answers] == ["accepted"] * 5
    assert [len(request) for request in collector.requests] == [5, 2, 3, 1, 2]
    assert shop.attempts[:5] == [(name, 1, "refused") for name in "abcde"]
    assert shop.clock.sleeps == []


def test_a_single_event_that_is_too_large_is_given_up_alone(collector: Collector, sending: Make) -> None:
    def too_large_with_b(events: list[Json]) -> Reply:
        return Reply(413, {"code": "too_large"}) if event("b") in events else accept(events)

    collector.answers(too_large_with_b)
    assert sending().send(events("a", "b", "c")) == [
        Answer("accepted", tries=2),
        Answer("refused", "too_large", tries=3),
        Answer("accepted", tries=3),
    ]


def test_pauses_grow_up_to_a_limit_and_the_tries_are_bounded(collector: Collector, sending: Make) -> None:
    collector.answers(Reply(500))
    shop = sending(tries=6, first_pause=1.0, longest_pause=5.0)
    assert shop.send([event("a")]) == [Answer("unknown", "http_500", tries=6)]
    assert shop.clock.sleeps == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_pauses_are_jittered_from_nothing_to_all(collector: Collector, sending: Make) -> None:
    collector.answers(Reply(500))
    shop = sending(luck=0.25, tries=3, first_pause=1.0)
    shop.send([event("a")])
    assert shop.clock.sleeps == [0.25, 0.5]


def test_a_pause_beyond_the_patience_is_not_begun(collector: Collector, sending: Make) -> None:
    collector.answers(Reply(429, {"code": "too_many"}, retry_after="3600"))
    shop = sending(seconds=60)
    assert shop.send([event("a")]) == [Answer("refused", "too_many")]
    assert shop.clock.sleeps == []


def test_an_attempt_is_on_record_before_the_next_is_made(collector: Collector, sending: Make) -> None:
    shop = sending()
    seen: list[int] = []

    def look(events: list[Json]) -> Reply:
        seen.append(len(shop.record))
        return BUSY if len(seen) < 3 else accept(events)

    collector.answers(look)
    shop.send(events("a", "b"))
    assert seen == [0, 2, 4]


@pytest.mark.parametrize("event_id", [17, None, ["a"]])
def test_an_event_id_that_is_no_string_is_recorded_as_null(sending: Make, event_id: Json) -> None:
    shop = sending()
    shop.send([{"event_id": event_id, "event_type": 5}, {"event_type": "cart_viewed"}, {"event_id": ""}])
    assert [(line["event_id"], line["event_type"]) for line in shop.record] == [
        (None, None),
        (None, "cart_viewed"),
        ("", None),
    ]


@pytest.mark.parametrize("url", ["localhost:8080", "127.0.0.1", "ftp://shop", "http://", "http://shop:x"])
def test_an_address_that_is_none_is_a_configuration_error(client: httpx.Client, url: str) -> None:
    with pytest.raises(ConfigurationError, match="address"):
        Sender(client, url, "key")


def test_a_slash_after_the_address_does_no_harm(collector: Collector, client: httpx.Client) -> None:
    assert Sender(client, collector.url + "/", "key").send([event("a")]) == [Answer("accepted")]


def test_the_summary_counts_each_event_once(collector: Collector, sending: Make) -> None:
    def by_id(events: list[Json]) -> Reply:
        if events[0]["event_id"] == "refused":
            return Reply(422, {"code": "no_such_contract"})
        return Reply(502) if events[0]["event_id"] == "lost" else results("accepted", REJECTED)

    collector.answers(by_id)
    shop = sending(tries=3, luck=0.0)
    told: list[int] = []
    batches = [events("a", "b"), events("c", "d"), events("refused"), events("lost")]
    assert shop.sender.send_all(batches, concurrency=2, progress=told.append) == Summary(
        sent=6,
        accepted=2,
        rejected={"unknown_event_type": 2},
        refused={"no_such_contract": 1},
        unknown=1,
        retries=2,
        seconds=0.0,
    )
    assert sorted(told) == [1, 1, 2, 2]


def test_nothing_to_send_is_an_empty_summary(sending: Make) -> None:
    summary = sending().sender.send_all([])
    assert summary.sent == summary.accepted == summary.unknown == summary.retries == 0


def test_several_batches_are_in_flight_and_no_more_are_read(collector: Collector, sending: Make) -> None:
    together = Barrier(3, timeout=10)
    read: list[int] = []

    def meet(events: list[Json]) -> Reply:
        together.wait()
        return accept(events)

    def batches() -> Iterator[list[dict[str, Json]]]:
        for number in range(9):
            over = len(collector.requests)
            read.append(number - over)
            yield [event(str(number))]

    collector.answers(meet)
    summary = sending().sender.send_all(batches(), concurrency=3)
    assert summary.accepted == 9
    assert max(read) < 3


def test_lines_of_several_threads_do_not_mix(sending: Make) -> None:
    shop = sending()
    batches = [events(*(f"{batch}-{number}" for number in range(20))) for batch in range(20)]
    assert shop.sender.send_all(batches, concurrency=8).accepted == 400
    assert sorted(line["event_id"] for line in shop.record) == sorted(
        one["event_id"] for batch in batches for one in batch
    )


def test_one_sender_may_be_shared_by_threads(sending: Make) -> None:
    shop = sending()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(shop.send, [events("a"), events("b"), events("c"), events("d")]))
    assert answers == [[Answer("accepted")]] * 4


def test_a_failing_source_of_batches_loses_no_record(sending: Make) -> None:
    def batches() -> Iterator[list[dict[str, Json]]]:
        yield events("a")
        raise ConfigurationError("line 2")

    shop = sending()
    with pytest.raises(ConfigurationError, match="line 2"):
        shop.sender.send_all(batches())
    assert shop.attempts == [("a", 1, "accepted")]


def test_a_file_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event_id": "a"}\n\n{"event_id": "ü"}')
    assert list(read_jsonl(path)) == [{"event_id": "a"}, {"event_id": "ü"}]


def test_numbers_are_sent_digit_by_digit_as_they_stand_in_the_file(tmp_path: Path) -> None:
    requests: list[bytes] = []

    def keep(request: httpx.Request) -> httpx.Response:
        requests.append(request.content)
        return httpx.Response(200, json={"results": [{"status": "accepted"}]})

    line = '{"price":12345678901234.5670,"count":1000000000000000000000}'
    (tmp_path / "events.jsonl").write_text(line)
    with httpx.Client(transport=httpx.MockTransport(keep)) as client:
        Sender(client, "http://shop", "key").send(list(read_jsonl(tmp_path / "events.jsonl")))
    assert requests == [f"[{line}]".encode()]


@pytest.mark.parametrize("line", [b"{", b"[1]", b'"a"', b'{"a": "\xff"}', b"[" * 100_000])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event_id": "a"}\n' + line + b"\n")
    lines = read_jsonl(path)
    next(lines)
    with pytest.raises(ConfigurationError, match=r"events\.jsonl, line 2 is not a JSON object .* write one event"):
        next(lines)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.jsonl cannot be read"):
        next(read_jsonl(tmp_path / "none.jsonl"))


def test_batches_are_cut_from_a_stream_without_reading_ahead() -> None:
    stream = iter(range(7))
    lists = batched(stream, 3)
    assert next(lists) == [0, 1, 2]
    assert next(stream) == 3
    assert list(lists) == [[4, 5, 6]]
