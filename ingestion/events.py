"""The event contract: one frozen class per event type, the registry, and the envelope around them.

This module is the single source. Validation, topic, lake schema, warehouse table, JSON Schema and catalogue are
derived from these classes: **a new event type is one class with `@event` here, and nothing else.**

Strings are bounded in bytes by the number that `text` names, which is also their varchar in a warehouse. Money is
decimal with four digits after the point. Ids are strings, because a JSON number above 2^53 does not survive
everywhere. Names and meaning follow the Segment Ecommerce Spec V2 in snake_case.
"""

import re
import types
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Meta, Struct, structs

MONEY_DIGITS, MONEY_SCALE = 18, 4


def text(max_bytes: int, description: str, min_length: int = 0) -> Meta:
    """A string of at most `max_bytes` bytes of UTF-8; a JSON integer is taken as its digits."""
    return Meta(min_length=min_length, max_length=max_bytes, description=description)


def identifier(description: str) -> Meta:
    """A required, non-empty id of at most 128 bytes."""
    return text(128, description, min_length=1)


def money(description: str) -> Meta:
    """An amount; quantised half-even to four digits at the collector."""
    return Meta(description=description)


def count(description: str) -> Meta:
    """A whole number from 0 to 2^31 - 1."""
    return Meta(ge=0, le=2**31 - 1, description=description)


Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", max_length=3, description="ISO 4217 code, like EUR")]


class App(Struct, frozen=True, kw_only=True):
    """The application that sent the event."""

    name: Annotated[str, text(64, "name of the app")] | None = None
    version: Annotated[str, text(32, "version of the app")] | None = None


class Device(Struct, frozen=True, kw_only=True):
    """The device on which it happened."""

    id: Annotated[str, text(128, "id that the device keeps")] | None = None
    type: Annotated[str, text(32, "phone, tablet, desktop, …")] | None = None
    model: Annotated[str, text(64, "model of the device")] | None = None
    os_name: Annotated[str, text(32, "operating system")] | None = None
    os_version: Annotated[str, text(32, "version of the operating system")] | None = None
    locale: Annotated[str, text(32, "language and region, like de-DE")] | None = None


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The envelope of every event as it is stored in the log; `properties` is checked by the type's class.

    Times are UTC with microseconds. `properties`, `context`, `app` and `device` keep fields that no class knows.
    """

    event_id: Annotated[str, identifier("id that the sender gave; a repetition carries the same")]
    event_type: Annotated[str, text(64, "snake_case name of the type")]
    contract_version: Annotated[int, Meta(ge=1, description="version of the app's contract that was mapped")]
    occurred_at: Annotated[datetime, Meta(description="device time corrected by the device's skew")]
    received_at: Annotated[datetime, Meta(description="when the collector read it")]
    source: Annotated[str, text(64, "the source that the write key belongs to")]
    device_occurred_at: Annotated[datetime, Meta(description="device time as it was sent")] | None = None
    sent_at: Annotated[datetime, Meta(description="device time of the sending")] | None = None
    user_id: Annotated[str, text(128, "the shop's id of a logged-in user")] | None = None
    anonymous_id: Annotated[str, text(128, "id of a browser or an installation")] | None = None
    session_id: Annotated[str, text(128, "the app's own session")] | None = None
    device_sequence: Annotated[int, Meta(ge=0, le=2**63 - 1, description="counts a device's events")] | None = None
    flags: Annotated[str, text(128, "what the collector corrected, comma-separated")] | None = None
    app: dict[str, Any] | None = None
    device: dict[str, Any] | None = None
    properties: dict[str, Any] = {}
    context: dict[str, Any] = {}

    @property
    def key(self) -> str:
        """The log's key: it keeps a visitor's events of one type in one partition."""
        return self.user_id or self.anonymous_id or self.event_id


class Rejection(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event, or a whole body, that was refused for its content; kept so that it can be sent again after a fix."""

    code: Annotated[str, text(64, "what was wrong, as in the answer")]
    message: Annotated[str, text(1024, "the same in words")]
    received_at: Annotated[datetime, Meta(description="when the collector read it")]
    source: Annotated[str, text(64, "the source that the write key belongs to")]
    contract: Annotated[str, text(32, "the app's contract under which it was read")]
    payload: Annotated[str, text(65535, "the first 16 KiB of what was sent")]
    payload_encoding: Annotated[str, text(8, "utf-8 or base64")]
    payload_bytes: Annotated[int, Meta(ge=0, description="length of what was sent")]
    payload_sha256: Annotated[str, text(64, "hash of what was sent")]
    field: Annotated[str, text(256, "the field that was wrong")] | None = None
    sent_at: Annotated[datetime, Meta(description="of the batch that it came in")] | None = None
    whole_request: Annotated[bool, Meta(description="the body itself could not be read")] = False


