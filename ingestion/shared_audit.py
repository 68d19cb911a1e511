"""The audit of topics that event types share: what no table shows by itself, because each looks only for its own.

The records of the whole topic, whatever they are, must be the rows of its tables together; and what retention took of
it is counted once.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ingestion.broker import Broker, Topic
from ingestion.counting import Count, count_files_by_commit, count_log
from ingestion.lake import LakeFile, Range
from ingestion.tables import Table


@dataclass(frozen=True)
class Part:
    """What a table has of the log: the ranges that its commits cover, and its files."""

    table: Table
    ranges: Sequence[Range]
    files: Sequence[LakeFile]

    def position(self, topic_id: str, partition: int) -> int:
        """Up to where it has a partition."""
        return max((r.end for r in self.ranges if (r.topic_id, r.partition) == (topic_id, partition)), default=0)


def count_unread(parts: Sequence[Part]) -> int:
    """Offsets that the log's retention took before every table that they were for had read them.

    Of a topic that tables share those are left out that one of them had landed: they were not for the others.
    """
    taken: dict[tuple[str, int], list[Range]] = defaultdict(list)
    for covered in (covered for part in parts for covered in part.ranges if covered.unread):
        taken[covered.topic_id, covered.partition].append(replace(covered, end=covered.start + covered.unread))
    spans = [span for ranges in taken.values() for span in _joined(ranges)]
    readers = Counter(topic_id for part in parts for topic_id in {covered.topic_id for covered in part.ranges})
    landed = _landed(parts, [span for span in spans if readers[span.topic_id] > 1])
    return sum(span.end - span.start for span in spans) - sum(count.rows for count in landed.values())


def find_unequal(broker: Broker, parts: Sequence[Part]) -> Iterator[tuple[Table, str]]:
    """What is wrong with each shared topic, at the first of its tables.

    A topic of which a table is not among `parts` is left out. Costs another reading of the shared topics.
    """
    shared: dict[Topic, list[Part]] = defaultdict(list)
    for part in parts:
        shared[broker.topic(part.table.topic)].append(part)
    for topic, together in shared.items():
        if topic.shared_by and len(together) == len(topic.shared_by):
            yield from ((together[0].table, message) for message in _compare(broker, topic, together))


def _compare(broker: Broker, topic: Topic, together: Sequence[Part]) -> Iterator[str]:
    """The records of the whole topic that the log still has, and that every table has passed, with the tables' rows."""
    held: dict[int, Count] = {}
    spans: list[Range] = []
    for partition in topic.partitions:
        position = min(part.position(topic.id, partition) for part in together)
        start, counts = count_log(broker, replace(topic, shared_by=()), "", partition, position, ())
        held[partition] = sum(counts.values(), Count())
        spans.append(Range(topic.id, partition, start, position, held[partition].rows))
    landed = _landed(together, spans)
    for span in spans:
        if (records := held[span.partition]) != (rows := landed.get(span.partition, Count())):
            yield (
                f"{topic.name}/{span.partition} holds {records.rows} records from offset {span.start} to"
                f" {span.end - 1}, and the tables that share it have {rows.rows} (checksums {records.checksum},"
                f" {rows.checksum})"
            )


def _landed(parts: Sequence[Part], spans: Sequence[Range]) -> Mapping[int, Count]:
    """The rows of all tables in some ranges of the log, by partition."""
    found: dict[int, Count] = defaultdict(Count)
    for part in parts if spans else ():
        for each in count_files_by_commit(part.files, [(span.partition, span) for span in spans]):
            if each.version is not None:
                found[each.version] += each.count
    return found


def _joined(ranges: Iterable[Range]) -> Iterator[Range]:
    """The same offsets of one partition in ranges that do not overlap."""
    end = 0
    for each in sorted(ranges, key=lambda each: each.start):
        if each.end > end:
            yield replace(each, start=max(end, each.start))
            end = each.end
