import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingestion.broker import Record
from ingestion.contracts.json_text import ContentError
from ingestion.contracts.native import Limits, Reception, map_body, reject_body
from ingestion.contracts.rejections import payload_of
from ingestion.events import EVENT_TYPES, Event, Rejection
from tests.ingestion.door import event

RECEIVED = datetime(2026, 5, 1, 12, tzinfo=UTC)
HERE = Reception("web", RECEIVED)
ANYTHING = Limits()
GOOD = json.dumps(event("good")).encode()

NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def mapped(body: Any, limits: Limits = ANYTHING) -> list[Record | Rejection]:
    return map_body(body if isinstance(body, bytes) else json.dumps(body).encode(), HERE, limits)


def stored(sent: Any) -> dict[str, Any]:
    """What becomes of one event that has to be accepted."""
    (result,) = mapped(sent)
    assert isinstance(result, Record), result
    msgspec.json.decode(result.value, type=Event)
    value: dict[str, Any] = json.loads(result.value, object_pairs_hook=without_repetition)
    return value


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs), f"a name is repeated: {pairs}"
    return dict(pairs)


def rejected(sent: Any, limits: Limits = ANYTHING) -> tuple[str, str | None]:
    """Code and field of one event that has to be rejected, and whose bytes have to be kept."""
    (result,) = mapped(sent, limits)
    assert isinstance(result, Rejection), result
    body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    assert payload_of(result) in (body, None if len(body) > 16 * 1024 else body)
    return result.code, result.field


def refused(body: Any) -> str:
    """The code of a body that is no event and no batch."""
    with pytest.raises(ContentError) as caught:
        mapped(body)
    return caught.value.code


def codes(results: list[Record | Rejection]) -> list[str]:
    return [result.code if isinstance(result, Rejection) else "accepted" for result in results]


def test_an_event_is_stored_under_the_topic_of_its_type_with_what_the_collector_knows() -> None:
    (result,) = mapped(event(occurred_at="2026-05-01T11:00:00+02:00", user_id="u1", session_id="s1"))
    assert isinstance(result, Record)
    assert (result.topic, result.key) == ("events.product_viewed", b"u1")
    assert json.loads(result.value) == {
        "event_id": "e1",
        "event_type": "product_viewed",
        "contract_version": 1,
        "occurred_at": "2026-05-01T09:00:00Z",
        "device_occurred_at": "2026-05-01T09:00:00Z",
        "received_at": "2026-05-01T12:00:00Z",
        "source": "web",
        "user_id": "u1",
        "session_id": "s1",
        "properties": {"product_id": "p1"},
    }


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"user_id": "u", "anonymous_id": "a"}, b"u"),
        ({"anonymous_id": "a"}, b"a"),
        ({"user_id": "undefined", "anonymous_id": "a"}, b"a"),
        ({}, b"e1"),
    ],
)
def test_the_key_keeps_a_visitor_together(fields: dict[str, str], key: bytes) -> None:
    (result,) = mapped(event(**fields))
    assert isinstance(result, Record)
    assert result.key == key


@pytest.mark.parametrize(
    "shape", [lambda e: e, lambda e: [e], lambda e: {"batch": [e]}, lambda e: {"batch": [e], "sent_at": None}]
)
def test_one_event_comes_alone_in_an_array_or_in_a_batch(shape: Any) -> None:
    assert stored(shape(event("x")))["event_id"] == "x"


def test_the_results_are_in_the_order_of_the_events() -> None:
    batch = [event(f"e{number}") if number % 3 else {"number": number} for number in range(50)]
    results = mapped({"batch": batch})
    for sent, result in zip(batch, results, strict=True):
        if isinstance(result, Record):
            assert json.loads(result.value)["event_id"] == sent["event_id"]
        else:
            assert json.loads(result.payload) == sent


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_every_type_of_the_catalogue_has_a_topic(name: str) -> None:
    required = {"product_id": "p", "order_id": "o", "category": "c", "query": "q"}
    (result,) = mapped(event(event_type=name, properties=required))
    assert isinstance(result, Record)
    assert result.topic == f"events.{name}"


