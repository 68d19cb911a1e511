import asyncio
import base64
import gzip
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingestion.collector import QUICK_BYTES, Timing
from ingestion.contracts.native import Limits, map_body
from ingestion.contracts.rejections import payload_of
from ingestion.errors import ConfigurationError, UnknownTopic
from ingestion.intake import BodyLimits
from tests.ingestion.door import MIB, UNAVAILABLE, Door, Unread, chunks, code_of, event, outcomes

MakeDoor = Callable[..., Door]


@pytest.fixture
def make_door(tmp_path: Path) -> Iterator[MakeDoor]:
    with ExitStack() as stack:
        yield lambda **parts: stack.enter_context(Door(tmp_path, **parts))


@pytest.fixture
def door(make_door: MakeDoor) -> Door:
    return make_door()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with Door(tmp_path_factory.mktemp("shared")) as door:
        yield door


def body_of(*events: Any) -> bytes:
    return json.dumps(list(events)).encode()


def padded(size: int) -> bytes:
    """A body of one event and just so many bytes."""
    body = json.dumps(event()).encode()
    return body[:-1] + b" " * (size - len(body)) + b"}"


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(key.encode()).decode(), "X-Write-Key": ""}


# What is accepted


@pytest.mark.parametrize("shape", ["object", "array", "batch", "batch with sent_at"])
@pytest.mark.parametrize("packed", [False, True])
def test_an_event_is_accepted_in_every_shape(door: Door, shape: str, packed: bool) -> None:
    sent = {
        "object": event(),
        "array": [event()],
        "batch": {"batch": [event()]},
        "batch with sent_at": {"sent_at": datetime.now(UTC).isoformat(), "batch": [event()]},
    }[shape]
    body = json.dumps(sent).encode()
    headers = {"Content-Encoding": "gzip"} if packed else {"Content-Encoding": "identity"}
    answer = door.post(gzip.compress(body) if packed else body, headers)
    assert answer.json() == {"accepted": 1, "rejected": 0, "results": [{"status": "accepted"}]}
    assert answer.headers["content-type"] == "application/json"
    assert [kept["event_id"] for kept in door.stored()] == ["e1"]


def test_each_event_of_a_batch_has_its_result_in_order(door: Door) -> None:
    answer = door.post([event("a"), event(""), {"event_type": "nothing"}, event("b"), 7])
    assert outcomes(answer) == ["accepted", "invalid_id", "unknown_event_type", "accepted", "not_events"]
    assert answer.json()["results"][1] == {
        "status": "rejected",
        "code": "invalid_id",
        "field": "event_id",
        "message": "event_id is empty",
        "retry": False,
    }
    assert [kept["event_id"] for kept in door.stored()] == ["a", "b"]
    kept = [(rejection.code, payload_of(rejection), rejection.whole_request) for rejection in door.rejections()]
    assert kept == [
        ("invalid_id", json.dumps(event("")).encode(), False),
        ("unknown_event_type", b'{"event_type": "nothing"}', False),
        ("not_events", b"7", False),
    ]


def test_events_of_several_types_go_to_the_topics_of_their_types(door: Door) -> None:
    cart = {"event_id": "c", "event_type": "cart_viewed"}
    assert outcomes(door.post([cart, event("v"), cart])) == ["accepted"] * 3
    assert door.log.counts() == {"product_viewed": 1, "cart_viewed": 2}


def test_a_repeated_event_is_accepted_again_for_the_collector_remembers_no_ids(door: Door) -> None:
    assert [outcomes(door.post(event())) for _ in range(2)] == [["accepted"]] * 2
    assert outcomes(door.post([event(), event()])) == ["accepted"] * 2
    assert [kept["event_id"] for kept in door.stored()] == ["e1"] * 4


def test_the_source_is_the_keys_and_never_the_payloads(door: Door) -> None:
    app = door.keys.add("app")
    door.post(event(source="mine", context={"source": "mine"}))
    time.sleep(1.0)
    door.post(event(source="mine"), {"X-Write-Key": app})
    assert [kept["source"] for kept in door.stored()] == ["web", "app"]


