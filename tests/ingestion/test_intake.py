import asyncio
import gzip
import os
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.intake import BodyLimits, InFlight, Refusal, Share, read_body
from tests.ingestion.door import Unread

LIMITS = BodyLimits(wire=1_000, decoded=4_000, inflight=9_000, inflight_source=6_000)
MIB = 1024 * 1024


@pytest.fixture
def inflight() -> InFlight:
    return InFlight(LIMITS)


@pytest.fixture
def share(inflight: InFlight) -> Iterator[Share]:
    with inflight.of("web") as share:
        yield share


async def in_parts(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def read(*parts: bytes, encoding: str = "", limits: BodyLimits = LIMITS, share: Share | None = None) -> bytes:
    held = share or Share(InFlight(BodyLimits(0, 0, 1 << 40, 1 << 40)), "web")
    return asyncio.run(read_body(in_parts(parts), encoding, limits, held))


def refusal(*parts: bytes, encoding: str = "", limits: BodyLimits = LIMITS) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        read(*parts, encoding=encoding, limits=limits)
    return caught.value.status, caught.value.code


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_a_plain_body_is_read_as_it_is(encoding: str) -> None:
    assert read(b"ab", b"", b"c", encoding=encoding) == b"abc"
    assert read(encoding=encoding) == b""


@given(st.binary(max_size=900), st.integers(1, 50), st.integers(0, 900))
def test_a_gzip_body_is_inflated_however_it_is_cut(data: bytes, size: int, at: int) -> None:
    whole = gzip.compress(data)
    members = gzip.compress(data[:at]) + gzip.compress(data[at:])
    limits = BodyLimits(2_000, 4_000, 0, 0)
    assert read(*cut(whole, size), encoding="gzip", limits=limits) == data
    assert read(*cut(members, size), encoding="gzip", limits=limits) == data


def test_a_gzip_body_of_nothing_is_nothing() -> None:
    assert read(gzip.compress(b""), encoding="gzip") == b""


PACKED = gzip.compress(b"event")
BROKEN = {
    "no bytes": b"",
    "only the magic": PACKED[:2],
    "without its end": PACKED[:-1],
    "without its checksum": PACKED[:-8],
    "plain text": b"event",
    "garbage behind": PACKED + b"garbage",
    "one byte behind": PACKED + b"\x1f",
    "a second member without its end": PACKED + PACKED[:-3],
    "a wrong checksum": PACKED[:-8] + b"\0" * 4 + PACKED[-4:],
    "a wrong length": PACKED[:-4] + b"\0" * 4,
    "zlib": zlib.compress(b"event"),
    "raw deflate": zlib.compress(b"event")[2:-4],
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_a_broken_gzip_body_is_refused(body: bytes, size: int) -> None:
    assert refusal(*cut(body, size), encoding="gzip") == (400, "invalid_gzip")


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "x-gzip", "*"])
def test_another_encoding_is_refused_before_anything_is_read(encoding: str) -> None:
    held = Share(InFlight(LIMITS), "web")
    with pytest.raises(Refusal) as caught:
        asyncio.run(read_body(Unread(), encoding, LIMITS, held))
    assert (caught.value.status, caught.value.code) == (415, "unsupported_encoding")


@pytest.mark.parametrize("size", [1, 300, 5_000])
def test_the_wire_limit_is_inclusive_whatever_the_chunks(size: int) -> None:
    for length in (999, 1_000):
        assert len(read(*cut(b"x" * length, size))) == length
    assert refusal(*cut(b"x" * 1_001, size)) == (413, "body_too_large")


@pytest.mark.parametrize("size", [1, 3, 5_000])
def test_the_decoded_limit_is_inclusive_whatever_the_chunks(size: int) -> None:
    for length in (3_999, 4_000):
        assert read(*cut(gzip.compress(b"x" * length), size), encoding="gzip") == b"x" * length
    assert refusal(*cut(gzip.compress(b"x" * 4_001), size), encoding="gzip") == (413, "body_too_large")


def test_the_decoded_limit_is_of_all_members_together() -> None:
    member = gzip.compress(b"x" * 2_000)
    assert len(read(member * 2, encoding="gzip")) == 4_000
    assert refusal(member * 2 + gzip.compress(b"x"), encoding="gzip") == (413, "body_too_large")