def test_properties_may_be_left_out_where_a_type_needs_none() -> None:
    assert stored({"event_id": "e1", "event_type": "cart_viewed"})["event_id"] == "e1"
    assert rejected({"event_id": "e1", "event_type": "product_viewed"}) == ("missing_field", "properties.product_id")


@pytest.mark.parametrize("field", ["source", "received_at", "contract_version", "flags"])
def test_a_payload_cannot_say_what_the_collector_says(field: str) -> None:
    kept = stored(event(**{field: "mine"}))
    assert kept.get(field) != "mine"
    assert kept["context"] == {"unknown_fields": {field: "mine"}}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (1, ("not_events", None)),
        ("text", ("not_events", None)),
        (None, ("not_events", None)),
        (["nested"], ("not_events", None)),
        ({}, ("missing_field", "event_type")),
        (event(event_type=None), ("missing_field", "event_type")),
        (event(event_type=["x"]), ("missing_field", "event_type")),
        (event(event_type="order"), ("unknown_event_type", "event_type")),
        (event(event_type="e" * 100_000), ("unknown_event_type", "event_type")),
        (event(event_type="rejected"), ("unknown_event_type", "event_type")),
    ],
)
def test_what_is_no_event_is_rejected_and_its_neighbours_are_not(sent: Any, expected: tuple[str, str | None]) -> None:
    before, result, after = mapped([event("a"), sent, event("b")])
    assert isinstance(before, Record) and isinstance(after, Record)
    assert isinstance(result, Rejection)
    assert (result.code, result.field) == expected
    assert json.loads(payload_of(result) or json.dumps(sent)) == sent


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b" \n", "invalid_json"),
        (b"\xef\xbb\xbf" + GOOD, "invalid_json"),
        (GOOD.decode().encode("utf-16"), "invalid_json"),
        (GOOD + b"\n" + GOOD, "invalid_json"),
        (GOOD[:-1], "invalid_json"),
        (b"[" + GOOD, "invalid_json"),
        (b"[" + GOOD + b"}", "invalid_json"),
        (b"[" + GOOD + b"]]", "invalid_json"),
        (b'{"batch":[' + GOOD + b"]", "invalid_json"),
        (b'{"batch":[' + GOOD + b'],"sent_at":NaN}', "invalid_number"),
        (b'{"event_id":NaN}', "invalid_number"),
        (b'{"event_id":"\xff"}', "invalid_utf8"),
        (b'{"event_id":"\\ud800"}', "invalid_unicode"),
        (b"1e999", "number_out_of_range"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep"),
        (b"1", "not_events"),
        (b"null", "not_events"),
        (b'"event"', "not_events"),
        (b'{"batch":{}}', "not_events"),
        (b'{"batch":null}', "not_events"),
        (b"[]", "empty_batch"),
        (b'{"batch":[]}', "empty_batch"),
        (b'{"sent_at":"today","batch":[' + GOOD + b"]}", "invalid_timestamp"),
        (b'{"sent_at":"0001-01-01T00:00:00+01:00","batch":[' + GOOD + b"]}", "invalid_timestamp"),
        (b'{"sent_at":' + b"[" * 500 + b"]" * 500 + b',"batch":[' + GOOD + b"]}", "invalid_timestamp"),
    ],
)
def test_a_body_that_is_no_batch_is_refused_as_a_whole(body: bytes, code: str) -> None:
    assert refused(body) == code


def test_an_array_of_arrays_of_arrays_is_a_batch_of_one_bad_event() -> None:
    assert codes(mapped(b"[" * 100_000 + b"]" * 100_000)) == ["too_deep"]


def test_a_refused_body_is_one_rejection_with_all_its_bytes() -> None:
    rejection = reject_body(ContentError("invalid_json", "no"), b"[1,", HERE)
    assert (rejection.whole_request, rejection.source, payload_of(rejection)) == (True, "web", b"[1,")


