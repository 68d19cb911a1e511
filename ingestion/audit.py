"""The audit: every hop's records, counted again from what it holds, must balance.

    log = lake (from where the log still reaches) ── positions contiguous, none twice ── lake = ledger = raw
    a topic that event types share = the lake's tables of all of them
    log ── each view's listener is within what the log holds ── views (whose rows Dagster checks against the lake)

It works at a cut: the warehouse is read first, then the lake, then the log, each at one moment. What is upstream of
the cut is *pending*, not wrong: the lake's commits after the loaded version, the log's records after the landed
position. Counts come with an order-independent checksum, so a lost record and a doubled one cannot cancel out.

Hops are compared by landing hour, which is cheap. Only what disagrees is counted again by commit, to name the version.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ingestion.broker import Broker
from ingestion.counting import CommitCount, Count, PartitionCount, count_files, count_files_by_commit, count_log
from ingestion.errors import LakeHistoryGone, PermanentError, UnknownTopic
from ingestion.lake import Commit, Lake, LakeFile, Range, Snapshot
from ingestion.listened import Listened, read_listened
from ingestion.shared_audit import Part, count_unread, find_unequal
from ingestion.tables import Table
from ingestion.views.facts import View
from ingestion.warehouse import Holdings, LoadedRange, Warehouse

BALANCED, BROKEN, PENDING = 0, 1, 2
LOOK_AGAIN_SECONDS = 0.5

ByCommit = Mapping[tuple[int | None, str], Count]
"""Counts by lake version and landing hour; version None is for records in no commit's range."""


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
    """Records that wait for the lander; of a shared topic, each as often as there are tables that wait for it."""
    not_loaded: int = 0
    views: list[Listened] = field(default_factory=list)
    """Each topic of the views that listeners keep."""
    unread: int = 0
    """Offsets that the log's retention took before they were read: lost, and named; of a shared topic, once."""

    @property
    def status(self) -> int:
        """0 balanced, 1 broken, 2 pending: the exit code."""
        if self.findings:
            return BROKEN
        return PENDING if self.not_landed or self.not_loaded or self.not_heard else BALANCED

    @property
    def not_heard(self) -> int:
        """Records that wait for a listener, each as often as there are views that wait for it."""
        return sum(listened.pending for listened in self.views)


def audit(
    broker: Broker, lake: Lake, warehouse: Warehouse, tables: Sequence[Table], views: Iterable[View] = ()
) -> Balance:
    """Balance every hop of `tables`, and the hop from the log into `views`.

    Costs a reading of the log, of the lake's values and of the raw tables; of a topic that tables share, a reading for
    each of them and one more, with the lake's values once more.
    """
    balance = Balance()
    holdings = warehouse.holdings(tables)
    parts: list[Part] = []
    for table in tables:
        try:
            parts.append(_TableAudit(broker, lake, warehouse, table, holdings, balance).run())
        except PermanentError as error:
            hop = "log" if isinstance(error, UnknownTopic) else "lake"
            balance.findings.append(Finding(hop, table.name, None, None, str(error)))
    balance.unread = count_unread(parts)
    balance.findings += [
        Finding("log → lake", table.name, None, None, message) for table, message in find_unequal(broker, parts)
    ]
    for view in views:
        _audit_view(broker, view, balance)
    return balance


def _audit_view(broker: Broker, view: View, balance: Balance) -> None:
    try:
        listened = read_listened(broker, view)
    except UnknownTopic as error:
        balance.findings.append(Finding("log", view.name, None, None, str(error)))
        return
    balance.views += listened
    problems = [problem for each in listened for problem in each.problems]
    balance.findings += [Finding("log → view", view.name, None, None, problem) for problem in problems]