def test_what_was_received_has_the_collectors_time(make_door: MakeDoor) -> None:
    door = make_door(clock=lambda: datetime(2026, 5, 1, 12, tzinfo=UTC))
    door.post(event())
    assert door.stored()[0]["received_at"] == "2026-05-01T12:00:00Z"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "text/plain;charset=UTF-8",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "application/cloudevents+json",
    ],
)
def test_json_is_read_whatever_beacons_and_curl_call_it(door: Door, content_type: str) -> None:
    assert outcomes(door.post(event(), {"Content-Type": content_type})) == ["accepted"]


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "image/png", "x" * 500])
def test_a_body_that_says_it_is_no_json_is_refused(door: Door, content_type: str) -> None:
    assert code_of(door.post(event(), {"Content-Type": content_type})) == (415, "unsupported_content_type")
    assert door.log.counts() == {}


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "x" * 500])
def test_an_encoding_other_than_gzip_is_refused_with_what_is_known(door: Door, encoding: str) -> None:
    answer = door.post(event(), {"Content-Encoding": encoding})
    assert code_of(answer) == (415, "unsupported_encoding")
    assert answer.headers["accept-encoding"] == "gzip, identity"


# Who may send


def test_the_key_is_taken_from_wherever_a_client_can_put_it(door: Door) -> None:
    assert outcomes(door.post(event("a"), basic(f"{door.key}:"))) == ["accepted"]
    assert outcomes(door.post(event("b"), basic(f"{door.key}:password"))) == ["accepted"]
    assert outcomes(door.post(event("c"), basic(door.key))) == ["accepted"]
    assert outcomes(door.post(event("d"), {"X-Write-Key": door.key})) == ["accepted"]
    assert outcomes(door.post(event("e"), {"X-Write-Key": ""}, f"/v1/events?write_key={door.key}")) == ["accepted"]
    bearer = {"Authorization": "Bearer x", "X-Write-Key": door.key}
    assert outcomes(door.post(event("f"), bearer)) == ["accepted"]
    assert [kept["event_id"] for kept in door.stored()] == list("abcdef")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"X-Write-Key": ""}, "missing_write_key"),
        ({"X-Write-Key": "hr_guess"}, "unknown_write_key"),
        ({"X-Write-Key": "x" * 10_000}, "unknown_write_key"),
        ({**basic(""), "X-Write-Key": ""}, "missing_write_key"),
        (basic("hr_guess:"), "unknown_write_key"),
        (basic("clé:"), "unknown_write_key"),
        ({"Authorization": "Basic", "X-Write-Key": ""}, "missing_write_key"),
        ({"Authorization": "Basic !", "X-Write-Key": ""}, "missing_write_key"),
        ({"Authorization": "Basic /w==", "X-Write-Key": ""}, "missing_write_key"),
        ({"Authorization": "Basic ab", "X-Write-Key": ""}, "missing_write_key"),
    ],
)
def test_without_a_known_key_nothing_is_taken(shared: Door, headers: dict[str, str], code: str) -> None:
    before = shared.log.counts()
    answer = shared.post(event(), headers)
    assert code_of(answer) == (401, code)
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert shared.log.counts() == before


def test_credentials_that_are_no_ascii_are_no_credentials(door: Door) -> None:
    headers = [(b"Authorization", "Basic clé".encode("latin-1"))]
    answer = door.run(door.client.post("/v1/events", content=b"{}", headers=headers))
    assert code_of(answer) == (401, "missing_write_key")


def test_a_disabled_key_is_refused_within_a_second(door: Door) -> None:
    assert outcomes(door.post(event())) == ["accepted"]
    door.keys.disable(door.key)
    time.sleep(1.0)
    assert code_of(door.post(event())) == (401, "unknown_write_key")


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}, {"Content-Type": "image/png"}])
def test_of_a_stranger_nothing_is_read(door: Door, headers: dict[str, str]) -> None:
    assert code_of(door.post(Unread(), {"X-Write-Key": "hr_guess", **headers})) == (401, "unknown_write_key")