POISON = {
    "NaN": (b'{"a":NaN}', "invalid_number"),
    "Infinity": (b'{"a":[1, -Infinity]}', "invalid_number"),
    "1e999": (b'{"a":1e999}', "number_out_of_range"),
    "5,000 digits": (b'{"a":' + b"1" * 5_000 + b"}", "number_out_of_range"),
    "half a surrogate pair": (b'{"a":"\\ud83d"}', "invalid_unicode"),
    "broken UTF-8": (b'{"a":"\xc3\x28"}', "invalid_utf8"),
    "broken UTF-8 in a name": (b'{"\xff":1}', "invalid_utf8"),
    "a raw NUL": (b'{"a":"\0"}', "invalid_json"),
    "an unquoted word": (b'{"a":undefined}', "invalid_json"),
    "single quotes": (b"{'a':1}", "invalid_json"),
    "nothing": (b"", "invalid_json"),
    "100,000 arrays": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
    "100,000 objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep"),
}


@pytest.mark.parametrize(("poison", "code"), POISON.values(), ids=POISON.keys())
@pytest.mark.parametrize(
    "shape", [b"[%s]", b'{"sent_at":"2026-05-01T11:59:00Z","batch":[%s]}', b'{"batch":[%s],"x":1}']
)
def test_an_event_that_is_no_json_is_the_only_one_lost(poison: bytes, code: str, shape: bytes) -> None:
    first, spoilt, last = mapped(shape % b" , ".join([GOOD, poison, GOOD]))
    assert isinstance(spoilt, Rejection)
    assert spoilt.code == code
    assert spoilt.payload_bytes == len(poison)
    assert payload_of(spoilt) == (poison if len(poison) <= 16 * 1024 else None)
    assert isinstance(first, Record) and first == last
    if b"sent_at" in shape:
        sent_at = datetime(2026, 5, 1, 11, 59, tzinfo=UTC)
        assert (json.loads(first.value)["sent_at"], spoilt.sent_at) == ("2026-05-01T11:59:00Z", sent_at)


@pytest.mark.parametrize("depth", range(850, 1_000))
def test_nesting_at_the_end_of_the_stack_has_an_answer_too(depth: int) -> None:
    """What the parser can just read may be too much for whatever comes after it."""
    deep = b'{"a":%s}' % (b"[" * depth + b"]" * depth)
    sent = b'{"event_id":"e1","event_type":"product_viewed","properties":%s,"context":%s}'
    unknown = GOOD[:-1] + b',"x":' + deep + b"}"
    for poison in (deep, deep[5:-1], unknown, sent % (b'{"product_id":"p"}', deep), sent % (deep, b"{}")):
        assert codes(mapped(b"[%s,%s,%s]" % (GOOD, poison, GOOD)))[::2] == ["accepted", "accepted"]
    assert refused(b'{"sent_at":%s,"batch":[%s]}' % (deep[5:-1], GOOD)) in ("invalid_timestamp", "too_deep")


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64, 1234567890123456789012345, -(10**24)])
def test_a_long_number_is_exact_as_an_id_and_as_an_unknown_field(number: int) -> None:
    sent = b'{"event_id":%d,"event_type":"product_viewed","user_id":%d,"x":%d,"properties":{"product_id":%d,"y":[%d]}}'
    kept = stored(sent % ((number,) * 5))
    assert kept["event_id"] == kept["user_id"] == kept["properties"]["product_id"] == str(number)
    assert kept["context"]["unknown_fields"]["x"] == kept["properties"]["y"][0] == number


def test_of_a_repeated_name_the_last_one_counts() -> None:
    sent = (
        b'{"event_id":"1","x":1,"event_type":"product_viewed","properties":{"product_id":"a","product_id":"b"},"x":2}'
    )
    kept = stored(sent.replace(b'"1"', b'"1","event_id":"2"'))
    assert (kept["event_id"], kept["properties"], kept["context"]) == (
        "2",
        {"product_id": "b"},
        {"unknown_fields": {"x": 2}},
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"batch":[%s],"batch":[{"a":1},{"a":2},%s]}',
        b'{"batch":[{"a":0},%s],"x":{"batch":[1]},"batch":[{"a":1},{"a":2},%s]}',
        b'{"b\\u0061tch":[{"a":1},{"a":2},%s,%s]}',
        b'{"batch":7,"batch":[{"a":1},{"a":2},%s]}%.0s',
    ],
)
def test_a_batch_that_is_named_oddly_is_cut_where_the_parser_cut_it(body: bytes) -> None:
    results = mapped(body % (GOOD, GOOD))
    assert [payload_of(result) for result in results if isinstance(result, Rejection)] == [b'{"a":1}', b'{"a":2}']


