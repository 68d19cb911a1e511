from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from ingestion.contracts.conform import check_bytes, convert
from ingestion.contracts.json_text import ContentError
from ingestion.contracts.native import native_type
from ingestion.events import OrderCompleted, ProductViewed, text

BIG = 2**53 + 1


def view(**fields: Any) -> dict[str, Any]:
    stored: dict[str, Any] = convert({"product_id": "p1"} | fields, ProductViewed)[1]
    return stored


def refusal(value: Any, cls: type[Struct] = ProductViewed) -> tuple[str, str | None]:
    with pytest.raises(ContentError) as caught:
        check_bytes(convert(value, cls)[0])
    assert caught.value.message
    return caught.value.code, caught.value.field


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (0.30000000000000004, "0.3000"),
        (12, "12.0000"),
        ("12.5", "12.5000"),
        (-3.5, "-3.5000"),
        (2.675, "2.6750"),
        ("0.00005", "0.0000"),
        ("0.00015", "0.0002"),
        ("0.00025", "0.0002"),
        ("0.000250000001", "0.0003"),
        ("-0.00015", "-0.0002"),
        ("1e3", "1000.0000"),
        ("1e-999999", "0.0000"),
        ("99999999999999.9999", "99999999999999.9999"),
        ("99999999999999.99994", "99999999999999.9999"),
    ],
)
def test_money_is_quantised_half_even(sent: Any, stored: str) -> None:
    assert str(view(price=sent)["price"]) == stored


@pytest.mark.parametrize(
    "sent",
    [
        "1,299.00",
        "12,50",
        "€ 12",
        "",
        "NaN",
        "sNaN",
        "-Infinity",
        "Infinity",
        True,
        [],
        {},
        10**14,
        -(10**14),
        10**30,
        1e300,
        "99999999999999.99995",
        "1e999999999",
        "1" * 4_000,
    ],
)
def test_what_is_no_amount_that_fits_is_not_guessed_at(sent: Any) -> None:
    assert refusal({"product_id": "p1", "price": sent}) == ("invalid_value", "price")


@given(st.decimals(-(10**13), 10**13, places=6))
def test_the_stored_amount_is_the_nearest_there_is(amount: Decimal) -> None:
    stored = Decimal(view(price=str(amount))["price"])
    assert stored.as_tuple().exponent == -4
    assert abs(stored - amount) <= Decimal("0.00005")


def test_money_inside_products_is_quantised_and_its_neighbours_stay() -> None:
    order = {
        "order_id": "o1",
        "products": [{"product_id": 7, "price": 0.1 + 0.2, "colour": "red"}, {"product_id": "8"}],
    }
    _, stored = convert(order, OrderCompleted)
    assert stored["products"] == [{"product_id": "7", "price": Decimal("0.3000"), "colour": "red"}, {"product_id": "8"}]


def test_a_wrong_amount_is_named_with_its_path() -> None:
    order = {"order_id": "o1", "products": [{"product_id": "1"}, {"product_id": "2", "price": "NaN"}]}
    assert refusal(order, OrderCompleted) == ("invalid_value", "products[1].price")


@pytest.mark.parametrize(
    ("sent", "stored"), [(7, "7"), (BIG, "9007199254740993"), (10**24, "1" + "0" * 24), (-1, "-1")]
)
def test_an_id_sent_as_a_number_keeps_its_digits(sent: int, stored: str) -> None:
    typed, kept = convert({"product_id": sent}, ProductViewed)
    assert (typed.product_id, kept["product_id"]) == (stored, stored)


@pytest.mark.parametrize(
    ("sent", "stored"), [("3", 3), (3.0, 3), ("3.0", 3), (0, 0), (2**31 - 1, 2**31 - 1), ("null", None)]
)
def test_an_integer_is_taken_from_its_digits_too(sent: Any, stored: int | None) -> None:
    kept = view(quantity=sent)["quantity"]
    assert (kept, type(kept)) == (stored, type(stored))


@pytest.mark.parametrize("sent", ["three", "", " 3", 3.5, "3.5", -1, 2**31, "2147483648", "9" * 30, True, [3]])
def test_what_is_no_integer_that_fits_is_rejected(sent: Any) -> None:
    assert refusal({"product_id": "p1", "quantity": sent}) == ("invalid_value", "quantity")


def test_a_field_that_is_null_stays_null() -> None:
    assert view(price=None, quantity=None, sku=None) == {
        "product_id": "p1",
        "price": None,
        "quantity": None,
        "sku": None,
    }