def test_the_key_is_in_no_log_line_and_no_answer(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    path = f"/v1/events?write_key={door.key}"
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("httpx").setLevel(logging.WARNING)
        answers = [door.post(body, {"X-Write-Key": ""}, path) for body in (b"", b"{}", event())]
        door.log.error = UNAVAILABLE
        answers.append(door.post(event(), {"X-Write-Key": ""}, path))
        door.log.error = ValueError("a bug")
        answers.append(door.post(event(), {"X-Write-Key": ""}, path))
        answers.append(door.get("/metrics"))
    assert [answer.status_code for answer in answers] == [400, 200, 200, 503, 500, 200]
    assert door.key not in caplog.text
    assert not [answer for answer in answers if door.key in answer.text + str(answer.headers)]


# What is refused as a whole


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"no json", 400, "invalid_json"),
        (b"\xef\xbb\xbf" + json.dumps(event()).encode(), 400, "invalid_json"),
        (b'{"event_id":NaN}', 400, "invalid_number"),
        (b'{"event_id":"\xff"}', 400, "invalid_utf8"),
        (b'{"event_id":"\\ud800"}', 400, "invalid_unicode"),
        (b"1e999", 400, "number_out_of_range"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, "too_deep"),
        (b"[" + json.dumps(event()).encode(), 400, "invalid_json"),
        (b"true", 422, "not_events"),
        (b'{"batch":1}', 422, "not_events"),
        (b"[]", 422, "empty_batch"),
        (b'{"sent_at":"now","batch":[' + json.dumps(event()).encode() + b"]}", 422, "invalid_timestamp"),
    ],
)
def test_a_body_that_is_no_batch_is_refused_and_kept_as_one_rejection(
    door: Door, body: bytes, status: int, code: str
) -> None:
    assert code_of(door.post(body)) == (status, code)
    assert door.log.counts() == {"rejected": 1}
    (kept,) = door.rejections()
    assert (kept.code, kept.source, kept.whole_request, kept.payload_bytes) == (code, "web", True, len(body))
    assert payload_of(kept) == (body if len(body) <= 16 * 1024 else None)


def test_an_empty_body_is_refused_and_there_is_nothing_to_keep(door: Door) -> None:
    assert code_of(door.post(b"")) == (400, "invalid_json")
    assert code_of(door.post(gzip.compress(b""), {"Content-Encoding": "gzip"})) == (400, "invalid_json")
    assert door.log.counts() == {}


@pytest.mark.parametrize(
    "spoil", [lambda b: b[:-3], lambda b: b + b"garbage", lambda b: b"", lambda b: gzip.decompress(b)]
)
def test_a_broken_gzip_body_is_refused_and_none_of_it_is_stored(door: Door, spoil: Callable[[bytes], bytes]) -> None:
    answer = door.post(spoil(gzip.compress(body_of(event("a"), event("b")))), {"Content-Encoding": "gzip"})
    assert code_of(answer) == (400, "invalid_gzip")
    assert door.log.counts() == {}


def test_a_gzip_body_may_have_several_members(door: Door) -> None:
    body = body_of(event("a"), event("b"))
    packed = gzip.compress(body[:50]) + gzip.compress(body[50:])
    assert outcomes(door.post(packed, {"Content-Encoding": "GZIP"})) == ["accepted"] * 2


@pytest.mark.parametrize(
    "poison", [b'{"a":NaN}', b'{"a":"\xff"}', b'{"a":"\\ud83d"}', b'{"a":1e999}', b"[" * 100_000 + b"]" * 100_000]
)
def test_one_poisoned_event_does_not_sink_its_batch(door: Door, poison: bytes) -> None:
    good = json.dumps(event()).encode()
    results = outcomes(door.post(b'{"batch":[%s,%s,%s]}' % (good, poison, good)))
    assert (results[0], results[2]) == ("accepted", "accepted")
    assert results[1] in ("invalid_number", "invalid_utf8", "invalid_unicode", "number_out_of_range", "too_deep")
    assert door.log.counts() == {"product_viewed": 2, "rejected": 1}


@given(
    st.binary(max_size=300)
    | st.recursive(st.none(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)).map(
        lambda value: json.dumps(value).encode()
    ),
    st.sampled_from(["", "gzip", "identity"]),
    st.booleans(),
)
@example(b"\x1f\x8b", "gzip", False)
@settings(max_examples=150, deadline=None)
def test_no_body_is_a_fault_of_the_collector(shared: Door, junk: bytes, encoding: str, whole: bool) -> None:
    body = junk if whole else b"[" + json.dumps(event()).encode() + b"," + junk + b"]"
    answer = shared.post(body, {"Content-Encoding": encoding} if encoding else None)
    if answer.status_code == 200:
        assert outcomes(answer)
    else:
        assert code_of(answer)[0] in (400, 413, 422)


