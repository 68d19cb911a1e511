import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.encoding import Block, checksum, encode
from ingestion.events import EVENT_TYPES
from ingestion.tables import MAX_VALUE_BYTES, REJECTED_TABLE, Table, all_tables, event_table
from tests.platform import event, rejection

VIEWS, CARTS = event_table("product_viewed"), event_table("cart_viewed")
QUICK = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
Row = dict[str, Any]


def block(table: Table, values: list[bytes], start: int = 0, partition: int = 0) -> Block:
    offsets = range(start, start + len(values))
    return Block("id", table.topic, partition, offsets, [1_000_000 + o for o in offsets], values)


def rows_of(table: Table, *values: bytes) -> list[Row]:
    rows: list[Row] = encode(table, [block(table, list(values))]).to_pylist()
    return rows


def row_of(value: bytes, table: Table = VIEWS) -> Row:
    (row,) = rows_of(table, value)
    return row


def stored(number: int = 1, **changes: Any) -> bytes:
    """An event of VIEWS with fields of the envelope changed."""
    return msgspec.json.encode({**event("product_viewed", number), **changes})


def with_properties(**properties: Any) -> bytes:
    return msgspec.json.encode(event("product_viewed", 1, **properties))


def typed(row: Row, table: Table = VIEWS) -> Row:
    return {column.name: row[column.name] for column in table.columns}


def is_unfit(row: Row, table: Table = VIEWS) -> bool:
    empty = all(value is None for value in typed(row, table).values())
    assert empty == (row["landing_error"] is not None)
    return empty


PIECES = [
    b"",
    b"{",
    b"}",
    b"{}",
    b"{}{}",
    b"{} {}",
    b"{}\n{}",
    b"{}\r{}",
    b'{"a":',
    b"1}",
    b'{"a":{}',
    b'{"a":"}',
    b'{"}',
    b'{"a":[{}',
    b"{}]}",
    b"\n",
    b"{}\n",
    b"\n{}",
    b" {}",
    b"\xef\xbb\xbf{}",
    b"\0",
    b'{"a":"\0"}',
    b"\xff",
    b'{"a":"\xc3',
    b'\xa4"}',
    b"null",
    b"[]",
    b"[{}]",
    b'{"a":1,"a":2}',
    b'{"event_id":"a","event_id":"b"}',
    b'{"a":"\\ud800"}',
    b'{"a":NaN}',
    b"{}//{}",
    b"{/**/}",
]
"""Values that would fool a parser of whole blocks, alone or joined with their neighbours."""

valid_values = st.builds(stored, st.integers(0, 2**31))
wrong_values = st.sampled_from(
    [
        stored(event_id=7),
        stored(event_type="cart_viewed"),
        stored(properties=[]),
        stored(properties={"product_id": {"a": 1}}),
        stored(occurred_at="yesterday"),
        stored(occurred_at="0000-01-01T00:00:00Z"),
        stored(user_id="ä" * 65),
        stored(user_id="\\u0000"),
        stored(user_id="\0"),
    ]
)
overlong_values = st.integers(0, 9).map(lambda number: stored(number, context={"x": "y" * MAX_VALUE_BYTES}))
any_value = st.one_of(valid_values, wrong_values, overlong_values, st.sampled_from(PIECES), st.binary(max_size=40))


@QUICK
@given(st.lists(any_value, max_size=12))
def test_whatever_records_hold_each_becomes_its_own_row(values: list[bytes]) -> None:
    table = encode(VIEWS, [block(VIEWS, values)])
    assert table.schema == VIEWS.schema
    rows = table.to_pylist()
    assert [row["kafka_value_bytes"] or (row["kafka_value"] or "").encode() for row in rows] == values
    assert [row["kafka_offset"] for row in rows] == list(range(len(values)))
    for row, value in zip(rows, values, strict=True):
        assert (row["kafka_value"] is None) != (row["kafka_value_bytes"] is None)
        assert row["checksum"] == int(hashlib.md5(value, usedforsecurity=False).hexdigest()[:15], 16)
        is_unfit(row)


