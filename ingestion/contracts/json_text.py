"""JSON as senders really write it: cutting a batch that is not quite JSON, and what a decoded value may hold."""

import re
from typing import Any

import msgspec
from msgspec import Raw

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
BARE_NUMBER_WORD = re.compile(rb"[:\[,]\s*-?(?:NaN|Infinity)\b")


class ContentError(ValueError):
    """A value that cannot be an event's content: what is wrong, where, in words."""

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.field = code, message, field


def decode(data: bytes) -> Any:
    """The JSON value in `data`.

    An integer keeps all its digits, of a repeated name the last one counts, and a ContentError names what is not
    JSON: NaN, a lone surrogate, broken UTF-8, more nesting than the parser's stack.
    """
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise ContentError("too_deep", "nested deeper than the parser can read") from None
    except UnicodeDecodeError as error:
        raise ContentError("invalid_utf8", f"byte {error.start} of a string is not UTF-8") from None
    except msgspec.ValidationError:
        raise ContentError("number_out_of_range", "a number is beyond what a double can hold") from None
    except msgspec.DecodeError as error:
        raise _why_not_json(data, str(error)) from None


def _why_not_json(data: bytes, message: str) -> ContentError:
    if found := LONE_SURROGATE.search(data):
        return ContentError("invalid_unicode", f"{found[0].decode()} is half of a surrogate pair")
    if BARE_NUMBER_WORD.search(data):
        return ContentError("invalid_number", "NaN and Infinity are not JSON; send null")
    return ContentError("invalid_json", f"not JSON: {message}")


def split(array: bytes) -> list[bytes]:
    """The elements of a JSON array as they were written.

    Where the array is JSON the parser cuts it; where one element spoils it, it is cut at the commas of its first
    level, so that only that element is lost. ContentError where not even the brackets match.
    """
    try:
        return [bytes(element) for element in msgspec.json.decode(array, type=list[Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _cut(array)


def _cut(array: bytes) -> list[bytes]:
    depth, start, elements = 0, 0, []
    for token in TOKEN.finditer(array):
        mark = token[0]
        if mark in (b"[", b"{"):
            depth += 1
            start = token.end() if depth == 1 else start
        elif mark in (b"]", b"}"):
            depth -= 1
        if depth < 1 or (mark == b"," and depth == 1):
            elements.append(array[start : token.start()].strip())
            start = token.end()
        if depth < 1:
            break
    if depth != 0 or array[start:].strip():
        raise ContentError("invalid_json", "the brackets of the batch do not match; send it again whole")
    return [] if elements == [b""] else elements


def inspect(value: Any, max_depth: int, max_string_bytes: int, path: str = "") -> None:
    """ContentError at the first thing inside `value` that no store downstream could hold.

    Depth counts objects and arrays, the value itself being 1; strings, names included, are counted in bytes.
    """
    if isinstance(value, str):
        _inspect_string(value, max_string_bytes, path)
    elif isinstance(value, dict | list):
        if max_depth < 1:
            raise ContentError("too_deep", f"{path} is nested too deeply; flatten it", path)
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in items:
            inner_path = f"{path}.{name}" if path else str(name)
            if isinstance(name, str):
                _inspect_string(name, max_string_bytes, path)
            inspect(inner, max_depth - 1, max_string_bytes, inner_path)


def _inspect_string(value: str, max_bytes: int, path: str) -> None:
    if "\0" in value:
        raise ContentError("nul_character", f"{path} holds a NUL character; remove it", path)
    if len(value) * 4 > max_bytes and (size := len(value.encode())) > max_bytes:
        raise ContentError("too_long", f"{path} has {size} bytes, at most {max_bytes} are allowed", path)


def member(body: bytes, name: bytes) -> tuple[int, int] | None:
    """Where the array under `name` of the object `body` begins and ends, whatever the array holds."""
    depth, start = 0, None
    for token in TOKEN.finditer(body):
        mark = token[0]
        if mark in (b"[", b"{"):
            depth += 1
        elif mark in (b"]", b"}"):
            depth -= 1
            if depth == 1 and start is not None:
                return start, token.end()
        elif depth == 1 and start is None and mark == b'"' + name + b'"':
            follows = re.compile(rb"\s*:\s*(?=\[)").match(body, token.end())
            start = follows.end() if follows else None
    return None
