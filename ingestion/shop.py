"""The simulated shop: its catalogue, its shoppers, and what one of them does in a visit."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random
from typing import Any, Literal
from urllib.parse import quote
from uuid import UUID

from msgspec import Struct

Kind = Literal["valid", "repeated", "late", "malformed", "wrong_clock"]
Step = tuple[str, str, dict[str, Any]]
"""An event's type, the path of its page, and its properties."""

CATEGORIES: dict[str, tuple[str, ...]] = {
    "women/shoes": ("sneaker", "ankle boot", "sandal", "loafer"),
    "men/jackets": ("parka", "rain jacket", "blazer", "bomber"),
    "home/kitchen": ("kettle", "frying pan", "teapot", "knife block"),
    "garden/tools": ("spade", "watering can", "secateurs", "rake"),
    "electronics/audio": ("headphones", "soundbar", "turntable", "microphone"),
    "sports/cycling": ("helmet", "bicycle lock", "pannier", "jersey"),
}
BRANDS = ("Alder", "Brook", "Cove", "Dune", "Ember", "Fjord")
VARIANTS = ("black", "white", "moss", "sand", "navy")
MARKETS = (("de-DE", "EUR"), ("fr-FR", "EUR"), ("en-GB", "GBP"), ("en-US", "USD"))
LANDINGS = ("https://www.google.com/", "https://www.instagram.com/", "https://mail.example/newsletter", None)
CATALOGUE_SIZE = 240
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BEFORE_ANY_CLOCK = datetime.min.replace(tzinfo=UTC)

DEVICES: tuple[tuple[str, str, str, tuple[str, str, str, str]], ...] = (
    ("shop-ios", "6.2.1", "shop://app", ("phone", "iPhone 15", "iOS", "18.1")),
    ("shop-ios", "6.1.0", "shop://app", ("tablet", "iPad Air", "iPadOS", "17.6")),
    ("shop-android", "5.9.3", "shop://app", ("phone", "Pixel 8", "Android", "15")),
    ("shop-android", "5.9.1", "shop://app", ("phone", "Galaxy S23", "Android", "14")),
    ("shop-web", "2026.4", "https://shop.example", ("desktop", "Firefox 138", "Windows", "11")),
    ("shop-web", "2026.4", "https://shop.example", ("desktop", "Safari 18", "macOS", "15.3")),
)


class _Product(Struct, frozen=True):
    product_id: str
    name: str
    category: str
    brand: str
    variant: str
    cents: int

    @property
    def path(self) -> str:
        return f"/products/{self.product_id}"

    def seen(self, currency: str, **more: Any) -> dict[str, Any]:
        return {
            "product_id": self.product_id,
            "sku": f"{self.product_id}-{self.variant}",
            "name": self.name,
            "category": self.category,
            "brand": self.brand,
            "variant": self.variant,
            "price": self.cents / 100,
            "currency": currency,
            **more,
        }


class Catalogue:
    """The shop's products; the n-th is looked at 1/n times as often as the first (Zipf)."""

    def __init__(self, rng: Random) -> None:
        products = [_product(rng, number) for number in range(CATALOGUE_SIZE)]
        self._shelves = {
            category: [product for product in products if product.category == category] for category in CATEGORIES
        }
        self._popularity = {
            category: list(accumulate(1 / rank for rank in range(1, len(shelf) + 1)))
            for category, shelf in self._shelves.items()
        }

    def shelf(self, rng: Random, category: str) -> list[_Product]:
        """Some products of a category, the popular ones more often, each once."""
        chosen = rng.choices(self._shelves[category], cum_weights=self._popularity[category], k=rng.randint(3, 8))
        return list(dict.fromkeys(chosen))


def _product(rng: Random, number: int) -> _Product:
    category = list(CATEGORIES)[number % len(CATEGORIES)]
    brand, variant = rng.choice(BRANDS), rng.choice(VARIANTS)
    name = f"{brand} {rng.choice(CATEGORIES[category])} {variant}"
    # Few things are expensive: most prices are low, with a long tail.
    cents = round(rng.lognormvariate(8.2, 0.8)) // 100 * 100 + 99
    return _Product(f"P-{1001 + number}", name, category, brand, variant, cents)