@QUICK
@given(st.lists(any_value, min_size=1, max_size=12))
def test_a_row_depends_on_its_record_alone_and_not_on_its_neighbours(values: list[bytes]) -> None:
    together = rows_of(VIEWS, *values)
    apart = [{**row_of(value), "kafka_offset": n} for n, value in enumerate(values)]
    for one, other in zip(together, apart, strict=True):
        for name in (*typed(one), "landing_error", "kafka_value", "kafka_value_bytes", "checksum"):
            assert one[name] == other[name]


@pytest.mark.parametrize("piece", PIECES)
def test_neighbours_of_a_bad_value_keep_their_typed_columns(piece: bytes) -> None:
    before, bad, after = rows_of(VIEWS, stored(1), piece, stored(2))
    assert is_unfit(bad)
    assert (before["event_id"], after["event_id"]) == ("product_viewed-1", "product_viewed-2")


@pytest.mark.parametrize("pair", [(b'{"a":', b"1}"), (b'{"a":"}', b'{"}'), (b'{"a":[{}', b"{}]}"), (b"{}{}", b"")])
def test_values_whose_pieces_would_join_stay_apart(pair: tuple[bytes, bytes]) -> None:
    rows = rows_of(VIEWS, stored(1), *pair, stored(2))
    assert [is_unfit(row) for row in rows] == [False, True, True, False]


@pytest.mark.parametrize("event_type", list(EVENT_TYPES))
def test_an_event_of_each_type_fills_every_column_of_its_table(event_type: str) -> None:
    table, sent = event_table(event_type), event(event_type, 5)
    row = row_of(msgspec.json.encode(sent), table)
    assert row["landing_error"] is None
    for name, value in sent["properties"].items():
        column = row[name]
        assert (str(column) if isinstance(column, Decimal) else column) == value or isinstance(value, list)
    assert (row["app_name"], row["device_model"], row["user_id"]) == ("shop", None, "visitor-5")
    assert row["occurred_at"] == sent["occurred_at"]


def test_a_rejection_fills_its_columns() -> None:
    row = row_of(msgspec.json.encode(rejection(3, b"{broken", field="properties")), REJECTED_TABLE)
    assert (row["landing_error"], row["payload"], row["field"]) == (None, "{broken", "properties")


def test_money_and_times_keep_every_digit() -> None:
    exact = "99999999999999.9999"
    value = with_properties(price=exact, value="-0.0001")
    row = row_of(value.replace(b"2026-05-01T12:29:59Z", b"2026-05-01T12:29:59.123456Z"))
    assert (str(row["price"]), str(row["value"])) == (exact, "-0.0001")
    assert row["occurred_at"] == datetime(2026, 5, 1, 12, 29, 59, 123456, tzinfo=UTC)


def test_fields_that_no_class_knows_are_kept_in_the_value_only() -> None:
    row = row_of(stored(unknown={"deep": [{"a": 1}]}, properties={"product_id": "p", "new": {"b": 2}}))
    assert not is_unfit(row)
    assert '"unknown":{"deep":[{"a":1}]}' in row["kafka_value"]


def test_a_backslash_before_u0000_is_text_and_no_nul() -> None:
    row = row_of(stored(user_id="C:\\u0000"))
    assert (row["landing_error"], row["user_id"]) == (None, "C:\\u0000")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (stored(user_id="a\0b"), "NUL"),
        (stored(user_id="\\\0"), "NUL"),
        (b"{}\0", "one JSON object"),
        (stored(context={"x": "y" * MAX_VALUE_BYTES}), "too long"),
        (stored(user_id="ä" * 65), "user_id is longer than 128 bytes"),
        (b'{"event_type":"product_viewed"}', "event_id is missing"),
        (stored(event_id=None), "event_id is missing"),
        (stored(properties={}), "properties.product_id is missing"),
        (stored(properties=None), "properties.product_id is missing"),
        (stored(event_type="cart_viewed"), "event_type is not product_viewed"),
        (stored(event_id=1), "changed from string to number"),
        (stored(properties=[]), "changed from object to array"),
        (stored(app="shop"), "changed from object to string"),
        (stored(device_sequence=2**63), "int64"),
        (stored(device_sequence="1"), "changed from number to string"),
        (stored(device_sequence=1.5), "int64"),
        (stored(occurred_at="2026-05-01T12:00:00.123456789Z"), "timestamp"),
        (stored(occurred_at="99999-01-01T00:00:00Z"), "timestamp"),
        (stored(occurred_at="0000-01-01T00:00:00Z"), "occurred_at is before the year 1"),
        (stored(occurred_at="0001-01-01T00:00:00+01:00"), "occurred_at is before the year 1"),
        (with_properties(price="1" * 60), "decimal128"),
        (with_properties(price=10**40), "decimal128"),
        (with_properties(price="1.00001"), "decimal128"),
        (with_properties(price="NaN"), "decimal128"),
        (b'{"event_id":"a","event_id":"b"}', "twice"),
        (b"{} {}", "2 JSON documents in 1 records"),
        (b'{"event_id":"\xff"}', "utf-8"),
    ],
)
def test_a_value_that_does_not_fit_says_why(value: bytes, why: str) -> None:
    before, row, after = rows_of(VIEWS, stored(1), value, stored(2))
    assert is_unfit(row) and why in row["landing_error"]
    assert not is_unfit(before) and not is_unfit(after)