def audit_when_settled(
    broker: Broker,
    lake: Lake,
    warehouse: Warehouse,
    tables: Sequence[Table],
    seconds: float,
    views: Sequence[View] = (),
) -> Balance:
    """The balance once nothing is pending any more, or as it is after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        balance = audit(broker, lake, warehouse, tables, views)
        if balance.status != PENDING or time.monotonic() > deadline:
            return balance
        time.sleep(LOOK_AGAIN_SECONDS)


class _TableAudit:
    """One table's part of the balance."""

    def __init__(
        self, broker: Broker, lake: Lake, warehouse: Warehouse, table: Table, holdings: Holdings, balance: Balance
    ) -> None:
        self._broker, self._warehouse, self._table, self._balance = broker, warehouse, table, balance
        self._lake_table = lake.table(table)
        self._ledger = [entry for entry in holdings.ledger if entry.table == table.name]
        self._ranges = [loaded for loaded in holdings.ranges if loaded.table == table.name]
        self._raw = holdings.counts.get(table.name, ())
        self._loaded = max((entry.version for entry in self._ledger), default=-1)
        self._lines: dict[str, Line] = {}

    def run(self) -> Part:
        snapshot = self._lake_table.snapshot()
        pending = list(self._lake_table.commits(self._loaded, until=snapshot.version))
        self._ranges += [LoadedRange(self._table.name, c.version, covered) for c in pending for covered in c.ranges]
        self._count_log(snapshot)  # before the lake, which is then counted from where the log was found to begin
        self._count_lake(snapshot, pending)
        self._count_ledger_and_raw()
        self._compare()
        self._check_rows("lake", self._lake, self._lake_by_commit)
        self._check_rows("raw", self._raw, self._raw_by_commit)
        self._check_ledger()
        self._check_ranges(snapshot)
        self._balance.lines += [self._lines[hour] for hour in sorted(self._lines)]
        return Part(self._table, [loaded.range for loaded in self._ranges], self._readable)

    def _line(self, hour: str) -> Line:
        return self._lines.setdefault(hour, Line(self._table.name, hour))

    def _find(self, hop: str, message: str, hour: str | None = None, version: int | None = None) -> None:
        self._balance.findings.append(Finding(hop, self._table.name, hour, version, message))

    def _count_log(self, snapshot: Snapshot) -> None:
        topic = self._broker.topic(self._table.topic)
        self._starts: dict[tuple[str, int], int] = {}
        self._log: dict[tuple[int | None, str], Count] = defaultdict(Count)
        for partition, held in self._broker.bounds(topic.name).items():
            position = snapshot.position(topic.id, partition)
            if position > held.end:
                message = f"{topic.name}/{partition} ends at {held.end}, the lake holds it up to {position}"
                self._find("log → lake", message)
            self._balance.not_landed += max(0, held.end - max(position, held.start))
            ranges = [(x.version, x.range) for x in self._ranges if x.range.topic_id == topic.id]
            start, counts = count_log(self._broker, topic, self._table.name, partition, position, ranges)
            self._starts[topic.id, partition] = start
            for (version, hour), count in counts.items():
                self._log[version, hour] += count
                self._line(hour).log += count

    def _count_lake(self, snapshot: Snapshot, pending: Sequence[Commit]) -> None:
        files = snapshot.files()
        self._lake, problems = count_files(files, self._starts)
        self._readable = [file for file in files if file not in problems]
        waiting, more_problems = count_files([file for commit in pending for file in commit.files], {})
        for part in self._lake:
            line = self._line(part.landing_hour)
            line.lake += part.count
            line.landed += part.recent
        for part in waiting:
            self._line(part.landing_hour).pending += part.count
            self._balance.not_loaded += part.count.rows
        if problems := {**problems, **more_problems}:
            self._find_unreadable(problems, snapshot.version)

    def _find_unreadable(self, problems: Mapping[LakeFile, str], latest: int) -> None:
        versions: dict[LakeFile, int] = {}
        with suppress(LakeHistoryGone):
            for commit in self._lake_table.commits(-1, latest):
                versions |= dict.fromkeys(commit.files, commit.version)
        for file, problem in problems.items():
            self._find("lake", f"{file.uri} cannot be read: {problem}", file.landing_hour, versions.get(file))

    def _count_ledger_and_raw(self) -> None:
        for entry in self._ledger:
            if entry.landing_hour is not None:
                self._line(entry.landing_hour).ledger += entry.count
        for part in self._raw:
            self._line(part.landing_hour).raw += part.count

    def _compare(self) -> None:
        for hour, line in self._lines.items():
            if line.log != line.landed:
                self._blame("log → lake", hour, ("the log", self._log), ("the lake", _sums(self._landed_by_commit())))
            if line.lake - line.pending != line.ledger:
                lake = {key: n for key, n in _sums(self._lake_by_commit()).items() if (key[0] or 0) <= self._loaded}
                self._blame("lake → ledger", hour, ("the lake", lake), ("the ledger", self._ledger_by_commit()))
            if line.ledger != line.raw:
                raw = _sums(self._raw_by_commit())
                self._blame("ledger → raw", hour, ("the ledger", self._ledger_by_commit()), ("the raw table", raw))

    def _blame(self, hop: str, hour: str, left: tuple[str, ByCommit], right: tuple[str, ByCommit]) -> None:
        """A finding for each commit of which the two sides of a hop hold another part of an hour."""
        versions = {version for _, counts in (left, right) for version, landing_hour in counts if landing_hour == hour}
        for version in sorted(versions, key=lambda version: -1 if version is None else version):
            a, b = (counts.get((version, hour), Count()) for _, counts in (left, right))
            if a != b:
                self._find(hop, _difference(left[0], a, right[0], b), hour, version)

    def _lake_by_commit(self) -> Sequence[CommitCount]:
        return count_files_by_commit(self._readable, [(x.version, x.range) for x in self._ranges])

    def _landed_by_commit(self) -> Sequence[CommitCount]:
        """The part of the lake that the log still has."""
        ranges: list[tuple[int, Range]] = []
        for loaded in self._ranges:
            start = self._starts.get((loaded.range.topic_id, loaded.range.partition), loaded.range.end)
            ranges.append((loaded.version, replace(loaded.range, start=max(start, loaded.range.start))))
        return [part for part in count_files_by_commit(self._readable, ranges) if part.version is not None]

    def _ledger_by_commit(self) -> ByCommit:
        counts: dict[tuple[int | None, str], Count] = defaultdict(Count)
        for entry in self._ledger:
            counts[entry.version, entry.landing_hour or ""] += entry.count
        return counts

    def _raw_by_commit(self) -> Sequence[CommitCount]:
        return self._warehouse.count_commits(self._table, self._ranges)

    def _check_rows(
        self, hop: str, parts: Iterable[PartitionCount], by_commit: Callable[[], Sequence[CommitCount]]
    ) -> None:
        if all(part.count.rows == part.offsets and not part.corrupt for part in parts):
            return
        for part in by_commit():
            if part.repeated:
                self._find(hop, f"{part.repeated} rows repeat an offset", part.landing_hour, part.version)
            if part.corrupt:
                message = f"{part.corrupt} rows have another checksum than they landed with"
                self._find(hop, message, part.landing_hour, part.version)

    def _check_ledger(self) -> None:
        """Every version is in the ledger, with as many rows as its ranges name."""
        rows: dict[int, int] = defaultdict(int)
        for entry in self._ledger:
            rows[entry.version] += entry.count.rows
        named = _named(self._ranges)
        for version in range(self._loaded + 1):
            if version not in rows:
                self._find("lake → ledger", "the ledger has not got this version", version=version)
            elif rows[version] != named.get(version, 0):
                message = f"the ledger has {rows[version]} rows, the commit's ranges name {named.get(version, 0)}"
                self._find("lake → ledger", message, version=version)

    def _check_ranges(self, snapshot: Snapshot) -> None:
        """Ranges join without gap or overlap up to the table's position, and the lake has their rows."""
        rows: dict[tuple[str, int], int] = defaultdict(int)
        for part in self._lake:
            rows[part.topic_id, part.partition] += part.count.rows
        agree = True
        for (topic_id, partition), ranges in _by_partition(self._ranges).items():
            where, end = f"topic {topic_id} partition {partition}", 0
            for loaded in ranges:
                if loaded.range.start != end:
                    self._find("lake", f"{where} goes on at {loaded.range.start} after {end}", version=loaded.version)
                end = loaded.range.end
            if end != (position := snapshot.position(topic_id, partition)):
                self._find("lake", f"{where} is covered up to {end}, its position is {position}")
            agree &= rows.pop((topic_id, partition), 0) == sum(loaded.range.rows for loaded in ranges)
        if rows or not agree:
            self._blame_ranges()

    def _blame_ranges(self) -> None:
        held: dict[int | None, int] = defaultdict(int)
        for part in self._lake_by_commit():
            held[part.version] += part.count.rows
        if outside := held.pop(None, 0):
            self._find("lake", f"{outside} rows are in no commit's range")
        for version, rows in _named(self._ranges).items():
            if held[version] != rows:
                self._find("lake", f"the lake has {held[version]} of the commit's {rows} rows", version=version)


def _sums(parts: Iterable[CommitCount]) -> ByCommit:
    return {(part.version, part.landing_hour): part.count for part in parts}


def _named(ranges: Iterable[LoadedRange]) -> Mapping[int, int]:
    """The rows that the ranges of each commit name."""
    rows: dict[int, int] = defaultdict(int)
    for loaded in ranges:
        rows[loaded.version] += loaded.range.rows
    return rows


def _by_partition(ranges: Iterable[LoadedRange]) -> Mapping[tuple[str, int], list[LoadedRange]]:
    partitions: dict[tuple[str, int], list[LoadedRange]] = defaultdict(list)
    for loaded in sorted(ranges, key=lambda loaded: (loaded.version, loaded.range.start)):
        partitions[loaded.range.topic_id, loaded.range.partition].append(loaded)
    return partitions


def _difference(left: str, a: Count, right: str, b: Count) -> str:
    if a.rows != b.rows:
        return f"{left} has {a.rows} records, {right} {b.rows}"
    return (
        f"{left} and {right} have {a.rows} records each, but not the same ones (checksums {a.checksum}, {b.checksum})"
    )