@given(
    st.dictionaries(st.text(max_size=20), st.text(alphabet=[chr(c) for c in range(32, 256)], max_size=40), max_size=4)
)
@settings(max_examples=100, deadline=None)
def test_no_header_is_a_fault_of_the_collector(shared: Door, values: dict[str, str]) -> None:
    names = ["Authorization", "Content-Type", "Content-Encoding", "Content-Length", "X-Write-Key", "Origin"]
    headers = [(name.encode(), value.encode("latin-1")) for name, value in zip(names, values.values(), strict=False)]
    headers += [(b"Authorization", b"Basic " + value.encode("latin-1")) for value in values.values()]
    answer = shared.run(shared.client.post("/v1/events", content=b"{}", headers=headers[::-1]))
    assert answer.status_code in (200, 400, 401, 413, 415)
    shared.run(shared.client.post("/v1/events", content=b"{}", headers=headers))


def test_a_content_length_that_no_integer_holds_is_too_large(door: Door) -> None:
    for length, status in ((b"9" * 5_000, 413), (b"\xb2", 200), (b"0" * 30 + b"9", 200), (b"-1", 200)):
        headers = [(b"X-Write-Key", door.key.encode()), (b"Content-Length", length)]
        answer = door.run(door.client.post("/v1/events", content=chunks(json.dumps(event()).encode()), headers=headers))
        assert answer.status_code == status, length


# Limits


