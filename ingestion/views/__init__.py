"""Views: what the app's backend asks for by key, kept in a NoSQL store and answered in milliseconds.

A store takes rows in two ways, and a view uses one of them. *Facts* come in one by one and commute: of one row's
versions the highest stays, whatever the order in which they arrive. *Summaries* come as all rows of a key, and the
highest version replaces what was there as a whole: row by row, what vanished would come back with a late writer.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec

from ingestion.errors import ConfigurationError, ItemRefused

Item = Mapping[str, Any]
"""JSON: strings, numbers, booleans, null, lists and objects."""

MAX_ITEM_BYTES = 400_000
"""Of an item as JSON. DynamoDB takes 409,600 bytes with keys and names; every store refuses what one of them would."""
MAX_KEY_BYTES, MAX_SORT_BYTES = 2_048, 1_024
MAX_VERSION = 2**63 - 1
MAX_PAGE = 1_000


class Row(NamedTuple):
    """A row of a view: the keys' rows are read in the falling order of `sort` (by code point).

    An `item` of None is a tombstone: the row is gone, for every lower version too. `expires_at` is in seconds since
    1970; from then on the row is not read any more, and some time later it is deleted.
    """

    key: str
    sort: str
    version: int
    item: Item | None
    expires_at: int | None = None


@dataclass(frozen=True)
class Page:
    """Rows of one key, newest first; `next` is the token of the page after this one, None at the end."""

    rows: tuple[Row, ...]
    next: str | None


class ViewStore(Protocol):
    """An adapter of a store. Every method raises ViewsUnavailable where the store does not answer."""

    def upsert(self, view: str, rows: Sequence[Row]) -> int:
        """Write facts; when this returns they are durable. Of each row (key, sort) the highest version stays.

        Of two contents under one version a tombstone stays, else the larger item, so any order ends equal. Returns how
        many rows changed what was there: to write them again returns 0. Raises ItemRefused where one row does not fit,
        and writes none of them then.
        """

    def replace(self, view: str, key: str, version: int, rows: Sequence[Row]) -> None:
        """Replace a summary: `rows`, which have this key and version, become all that the key has.

        Nothing happens where a higher version was there before; no reader sees a mixture. Raises ItemRefused as above.
        """

    def read(self, view: str, key: str, limit: int, page: str | None = None) -> Page:
        """At most `limit` rows of a key, newest first, from the beginning or from a page token on."""

    def read_each(self, view: str, asked: Sequence[tuple[str, str | None]], limit: int) -> Iterator[Page]:
        """The pages of several keys and tokens, in their order; a store that is far away is asked for some at once."""

    def keys(self, view: str) -> Iterator[str]:
        """Every key that has a row to read, in any order."""

    def expire(self) -> int:
        """Delete what expired, and return how many rows that were; 0 where the store does so by itself."""

    def close(self) -> None:
        """Give back connections and files."""


def open_views(url: str) -> ViewStore:
    """The adapter for a URL like `sqlite:///var/lib/headrace/views.db`."""
    scheme, _, path = url.partition("://")
    if scheme == "sqlite" and path:
        from ingestion.views.sqlite import SQLiteViews

        return SQLiteViews(path)
    if scheme == "dynamodb":
        from ingestion.views.dynamodb import open_dynamodb

        return open_dynamodb(path)
    raise ConfigurationError(f"HEADRACE_VIEWS is {url!r}; use sqlite:///path/to/views.db or dynamodb://region/prefix")


def read_all(store: ViewStore, view: str, key: str) -> Iterator[Row]:
    """All rows of a key, newest first, page after page."""
    page = store.read(view, key, MAX_PAGE)
    yield from page.rows
    while page.next:
        page = store.read(view, key, MAX_PAGE, page.next)
        yield from page.rows


def encode_item(view: str, row: Row) -> bytes | None:
    """The item as the JSON that is kept: equal items have equal bytes. None for a tombstone.

    Raises ItemRefused where the row fits no store.
    """
    check_text(view, "key", row.key, MAX_KEY_BYTES)
    check_text(view, "sort", row.sort, MAX_SORT_BYTES)
    if not 0 <= row.version <= MAX_VERSION:
        raise ItemRefused(f"view {view}, key {row.key!r}: version {row.version} is not within 0 to {MAX_VERSION}")
    if row.item is None:
        return None
    item = msgspec.json.encode(row.item, order="deterministic")
    if len(item) > MAX_ITEM_BYTES:
        raise ItemRefused(
            f"view {view}, key {row.key!r}: an item of {len(item)} bytes, at most {MAX_ITEM_BYTES} can be kept;"
            " keep less of the event in the view's rows"
        )
    return item


def encode_rows(view: str, key: str, version: int, rows: Sequence[Row]) -> dict[str, bytes]:
    """The items of a summary by their sort; ItemRefused where they are not the rows of one key and version."""
    items = {row.sort: encode_item(view, row) for row in rows}
    found = {sort: item for sort, item in items.items() if item is not None}
    if len(found) != len(rows) or any((row.key, row.version) != (key, version) for row in rows):
        raise ItemRefused(f"view {view}, key {key!r}: the rows are not one item for each sort under version {version}")
    return found


def check_text(view: str, name: str, text: str, most: int = MAX_KEY_BYTES) -> None:
    """ItemRefused where `text` cannot be a row's key or sort."""
    if not 0 < _size(text) <= most:
        raise ItemRefused(f"view {view}: the {name} {text[:80]!r} has to be text of 1 to {most} bytes in UTF-8")


def page_token(sort: str) -> str:
    """The opaque token of the page that goes on after `sort`."""
    return base64.urlsafe_b64encode(sort.encode()).decode().rstrip("=")


def sort_of(token: str) -> str:
    """The row after which a page begins; ItemRefused where `token` is none that `page_token` made."""
    try:
        raw = token.encode("ascii")
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error):
        raise ItemRefused(f"{token[:80]!r} is no page token; use the `next` of the page before, unchanged") from None


def check_limit(limit: int) -> None:
    """ItemRefused where so many rows cannot be asked for."""
    if not 1 <= limit <= MAX_PAGE:
        raise ItemRefused(f"limit is {limit}; ask for 1 to {MAX_PAGE} rows")


def _size(text: str) -> int:
    """Bytes in UTF-8; 0 for what is no text: half of a surrogate pair."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0
