"""What a warehouse in Redshift holds, as the checker asks it: by the driver and SQL of its own, no code of Headrace."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

from redshift_connector.core import Connection

from tests.proof.checker import Found, Place, Row, Whose, of_any_table, to_row, unread_places

TABLES = "select table_name from information_schema.tables where table_schema = 'raw'"
UNREAD = "select table_name, topic_id, kafka_partition, start_offset, unread from headrace.load_ranges where unread > 0"
PIECE, PIECES = 30_000, 3
"""Bytes whose digits fit a string of Redshift, and how many such pieces a test's longest value has."""


def read_redshift(connect: Callable[[], Connection], whose: Whose = of_any_table) -> Found:
    """Every row of every raw table, and the places that the ledger names unread."""
    with closing(connect()) as db:
        rows = [row for (table,) in _ask(db, TABLES) for row in _rows(db, table)]
        return Found(rows, unread_places(_ask(db, UNREAD), whose))


def _rows(db: Connection, table: str) -> list[Row]:
    starts = range(1, PIECE * PIECES, PIECE)
    digits = [f"from_varbyte(substring(kafka_value_bytes, {start}, {PIECE}), 'hex')" for start in starts]
    longest = _ask(db, f"select coalesce(max(octet_length(kafka_value_bytes)), 0) from raw.{table}")
    assert longest[0][0] <= PIECE * PIECES, f"raw.{table} has longer values than the checker reads"
    columns = f"topic_id, kafka_partition, kafka_offset, kafka_value, {', '.join(digits)}"
    return [
        to_row(table, Place(topic_id, partition, offset), text, _bytes(pieces))
        for topic_id, partition, offset, text, *pieces in _ask(db, f"select {columns} from raw.{table}")
    ]


def _bytes(pieces: list[str | None]) -> bytes | None:
    digits = [piece for piece in pieces if piece is not None]
    return bytes.fromhex("".join(digits)) if digits else None


def _ask(db: Connection, sql: str) -> Any:
    cursor = db.cursor()
    cursor.execute(sql)
    return cursor.fetchall()
