"""The audit: every hop's records, counted again from what it holds, must balance.

    log = lake (from where the log still reaches) ── positions contiguous, none twice ── lake = ledger = raw

It works at a cut: the warehouse is read first, then the lake, then the log, each at one moment. What is upstream of
the cut is *pending*, not wrong: the lake's commits after the loaded version, the log's records after the landed
position. Counts come with an order-independent checksum, so a lost record and a doubled one cannot cancel out.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ingestion.broker import Broker, Topic
from ingestion.counting import Count, PartitionCount, count_files
from ingestion.encoding import checksum
from ingestion.errors import OffsetOutOfRange
from ingestion.lake import Lake, Snapshot
from ingestion.tables import Table
from ingestion.warehouse import Holdings, LoadedRange, Warehouse

BALANCED, BROKEN, PENDING = 0, 1, 2
READ_AT_ONCE = 10_000, 32 * 1024 * 1024


@dataclass(frozen=True)
class Finding:
    """A hop that does not balance: which, where, and what to look at."""

    hop: str
    table: str
    landing_hour: str | None
    version: int | None
    message: str


@dataclass
class Line:
    """One table and landing hour in every hop. `log` has only what the log's retention has left."""

    table: str
    landing_hour: str
    log: Count = field(default_factory=Count)
    landed: Count = field(default_factory=Count)
    """The lake's rows that the log still has."""
    lake: Count = field(default_factory=Count)
    pending: Count = field(default_factory=Count)
    """The lake's rows in commits that are not loaded yet."""
    ledger: Count = field(default_factory=Count)
    raw: Count = field(default_factory=Count)


@dataclass
class Balance:
    """The outcome of an audit."""

    lines: list[Line] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    not_landed: int = 0
    not_loaded: int = 0
    unread: int = 0
    """Offsets that the log's retention took before they were read: lost, and named."""

    @property
    def status(self) -> int:
        """0 balanced, 1 broken, 2 pending: the exit code."""
        if self.findings:
            return BROKEN
        return PENDING if self.not_landed or self.not_loaded else BALANCED


def audit(broker: Broker, lake: Lake, warehouse: Warehouse, tables: Sequence[Table]) -> Balance:
    """Balance every hop of `tables`. Costs a reading of the log, of the lake's values and of the raw tables."""
    balance = Balance()
    holdings = warehouse.holdings(tables)
    for table in tables:
        _TableAudit(broker, lake, holdings, table, balance).run()
    return balance