EVENT_TYPES: dict[str, type[Struct]] = {}
"""Every event type by its name, in the order of a visit."""

T = TypeVar("T", bound=type[Struct])


def event(cls: T) -> T:
    """Register a class of properties as an event type; `ProductViewed` becomes `product_viewed`."""
    EVENT_TYPES[re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()] = cls
    return cls


def topic(name: str) -> str:
    """The log's topic of an event type, and `events.rejected` for rejections."""
    return f"events.{name}"


class Properties(Struct, frozen=True, kw_only=True):
    """What an event says besides its envelope."""


class Product(Properties, frozen=True, kw_only=True):
    """A product as the shopper saw it."""

    product_id: Annotated[str, identifier("the shop's id of the product")]
    sku: Annotated[str, text(128, "stock keeping unit")] | None = None
    name: Annotated[str, text(512, "name of the product")] | None = None
    category: Annotated[str, text(256, "category path, levels separated by /")] | None = None
    brand: Annotated[str, text(128, "brand")] | None = None
    variant: Annotated[str, text(128, "size, colour, …")] | None = None
    price: Annotated[Decimal, money("price of one piece")] | None = None
    currency: Currency | None = None
    quantity: Annotated[int, count("how many pieces")] | None = None
    coupon: Annotated[str, text(64, "coupon code")] | None = None
    position: Annotated[int, count("place in the list, the first is 1")] | None = None


class Cart(Properties, frozen=True, kw_only=True):
    """A cart and what is in it."""

    cart_id: Annotated[str, text(128, "id of the cart")] | None = None
    currency: Currency | None = None
    products: list[Product] | None = None


class CheckoutStep(Properties, frozen=True, kw_only=True):
    """A step of a checkout."""

    checkout_id: Annotated[str, text(128, "id of the checkout")] | None = None
    order_id: Annotated[str, text(128, "id of the order, where it exists already")] | None = None
    step: Annotated[int, count("number of the step, the first is 1")] | None = None
    shipping_method: Annotated[str, text(64, "how it will be sent")] | None = None
    payment_method: Annotated[str, text(64, "how it will be paid")] | None = None


class Amounts(Properties, frozen=True, kw_only=True):
    """What an order costs."""

    currency: Currency | None = None
    total: Annotated[Decimal, money("what the customer pays")] | None = None
    subtotal: Annotated[Decimal, money("after discounts, before tax and shipping")] | None = None
    revenue: Annotated[Decimal, money("without shipping and tax")] | None = None
    shipping: Annotated[Decimal, money("cost of shipping")] | None = None
    tax: Annotated[Decimal, money("taxes")] | None = None
    discount: Annotated[Decimal, money("sum of the discounts")] | None = None
    coupon: Annotated[str, text(64, "coupon code")] | None = None
    affiliation: Annotated[str, text(128, "store or partner")] | None = None
    products: list[Product] | None = None