@pytest.mark.parametrize(
    ("event_id", "accepted"),
    [
        ("undefined", False),
        (" NULL ", False),
        ("None", False),
        ("nan", False),
        ("[object Object]", False),
        ("0", False),
        ("00000000-0000-0000-0000-000000000000", False),
        (" ", False),
        (0, False),
        ("undefined-1", True),
        ("00000000-0000-0000-0000-000000000001", True),
        ("10", True),
    ],
)
def test_a_placeholder_is_no_id_of_an_event(event_id: Any, accepted: bool) -> None:
    sent = event(event_id)
    if accepted:
        assert stored(sent)["event_id"] == event_id
    else:
        assert rejected(sent) == ("invalid_id", "event_id")


@pytest.mark.parametrize("value", ["", " ", "undefined", "null", "0", 0, "00000000-0000-0000-0000-000000000000"])
@pytest.mark.parametrize("name", ["user_id", "anonymous_id"])
def test_a_placeholder_of_a_visitor_is_taken_as_absent_and_flagged(name: str, value: Any) -> None:
    kept = stored(event(**{name: value, "session_id": "s"}))
    assert name not in kept
    assert kept["flags"] == f"{name}_placeholder"


def test_several_corrections_are_all_flagged() -> None:
    kept = stored(event(user_id="null", anonymous_id="0", occurred_at="1970-01-01T00:00:00Z"))
    assert kept["flags"] == "occurred_at_replaced,user_id_placeholder,anonymous_id_placeholder"


@pytest.mark.parametrize(
    ("fields", "occurred_at", "flags"),
    [
        ({"occurred_at": "1970-01-01T00:00:00Z"}, "2026-05-01T12:00:00Z", "occurred_at_replaced"),
        ({"occurred_at": "2099-01-01T00:00:00Z"}, "2026-05-01T12:00:00Z", "occurred_at_replaced"),
        (
            {"occurred_at": "1970-01-01T00:00:00Z", "sent_at": "1970-01-01T00:05:00Z"},
            "2026-05-01T11:55:00Z",
            None,
        ),
        (
            {"occurred_at": "2099-01-01T00:00:00Z", "sent_at": "2099-01-01T00:05:00Z"},
            "2026-05-01T11:55:00Z",
            None,
        ),
        ({"occurred_at": "0001-01-01T00:00:00Z"}, "2026-05-01T12:00:00Z", "occurred_at_replaced"),
        ({"occurred_at": "9999-12-31T23:59:59.999999Z"}, "2026-05-01T12:00:00Z", "occurred_at_replaced"),
        ({"occurred_at": "2026-05-01T11:00:00"}, "2026-05-01T11:00:00Z", None),
        ({"occurred_at": "2026-05-01T11:00:00.123456789+00:00"}, "2026-05-01T11:00:00.123457Z", None),
        ({"occurred_at": "2026-05-01T23:59:59.9999999+14:00"}, "2026-05-01T10:00:00Z", None),
        ({"occurred_at": None}, "2026-05-01T12:00:00Z", None),
        ({}, "2026-05-01T12:00:00Z", None),
    ],
)
def test_a_device_clock_cannot_put_an_event_where_it_does_not_belong(
    fields: dict[str, Any], occurred_at: str, flags: str | None
) -> None:
    kept = stored(event(**fields))
    assert (kept["occurred_at"], kept.get("flags")) == (occurred_at, flags)


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_a_time_beyond_the_calendar_is_rejected(when: str) -> None:
    assert rejected(event(occurred_at=when))[0] == "invalid_timestamp"
    assert rejected(event(sent_at=when))[0] == "invalid_timestamp"