@dataclass(eq=False)
class Shopper:
    """A person with one device; what they carry from visit to visit."""

    app: dict[str, str]
    device: dict[str, str]
    home: str
    currency: str
    anonymous_id: str
    user_id: str | None
    has_account: bool
    clock_error: timedelta
    clock: datetime = BEFORE_ANY_CLOCK
    sequence: int = 0
    cart_id: str = ""
    cart: dict[_Product, int] = field(default_factory=dict)
    orders: list[dict[str, Any]] = field(default_factory=list)


def new_shopper(rng: Random, clock_error: timedelta) -> Shopper:
    """A shopper with a device whose clock is wrong by `clock_error`, with or without an account."""
    app, version, home, hardware = rng.choice(DEVICES)
    locale, currency = rng.choice(MARKETS)
    kind, model, os_name, os_version = hardware
    has_account = rng.random() < 0.6
    return Shopper(
        app={"name": app, "version": version},
        device={
            "id": _uuid(rng),
            "type": kind,
            "model": model,
            "os_name": os_name,
            "os_version": os_version,
            "locale": locale,
        },
        home=home,
        currency=currency,
        anonymous_id=_uuid(rng),
        user_id=_user_id(rng) if has_account and rng.random() < 0.3 else None,
        has_account=has_account,
        clock_error=clock_error,
    )