@pytest.mark.parametrize(("more", "fits"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_on_the_wire_is_limited(make_door: MakeDoor, more: int, fits: bool, chunked: bool) -> None:
    door = make_door(body_limits=BodyLimits(1_000, 5_000, MIB, MIB))
    body = padded(1_000 + more)
    parts = [body[start : start + 100] for start in range(0, len(body), 100)]
    answer = door.post(chunks(*parts) if chunked else body)
    if fits:
        assert outcomes(answer) == ["accepted"]
    else:
        assert code_of(answer) == (413, "body_too_large")
        assert door.log.counts() == {}


def test_a_body_that_says_it_is_too_large_is_not_read(make_door: MakeDoor) -> None:
    door = make_door(body_limits=BodyLimits(1_000, 5_000, MIB, MIB))

    assert code_of(door.post(Unread(), {"Content-Length": "1001"})) == (413, "body_too_large")


@pytest.mark.parametrize(("more", "fits"), [(-1, True), (0, True), (1, False)])
def test_a_body_is_limited_as_decoded_too(make_door: MakeDoor, more: int, fits: bool) -> None:
    door = make_door(body_limits=BodyLimits(1_000, 5_000, MIB, MIB))
    answer = door.post(gzip.compress(padded(5_000 + more)), {"Content-Encoding": "gzip"})
    assert (answer.status_code, door.log.counts()) == ((200, {"product_viewed": 1}) if fits else (413, {}))


def test_a_bomb_is_refused_and_costs_the_collector_nothing_afterwards(door: Door) -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    assert code_of(door.post(bomb, {"Content-Encoding": "gzip"})) == (413, "body_too_large")
    assert door.metric("headrace_inflight_bytes") == 0
    assert door.log.counts() == {}


def test_a_body_that_packs_300_to_1_is_accepted(door: Door) -> None:
    body = json.dumps([event(context={"same": "x" * 3_500})] * 1_000).encode()
    packed = gzip.compress(body)
    assert len(body) > 300 * len(packed)
    assert outcomes(door.post(packed, {"Content-Encoding": "gzip"})) == ["accepted"] * 1_000


@pytest.mark.parametrize(("more", "fits"), [(-1, True), (0, True), (1, False)])
def test_the_events_of_a_batch_are_limited(make_door: MakeDoor, more: int, fits: bool) -> None:
    door = make_door(limits=Limits(batch_events=10))
    answer = door.post([event(str(number + 1)) for number in range(10 + more)])
    if fits:
        assert outcomes(answer) == ["accepted"] * (10 + more)
    else:
        assert code_of(answer) == (413, "too_many_events")
        assert door.log.counts() == {}


@pytest.mark.parametrize(
    ("limits", "fields", "code"),
    [
        (Limits(event_bytes=2_000), lambda n: {"x": "y" * (1_600 + n)}, "event_too_large"),
        (Limits(depth=10), lambda n: {"x": json.loads("[" * (9 + n) + "1" + "]" * (9 + n))}, "too_deep"),
        (Limits(string_bytes=400), lambda n: {"x": "é" * 200 + "a" * n}, "too_long"),
        (Limits(), lambda n: {"properties": {"product_id": "é" * 64 + "a" * n}}, "too_long"),
    ],
    ids=["event bytes", "depth", "string bytes", "varchar bytes"],
)
def test_an_event_beyond_a_limit_is_the_only_one_rejected(
    make_door: MakeDoor, limits: Limits, fields: Callable[[int], dict[str, Any]], code: str
) -> None:
    door = make_door(limits=limits)
    more = 400 if code == "event_too_large" else 1
    assert outcomes(door.post([event("a", **fields(0)), event("b", **fields(more)), event("c")])) == [
        "accepted",
        code,
        "accepted",
    ]


# The log


def test_no_answer_comes_before_the_log_has_the_event(door: Door) -> None:
    async def work() -> httpx.Response:
        door.log.lets_go.clear()
        answer = asyncio.create_task(door.posting(event()))
        assert await asyncio.to_thread(door.log.entered.wait, 10)
        await asyncio.sleep(0.1)
        assert not answer.done()
        assert door.stored() == []
        door.log.lets_go.set()
        return await answer

    assert outcomes(door.run(work())) == ["accepted"]
    assert len(door.stored()) == 1


def test_when_an_answer_has_come_another_process_can_read_the_event(door: Door, tmp_path: Path) -> None:
    from ingestion.broker.embedded import EmbeddedBroker

    assert outcomes(door.post(event("x"))) == ["accepted"]
    other = EmbeddedBroker(tmp_path / "log.sqlite")
    assert b'"x"' in other.read("events.product_viewed", 0, 0, 10, MIB).values[0]
    other.close()


@pytest.mark.parametrize("body", [event(), {}, b"no json"])
@pytest.mark.parametrize("error", [UNAVAILABLE, UnknownTopic("the topic is gone")])
def test_a_log_that_does_not_take_the_events_is_503_and_nothing_is_accepted(
    door: Door, body: Any, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    door.log.error = error
    answer = door.post(body)
    assert code_of(answer) == (503, "log_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert str(error) in caplog.text
    assert door.log.counts() == {}
    assert door.metric("headrace_inflight_bytes") == 0
    door.log.error = None
    assert door.post(body).status_code in (200, 400)


def test_a_real_log_that_is_locked_by_another_process_is_503(door: Door, tmp_path: Path) -> None:
    import sqlite3

    door.log._db.execute("pragma busy_timeout=10")
    other = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)
    other.execute("begin immediate")
    assert code_of(door.post(event())) == (503, "log_unavailable")
    other.execute("rollback")
    other.close()
    assert outcomes(door.post(event())) == ["accepted"]
    assert door.log.counts() == {"product_viewed": 1}


def test_an_error_of_the_log_reaches_every_request_of_its_group(make_door: MakeDoor) -> None:
    door = make_door(timing=Timing(commit_interval=0.05))
    door.log.error = UNAVAILABLE

    async def work() -> list[httpx.Response]:
        return list(await asyncio.gather(*(door.posting(event(str(number + 1))) for number in range(10))))

    assert [code_of(answer) for answer in door.run(work())] == [(503, "log_unavailable")] * 10
    assert door.log.groups == [10]


def test_requests_at_the_same_time_share_a_transaction(make_door: MakeDoor) -> None:
    door = make_door(timing=Timing(commit_interval=0.05))

    async def work() -> list[httpx.Response]:
        return list(await asyncio.gather(*(door.posting(event(str(number + 1))) for number in range(20))))

    assert [outcomes(answer) for answer in door.run(work())] == [["accepted"]] * 20
    assert door.log.groups == [20]


def test_a_slow_log_is_503_and_its_bytes_count_until_it_lets_go(make_door: MakeDoor) -> None:
    door = make_door(timing=Timing(commit_interval=0.0, answer=0.05), body_limits=BodyLimits(MIB, MIB, MIB, 1_500))

    async def work() -> None:
        door.log.lets_go.clear()
        answer = await door.posting(padded(1_000))
        assert code_of(answer) == (503, "timeout")
        assert int(answer.headers["retry-after"]) > 0
        assert door.collector._inflight.total == 1_000
        assert code_of(await door.posting(padded(1_000))) == (429, "too_many_requests")
        door.log.lets_go.set()
        while door.collector._inflight.total:
            await asyncio.sleep(0.01)
        assert outcomes(await door.posting(padded(1_000))) == ["accepted"]

    door.run(work())
    assert door.log.counts() == {"product_viewed": 2}, "what was answered 503 may be stored, what was answered 429 not"


def test_a_slow_log_that_fails_in_the_end_gives_the_bytes_back(make_door: MakeDoor) -> None:
    door = make_door(timing=Timing(commit_interval=0.0, answer=0.05))

    async def work() -> None:
        door.log.lets_go.clear()
        assert code_of(await door.posting(event())) == (503, "timeout")
        door.log.error = UNAVAILABLE
        door.log.lets_go.set()
        while door.collector._inflight.total:
            await asyncio.sleep(0.01)

    door.run(asyncio.wait_for(work(), 10))


# Load


@pytest.mark.parametrize(
    ("inflight", "per_source", "refusal"),
    [(10_000, 3_000, (429, "too_many_requests")), (3_000, 10_000, (503, "overloaded"))],
)
def test_bodies_in_flight_are_bounded_and_given_back(
    make_door: MakeDoor, inflight: int, per_source: int, refusal: tuple[int, str]
) -> None:
    door = make_door(body_limits=BodyLimits(2_000, 2_000, inflight, per_source))

    async def work() -> None:
        door.log.lets_go.clear()
        waiting = [asyncio.create_task(door.posting(padded(1_500))) for _ in range(2)]
        while door.collector._inflight.total < 3_000:
            await asyncio.sleep(0.01)
        answer = await door.posting(padded(200))
        assert code_of(answer) == refusal
        assert answer.headers["retry-after"] == "1"
        metrics = await door.client.get("/metrics")
        assert "headrace_inflight_bytes 3000.0" in metrics.text
        door.log.lets_go.set()
        assert [outcomes(await one) for one in waiting] == [["accepted"]] * 2
        assert outcomes(await door.posting(padded(1_500))) == ["accepted"]

    door.run(work())
    assert door.metric("headrace_inflight_bytes") == 0
    assert door.log.counts() == {"product_viewed": 3}


def test_a_source_at_its_bound_does_not_hold_up_another(make_door: MakeDoor) -> None:
    door = make_door(body_limits=BodyLimits(2_000, 2_000, 10_000, 1_500))
    app = door.keys.add("app")

    async def work() -> None:
        door.log.lets_go.clear()
        first = asyncio.create_task(door.posting(padded(1_500)))
        while not door.collector._inflight.total:
            await asyncio.sleep(0.01)
        assert code_of(await door.posting(padded(200)))[0] == 429
        other = asyncio.create_task(door.posting(padded(1_500), {"X-Write-Key": app}))
        while door.collector._inflight.total < 3_000:
            await asyncio.sleep(0.01)
        door.log.lets_go.set()
        assert outcomes(await first) == outcomes(await other) == ["accepted"]

    door.run(work())


def test_a_body_that_does_not_come_in_time_is_408_and_forgotten(make_door: MakeDoor) -> None:
    door = make_door(timing=Timing(commit_interval=0.0, body=0.1))

    async def slow() -> AsyncIterator[bytes]:
        yield body_of(event())[:-1]
        await asyncio.sleep(30)
        yield b"]"

    assert code_of(door.post(slow())) == (408, "body_timeout")
    assert door.metric("headrace_inflight_bytes") == 0
    assert door.log.counts() == {}


def test_a_large_body_is_mapped_while_other_requests_go_on(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def slow_where_large(body: bytes, *others: Any) -> list[Any]:
        if len(body) > QUICK_BYTES:
            begun.set()
            assert let_go.wait(10)
        return map_body(body, *others)

    monkeypatch.setattr("ingestion.collector.map_body", slow_where_large)

    async def work() -> None:
        large = asyncio.create_task(door.posting(padded(QUICK_BYTES + 1)))
        assert await asyncio.to_thread(begun.wait, 10)
        assert outcomes(await door.posting(padded(QUICK_BYTES))) == ["accepted"]
        assert not large.done()
        assert door.collector._inflight.total == QUICK_BYTES + 1
        let_go.set()
        assert outcomes(await large) == ["accepted"]

    door.run(work())


def test_large_bodies_that_are_no_batch_are_refused_like_small_ones(door: Door) -> None:
    assert code_of(door.post(b"[" * (QUICK_BYTES + 1))) == (400, "invalid_json")
    assert code_of(door.post(b"1" + b" " * QUICK_BYTES)) == (422, "not_events")
    assert outcomes(door.post(body_of(*(event(x="y" * 3_000) for _ in range(100)), {}))) == [
        *["accepted"] * 100,
        "missing_field",
    ]


# CORS


PREFLIGHT = {
    "Origin": "https://shop.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,content-encoding,x-write-key,x-retry-count",
}


def test_any_origin_may_send_by_default(door: Door) -> None:
    preflight = door.get("/v1/events", PREFLIGHT, "OPTIONS")
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    allowed = {name.strip().lower() for name in preflight.headers["access-control-allow-headers"].split(",")}
    assert allowed >= set(PREFLIGHT["Access-Control-Request-Headers"].split(","))
    assert int(preflight.headers["access-control-max-age"]) > 0
    assert "access-control-allow-credentials" not in preflight.headers


def test_a_header_that_nobody_needs_is_not_allowed(door: Door) -> None:
    preflight = door.get("/v1/events", PREFLIGHT | {"Access-Control-Request-Headers": "x-evil"}, "OPTIONS")
    assert preflight.status_code == 400


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://example.com", True),
        ("https://shop.example", True),
        ("https://evil-example.com", False),
        ("https://example.com.evil.com", False),
        ("https://sub.example.com", False),
        ("http://example.com", False),
        ("https://example.com:8443", False),
        ("HTTPS://EXAMPLE.COM", False),
        ("null", False),
    ],
)
def test_only_the_origins_of_a_list_may_read_the_answer(make_door: MakeDoor, origin: str, allowed: bool) -> None:
    door = make_door(cors_origins=["https://example.com", "https://shop.example"])
    preflight = door.get("/v1/events", PREFLIGHT | {"Origin": origin}, "OPTIONS")
    answer = door.post(event(), {"Origin": origin})
    assert preflight.status_code == (200 if allowed else 400)
    for one in (preflight, answer):
        assert one.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert "Origin" in one.headers["vary"]


def test_every_answer_can_be_read_by_a_browser(make_door: MakeDoor) -> None:
    door = make_door(body_limits=BodyLimits(1_000, 1_000, 1_000, 500), timing=Timing(commit_interval=0.0, body=0.1))
    origin = {"Origin": "https://shop.example"}

    async def never() -> AsyncIterator[bytes]:
        await asyncio.sleep(30)
        yield b""

    answers = [
        door.post(event(), origin),
        door.post(b"", origin),
        door.post(event(), origin | {"X-Write-Key": "hr_guess"}),
        door.get("/nowhere", origin),
        door.get("/v1/events", origin),
        door.post(never(), origin),
        door.post(padded(1_001), origin),
        door.post(event(), origin | {"Content-Encoding": "br"}),
        door.post(b"1", origin),
        door.post(padded(600), origin),
    ]
    for error in (ValueError("a bug"), UNAVAILABLE):
        door.log.error = error
        answers.append(door.post(event(), origin))
    assert [one.status_code for one in answers] == [200, 400, 401, 404, 405, 408, 413, 415, 422, 429, 500, 503]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "*", answer.status_code
        assert answer.headers["access-control-expose-headers"] == "Retry-After"
        if answer.status_code != 200:
            code_of(answer)
    assert [one.status_code for one in answers if "retry-after" in one.headers] == [429, 500, 503]


# Faults, paths, health, numbers


def test_a_fault_of_the_collector_is_answered_500_and_hides_nothing(door: Door) -> None:
    door.log.error = ValueError("a bug")
    assert code_of(door.post(event())) == (500, "internal_error")
    transport = httpx.ASGITransport(door.app)  # as a server, which logs what the app raises

    async def ask() -> None:
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            await client.post("/v1/events", json=event(), headers={"X-Write-Key": door.key})

    with pytest.raises(ValueError, match="a bug"):
        door.run(ask())
    assert door.metric("headrace_requests_refused_total", status="500", code="internal_error") == 2
    assert door.metric("headrace_inflight_bytes") == 0
    door.log.error = None
    assert outcomes(door.post(event())) == ["accepted"]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/event", "/v2/events", "/v1/events/x", "/../etc/passwd", "/%00"])
def test_an_unknown_path_is_404_in_json(shared: Door, path: str) -> None:
    assert code_of(shared.post(event(), path=path)) == (404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_405_in_json_with_what_is_allowed(shared: Door, method: str) -> None:
    answer = shared.get("/v1/events", method=method)
    assert code_of(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_health_says_that_the_process_lives_and_ready_that_its_log_does(door: Door) -> None:
    assert (door.get("/health").json(), door.get("/ready").json()) == ({"status": "ok"}, {"status": "ready"})
    door.log.close()
    assert door.get("/health").status_code == 200
    answer = door.get("/ready")
    assert code_of(answer) == (503, "log_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert code_of(door.post(event())) == (503, "log_unavailable")


def test_a_log_without_topics_is_not_ready(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(names: Sequence[str]) -> None:
        raise ConfigurationError(f"no topic {names[0]}")

    monkeypatch.setattr(door.log, "ensure_topics", gone)
    assert code_of(door.get("/ready")) == (503, "log_unavailable")


def test_a_log_that_hangs_is_not_ready_in_time(make_door: MakeDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    door = make_door(timing=Timing(commit_interval=0.0, answer=0.05))
    let_go = threading.Event()
    monkeypatch.setattr(door.log, "ensure_topics", lambda names: let_go.wait(10))
    answer = door.get("/ready")
    let_go.set()
    assert code_of(answer) == (503, "log_unavailable")


def test_the_numbers_are_those_of_what_happened(door: Door) -> None:
    door.post([event("a"), event(""), event("b"), {}])
    door.post([event("")])
    door.post(b"no json")
    door.post(event(), {"X-Write-Key": "hr_guess"})
    door.log.error = UNAVAILABLE
    door.post([event("c"), {}])
    door.log.error = None
    assert door.metric("headrace_events_received_total", source="web") == 7
    assert door.metric("headrace_events_accepted_total", source="web") == 2
    assert door.metric("headrace_events_rejected_total", source="web", code="invalid_id") == 2
    assert door.metric("headrace_events_rejected_total", source="web", code="missing_field") == 1
    assert door.metric("headrace_events_rejected_total", source="web", code="invalid_json") == 1
    assert door.metric("headrace_requests_refused_total", status="400", code="invalid_json") == 1
    assert door.metric("headrace_requests_refused_total", status="401", code="unknown_write_key") == 1
    assert door.metric("headrace_requests_refused_total", status="503", code="log_unavailable") == 1
    assert door.metric("headrace_inflight_bytes") == 0
    assert door.log.counts() == {"product_viewed": 2, "rejected": 4}


def test_the_latency_is_that_of_the_log(make_door: MakeDoor) -> None:
    door = make_door(timing=Timing(commit_interval=0.3))
    assert door.metric("headrace_ack_seconds_count") == 0
    door.post(event())
    assert door.metric("headrace_ack_seconds_count") == 1
    assert door.metric("headrace_ack_seconds_sum") > 0.3
    assert door.metric("headrace_ack_seconds_bucket", le="0.25") == 0
    assert door.metric("headrace_ack_seconds_bucket", le="5.0") == 1


def test_numbers_are_exposed_as_prometheus_reads_them(door: Door) -> None:
    assert door.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")


def test_two_collectors_do_not_share_their_numbers(make_door: MakeDoor, tmp_path: Path) -> None:
    door = make_door()
    with Door(tmp_path / "other") as other:
        door.post(event())
        assert door.metric("headrace_events_accepted_total", source="web") == 1
        assert other.metric("headrace_events_accepted_total", source="web") == 0


def test_the_contract_is_served(door: Door) -> None:
    document = door.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert list(document["paths"]) == ["/v1/events"]


def test_the_points_at_which_a_crash_matters_are_passed_in_order(make_door: MakeDoor) -> None:
    passed: list[tuple[str, int]] = []
    door: Door
    door = make_door(reach=lambda point: passed.append((point, len(door.log.groups))))
    door.post(event())
    assert passed == [("collector.mapped", 0), ("collector.published", 1)]


def test_requests_that_wait_at_the_shutdown_are_still_stored_and_answered(tmp_path: Path) -> None:
    with Door(tmp_path, timing=Timing(commit_interval=0.2)) as door:

        async def work() -> asyncio.Task[httpx.Response]:
            waiting = asyncio.create_task(door.posting(event()))
            while not door.collector._log._waiting:
                await asyncio.sleep(0.005)
            return waiting

        waiting = door.run(work())
    assert outcomes(waiting.result()) == ["accepted"]
