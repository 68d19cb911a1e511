"""Facts in DynamoDB: an item each, written by conditional PartiQL statements, which go in batches where PutItem cannot.

A row is inserted; where one is there it is updated, on the condition that the new one ranks higher. Whatever was done
by a call whose answer was lost is found to be there when it is tried again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Any, NamedTuple

from ingestion.views.dynamodb_client import DynamoDB, Values, raise_if_permanent

MAX_STATEMENTS = 25
MAX_BATCH_BYTES = 1 << 20
"""So that a batch's time on the wire stays far below the time that its answer is waited for."""


class Fact(NamedTuple):
    """A row as it is kept; without an item it is a tombstone."""

    key: str
    sort: str
    version: int
    item: str | None
    expires_at: int | None

    @property
    def rank(self) -> tuple[int, bool, bytes, float]:
        """Of the facts of one address the one that ranks highest stays."""
        item = b"" if self.item is None else self.item.encode()
        return self.version, self.item is None, item, float("inf") if self.expires_at is None else self.expires_at


class Outcome(Enum):
    """What has become of a row."""

    WRITTEN = 1
    OUTRANKED = 2
    THERE = 3
    """Something is at its address: update it."""
    GONE = 4
    """Nothing is there any more: insert it."""
    UNTRIED = 5


Statement = Callable[[str, Fact], Values]


def highest(facts: Iterable[Fact]) -> list[Fact]:
    """One fact of each address: two statements of a batch must not be about one item."""
    found: dict[tuple[str, str], Fact] = {}
    for fact in facts:
        there = found.setdefault((fact.key, fact.sort), fact)
        if fact.rank > there.rank:
            found[fact.key, fact.sort] = fact
    return list(found.values())


def batches(facts: Sequence[Fact]) -> Iterator[list[Fact]]:
    """Facts in batches of the size that one call takes."""
    batch: list[Fact] = []
    size = 0
    for fact in facts:
        if batch and (len(batch) == MAX_STATEMENTS or size > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(fact)
        size += len(fact.item or "")
    if batch:
        yield batch


def write(db: DynamoDB, table: str, facts: Sequence[Fact]) -> int:
    """Write one batch; returns how many facts changed what was there."""
    waiting: list[tuple[Fact, Statement]] = [(fact, insert) for fact in facts]
    patience, changed = db.patience(), 0
    while waiting:
        statements = [make(table, fact) for fact, make in waiting]
        answers = db.call("batch_execute_statement", Statements=statements)["Responses"]
        outcomes = [_outcome(answer.get("Error")) for answer in answers]
        changed += outcomes.count(Outcome.WRITTEN)
        if Outcome.UNTRIED in outcomes or Outcome.GONE in outcomes:
            patience.pause(next(answer["Error"] for answer in answers if "Error" in answer))
        following = {Outcome.THERE: update, Outcome.GONE: insert}
        waiting = [
            (fact, following.get(outcome, make))
            for (fact, make), outcome in zip(waiting, outcomes, strict=True)
            if outcome not in (Outcome.WRITTEN, Outcome.OUTRANKED)
        ]
    return changed


def _outcome(error: Values | None) -> Outcome:
    if error is None:
        return Outcome.WRITTEN
    if error["Code"] == "DuplicateItem":
        return Outcome.THERE
    if error["Code"] == "ConditionalCheckFailed":
        return Outcome.OUTRANKED if error.get("Item") else Outcome.GONE
    raise_if_permanent(error["Code"], error.get("Message", ""))
    return Outcome.UNTRIED


def insert(table: str, fact: Fact) -> Values:
    """The statement that writes a fact where nothing is."""
    values = _values(fact)
    names = ", ".join(f"'{name}': ?" for name in values)
    return {"Statement": f'INSERT INTO "{table}" VALUE {{{names}}}', "Parameters": list(values.values())}


def update(table: str, fact: Fact) -> Values:
    """The statement that writes a fact over one that ranks lower."""
    values = _values(fact)
    address = [values.pop("key"), values.pop("sort")]
    changes = [f'SET "{name}" = ?' for name in values]
    changes += [f'REMOVE "{name}"' for name in ("item", "expires_at") if name not in values]
    lower, compared = _lower(values)
    text = f'UPDATE "{table}" {" ".join(changes)} WHERE "key" = ? AND "sort" = ? AND ({lower})'
    return {
        "Statement": text,
        "Parameters": [*values.values(), *address, *compared],
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _lower(values: Values) -> tuple[str, list[Any]]:
    """The condition that what is there ranks below `values`, and its parameters. What is missing compares as false."""
    version = values["version"]
    sooner, sooner_values = '"expires_at" IS NOT MISSING', []
    if "expires_at" in values:
        sooner, sooner_values = '"expires_at" < ?', [values["expires_at"]]
    tie, tie_values = f'"item" IS NOT MISSING OR {sooner}', sooner_values
    if "item" in values:
        item = values["item"]
        tie, tie_values = f'"item" < ? OR ("item" = ? AND {sooner})', [item, item, *sooner_values]
    return f'"version" < ? OR ("version" = ? AND ({tie}))', [version, version, *tie_values]


def _values(fact: Fact) -> Values:
    values = {"key": {"S": fact.key}, "sort": {"S": fact.sort}, "version": {"N": str(fact.version)}}
    if fact.item is not None:
        values["item"] = {"S": fact.item}
    if fact.expires_at is not None:
        values["expires_at"] = {"N": str(fact.expires_at)}
    return values
