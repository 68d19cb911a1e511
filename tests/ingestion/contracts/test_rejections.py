import hashlib
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingestion.contracts.json_text import ContentError
from ingestion.contracts.rejections import KEPT_BYTES, payload_of, reject
from ingestion.events import Rejection

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LIMIT = 60 * 1024
TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=2_000)


def rejection(payload: bytes, error: ContentError | None = None) -> Rejection:
    return reject(error or ContentError("invalid_json", "no"), payload, source="s" * 64, contract="n", received_at=NOW)


def read_again(kept: Rejection) -> Rejection:
    encoded = msgspec.json.encode(kept)
    assert len(encoded) < LIMIT
    return msgspec.json.decode(encoded, type=Rejection)


@given(st.binary(max_size=KEPT_BYTES) | TEXTS.map(str.encode))
@example(b"")
@example(b"\0" * KEPT_BYTES)
@example(b"\x01" * KEPT_BYTES)
@example(b"\xff" * KEPT_BYTES)
@example(b'"\\' * (KEPT_BYTES // 2))
@example("é".encode() * (KEPT_BYTES // 2))
@example("\u2028".encode() * (KEPT_BYTES // 3))
@example(b"\x7f" * KEPT_BYTES)
@settings(max_examples=200)
def test_what_was_sent_is_kept_byte_for_byte(payload: bytes) -> None:
    kept = rejection(payload)
    assert read_again(kept) == kept
    assert payload_of(read_again(kept)) == payload


@given(TEXTS, TEXTS, st.sampled_from([b"\x01" * 6_500, b"\x01" * 20_000, b'"' * 20_000, b"\xff" * 20_000]))
@settings(max_examples=100)
def test_a_rejection_fits_its_own_limits_whatever_is_wrong(message: str, field: str, payload: bytes) -> None:
    kept = read_again(rejection(payload, ContentError("c" * 64, message * 10, field * 10)))
    assert len(kept.message.encode()) <= 1024
    assert len((kept.field or "").encode()) <= 256
    assert "\0" not in kept.message + (kept.field or "")


def test_of_a_long_payload_the_beginning_the_hash_and_the_length_are_kept() -> None:
    payload = b"0123456789abcdef" * 1024 + b"!"
    kept = rejection(payload)
    assert kept.payload == payload[:-1].decode()
    assert (kept.payload_bytes, kept.payload_sha256) == (KEPT_BYTES + 1, hashlib.sha256(payload).hexdigest())
    assert payload_of(kept) is None


def test_a_character_that_the_end_cuts_in_half_spoils_nothing() -> None:
    kept = rejection(b"x" + "é".encode() * KEPT_BYTES)
    assert kept.payload_encoding == "base64"
    assert (
        payload_of(msgspec.structs.replace(kept, payload_bytes=KEPT_BYTES))
        == (b"x" + "é".encode() * KEPT_BYTES)[:KEPT_BYTES]
    )


@pytest.mark.parametrize(
    ("payload", "encoding"),
    [
        (b'{"a":1}', "utf-8"),
        (b'{"a":"\\u0000"}', "utf-8"),
        (b"\xef\xbb\xbf{}", "utf-8"),
        (b"a\0b", "base64"),
        (b"\xff", "base64"),
        (b"\x01" * 1_000, "utf-8"),
        (b"\x01" * KEPT_BYTES, "base64"),
    ],
)
def test_text_is_kept_readable_and_what_is_none_as_base64(payload: bytes, encoding: str) -> None:
    assert rejection(payload).payload_encoding == encoding


def test_the_message_is_cut_between_characters() -> None:
    kept = rejection(b"", ContentError("code", "x" + "é" * 600, "\0é" * 100))
    assert kept.message == "x" + "é" * 511
    assert kept.field == ("␀é" * 100).encode()[:256].decode(errors="ignore")


def test_a_rejection_says_what_it_was_and_where_it_came_from() -> None:
    kept = reject(
        ContentError("missing_field", "a is required", "a"),
        b"{}",
        source="web",
        contract="native",
        received_at=NOW,
        sent_at=NOW,
        whole_request=True,
    )
    assert msgspec.to_builtins(kept) == {
        "code": "missing_field",
        "message": "a is required",
        "field": "a",
        "received_at": "2026-05-01T12:00:00Z",
        "sent_at": "2026-05-01T12:00:00Z",
        "source": "web",
        "contract": "native",
        "payload": "{}",
        "payload_encoding": "utf-8",
        "payload_bytes": 2,
        "payload_sha256": hashlib.sha256(b"{}").hexdigest(),
        "whole_request": True,
    }
