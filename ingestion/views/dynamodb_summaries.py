"""Summaries in DynamoDB: all rows of a key in one item, its head, which is replaced where its version is lower.

Rows that do not fit into an item go into parts, items under the name of their generation, before a head points to
them. Parts below the head are of no more use to anybody: whoever would publish them is too late. A reader that misses
one reads the head again.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import msgspec

from ingestion.errors import ViewsUnavailable
from ingestion.views import Row
from ingestion.views.dynamodb_client import ConditionFailed, DynamoDB, Values

HEAD = "head"
"""The head's sort key; those of parts begin with a digit."""
MAX_PART_BYTES = 300_000
DELETES = 25
NEWER = "attribute_not_exists(version) OR version < :version OR (version = :version AND digest < :digest)"


@dataclass(frozen=True)
class Head:
    """Which rows a key has: `rows` as JSON, or so many parts."""

    version: int
    digest: str
    parts: int
    rows: str

    @property
    def generation(self) -> str:
        """The beginning of its parts' names; a higher version has a higher one."""
        return f"{self.version:019}.{self.digest}."


class Packed(msgspec.Struct, array_like=True, frozen=True):
    """A row of a summary as it is kept."""

    sort: str
    item: msgspec.Raw
    expires_at: int | None


def head_of(item: Values) -> Head | None:
    """The head that an item is, or None."""
    if "digest" not in item:
        return None
    return Head(int(item["version"]["N"]), item["digest"]["S"], int(item["parts"]["N"]), item["rows"]["S"])


def replace(db: DynamoDB, pool: Executor, table: str, key: str, version: int, packed: Sequence[Packed]) -> None:
    """Make `packed`, newest first, all that the key has, unless a higher version was there."""
    texts = [_encode(part) for part in _parts(packed)]
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    inline = len(texts) == 1
    head = Head(version, digest, 0 if inline else len(texts), texts[0] if inline else "[]")
    names = [f"{head.generation}{number:06}" for number in range(head.parts)]
    for _ in pool.map(lambda name, text: _put_part(db, table, key, name, text), names, texts):
        pass
    current, has_garbage = _publish(db, table, key, head, packed)
    if head.parts or has_garbage:
        _sweep(db, table, key, current)


def read(db: DynamoDB, table: str, key: str, head: Head) -> Iterator[Row]:
    """The rows of a head, newest first. ViewsUnavailable where a newer head took its place meanwhile."""
    texts = _read_parts(db, table, key, head) if head.parts else [head.rows]
    for text in texts:
        for row in msgspec.json.decode(text, type=list[Packed]):
            yield Row(key, row.sort, head.version, msgspec.json.decode(row.item), row.expires_at)


def find_head(db: DynamoDB, table: str, key: str) -> Head | None:
    """The head of a key, or None."""
    address = {"key": {"S": key}, "sort": {"S": HEAD}}
    return head_of(db.call("get_item", TableName=table, Key=address, ConsistentRead=True).get("Item", {}))


def _publish(db: DynamoDB, table: str, key: str, head: Head, packed: Sequence[Packed]) -> tuple[Head, bool]:
    """The head that is there now, and whether older parts may be."""
    item = {
        "key": {"S": key},
        "sort": {"S": HEAD},
        "version": {"N": str(head.version)},
        "digest": {"S": head.digest},
        "parts": {"N": str(head.parts)},
        "rows": {"S": head.rows},
        **_readable_until(packed),
    }
    try:
        before = db.call(
            "put_item",
            TableName=table,
            Item=item,
            ConditionExpression=NEWER,
            ExpressionAttributeValues={":version": item["version"], ":digest": item["digest"]},
            ReturnValues="ALL_OLD",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        ).get("Attributes", {})
    except ConditionFailed as failed:
        return head_of(failed.item) or head, True
    there = head_of(before)
    return head, there is not None and there.parts > 0


def _sweep(db: DynamoDB, table: str, key: str, head: Head) -> None:
    """Delete the parts of lower generations than the head's."""
    found = db.items(
        "query",
        TableName=table,
        KeyConditionExpression="#key = :key and #sort < :generation",
        ExpressionAttributeNames={"#key": "key", "#sort": "sort"},
        ExpressionAttributeValues={":key": {"S": key}, ":generation": {"S": head.generation}},
        ProjectionExpression="#key, #sort",
        ConsistentRead=True,
    )
    deletes = [{"DeleteRequest": {"Key": item}} for item in found]
    for start in range(0, len(deletes), DELETES):
        patience, left = db.patience(), {table: deletes[start : start + DELETES]}
        while left := db.call("batch_write_item", RequestItems=left).get("UnprocessedItems", {}):
            patience.pause("items were left unprocessed")


def _read_parts(db: DynamoDB, table: str, key: str, head: Head) -> Iterator[str]:
    found = db.items(
        "query",
        TableName=table,
        KeyConditionExpression="#key = :key and begins_with(#sort, :generation)",
        ExpressionAttributeNames={"#key": "key", "#sort": "sort"},
        ExpressionAttributeValues={":key": {"S": key}, ":generation": {"S": head.generation}},
        ConsistentRead=True,
    )
    number = 0
    for number, item in enumerate(found, start=1):
        if int(item["sort"]["S"].removeprefix(head.generation)) != number - 1:
            raise Replaced
        yield item["rows"]["S"]
    if number != head.parts:
        raise Replaced


class Replaced(ViewsUnavailable):
    """A newer head took the place of the one that was read."""

    def __init__(self) -> None:
        super().__init__("the summary was replaced while it was read; read it again")


def _put_part(db: DynamoDB, table: str, key: str, name: str, text: str) -> None:
    db.call("put_item", TableName=table, Item={"key": {"S": key}, "sort": {"S": name}, "rows": {"S": text}})


def _parts(packed: Sequence[Packed]) -> Iterator[list[Packed]]:
    """At least one part, which may be empty; a row that is longer than a part is one of its own."""
    part: list[Packed] = []
    size = 0
    for row in packed:
        length = len(bytes(row.item)) + len(row.sort.encode())
        if part and size + length > MAX_PART_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += length
    yield part


def _encode(part: Sequence[Packed]) -> str:
    return msgspec.json.encode(part).decode()


def _readable_until(packed: Sequence[Packed]) -> Values:
    """Until when a row can be read, where that ends: for whoever looks for keys."""
    if not packed:
        return {"until": {"N": "0"}}
    expiries = [row.expires_at for row in packed if row.expires_at is not None]
    return {"until": {"N": str(max(expiries))}} if len(expiries) == len(packed) else {}