class _TableAudit:
    """One table's part of the balance."""

    def __init__(self, broker: Broker, lake: Lake, holdings: Holdings, table: Table, balance: Balance) -> None:
        self._broker, self._table, self._balance = broker, table, balance
        self._lake_table = lake.table(table)
        self._ledger = [entry for entry in holdings.ledger if entry.table == table.name]
        self._ranges = [loaded for loaded in holdings.ranges if loaded.table == table.name]
        self._raw = holdings.counts.get(table.name, ())
        self._lines: dict[str, Line] = {}

    def run(self) -> None:
        snapshot = self._lake_table.snapshot()
        topic = self._broker.topic(self._table.topic)
        starts = {(topic.id, p): held.start for p, held in self._broker.bounds(topic.name).items()}
        lake = count_files(snapshot.files(), starts)
        self._count_lake(lake)
        self._count_pending()
        self._count_ledger_and_raw()
        self._count_log(topic, snapshot, starts)
        self._compare()
        self._check_rows("lake", lake)
        self._check_rows("raw", self._raw)
        self._check_ranges(snapshot, lake)
        self._balance.lines += [self._lines[hour] for hour in sorted(self._lines)]

    def _line(self, hour: str) -> Line:
        return self._lines.setdefault(hour, Line(self._table.name, hour))

    def _find(self, hop: str, message: str, hour: str | None = None, version: int | None = None) -> None:
        self._balance.findings.append(Finding(hop, self._table.name, hour, version, message))

    def _count_lake(self, lake: Iterable[PartitionCount]) -> None:
        for part in lake:
            line = self._line(part.landing_hour)
            line.lake += part.count
            line.landed += part.recent

    def _count_pending(self) -> None:
        loaded = max((entry.version for entry in self._ledger), default=-1)
        commits = list(self._lake_table.commits(loaded))
        self._ranges += [LoadedRange(self._table.name, c.version, covered) for c in commits for covered in c.ranges]
        for part in count_files([file for commit in commits for file in commit.files], {}):
            self._line(part.landing_hour).pending += part.count
            self._balance.not_loaded += part.count.rows

    def _count_ledger_and_raw(self) -> None:
        for entry in self._ledger:
            if entry.landing_hour is not None:
                self._line(entry.landing_hour).ledger += entry.count
        for part in self._raw:
            self._line(part.landing_hour).raw += part.count

    def _count_log(self, topic: Topic, snapshot: Snapshot, starts: Mapping[tuple[str, int], int]) -> None:
        for partition, held in self._broker.bounds(topic.name).items():
            position = snapshot.position(topic.id, partition)
            if position > held.end:
                self._find(
                    "log → lake", f"{topic.name}/{partition} ends at {held.end}, the lake holds it up to {position}"
                )
            self._balance.not_landed += max(0, held.end - max(position, held.start))
            for hour, count in _count_partition(
                self._broker, topic.name, partition, starts[topic.id, partition], position
            ):
                self._line(hour).log += count

    def _compare(self) -> None:
        for hour, line in self._lines.items():
            if line.log != line.landed:
                self._find("log → lake", _difference("the log", line.log, "the lake", line.landed), hour)
            if line.lake - line.pending != line.ledger:
                self._find(
                    "lake → ledger",
                    _difference("the lake", line.lake - line.pending, "the ledger", line.ledger),
                    hour,
                    self._version_of(hour),
                )
            if line.ledger != line.raw:
                self._find(
                    "ledger → raw",
                    _difference("the ledger", line.ledger, "the raw table", line.raw),
                    hour,
                    self._version_of(hour),
                )

    def _version_of(self, hour: str) -> int | None:
        return max((entry.version for entry in self._ledger if entry.landing_hour == hour), default=None)

    def _check_rows(self, hop: str, parts: Iterable[PartitionCount]) -> None:
        for part in parts:
            where = f"topic {part.topic_id} partition {part.partition}"
            if doubled := part.count.rows - part.offsets:
                self._find(hop, f"{doubled} rows repeat an offset of {where}", part.landing_hour)
            if part.corrupt:
                self._find(
                    hop,
                    f"{part.corrupt} rows of {where} have another checksum than they landed with",
                    part.landing_hour,
                )

    def _check_ranges(self, snapshot: Snapshot, lake: Iterable[PartitionCount]) -> None:
        """Ranges join without gap or overlap up to the table's position, and the lake has their rows."""
        rows: dict[tuple[str, int], int] = defaultdict(int)
        for part in lake:
            rows[part.topic_id, part.partition] += part.count.rows
        for (topic_id, partition), ranges in _by_partition(self._ranges).items():
            where, end, expected = f"topic {topic_id} partition {partition}", 0, 0
            for loaded in ranges:
                if loaded.range.start != end:
                    self._find("lake", f"{where} goes on at {loaded.range.start} after {end}", version=loaded.version)
                end, expected = loaded.range.end, expected + loaded.range.rows
                self._balance.unread += loaded.range.unread
            if end != snapshot.position(topic_id, partition):
                self._find(
                    "lake", f"{where} is covered up to {end}, its position is {snapshot.position(topic_id, partition)}"
                )
            if rows.pop((topic_id, partition), 0) != expected:
                self._find("lake", f"{where} should have {expected} rows by its commits")
        for (topic_id, partition), extra in rows.items():
            self._find("lake", f"{extra} rows of topic {topic_id} partition {partition} are in no commit's range")


def _by_partition(ranges: Iterable[LoadedRange]) -> Mapping[tuple[str, int], list[LoadedRange]]:
    partitions: dict[tuple[str, int], list[LoadedRange]] = defaultdict(list)
    for loaded in sorted(ranges, key=lambda loaded: (loaded.version, loaded.range.start)):
        partitions[loaded.range.topic_id, loaded.range.partition].append(loaded)
    return partitions


def _count_partition(
    broker: Broker, topic: str, partition: int, start: int, position: int
) -> Iterator[tuple[str, Count]]:
    """The log's records from `start` up to the landed position, by append hour."""
    offset = start
    while offset < position:
        try:
            chunk = broker.read(topic, partition, offset, *READ_AT_ONCE)
        except OffsetOutOfRange:
            return  # the finding about the log's end says it
        if not chunk.offsets:
            return
        for at, timestamp, value in zip(chunk.offsets, chunk.timestamps, chunk.values, strict=True):
            if at < position:
                yield landing_hour(timestamp), Count(1, checksum(value))
        offset = chunk.next_offset


def landing_hour(timestamp_us: int) -> str:
    """The landing hour of a record that the log appended at `timestamp_us`."""
    return datetime.fromtimestamp(timestamp_us / 1_000_000, UTC).strftime("%Y-%m-%d-%H")


def _difference(left: str, a: Count, right: str, b: Count) -> str:
    if a.rows != b.rows:
        return f"{left} has {a.rows} records, {right} {b.rows}"
    return (
        f"{left} and {right} have {a.rows} records each, but not the same ones (checksums {a.checksum}, {b.checksum})"
    )
