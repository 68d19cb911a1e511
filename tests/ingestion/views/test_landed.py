import msgspec
import pytest

from ingestion.views.landed import FIRST_DAY_US, as_text
from tests.ingestion.views.landing import landed, later, stored
from tests.platform import event


def test_an_event_is_read_with_its_typed_properties() -> None:
    (read,) = landed(event("product_viewed", 3, price="19.99"))
    assert (read.event_type, read.event_id, read.source, read.user_id) == (
        "product_viewed", "product_viewed-3", "shop", "visitor-3",
    )  # fmt: skip
    assert read.occurred_at == "2026-05-01T12:29:57.000000Z"
    assert (str(read.properties["price"]), read.properties["position"]) == ("19.9900", 3)


@pytest.mark.parametrize("value", [b"", b"junk", b"\xff", b"{}", b'{"event_id":1}', b"null", b"[]", b'{"a":1}{"b":2}'])
def test_a_record_that_does_not_fit_says_nothing_and_keeps_nobody_out(value: bytes) -> None:
    good = [msgspec.json.encode(stored(event_id=name)) for name in ("e1", "e2")]
    assert [read.event_id for read in landed(good[0], value, good[1])] == ["e1", "e2"]


def test_an_event_of_another_type_than_its_topics_says_nothing() -> None:
    assert landed(msgspec.json.encode(stored("cart_viewed")), event_type="product_viewed") == []


def test_a_visitor_is_the_user_or_the_installation_and_never_mistaken_for_the_other() -> None:
    both, user, anonymous, nobody = landed(
        stored(user_id="x", anonymous_id="y"), stored(user_id="x"), stored(user_id=None, anonymous_id="x"),
        stored(user_id=None),
    )  # fmt: skip
    assert [e.visitor for e in (both, user, anonymous, nobody)] == ["user:x", "user:x", "anonymous:x", None]


def test_copies_share_an_identity_and_other_events_do_not() -> None:
    first, copy = landed(stored(), stored(received_at=later(hours=3), occurred_at=later(minutes=1), product_id="p2"))
    assert first.identity == copy.identity and first.place < copy.place
    others = landed(
        stored(event_id="e2"), stored(source="other"), stored(user_id="u2"), stored(anonymous_id="a"),
        stored(user_id=None, anonymous_id="u1"), stored(device_occurred_at=later(seconds=1)),
    )  # fmt: skip
    assert len({each.identity for each in (first, *others)}) == 7


def test_places_sort_as_text_by_reception_and_then_by_offset() -> None:
    by_offset = landed(*[stored() for _ in range(3)], start=9)
    early = landed(stored(received_at=later(hours=-1)), start=99)
    places = [read.place for read in (*early, *by_offset)]
    assert places == sorted(places)


def test_times_are_texts_that_sort_like_them() -> None:
    times = [FIRST_DAY_US, -1, 0, 1, 253_402_300_799_999_999]
    assert [as_text(time) for time in times] == sorted(as_text(time) for time in times)
    assert as_text(FIRST_DAY_US) == "0001-01-01T00:00:00.000000Z"


def test_days_are_those_of_utc() -> None:
    before, after = landed(stored(occurred_at=later(hours=11.49)), stored(occurred_at=later(hours=11.5)))
    assert after.day == before.day + 1