def test_the_wire_limit_holds_for_a_gzip_body_that_inflates_to_nothing() -> None:
    assert refusal(gzip.compress(b"") * 100, encoding="gzip") == (413, "body_too_large")


def test_a_body_that_packs_well_is_no_bomb() -> None:
    body = b'{"event":"the same"}' * 100_000
    packed = gzip.compress(body)
    assert len(body) > 300 * len(packed)
    assert read(packed, encoding="gzip", limits=BodyLimits(MIB, 4 * MIB, 0, 0)) == body


def test_a_bomb_is_stopped_while_it_inflates() -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    tracemalloc.start()
    try:
        assert refusal(bomb, encoding="gzip", limits=BodyLimits(MIB, 4 * MIB, 0, 0)) == (413, "body_too_large")
        assert tracemalloc.get_traced_memory()[1] < 24 * MIB
    finally:
        tracemalloc.stop()


def test_thousands_of_empty_gzip_members_cost_no_more_than_their_length() -> None:
    members = gzip.compress(b"") * (MIB // 20)
    began = time.process_time()
    assert read(members, encoding="gzip", limits=BodyLimits(2 * MIB, MIB, 0, 0)) == b""
    assert time.process_time() - began < 0.5


def test_bytes_in_flight_are_counted_as_decoded(inflight: InFlight) -> None:
    with inflight.of("web") as share:
        read(gzip.compress(b"x" * 3_000), encoding="gzip", share=share)
        assert inflight.total == 3_000
    assert inflight.total == 0


@pytest.mark.parametrize(("more", "refused"), [(-1, False), (0, False), (1, True)])
def test_a_source_is_told_to_send_slower(inflight: InFlight, more: int, refused: bool) -> None:
    with inflight.of("web") as first, inflight.of("web") as second:
        first.take(2_000)
        if refused:
            with pytest.raises(Refusal) as caught:
                second.take(4_000 + more)
            assert (caught.value.status, caught.value.code, caught.value.retry_after) == (429, "too_many_requests", 1)
            assert inflight.total == 2_000
        else:
            second.take(4_000 + more)
            assert inflight.total == 6_000 + more


@pytest.mark.parametrize(("more", "refused"), [(-1, False), (0, False), (1, True)])
def test_all_sources_together_are_bounded_too(inflight: InFlight, more: int, refused: bool) -> None:
    with inflight.of("web") as web, inflight.of("app") as app:
        web.take(5_000)
        if refused:
            with pytest.raises(Refusal) as caught:
                app.take(4_000 + more)
            assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "overloaded", 1)
            assert inflight.total == 5_000
        else:
            app.take(4_000 + more)


def test_one_source_does_not_take_the_share_of_another(inflight: InFlight) -> None:
    with inflight.of("web") as web, inflight.of("app") as app:
        web.take(6_000)
        with pytest.raises(Refusal):
            web.take(1)
        app.take(3_000)


def test_what_was_refused_is_given_back(inflight: InFlight) -> None:
    for _ in range(10):
        with pytest.raises(Refusal, match="send slower"), inflight.of("web") as share:
            list(map(share.take, (4_000, 4_000)))
    assert inflight.total == 0
    with inflight.of("web") as share:
        share.take(6_000)


def test_a_share_that_was_handed_on_counts_until_it_is_released(inflight: InFlight) -> None:
    with inflight.of("web") as share:
        share.take(6_000)
        share.handed_on = True
    with pytest.raises(Refusal), inflight.of("web") as other:
        other.take(1)
    share.release()
    share.release()
    assert inflight.total == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 7_000)), max_size=30))
@settings(max_examples=50)
def test_no_order_of_requests_exceeds_or_loses_bytes(requests: list[tuple[str, int]]) -> None:
    inflight = InFlight(LIMITS)
    held: list[Share] = []
    for source, size in requests:
        share = Share(inflight, source)
        try:
            share.take(size)
        except Refusal:
            share.release()
            if held:
                held.pop(0).release()
        else:
            held.append(share)
        assert 0 <= inflight.total <= LIMITS.inflight
    for share in held:
        share.release()
    assert inflight.total == 0


def test_random_bytes_are_no_gzip() -> None:
    for _ in range(50):
        assert refusal(os.urandom(100), encoding="gzip") == (400, "invalid_gzip")
