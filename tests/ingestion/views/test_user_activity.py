from ingestion.events import EVENT_TYPES
from ingestion.views.facts import Lookups
from ingestion.views.products import Products
from ingestion.views.user_activity import user_activity
from tests.ingestion.views.landing import landed, stored
from tests.platform import event

VIEW = user_activity()
CATALOGUE = Lookups(Products(1_767_225_600_000_000, {"p1": {"title": "Kettle", "price": "20"}}))


def test_every_event_type_becomes_one_row_of_json() -> None:
    for event_type in EVENT_TYPES:
        (row,) = VIEW.rows(landed(event(event_type, 4))[0], CATALOGUE)
        assert row.item and (row.key, row.item["event_type"]) == ("user:visitor-4", event_type)
        assert all(isinstance(value, str | int | dict) for value in row.item.values())


def test_a_row_has_what_the_event_says_and_no_more() -> None:
    (row,) = VIEW.rows(landed(stored(price="1.5", quantity=2, name="Kettle ä"))[0], Lookups())
    assert row.version == 0
    assert row.item == {
        "event_id": "e1",
        "event_type": "product_viewed",
        "occurred_at": "2026-05-01T12:30:00.000000Z",
        "product_id": "p1",
        "name": "Kettle ä",
        "price": "1.5000",
        "quantity": 2,
    }


def test_a_row_says_which_catalogue_it_was_joined_with_and_what_that_said() -> None:
    known, unknown = (VIEW.rows(each, CATALOGUE)[0] for each in landed(stored(), stored(product_id="p2")))
    assert known.item and unknown.item
    assert known.item["product"] == {"title": "Kettle", "price": "20"} and "product" not in unknown.item
    for row in (known, unknown):
        assert row.item and row.item["catalogue_version"] == "2026-01-01T00:00:00.000000Z"
        assert row.version == 1_767_225_600_000_000


def test_an_event_without_a_product_is_joined_with_nothing() -> None:
    (row,) = VIEW.rows(landed(stored("products_searched", query="kettle"))[0], CATALOGUE)
    assert row.item and row.item["query"] == "kettle" and "catalogue_version" not in row.item


def test_nobodys_event_is_in_nobodys_activity() -> None:
    assert VIEW.rows(landed(stored(user_id=None))[0], Lookups()) == []