def test_an_events_own_sent_at_counts_more_than_the_batchs() -> None:
    batch = {
        "sent_at": "2026-05-01T11:50:00Z",
        "batch": [event("a", occurred_at="2026-05-01T11:00:00Z", sent_at="2026-05-01T11:58:00Z"), event("b")],
    }
    first, second = (json.loads(result.value) for result in mapped(batch) if isinstance(result, Record))
    assert (first["sent_at"], first["occurred_at"]) == ("2026-05-01T11:58:00Z", "2026-05-01T11:02:00Z")
    assert second["sent_at"] == "2026-05-01T11:50:00Z"


def test_unknown_fields_are_kept_at_every_level() -> None:
    extra = {"x": [1, {"y": None}]}
    sent = event(
        event_type="order_completed",
        properties={"order_id": "o1", "products": [{"product_id": "p1", "price": 0.1 + 0.2, **extra}], **extra},
        app={"name": "shop", **extra},
        device={"type": "phone", **extra},
        context={"page": "home", **extra},
        **extra,
    )
    kept = stored(sent)
    assert kept["context"] == {"page": "home", **extra, "unknown_fields": extra}
    assert kept["app"] == sent["app"]
    assert kept["device"] == sent["device"]
    assert kept["properties"] == {
        "order_id": "o1",
        "products": [{"product_id": "p1", "price": "0.3000", **extra}],
        **extra,
    }


def test_an_apps_own_unknown_fields_are_not_overwritten() -> None:
    kept = stored(event(x=1, context={"unknown_fields": {"x": 2}, "page": "home"}))
    assert kept["context"] == {
        "page": "home",
        "unknown_fields": {"x": 1, "context": {"unknown_fields": {"x": 2}}},
    }
    assert stored(event(context={"unknown_fields": 3}))["context"] == {"unknown_fields": 3}