@event
class CategoryViewed(Properties, frozen=True, kw_only=True):
    """A shopper looked at a category or another list of products."""

    category: Annotated[str, text(256, "category path, levels separated by /")]
    list_id: Annotated[str, text(128, "id of the list")] | None = None
    products: list[Product] | None = None


@event
class ProductsSearched(Properties, frozen=True, kw_only=True):
    """A shopper searched."""

    query: Annotated[str, text(1024, "what was searched for")]
    results: Annotated[int, count("how many products were found")] | None = None


@event
class ProductClicked(Product, frozen=True, kw_only=True):
    """A shopper clicked a product in a list."""

    list_id: Annotated[str, text(128, "id of the list")] | None = None


@event
class ProductViewed(Product, frozen=True, kw_only=True):
    """A shopper looked at a product's own page."""

    value: Annotated[Decimal, money("value of the view, where the shop has one")] | None = None


@event
class ProductAdded(Product, frozen=True, kw_only=True):
    """A shopper put a product into the cart."""

    cart_id: Annotated[str, text(128, "id of the cart")] | None = None


@event
class ProductRemoved(Product, frozen=True, kw_only=True):
    """A shopper took a product out of the cart."""

    cart_id: Annotated[str, text(128, "id of the cart")] | None = None


@event
class ProductAddedToWishlist(Product, frozen=True, kw_only=True):
    """A shopper put a product on a wishlist."""

    wishlist_id: Annotated[str, text(128, "id of the wishlist")] | None = None
    wishlist_name: Annotated[str, text(256, "name of the wishlist")] | None = None


@event
class CartViewed(Cart, frozen=True, kw_only=True):
    """A shopper looked at the cart."""


@event
class CheckoutStarted(Amounts, frozen=True, kw_only=True):
    """A shopper began to check out."""

    checkout_id: Annotated[str, text(128, "id of the checkout")] | None = None
    order_id: Annotated[str, text(128, "id of the order, where it exists already")] | None = None
    value: Annotated[Decimal, money("value of what is checked out")] | None = None


@event
class CheckoutStepCompleted(CheckoutStep, frozen=True, kw_only=True):
    """A shopper finished a step of the checkout."""


@event
class PaymentInfoEntered(CheckoutStep, frozen=True, kw_only=True):
    """A shopper said how to pay."""


@event
class OrderCompleted(Amounts, frozen=True, kw_only=True):
    """A shopper placed an order."""

    order_id: Annotated[str, identifier("id of the order")]
    checkout_id: Annotated[str, text(128, "id of the checkout")] | None = None


@event
class OrderRefunded(Amounts, frozen=True, kw_only=True):
    """An order was paid back, wholly or in part."""

    order_id: Annotated[str, identifier("id of the order")]


@dataclass(frozen=True)
class Field:
    """One field of a contract class, without `| None`."""

    name: str
    type: Any
    required: bool
    max_bytes: int | None
    description: str


@cache
def fields(cls: type[Struct]) -> tuple[Field, ...]:
    """The fields of a contract class in their order."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple(_field(field, *plain_type(hints[field.name])) for field in structs.fields(cls))


def _field(field: structs.FieldInfo, plain: Any, meta: Meta | None) -> Field:
    return Field(
        name=field.name,
        type=plain,
        required=field.default is NODEFAULT and field.default_factory is NODEFAULT,
        max_bytes=meta.max_length if meta else None,
        description=(meta.description if meta else None) or "",
    )


def plain_type(annotation: Any) -> tuple[Any, Meta | None]:
    """The type and its bounds under `Annotated` and `| None`."""
    meta = None
    while get_origin(annotation) in (Annotated, Union, types.UnionType):
        if get_origin(annotation) is Annotated:
            annotation, *rest = get_args(annotation)
            meta = next((entry for entry in rest if isinstance(entry, Meta)), meta)
        else:
            (annotation,) = (part for part in get_args(annotation) if part is not types.NoneType)
    return annotation, meta