def test_fields_that_the_class_does_not_know_stay_as_they_are() -> None:
    unknown = {"weight": 1.50, "big": 10**24, "deep": {"price": "1,299.00", "list": [None, {"a": True}]}}
    assert view(quantity="2", **unknown) == {"product_id": "p1", "quantity": 2, **unknown}


def test_what_was_sent_is_not_changed() -> None:
    sent = {"product_id": 7, "price": 0.30000000000000004, "quantity": "2"}
    convert(sent, ProductViewed)
    assert sent == {"product_id": 7, "price": 0.30000000000000004, "quantity": "2"}


NATIVE = native_type("product_viewed")
EVENT: dict[str, Any] = {"event_id": "e1", "event_type": "product_viewed", "properties": {"product_id": "p1"}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"event_id": None}, ("invalid_value", "event_id")),
        ({"event_id": ""}, ("invalid_id", "event_id")),
        ({"event_id": "e" * 129}, ("too_long", "event_id")),
        ({"event_id": 1.5}, ("invalid_value", "event_id")),
        ({"event_id": True}, ("invalid_value", "event_id")),
        ({"properties": {}}, ("missing_field", "properties.product_id")),
        ({"properties": None}, ("invalid_value", "properties")),
        ({"properties": []}, ("invalid_value", "properties")),
        ({"properties": {"product_id": ""}}, ("invalid_id", "properties.product_id")),
        ({"properties": {"product_id": "p", "currency": "eur"}}, ("invalid_value", "properties.currency")),
        ({"properties": {"product_id": "p", "currency": "EUR\n"}}, ("too_long", "properties.currency")),
        ({"occurred_at": "yesterday"}, ("invalid_timestamp", "occurred_at")),
        ({"occurred_at": "2026-02-30T00:00:00Z"}, ("invalid_timestamp", "occurred_at")),
        ({"sent_at": "2026-01-01"}, ("invalid_timestamp", "sent_at")),
        ({"occurred_at": 1e300}, ("invalid_value", "occurred_at")),
        ({"device_sequence": -1}, ("invalid_value", "device_sequence")),
        ({"device_sequence": 2**63}, ("invalid_value", "device_sequence")),
        ({"app": "shop"}, ("invalid_value", "app")),
        ({"app": {"version": 1.2}}, ("invalid_value", "app.version")),
        ({"device": {"id": "d" * 129}}, ("too_long", "device.id")),
        ({"context": []}, ("invalid_value", "context")),
        ({"user_id": {"id": 1}}, ("invalid_value", "user_id")),
    ],
)
def test_a_field_that_does_not_conform_is_named(fields: dict[str, Any], expected: tuple[str, str]) -> None:
    assert refusal(EVENT | fields, NATIVE) == expected


@pytest.mark.parametrize("character", ["a", "é", "€", "😀"])
def test_a_varchar_is_measured_in_bytes(character: str) -> None:
    size = len(character.encode())
    fits = character * (128 // size) + "a" * (128 % size)
    check_bytes(convert({"product_id": fits}, ProductViewed)[0])
    assert refusal({"product_id": fits + "a"}) == ("too_long", "product_id")


def test_a_string_of_multi_byte_characters_is_measured_wherever_it_is() -> None:
    long = "é" * 65
    order = EVENT | {
        "event_type": "order_completed",
        "properties": {"order_id": "o", "products": [{"product_id": "p"}]},
    }
    cls = native_type("order_completed")
    order["properties"]["products"] += [{"product_id": long}]
    assert refusal(order, cls) == ("too_long", "properties.products[1].product_id")
    assert refusal(EVENT | {"device": {"id": long}}, NATIVE) == ("too_long", "device.id")
    assert refusal(EVENT | {"user_id": long}, NATIVE) == ("too_long", "user_id")


class Parcel(Struct, frozen=True, kw_only=True):
    """What a class of a later day may hold: lists of plain values, and defaults."""

    tags: list[Annotated[str, text(8, "tags")]] | None = None
    fees: list[Decimal] | None = None
    pieces: int = 1
    weight: Decimal = Decimal("1")


def test_a_later_class_may_hold_lists_of_plain_values_and_defaults() -> None:
    typed, stored = convert({"tags": ["é"], "fees": [0.1 + 0.2, "1"]}, Parcel)
    check_bytes(typed)
    assert stored == {"tags": ["é"], "fees": [Decimal("0.3000"), Decimal("1.0000")]}
    assert convert({"pieces": "2"}, Parcel)[1] == {"pieces": 2}
