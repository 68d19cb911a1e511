"""Making what an app sent conform to a contract class, keeping the fields that the class does not know."""

import re
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct

from ingestion.contracts.json_text import ContentError
from ingestion.events import MONEY_DIGITS, MONEY_SCALE, fields, plain_type

S = TypeVar("S", bound=Struct)

QUANTUM = Decimal(1).scaleb(-MONEY_SCALE)
MONEY_LIMIT = Decimal(10) ** (MONEY_DIGITS - MONEY_SCALE)

AT_PATH = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
MISSING = re.compile(r"Object missing required field `(?P<name>.*)`")


def convert(value: Any, cls: type[S]) -> tuple[S, Any]:
    """`value` as `cls`, and `value` in the form that is stored: money quantised, ids as strings, numbers as numbers.

    Raises ContentError with the code, the field and what the class asks for.
    """
    try:
        typed = msgspec.convert(value, cls)
        return typed, _stored(value, typed, _written_back(cls))
    except msgspec.ValidationError:
        value = _with_digits(value, cls)
    try:
        typed = msgspec.convert(value, cls, strict=False)
    except msgspec.ValidationError as error:
        raise _content_error(str(error)) from None
    return typed, _stored(value, typed, _written_back(cls, lenient=True))


def check_bytes(typed: Struct, path: str = "") -> None:
    """ContentError where a string of `typed` has more bytes than its class allows; the parser counts characters."""
    for field in fields(type(typed)):
        value, inner_path = getattr(typed, field.name), f"{path}{field.name}"
        if isinstance(value, str):
            if field.max_bytes and (size := len(value.encode())) > field.max_bytes:
                raise ContentError(
                    "too_long", f"{inner_path} has {size} bytes, at most {field.max_bytes} are allowed", inner_path
                )
        elif isinstance(value, Struct):
            check_bytes(value, f"{inner_path}.")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, Struct):
                    check_bytes(item, f"{inner_path}[{index}].")


Plan = tuple[tuple[str, Any], ...]


@cache
def _written_back(cls: type[Struct], lenient: bool = False) -> Plan:
    """The fields that a class reads more exactly than they were sent, with the plan of those that hold a class.

    That is money; and any field where the parser was lenient, which takes digits for an integer and "null" for null.
    """
    plan: list[tuple[str, Any]] = []
    for field in fields(cls):
        inner = plain_type(get_args(field.type)[0])[0] if get_origin(field.type) is list else field.type
        if isinstance(inner, type) and issubclass(inner, Struct):
            if nested := _written_back(inner, lenient):
                plan.append((field.name, nested))
        elif inner is Decimal or lenient:
            plan.append((field.name, None))
    return tuple(plan)


def _stored(value: dict[str, Any], typed: Struct, plan: Plan, path: str = "") -> dict[str, Any]:
    """`value` with what `typed` read more exactly written back; what `typed` does not know stays."""
    stored = value
    for name, nested in plan:
        if value.get(name) is not None:
            stored = stored if stored is not value else dict(value)
            stored[name] = _stored_field(value[name], getattr(typed, name), nested, f"{path}{name}")
    return stored


def _stored_field(value: Any, read: Any, nested: Plan | None, path: str) -> Any:
    if isinstance(read, list):
        return [
            _stored_field(old, item, nested, f"{path}[{index}]")
            for index, (old, item) in enumerate(zip(value, read, strict=True))
        ]
    if nested is not None and read is not None:
        return _stored(value, read, nested, f"{path}.")
    return _quantised(read, path) if isinstance(read, Decimal) else read


def _quantised(amount: Decimal, path: str) -> Decimal:
    try:
        quantised = amount.quantize(QUANTUM, rounding=ROUND_HALF_EVEN)
    except InvalidOperation:
        quantised = Decimal("NaN")
    if not quantised.is_finite() or abs(quantised) >= MONEY_LIMIT:  # rounding may have reached the limit
        raise ContentError("invalid_value", f"{path} is no amount below 10^{MONEY_LIMIT.adjusted()}", path)
    return quantised


def _with_digits(value: Any, cls: Any) -> Any:
    """`value` with integers under string fields as their digits: `"product_id": 44600062` is meant as an id."""
    if get_origin(cls) is list and isinstance(value, list):
        return [_with_digits(item, plain_type(get_args(cls)[0])[0]) for item in value]
    if cls is str and type(value) is int:
        return str(value)
    if isinstance(cls, type) and issubclass(cls, Struct) and isinstance(value, dict):
        known = {
            field.name: _with_digits(value[field.name], field.type) for field in fields(cls) if field.name in value
        }
        return value | known
    return value


def _content_error(message: str) -> ContentError:
    """The parser's message as a code, a field and a sentence."""
    found = AT_PATH.match(message)
    what, path = (found["what"], found["path"] or "") if found else (message, "")
    if missing := MISSING.match(what):
        path = f"{path}.{missing['name']}".lstrip(".")
        return ContentError("missing_field", f"{path} is required", path)
    if "RFC3339" in what:
        return ContentError("invalid_timestamp", f"{path} is no RFC 3339 time like 2026-11-22T10:00:00Z", path)
    if "length >=" in what:
        return ContentError("invalid_id", f"{path} is empty", path)
    if "length <=" in what:
        return ContentError("too_long", f"{path}: {what}", path)
    return ContentError("invalid_value", f"{path}: {what}", path or None)
