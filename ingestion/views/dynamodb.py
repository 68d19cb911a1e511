"""Views in DynamoDB, a table per view: the key is the partition, the sort orders it as DynamoDB orders, by UTF-8 bytes.

A table per view because a view's keys and sorts are as long as DynamoDB takes, and because rights, costs and alarms are
a table's. `headrace views apply` creates the tables; DynamoDB deletes what expired by itself, within days.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import msgspec

from ingestion.errors import ConfigurationError
from ingestion.views import (
    Page,
    Row,
    check_limit,
    check_text,
    dynamodb_facts,
    dynamodb_summaries,
    encode_item,
    encode_rows,
    page_token,
    sort_of,
)
from ingestion.views.dynamodb_client import PATIENCE_SECONDS, DynamoDB, Values, connect
from ingestion.views.dynamodb_facts import Fact
from ingestion.views.dynamodb_summaries import Packed, Replaced, head_of
from ingestion.views.dynamodb_tables import Tables

WORKERS = 8
"""Calls at once: one takes some milliseconds, and its time is DynamoDB's and not ours."""
SUMMARY = "\0summary\0"
"""Begins the page tokens of summaries, whose head has to be read again; a fact's sort with it is not mistaken."""
LOCATION = re.compile(r"(?P<region>[a-z0-9-]+)/(?P<prefix>[a-zA-Z0-9_.-]{1,128})")


class DynamoDBViews:
    """Views in the tables `prefix.view` of a region. May be used by several threads, and by several processes."""

    def __init__(
        self,
        region: str,
        prefix: str,
        clock: Callable[[], float] = time.time,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.region, self.prefix, self._clock = region, prefix, clock
        self._db = DynamoDB(connect(region, connections=2 * WORKERS), patience_seconds)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="dynamodb")

    def upsert(self, view: str, rows: Sequence[Row]) -> int:
        """Write facts; of each row the highest version stays. Returns how many changed what was there.

        A row that was written by a call whose answer was lost is not counted.
        """
        facts = dynamodb_facts.highest([_fact(view, row) for row in rows])
        table = self._table(view)
        written = self._pool.map(
            lambda batch: dynamodb_facts.write(self._db, table, batch), dynamodb_facts.batches(facts)
        )
        return sum(written)

    def replace(self, view: str, key: str, version: int, rows: Sequence[Row]) -> None:
        """Replace all rows of a key, unless a higher version was there before."""
        check_text(view, "key", key)
        items = encode_rows(view, key, version, rows)
        newest_first = sorted(rows, key=lambda row: row.sort, reverse=True)
        packed = [Packed(row.sort, msgspec.Raw(items[row.sort]), row.expires_at) for row in newest_first]
        dynamodb_summaries.replace(self._db, self._pool, self._table(view), key, version, packed)

    def read(self, view: str, key: str, limit: int, page: str | None = None) -> Page:
        """At most `limit` rows of a key, newest first; read consistently."""
        check_limit(limit)
        check_text(view, "key", key)
        patience = self._db.patience()
        while True:
            try:
                return self._read(self._table(view), key, limit, None if page is None else sort_of(page))
            except Replaced as replaced:
                patience.pause(replaced)

    def read_each(self, view: str, asked: Sequence[tuple[str, str | None]], limit: int) -> Iterator[Page]:
        """The pages of several keys and tokens, some at once."""
        return self._pool.map(lambda one: self.read(view, one[0], limit, one[1]), asked)

    def keys(self, view: str) -> Iterator[str]:
        """Every key that has a row to read, by a scan: it reads, and AWS counts, the whole table."""
        last: str | None = None
        for item in self._db.items(
            "scan",
            TableName=self._table(view),
            FilterExpression="(attribute_exists(#item) and (attribute_not_exists(expires_at) or expires_at > :now))"
            " or (attribute_exists(digest) and (attribute_not_exists(#until) or #until > :now))",
            ExpressionAttributeNames={"#key": "key", "#item": "item", "#until": "until"},
            ExpressionAttributeValues={":now": {"N": str(int(self._clock()))}},
            ProjectionExpression="#key",
            ConsistentRead=True,
        ):
            key: str = item["key"]["S"]
            if key != last:  # the items of a key are beside each other
                last = key
                yield key

    def expire(self) -> int:
        """DynamoDB deletes what expired."""
        return 0

    def close(self) -> None:
        """Give back threads and connections."""
        self._pool.shutdown()
        self._db.close()

    @property
    def tables(self) -> Tables:
        """Plans and makes the tables."""
        return Tables(self._db, self.prefix)

    def _table(self, view: str) -> str:
        return f"{self.prefix}.{view}"

    def _read(self, table: str, key: str, limit: int, before: str | None) -> Page:
        if before is not None and before.startswith(SUMMARY):
            head = dynamodb_summaries.find_head(self._db, table, key)
            if head:
                return self._page_of_summary(table, key, head, limit, before.removeprefix(SUMMARY))
        rows: list[Row] = []
        for item in self._query(table, key, limit + 1, before):
            if head := head_of(item):
                return self._page_of_summary(table, key, head, limit, None)
            if "item" in item and self._is_readable(row := _row(item)):
                rows.append(row)
                if len(rows) > limit:
                    break
        return _page(rows, limit)

    def _page_of_summary(
        self, table: str, key: str, head: dynamodb_summaries.Head, limit: int, before: str | None
    ) -> Page:
        rows = (
            row
            for row in dynamodb_summaries.read(self._db, table, key, head)
            if self._is_readable(row) and (before is None or row.sort < before)
        )
        return _page(list(islice(rows, limit + 1)), limit, SUMMARY)

    def _query(self, table: str, key: str, limit: int, before: str | None) -> Iterator[Values]:
        """The items of a key, the last sort first."""
        condition, values = "#key = :key", {":key": {"S": key}}
        names = {"#key": "key"}
        if before is not None:
            condition += " and #sort < :before"
            names["#sort"], values[":before"] = "sort", {"S": before}
        return self._db.items(
            "query",
            TableName=table,
            KeyConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
            ScanIndexForward=False,
            ConsistentRead=True,
            Limit=limit,
        )

    def _is_readable(self, row: Row) -> bool:
        return row.expires_at is None or row.expires_at > int(self._clock())


def open_dynamodb(location: str, **options: Any) -> DynamoDBViews:
    """The views of a URL's location, like `eu-central-1/shop`."""
    found = LOCATION.fullmatch(location)
    if found is None:
        raise ConfigurationError(
            f"HEADRACE_VIEWS is 'dynamodb://{location}'; use dynamodb://region/prefix,"
            " the prefix of letters, digits, `_`, `.` and `-`"
        )
    return DynamoDBViews(found["region"], found["prefix"], **options)


def _fact(view: str, row: Row) -> Fact:
    item = encode_item(view, row)
    return Fact(row.key, row.sort, row.version, None if item is None else item.decode(), row.expires_at)


def _row(item: Values) -> Row:
    expires_at = int(item["expires_at"]["N"]) if "expires_at" in item else None
    content = msgspec.json.decode(item["item"]["S"])
    return Row(item["key"]["S"], item["sort"]["S"], int(item["version"]["N"]), content, expires_at)


def _page(rows: list[Row], limit: int, mark: str = "") -> Page:
    return Page(tuple(rows[:limit]), page_token(mark + rows[limit - 1].sort) if len(rows) > limit else None)
