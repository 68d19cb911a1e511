"""The embedded log: topics and records in one SQLite file, for several writing and reading processes.

`synchronous=FULL` in WAL mode makes every commit an fsync, so `publish` returns when the records are durable; a
group of records is one transaction. Append times are the writer's clock, as with Kafka's LogAppendTime.
"""

import sqlite3
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path

from ingestion.broker import Bounds, Chunk, Record, Topic, members
from ingestion.errors import BrokerUnavailable, OffsetOutOfRange, UnknownTopic

SCHEMA = """
create table if not exists topics (number integer primary key autoincrement, id text unique, name text unique);
create table if not exists partitions (
    topic integer, partition integer, start_offset integer, end_offset integer, primary key (topic, partition)
) without rowid;
create table if not exists records (
    topic integer, partition integer, offset integer, appended_at integer, key blob, value blob,
    primary key (topic, partition, offset)
) without rowid;
create table if not exists positions (
    consumer_group text, topic integer, partition integer, next_offset integer,
    primary key (consumer_group, topic, partition)
) without rowid;
"""

BUSY_MS = 4_000
EXPIRED_AT_ONCE = 10_000


class EmbeddedBroker:
    """A log in the file `path`. One instance may be used by several threads, one file by several processes."""

    def __init__(self, path: str | Path, partitions: int = 2, clock: Callable[[], int] | None = None) -> None:
        self.path = Path(path)
        self._partitions = partitions
        self._clock = clock or (lambda: time.time_ns() // 1_000)
        self._lock = threading.Lock()
        self._member, self._is_member = uuid.uuid4().hex, False
        with _as_unavailable(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                self._db.execute(f"pragma busy_timeout={BUSY_MS}")
                self._db.execute("pragma journal_mode=wal")
                self._db.execute("pragma synchronous=full")
                self._db.executescript(SCHEMA + members.SCHEMA)
            except sqlite3.Error:
                self._db.close()
                raise

    def ensure_topics(self, names: Iterable[str]) -> None:
        """Create the topics that do not exist."""
        names = set(names)
        with self._transaction("deferred") as db:
            missing = names.difference(name for (name,) in db.execute("select name from topics"))
        if not missing:
            return
        with self._transaction() as db:
            for name in sorted(missing):
                if not db.execute("select 1 from topics where name = ?", [name]).fetchone():
                    _create(db, name, self._partitions)

    def recreate(self, name: str) -> None:
        """Delete a topic with its records and create it again, under another identity."""
        with self._transaction() as db:
            number, _ = _identity(db, name)
            partitions = len(_bounds(db, number))
            for table in ("records", "partitions", "positions"):
                db.execute(f"delete from {table} where topic = ?", [number])
            db.execute("delete from topics where number = ?", [number])
            _create(db, name, partitions)

    def topic(self, name: str) -> Topic:
        """The topic that has this name now."""
        with self._transaction("deferred") as db:
            number, topic_id = _identity(db, name)
            return Topic(name, topic_id, tuple(_bounds(db, number)))

    def publish(self, records: Sequence[Record]) -> None:
        """Append `records` in one durable transaction."""
        with self._transaction() as db:
            now = self._clock()
            ends = _Ends(db)
            db.executemany(
                "insert into records values (?, ?, ?, ?, ?, ?)",
                [(*ends.next(topic, key), now, key, value) for topic, key, value in records],
            )
            ends.store()

    def bounds(self, topic: str) -> Mapping[int, Bounds]:
        """What each partition holds."""
        with self._transaction("deferred") as db:
            return _bounds(db, _identity(db, topic)[0])

    def read(self, topic: str, partition: int, offset: int, max_records: int, max_bytes: int) -> Chunk:
        """Records from `offset` on."""
        with self._transaction("deferred") as db:
            number, _ = _identity(db, topic)
            held = _bounds(db, number).get(partition, Bounds(0, 0))
            if not held.start <= offset <= held.end:
                raise OffsetOutOfRange(topic, partition, offset, held.start, held.end)
            rows = db.execute(
                "select offset, appended_at, value from records"
                " where topic = ? and partition = ? and offset >= ? order by offset limit ?",
                [number, partition, offset, max_records],
            )
            return _chunk(partition, offset, _within(rows, max_bytes))

    def commit(self, group: str, topic: Topic, positions: Mapping[int, int]) -> None:
        """Note how far `group` has come in `topic`; a topic that was recreated meanwhile is left alone."""
        with self._transaction() as db:
            found = db.execute("select number from topics where id = ?", [topic.id]).fetchone()
            if found:
                rows = [(group, found[0], partition, offset) for partition, offset in positions.items()]
                db.executemany("insert or replace into positions values (?, ?, ?, ?)", rows)

    def positions(self, group: str, topic: Topic) -> Mapping[int, int]:
        """What `commit` noted."""
        with self._transaction("deferred") as db:
            rows = db.execute(
                "select partition, next_offset from positions join topics on topic = number"
                " where consumer_group = ? and id = ?",
                [group, topic.id],
            )
            return dict(rows.fetchall())

    def share(self, group: str, topics: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """The partitions of each topic that this instance should work on now, as a member of `group`."""
        asked = group, self._member, topics, self._clock()
        with self._transaction("deferred") as db:
            if members.is_heard(db, *asked):
                return members.share(db, *asked)
        with self._transaction() as db:
            self._is_member = True
            members.hear(db, *asked)
            return members.share(db, *asked)

    def expire(self, group: str, older_than_us: int) -> int:
        """Delete records appended before `older_than_us` that `group` has passed."""
        with self._transaction("deferred") as db:
            passed = db.execute(
                "select topic, partition, next_offset from positions where consumer_group = ?", [group]
            ).fetchall()
        return sum(self._expire(topic, partition, end, older_than_us) for topic, partition, end in passed)

    def truncate(self, topic: str, partition: int, before: int) -> None:
        """Delete the records before an offset, whoever has read them: what Kafka's retention does."""
        with self._transaction() as db:
            _delete_before(db, _identity(db, topic)[0], partition, before)

    def close(self) -> None:
        """Leave every group and close the file."""
        if self._is_member:
            with suppress(BrokerUnavailable), self._transaction() as db:  # else the lease ends some seconds later
                members.leave(db, self._member)
        self._db.close()

    def _expire(self, number: int, partition: int, passed: int, older_than_us: int) -> int:
        expired = 0
        while True:
            with self._transaction() as db:
                rows = db.execute(
                    "select offset, appended_at from records where topic = ? and partition = ? and offset < ?"
                    " order by offset limit ?",
                    [number, partition, passed, EXPIRED_AT_ONCE],
                ).fetchall()
                old = [offset for offset, _ in takewhile(lambda row: row[1] < older_than_us, rows)]
                if not old:
                    return expired
                _delete_before(db, number, partition, old[-1] + 1)
                expired += len(old)

    @contextmanager
    def _transaction(self, mode: str = "immediate") -> Iterator[sqlite3.Connection]:
        with self._lock, _as_unavailable(self.path):
            self._db.execute(f"begin {mode}")
            try:
                yield self._db
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:  # SQLite has already rolled back after some errors of the disk
                    self._db.execute("rollback")
                raise


class _Ends:
    """Where the partitions that a transaction appends to end."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._topics: dict[str, tuple[int, dict[int, int]]] = {}

    def next(self, topic: str, key: bytes) -> tuple[int, int, int]:
        """Topic number, partition by the key's hash, and the offset that the next record gets there."""
        if topic not in self._topics:
            number, _ = _identity(self._db, topic)
            self._topics[topic] = number, {partition: held.end for partition, held in _bounds(self._db, number).items()}
        number, ends = self._topics[topic]
        partition = zlib.crc32(key) % len(ends)
        offset = ends[partition]
        ends[partition] = offset + 1
        return number, partition, offset

    def store(self) -> None:
        rows = [(end, number, partition) for number, ends in self._topics.values() for partition, end in ends.items()]
        self._db.executemany("update partitions set end_offset = ? where topic = ? and partition = ?", rows)


def _create(db: sqlite3.Connection, name: str, partitions: int) -> None:
    number = db.execute("insert into topics (id, name) values (?, ?)", [str(uuid.uuid4()), name]).lastrowid
    db.executemany(
        "insert into partitions values (?, ?, 0, 0)", [(number, partition) for partition in range(partitions)]
    )


def _identity(db: sqlite3.Connection, name: str) -> tuple[int, str]:
    found: tuple[int, str] | None = db.execute("select number, id from topics where name = ?", [name]).fetchone()
    if found is None:
        raise UnknownTopic(f"the log has no topic {name!r}; start a collector or a lander, which create the topics")
    return found


def _bounds(db: sqlite3.Connection, number: int) -> dict[int, Bounds]:
    rows = db.execute("select partition, start_offset, end_offset from partitions where topic = ? order by 1", [number])
    return {partition: Bounds(start, end) for partition, start, end in rows}


def _delete_before(db: sqlite3.Connection, number: int, partition: int, offset: int) -> None:
    where = "where topic = ? and partition = ?"
    db.execute(f"delete from records {where} and offset < ?", [number, partition, offset])
    db.execute(
        f"update partitions set start_offset = max(start_offset, min(end_offset, ?)) {where}",
        [offset, number, partition],
    )


def _within(rows: Iterable[tuple[int, int, bytes]], max_bytes: int) -> list[tuple[int, int, bytes]]:
    """The first row, and those after it while their values stay within `max_bytes`."""
    taken: list[tuple[int, int, bytes]] = []
    size = 0
    for row in rows:
        size += len(row[2])
        if taken and size > max_bytes:
            break
        taken.append(row)
    return taken


def _chunk(partition: int, offset: int, rows: list[tuple[int, int, bytes]]) -> Chunk:
    if not rows:
        return Chunk(partition, (), (), (), offset)
    offsets, timestamps, values = zip(*rows, strict=True)
    return Chunk(partition, offsets, timestamps, values, offsets[-1] + 1)


@contextmanager
def _as_unavailable(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise BrokerUnavailable(f"the log {path} did not answer: {error}; nothing is known to be stored") from error
