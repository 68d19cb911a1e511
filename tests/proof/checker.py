"""Judges a run by ids and answers. Shares no code with the product: it reads SQLite, DuckDB and JSON by itself.

What was owed is known from outside: the answers that a sender wrote down, and every record that the log ever held.
What is there is read from the warehouse's raw tables. A verdict is a list of violations, empty for a good run.
"""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb


class Place(NamedTuple):
    """Where the log held a record."""

    topic_id: str
    partition: int
    offset: int


class Row(NamedTuple):
    """A row of a raw table, by what the record in it says, not by its typed columns."""

    table: str
    place: Place
    event_id: str | None
    event_type: str | None
    value: bytes | None = None


class Found(NamedTuple):
    """What a warehouse holds: its rows, and the places that its ledger names as taken before they were read."""

    rows: Sequence[Row]
    unread: set[Place]


Whose = Callable[[Place], str | None]
"""Which of the tables that share a topic a record is for; None where the topic has one table."""


class Answers(NamedTuple):
    """How often an event was answered what."""

    accepted: int = 0
    unknown: int = 0
    rejected: int = 0


def read_answers(lines: Iterable[str]) -> dict[str, Answers]:
    """Answers by event id from a sender's record: `{"event_id": …, "answer": …}` a line, one per event and attempt."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        attempt = json.loads(line)
        if attempt.get("event_id"):
            counted[attempt["event_id"]][attempt["answer"]] += 1
    return {event_id: Answers(c["accepted"], c["unknown"], c["rejected"]) for event_id, c in counted.items()}


def read_log(path: Path) -> dict[Place, bytes]:
    """Every record that the embedded log holds now."""
    with sqlite3.connect(path) as db:
        rows = db.execute("select id, partition, offset, value from records join topics on number = topic").fetchall()
    db.close()
    return {Place(topic_id, partition, offset): value for topic_id, partition, offset, value in rows}


def of_any_table(place: Place) -> None:
    """Tables share no topic."""


def read_warehouse(path: Path, whose: Whose = of_any_table) -> Found:
    """What the warehouse in a file of DuckDB holds."""
    return Found(read_raw(path), read_unread(path, whose))


def read_raw(path: Path) -> list[Row]:
    """Every row of every raw table."""
    with duckdb.connect(str(path)) as db:
        tables = db.execute("select table_name from information_schema.tables where table_schema = 'raw'").fetchall()
        return [
            to_row(table, Place(topic_id, partition, offset), text, data)
            for (table,) in tables
            for topic_id, partition, offset, text, data in db.execute(
                f"select topic_id, kafka_partition, kafka_offset, kafka_value, kafka_value_bytes from raw.{table}"
            ).fetchall()
        ]


def read_unread(path: Path, whose: Whose = of_any_table) -> set[Place]:
    """The places that the warehouse's ledger names as taken by retention before they were read.

    Where tables share a topic, `whose` says which of them a record is for: no other excuses its loss.
    """
    with duckdb.connect(str(path)) as db:
        ranges = db.execute(
            "select table_name, topic_id, kafka_partition, start_offset, unread"
            " from headrace.load_ranges where unread > 0"
        ).fetchall()
    return unread_places(ranges, whose)


def to_row(table: str, place: Place, text: str | None, data: bytes | None) -> Row:
    """A row of a raw table, whose value is kept as text, or as the bytes that are none."""
    return Row(table, place, *_names(text or ""), data if text is None else text.encode())


def unread_places(ranges: Iterable[tuple[str, str, int, int, int]], whose: Whose) -> set[Place]:
    """The first `unread` places of ranges: table, topic, partition, start, unread."""
    named = [
        (table, Place(topic_id, partition, start + i))
        for table, topic_id, partition, start, unread in ranges
        for i in range(unread)
    ]
    return {place for table, place in named if whose(place) in (None, table)}


def taker(value: bytes, event_types: Sequence[str]) -> str:
    """Which of the types that share a topic a record is for: the one that it says, or else the first."""
    _, event_type = _names(value.decode(errors="replace"))
    return event_type if event_type and event_type in event_types else event_types[0]


def judge_tables(rows: Sequence[Row], whose: Whose) -> list[str]:
    """Every record of a shared topic is in the table that it is for, and in no other."""
    return [
        f"{row.place} is in raw.{row.table} and is for {table}"
        for row in rows
        if (table := whose(row.place)) not in (None, row.table)
    ]


def judge_answers(
    answers: Mapping[str, Answers], rows: Sequence[Row], excused: frozenset[str] = frozenset()
) -> list[str]:
    """Accepted events are there as often as they were accepted, unknown ones at most so often more, others not.

    `excused` events may be missing: their records were destroyed on purpose.
    """
    events = [row for row in rows if row.table != "rejected" and row.event_id is not None]
    there = Counter(row.event_id for row in events)
    violations = [
        f"event {row.event_id} of type {row.event_type} is in raw.{row.table}"
        for row in events
        if row.event_type != row.table
    ]
    for event_id, answer in answers.items():
        least, most = answer.accepted, answer.accepted + answer.unknown
        if there[event_id] < least and event_id not in excused:
            violations.append(f"event {event_id} was accepted {least} times and is there {there[event_id]} times")
        if there[event_id] > most:
            violations.append(f"event {event_id} can be there {most} times and is there {there[event_id]} times")
    violations += [f"event {event_id} was never sent" for event_id in there if event_id not in answers]
    return violations


def judge_places(
    appended: Mapping[Place, bytes], rows: Sequence[Row], unread: set[Place], destroyed: set[Place], dead: set[str]
) -> list[str]:
    """Every record that was appended is there exactly once.

    Records that were `destroyed` before they were read may be missing, but then as `unread` by name. Of a topic that
    is `dead` the later records of a partition may be missing, but none before one that is there.
    """
    there = Counter(row.place for row in rows)
    violations = [f"{place} is there {times} times" for place, times in there.items() if times > 1]
    violations += [f"{place} is there but was never in the log" for place in there if place not in appended]
    violations += [f"{place} is named unread but was there to be read" for place in unread - destroyed]
    violations += [f"{place} is there and named unread" for place in unread & there.keys()]
    reached: dict[tuple[str, int], int] = defaultdict(lambda: -1)
    for place in there.keys() | unread:
        reached[place[:2]] = max(reached[place[:2]], place.offset)
    for place in appended.keys() - there.keys() - unread:
        if place.topic_id not in dead or place.offset < reached[place[:2]]:
            violations.append(f"{place} is missing and not named unread")
    return violations


def judge_contents(appended: Mapping[Place, bytes], rows: Sequence[Row]) -> list[str]:
    """Every row still holds the bytes that the log held."""
    return [
        f"raw.{table}: {place.topic_id}/{place.partition}/{place.offset} holds other bytes than the log did"
        for table, place, _, _, value in rows
        if appended.get(place) != value
    ]


def _names(value: str) -> tuple[str | None, str | None]:
    try:
        record: Any = json.loads(value)
    except ValueError:
        return None, None
    if not isinstance(record, dict):
        return None, None
    event_id, event_type = record.get("event_id"), record.get("event_type")
    return (event_id if isinstance(event_id, str) else None), (event_type if isinstance(event_type, str) else None)
