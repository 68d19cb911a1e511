"""JSON as senders really write it: cutting a batch that is not quite JSON, and what a decoded value may hold.

What cuts does so in time linear in the text, whatever the text holds: the patterns never give back what they took
(`++`), and are matched where the last match ended, never searched for.
"""

import re
from typing import Any

import msgspec

STRING = rb'"(?:[^"\\]++|\\.)*+"?'
"""A string, or the rest of the text where it has no end."""
NAME = re.compile(rb"\s*+(" + STRING + rb")\s*+:\s*+", re.DOTALL)
BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + STRING + rb")*+([\[\]{}])", re.DOTALL)
MARK = re.compile(rb'(?:[^",\[\]{}]++|' + STRING + rb")*+([,\[\]{}])", re.DOTALL)
MAX_BRACKETS = 500_000
"""Of a text that is cut: a batch of 1,000 events has far less, and half a million take a tenth of a second."""

LONE_SURROGATE = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
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


def array(text: bytes, name: bytes) -> int | None:
    """Where the array of `text` begins: `text` itself, or what the object `text` last has under `name`, or None."""
    if sum(map(text.count, (b"[", b"]", b"{", b"}"))) > MAX_BRACKETS:
        return None
    first = MARK.match(text)
    if not first or first[1] == b"[":
        return first and first.start(1)
    found, position = None, first.end()
    while key := NAME.match(text, position):
        position = key.end()
        if text.startswith(b"[", position) and key[1] == b'"' + name + b'"':
            found = position
        if text.startswith((b"[", b"{"), position):
            position = _end(text, position)
        after = MARK.match(text, position)
        if not after or after[1] != b",":
            break
        position = after.end()
    return found


def split(text: bytes, start: int = 0, at_most: int | None = None) -> tuple[list[bytes], int]:
    """The elements of the array that begins at `start`, as they were written, and where it ends.

    It is cut at the commas of its first level, so an element may hold what is not JSON, and only that one is lost.
    Of more than `at_most` elements one more is cut, to be counted. ContentError where the brackets do not match.
    """
    elements: list[bytes] = []
    begin = position = start + 1
    while mark := MARK.match(text, position):
        position = mark.end()
        if mark[1] in (b"[", b"{"):
            position = _end(text, mark.start(1))
            continue
        elements.append(text[begin : mark.start(1)].strip())
        begin = position
        if mark[1] == b"]":
            return ([] if elements == [b""] else elements), position
        if mark[1] == b"}" or (at_most is not None and len(elements) > at_most):
            break
    if at_most is not None and len(elements) > at_most:
        return elements, position
    raise _unmatched()


def _end(text: bytes, start: int) -> int:
    """Where the object or array that begins at `start` ends."""
    depth, position = 0, start
    while bracket := BRACKET.match(text, position):
        position = bracket.end()
        depth += 1 if bracket[1] in (b"[", b"{") else -1
        if depth == 0:
            return position
    raise _unmatched()


def _unmatched() -> ContentError:
    return ContentError("invalid_json", "the brackets of the batch do not match; send it again whole")


def inspect(value: Any, max_depth: int, max_string_bytes: int, path: tuple[object, ...] = ()) -> None:
    """ContentError at the first thing inside `value` that no store downstream could hold.

    Depth counts objects and arrays, the value itself being 1; strings, names included, are counted in bytes.
    """
    if isinstance(value, str):
        _inspect_string(value, max_string_bytes, path)
    elif isinstance(value, dict | list):
        if max_depth < 1:
            where = _written(path)
            raise ContentError("too_deep", f"{where} is nested too deeply; flatten it", where)
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(name, str):
                _inspect_string(name, max_string_bytes, path)
            if isinstance(inner, str | dict | list):
                inspect(inner, max_depth - 1, max_string_bytes, (*path, name))


def _inspect_string(value: str, max_bytes: int, path: tuple[object, ...]) -> None:
    if "\0" in value:
        where = _written(path)
        raise ContentError("nul_character", f"{where} holds a NUL character; remove it", where)
    if len(value) * 4 > max_bytes and (size := len(value.encode())) > max_bytes:
        where = _written(path)
        raise ContentError("too_long", f"{where} has {size} bytes, at most {max_bytes} are allowed", where)


def _written(path: tuple[object, ...]) -> str:
    return ".".join(map(str, path))
