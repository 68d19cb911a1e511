"""Rows of the ledger, `headrace.load_ledger` and `headrace.load_ranges`, as every adapter writes them."""

from collections.abc import Mapping, Sequence

from ingestion.counting import Count
from ingestion.lake import Commit


def ledger_rows(
    table: str, commits: Sequence[Commit], counts: Mapping[str, Count], load_seq: int
) -> list[list[object]]:
    """One row per commit and landing hour; `counts` says what is in each file, by URI."""
    rows: list[list[object]] = []
    for commit in commits:
        hours: dict[str | None, Count] = {} if commit.files else {None: Count()}
        for file in commit.files:
            hours[file.landing_hour] = hours.get(file.landing_hour, Count()) + counts[file.uri]
        rows += [[table, commit.version, hour, count.rows, count.checksum, load_seq] for hour, count in hours.items()]
    return rows


def range_rows(table: str, commits: Sequence[Commit]) -> list[list[object]]:
    """One row per range of the log that the commits cover."""
    return [
        [table, commit.version, r.topic_id, r.partition, r.start, r.end, r.rows, r.unread]
        for commit in commits
        for r in commit.ranges
    ]