def test_a_wrong_type_inside_a_product_of_a_list_makes_the_event_unfit() -> None:
    good = msgspec.json.encode(event("cart_viewed", 2))
    wrong = [
        msgspec.json.encode(event("cart_viewed", 2, products=products))
        for products in ({"product_id": "p"}, ["p"], [{"product_id": 7}], [{"product_id": "p", "price": {}}])
    ]
    rows = rows_of(CARTS, good, *wrong, good)
    assert [is_unfit(row, CARTS) for row in rows] == [False, True, True, True, True, False]


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_beyond_any_stack_is_one_row(opening: bytes) -> None:
    depth = 100_000
    closing = {b"[": b"]", b'{"a":': b"}"}[opening]
    inside_the_limit = MAX_VALUE_BYTES // (len(opening) + 1) - 20
    for levels in (depth, inside_the_limit):
        nested = b'{"context":' + opening * levels + b"1" + closing * levels + b"}"
        unclosed = b'{"properties":' + opening * levels + b"}"
        rows = rows_of(VIEWS, stored(1), nested, unclosed, stored(2))
        assert [is_unfit(row) for row in rows] == [False, True, True, False]


def test_a_value_too_long_for_a_warehouse_is_kept_as_bytes() -> None:
    fits = b"x" * MAX_VALUE_BYTES
    first, second, third = rows_of(VIEWS, fits, fits + b"x", "ä".encode() * 40_000)
    assert (first["kafka_value"], first["kafka_value_bytes"]) == (fits.decode(), None)
    assert (second["kafka_value"], second["kafka_value_bytes"]) == (None, fits + b"x")
    assert third["kafka_value"] is None


def test_coordinates_are_those_of_each_block() -> None:
    hour = 3_600_000_000
    blocks = [
        Block("id", VIEWS.topic, 1, [7, 9], [hour - 1, hour], [stored(1), b"bad"]),
        Block("id", VIEWS.topic, 0, [3], [5 * hour], [stored(2)]),
    ]
    rows = encode(VIEWS, blocks).to_pylist()
    assert [(r["kafka_partition"], r["kafka_offset"], r["landing_hour"]) for r in rows] == [
        (1, 7, "1970-01-01-00"),
        (1, 9, "1970-01-01-01"),
        (0, 3, "1970-01-01-05"),
    ]
    assert {(r["topic_id"], r["kafka_topic"]) for r in rows} == {("id", "events.product_viewed")}


@pytest.mark.parametrize("table", all_tables(), ids=lambda table: table.name)
def test_no_records_are_no_rows_with_the_same_columns(table: Table) -> None:
    for blocks in ([], [block(table, [])], [block(table, []), block(table, [])]):
        encoded: pa.Table = encode(table, blocks)
        assert (encoded.num_rows, encoded.schema) == (0, table.schema)


def test_the_checksum_is_the_first_60_bits_of_the_md5() -> None:
    assert checksum(b"") == 0xD41D8CD98F00B20
    assert checksum(b"\xff\0") == int(hashlib.md5(b"\xff\0", usedforsecurity=False).hexdigest()[:15], 16)