class Visit:
    """One session of a shopper: each event is thought up when it is asked for."""

    def __init__(self, rng: Random, catalogue: Catalogue, shopper: Shopper, shift: timedelta, kind: Kind) -> None:
        self.shopper, self.kind = shopper, kind
        self._rng, self._catalogue, self._shift = rng, catalogue, shift
        self._session_id = _uuid(rng)
        self._page: str | None = rng.choice(LANDINGS)
        self._steps = self._browse()
        shopper.cart_id = shopper.cart_id or _uuid(rng)

    def next_event(self, now: datetime) -> dict[str, Any] | None:
        """What the shopper does next, sent at `now`, or None when they leave."""
        step = next(self._steps, None)
        return None if step is None else self._event(*step, now)

    def _event(self, event_type: str, path: str, properties: dict[str, Any], now: datetime) -> dict[str, Any]:
        shopper, url = self.shopper, self.shopper.home + path
        on_the_way = timedelta(milliseconds=self._rng.randint(20, 2000))
        shopper.clock = max(shopper.clock, now + self._shift - on_the_way)
        shopper.sequence += 1
        referrer, self._page = self._page, url
        return {
            "event_id": _uuid(self._rng),
            "event_type": event_type,
            "occurred_at": shopper.clock.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "user_id": shopper.user_id,
            "anonymous_id": shopper.anonymous_id,
            "session_id": self._session_id,
            "device_sequence": shopper.sequence,
            "app": shopper.app,
            "device": shopper.device,
            "properties": properties,
            "context": {"page": {"url": url, "path": path, "referrer": referrer}},
        }

    def _browse(self) -> Iterator[Step]:
        if self.shopper.orders and self._chance(0.2):
            yield self._refund()
        for _ in range(self._rng.randint(1, 4)):
            yield from self._look_around()
            if self._chance(0.15):
                self._log_in()
        if self.shopper.cart and self._chance(0.8):
            yield from self._review_cart()
        if self.shopper.cart and self._chance(0.5):
            yield from self._check_out()

    def _look_around(self) -> Iterator[Step]:
        shelf = yield from self._find()
        for position, product in enumerate(shelf, 1):
            if not self._chance(0.4):
                continue
            seen = self._seen(product)
            yield "product_clicked", product.path, {**seen, "position": position, "list_id": product.category}
            yield "product_viewed", product.path, {**seen, "value": product.cents / 100}
            if self._chance(0.3):
                yield self._add(product)
            elif self._chance(0.15):
                yield "product_added_to_wishlist", product.path, {**seen, "wishlist_name": "Favourites"}

    def _find(self) -> Generator[Step, None, list[_Product]]:
        """Search, or open a category; the products that are then on the screen."""
        category = self._rng.choice(list(CATEGORIES))
        shelf = self._catalogue.shelf(self._rng, category)
        if self._chance(0.4):
            query = self._rng.choice(CATEGORIES[category])
            yield "products_searched", f"/search?q={quote(query)}", {"query": query, "results": len(shelf)}
        else:
            listed = [self._seen(product, position=place) for place, product in enumerate(shelf, 1)]
            properties = {"category": category, "list_id": category, "products": listed}
            yield "category_viewed", f"/{category}", properties
        return shelf

    def _add(self, product: _Product) -> Step:
        quantity = self._rng.choices((1, 2, 3), (8, 2, 1))[0]
        self.shopper.cart[product] = self.shopper.cart.get(product, 0) + quantity
        properties = self._seen(product, quantity=quantity, cart_id=self.shopper.cart_id)
        return "product_added", product.path, properties

    def _review_cart(self) -> Iterator[Step]:
        shopper = self.shopper
        content = {"cart_id": shopper.cart_id, "currency": shopper.currency, "products": self._cart_content()}
        yield "cart_viewed", "/cart", content
        if self._chance(0.3):
            product = self._rng.choice(list(shopper.cart))
            quantity = shopper.cart.pop(product)
            removed = self._seen(product, quantity=quantity, cart_id=shopper.cart_id)
            yield "product_removed", "/cart", removed

    def _check_out(self) -> Iterator[Step]:
        self._log_in()
        amounts, checkout = self._amounts(), {"checkout_id": _uuid(self._rng)}
        shipping = {"shipping_method": self._rng.choice(("standard", "express", "pick-up"))}
        payment = {"payment_method": self._rng.choice(("card", "paypal", "invoice", "apple-pay"))}
        yield "checkout_started", "/checkout", {**checkout, **amounts, "value": amounts["total"]}
        if self._chance(0.15):
            return
        yield "checkout_step_completed", "/checkout/shipping", {**checkout, "step": 1, **shipping}
        yield "payment_info_entered", "/checkout/payment", {**checkout, "step": 2, **payment}
        if self._chance(0.1):
            return
        yield "checkout_step_completed", "/checkout/payment", {**checkout, "step": 2, **shipping, **payment}
        yield self._order({**checkout, **amounts})
        if self._chance(0.06):
            yield self._refund()

    def _order(self, properties: dict[str, Any]) -> Step:
        order = {"order_id": f"O-{self._rng.randrange(10**12):012}", **properties}
        self.shopper.orders.append(order)
        self.shopper.cart.clear()
        self.shopper.cart_id = _uuid(self._rng)
        return "order_completed", "/checkout/thanks", order

    def _refund(self) -> Step:
        order = self.shopper.orders.pop()
        refund = {name: order[name] for name in ("order_id", "currency", "total", "products")}
        if len(order["products"]) > 1 and self._chance(0.5):
            returned = order["products"][0]
            refund |= {"products": [returned], "total": returned["price"]}
        return "order_refunded", f"/orders/{order['order_id']}", refund

    def _amounts(self) -> dict[str, Any]:
        goods = sum(product.cents * quantity for product, quantity in self.shopper.cart.items())
        coupon = {"coupon": "WELCOME10"} if self._chance(0.2) else {}
        discount = goods // 10 if coupon else 0
        tax, shipping = (goods - discount) * 19 // 100, 0 if goods > 50_00 else 4_95
        cents = {
            "subtotal": goods - discount,
            "revenue": goods - discount,
            "discount": discount,
            "tax": tax,
            "shipping": shipping,
            "total": goods - discount + tax + shipping,
        }
        amounts = {name: amount / 100 for name, amount in cents.items()}
        return {"currency": self.shopper.currency, **amounts, **coupon, "products": self._cart_content()}

    def _cart_content(self) -> list[dict[str, Any]]:
        return [self._seen(product, quantity=quantity) for product, quantity in self.shopper.cart.items()]

    def _seen(self, product: _Product, **more: Any) -> dict[str, Any]:
        return product.seen(self.shopper.currency, **more)

    def _log_in(self) -> None:
        if self.shopper.has_account and self.shopper.user_id is None:
            self.shopper.user_id = _user_id(self._rng)

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share


def _uuid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))


def _user_id(rng: Random) -> str:
    return f"U-{rng.randrange(10**10):010}"
