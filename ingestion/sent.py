"""Comparing what a sender was answered with what the warehouse has: the end-to-end line of the audit."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ingestion.errors import ConfigurationError
from ingestion.events import EVENT_TYPES
from ingestion.sender import Attempt
from ingestion.tables import event_table
from ingestion.warehouse import Warehouse


@dataclass
class Owed:
    """The answers to one event id: at least `accepted`, at most `accepted + unknown` rows may be there for it."""

    accepted: int = 0
    unknown: int = 0
    rejected: int = 0


@dataclass
class SentBalance:
    """How a record of sent events compares; `missing` and `doubled` hold event ids and must be empty."""

    events: int = 0
    accepted: int = 0
    copies: int = 0
    """Rows beyond the first of their event: repetitions, which count once in staging."""
    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    """Events in raw that were only ever rejected."""

    @property
    def is_whole(self) -> bool:
        """Whether every accepted event is there, and nothing else."""
        return not (self.missing or self.doubled or self.unexpected)


def check_sent(path: Path, warehouse: Warehouse) -> SentBalance:
    """Compare the record at `path`, as `headrace send --record` writes it, with the raw tables."""
    balance = SentBalance()
    for event_type, owed in _read(path).items():
        known = event_type in EVENT_TYPES  # an event of another type is in no table: missing, if it was accepted
        rows = warehouse.copies(event_table(event_type), list(owed)) if known else {}
        for event_id, answers in owed.items():
            _compare(event_id, answers, rows.get(event_id, 0), balance)
    return balance


def _compare(event_id: str, answers: Owed, rows: int, balance: SentBalance) -> None:
    balance.events += 1
    balance.accepted += bool(answers.accepted)
    balance.copies += max(0, rows - 1)
    if rows < answers.accepted:
        balance.missing.append(event_id)
    elif rows > answers.accepted + answers.unknown:
        (balance.doubled if answers.accepted or answers.unknown else balance.unexpected).append(event_id)


def _read(path: Path) -> Mapping[str, Mapping[str, Owed]]:
    """Answers by event type and event id."""
    types: dict[str, dict[str, Owed]] = defaultdict(lambda: defaultdict(Owed))
    for attempt in _attempts(path):
        if attempt.event_id is not None and attempt.event_type is not None and attempt.answer != "refused":
            owed = types[attempt.event_type][attempt.event_id]
            setattr(owed, attempt.answer, getattr(owed, attempt.answer) + 1)
    return types


def _attempts(path: Path) -> Iterator[Attempt]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield msgspec.json.decode(line, type=Attempt)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ConfigurationError(
                    f"{path}, line {number}: {error}; give a file of headrace send --record"
                ) from None