@given(
    st.lists(
        st.fixed_dictionaries(
            {place: st.dictionaries(NAMES, JSON, max_size=2) for place in ("top", "properties", "app", "context")}
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=150, deadline=None)
def test_every_field_that_was_sent_is_in_what_is_stored(extras: list[dict[str, dict[str, Any]]]) -> None:
    known = {"event_id", "event_type", "occurred_at", "sent_at", "user_id", "anonymous_id", "session_id", "app"}
    known |= {"device_sequence", "device", "context", "properties", "product_id", "batch", "name", "version"}
    known |= {field for cls in EVENT_TYPES.values() for field in cls.__struct_fields__}
    plain = [{at: {k: v for k, v in some.items() if k not in known} for at, some in e.items()} for e in extras]
    batch = [
        event(str(number + 1), app=extra["app"], context=extra["context"], **extra["top"])
        | {"properties": {"product_id": "p", **extra["properties"]}}
        for number, extra in enumerate(plain)
    ]
    for sent, extra, result in zip(batch, plain, mapped({"batch": batch}), strict=True):
        assert isinstance(result, Record), result
        kept = json.loads(result.value, object_pairs_hook=without_repetition)
        assert kept["event_id"] == sent["event_id"]
        assert kept["properties"] == sent["properties"]
        assert kept["app"] == extra["app"]
        context = kept.get("context", {})
        unknown = context.pop("unknown_fields", {}) if extra["top"] else {}
        if extra["top"] and "unknown_fields" in extra["context"]:
            context |= unknown.pop("context")
        assert (context, unknown) == (extra["context"], extra["top"])


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\eabtch1 \n\x00é').map(str.encode), st.booleans())
@example(b'{"batch":[],"batch":1}', False)
@example(b'{"batch":[', True)
@settings(max_examples=500)
def test_any_bytes_are_mapped_or_refused(junk: bytes, inside: bool) -> None:
    body = b'{"batch":[' + GOOD + b"," + junk + b"]}" if inside else junk
    try:
        results = mapped(body)
    except ContentError as error:
        assert error.code  # noqa: PT017  either is an answer
    else:
        assert results
        assert all(isinstance(result, Record) or payload_of(result) is not None for result in results)


def spoil(value: Any) -> Iterator[Any]:
    """The value with one part after another replaced by something else."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: other} for other in spoil(inner))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from ([*value[:index], other, *value[index + 1 :]] for other in spoil(inner))
    yield from (None, True, -1, 1.5, 10**30, 1e308, "", "null", "1", "\0", "é" * 3_000, [], [[]], {}, [{}])


def test_whatever_stands_in_a_field_has_an_answer() -> None:
    full = event(
        event_type="order_completed",
        occurred_at="2026-05-01T11:00:00Z",
        sent_at="2026-05-01T11:00:00Z",
        user_id="u",
        device_sequence=1,
        app={"name": "a"},
        device={"id": "d"},
        context={"a": 1},
        properties={"order_id": "o", "total": 1, "products": [{"product_id": "p", "price": "1", "quantity": 2}]},
    )
    spoilt = [*spoil(full)]
    results = [mapped([other])[0] for other in spoilt if other != []]
    assert {type(result) for result in results} == {Record, Rejection}
    for result in results:
        if isinstance(result, Record):
            msgspec.json.decode(result.value, type=Event)
            assert b"\\u0000" not in result.value


@pytest.mark.parametrize(("more", "code"), [(-1, "accepted"), (0, "accepted"), (1, "event_too_large")])
def test_an_event_is_measured_as_it_is_stored(more: int, code: str) -> None:
    (result,) = mapped(event(x="y" * 1_000))
    assert isinstance(result, Record)
    limits = Limits(event_bytes=len(result.value) - more)
    assert codes(mapped(event(x="y" * 1_000), limits)) == [code]


@pytest.mark.parametrize(("more", "code"), [(-1, "accepted"), (0, "accepted"), (1, "too_many_events")])
@pytest.mark.parametrize("spoilt", [False, True])
def test_a_batch_is_measured_in_events(more: int, code: str, spoilt: bool) -> None:
    events = [GOOD] * (10 + more - spoilt) + [b"NaN"] * spoilt
    body = b"[" + b",".join(events) + b"]"
    if code == "accepted":
        assert len(mapped(body, Limits(batch_events=10))) == 10 + more
    else:
        with pytest.raises(ContentError) as caught:
            mapped(body, Limits(batch_events=10))
        assert caught.value.code == code


def nest(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(("more", "code"), [(-1, "accepted"), (0, "accepted"), (1, "too_deep")])
@pytest.mark.parametrize("place", ["x", "properties", "context"])
def test_nesting_is_measured_from_the_event(more: int, code: str, place: str) -> None:
    at_the_top = event(x=nest(11 + more))
    sent = at_the_top if place == "x" else event(**{place: {"product_id": "p", "x": nest(10 + more)}})
    assert codes(mapped(sent, Limits(depth=12))) == [code]


def test_brackets_in_a_string_are_no_nesting() -> None:
    assert codes(mapped(event(x="[{" * 100), Limits(depth=5))) == ["accepted"]


@pytest.mark.parametrize(("more", "code"), [(-1, "accepted"), (0, "accepted"), (1, "too_long")])
@pytest.mark.parametrize("character", ["a", "é", "€", "😀"])
def test_a_string_is_measured_in_bytes(more: int, code: str, character: str) -> None:
    size = len(character.encode())
    string = character * (400 // size) + "a" * (400 % size + more)
    for sent in (event(x=string), event(x={string: 1}), event(properties={"product_id": "p", "x": [string]})):
        assert codes(mapped(sent, Limits(string_bytes=400))) == [code]


def test_a_varchar_is_measured_in_bytes_too() -> None:
    assert stored(event(user_id="é" * 64))["user_id"] == "é" * 64
    assert rejected(event(user_id="é" * 65)) == ("too_long", "user_id")


@pytest.mark.parametrize("place", ["event_id", "user_id", "session_id", "x"])
def test_a_nul_character_is_rejected_with_its_place(place: str) -> None:
    assert rejected(event(**{place: "a\0b"})) == ("nul_character", place)
    assert rejected(event(x={"\0": 1})) == ("nul_character", "x")
    assert stored(event(x="\\u0000"))["context"]["unknown_fields"]["x"] == "\\u0000"


def test_a_rejection_keeps_the_event_as_it_was_written() -> None:
    odd = b'{ "event_id" : 1.50 ,\n\t"\\u0061":"\\/" }'
    (result,) = [r for r in mapped(b"[" + GOOD + b" , " + odd + b" ]") if isinstance(r, Rejection)]
    assert payload_of(result) == odd
