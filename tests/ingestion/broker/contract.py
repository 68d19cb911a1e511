"""What every adapter of a log must do. An adapter's test inherits `BrokerContract` and gives it a `log` fixture."""

import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

import pytest

from ingestion.broker import Broker, Chunk, Record
from ingestion.errors import OffsetOutOfRange, UnknownTopic

TOPIC, OTHER = "events.product_viewed", "events.cart_viewed"
PLENTY = 100_000, 1 << 30
WRITERS, BATCHES, BATCH = 3, 40, 10
GROUP, TOPICS = "lander", (TOPIC, OTHER)
ALL = [(topic, partition) for topic in TOPICS for partition in (0, 1)]
SETTLED_SECONDS = 60.0
"""How long a log may take to divide the partitions anew."""


@dataclass
class Log:
    """A log with the topics TOPIC and OTHER, each of two partitions, and what only its adapter can do."""

    broker: Broker
    another: Callable[[], Broker]
    """Another client of the same log; can be sent to another process."""
    recreate: Callable[[str], None]
    truncate: Callable[[str, int, int], None]
    member: Callable[[], Broker]
    """Another client of the same log in this process, with the same clock."""
    die: Callable[[Broker], None]
    """End a member without a word, and let pass what the others wait for it."""


def records(number: int, topic: str = TOPIC) -> list[Record]:
    return [Record(topic, b"key %d" % n, b"value %d" % n) for n in range(number)]


def read_all(broker: Broker, topic: str = TOPIC) -> Mapping[int, Chunk]:
    return {p: broker.read(topic, p, held.start, *PLENTY) for p, held in broker.bounds(topic).items()}


def values(broker: Broker, topic: str = TOPIC) -> list[bytes]:
    return sorted(value for chunk in read_all(broker, topic).values() for value in chunk.values)


def write_batches(another: Callable[[], Broker], writer: int, together: Barrier) -> None:
    """What one of several writing processes does, once all of them are there."""
    broker = another()
    together.wait(60)
    for batch in range(BATCHES):
        broker.publish([Record(TOPIC, b"%d" % n, b"%d/%d/%d" % (writer, batch, n)) for n in range(BATCH)])
    broker.close()


def shares(*members: Broker, group: str = GROUP, topics: Sequence[str] = TOPICS) -> list[list[tuple[str, int]]]:
    """What each member has when every partition has one owner and no member two more than another.

    They ask in turn until that is so.
    """
    deadline = time.monotonic() + SETTLED_SECONDS
    while True:
        asked = [member.share(group, topics) for member in members]
        found = [[(topic, partition) for topic in topics for partition in each[topic]] for each in asked]
        owned, sizes = sorted(each for own in found for each in own), [len(own) for own in found]
        if owned == sorted(each for each in ALL if each[0] in topics) and max(sizes) - min(sizes) < 2:
            return found
        assert time.monotonic() < deadline, f"the partitions are not divided: {found}"
        time.sleep(0.05)


class BrokerContract:
    def test_offsets_of_a_partition_begin_at_0_and_have_no_gap(self, log: Log) -> None:
        for batch in (records(30), records(1), records(20)):
            log.broker.publish(batch)
        chunks = read_all(log.broker)
        assert sum(len(chunk.values) for chunk in chunks.values()) == 51
        for partition, chunk in chunks.items():
            assert list(chunk.offsets) == list(range(len(chunk.values)))
            assert chunk.next_offset == log.broker.bounds(TOPIC)[partition].end == len(chunk.values)

    def test_records_keep_their_values_and_the_order_in_which_they_were_published(self, log: Log) -> None:
        odd = [b"", b"\0", b"\xff\xfe", b"{" * 100_000, "ä\n".encode()]
        log.broker.publish([Record(TOPIC, b"one key", value) for value in odd])
        (chunk,) = [chunk for chunk in read_all(log.broker).values() if chunk.values]
        assert list(chunk.values) == odd

    def test_records_of_one_key_share_a_partition_and_keys_spread_over_all(self, log: Log) -> None:
        log.broker.publish([Record(TOPIC, b"key %d" % (n % 40), b"%d" % (n % 40)) for n in range(400)])
        partitions = defaultdict(set)
        for partition, chunk in read_all(log.broker).items():
            for value in chunk.values:
                partitions[value].add(partition)
        assert all(len(found) == 1 for found in partitions.values())
        assert {p for found in partitions.values() for p in found} == set(log.broker.topic(TOPIC).partitions)

    def test_topics_that_exist_are_left_as_they_are(self, log: Log) -> None:
        log.broker.publish(records(3))
        before = log.broker.topic(TOPIC)
        log.broker.ensure_topics([TOPIC, "events.new"])
        assert log.broker.topic(TOPIC) == before and len(values(log.broker)) == 3
        assert log.broker.topic("events.new").id != before.id

    def test_a_topic_that_nobody_created_is_unknown(self, log: Log) -> None:
        for ask in (log.broker.topic, log.broker.bounds, lambda name: log.broker.read(name, 0, 0, *PLENTY)):
            with pytest.raises(UnknownTopic, match=r"events\.nothing"):
                ask("events.nothing")

    def test_one_record_of_an_unknown_topic_keeps_the_whole_batch_out(self, log: Log) -> None:
        log.broker.publish(records(2))
        with pytest.raises(UnknownTopic):
            log.broker.publish([*records(5), Record("events.nothing", b"", b""), *records(5, OTHER)])
        assert len(values(log.broker)) == 2 and values(log.broker, OTHER) == []
        log.broker.publish(records(2))
        assert len(values(log.broker)) == 4

    def test_a_batch_of_several_topics_is_stored_whole(self, log: Log) -> None:
        log.broker.publish([*records(5), *records(7, OTHER)])
        assert (len(values(log.broker)), len(values(log.broker, OTHER))) == (5, 7)

    def test_several_processes_that_write_at_once_lose_nothing_and_leave_no_gap(self, log: Log) -> None:
        spawn = multiprocessing.get_context("spawn")
        together = spawn.Barrier(WRITERS)
        writers = [spawn.Process(target=write_batches, args=(log.another, n, together)) for n in range(WRITERS)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(120)
        assert [writer.exitcode for writer in writers] == [0] * WRITERS
        sent = [b"%d/%d/%d" % (w, b, n) for w in range(WRITERS) for b in range(BATCHES) for n in range(BATCH)]
        assert values(log.broker) == sorted(sent)
        for chunk in read_all(log.broker).values():
            assert list(chunk.offsets) == list(range(len(chunk.offsets)))

    def test_what_one_client_published_another_reads(self, log: Log) -> None:
        log.broker.publish(records(9))
        other = log.another()
        assert values(other) == values(log.broker)
        assert other.topic(TOPIC) == log.broker.topic(TOPIC)
        other.close()

    def test_a_recreated_topic_has_another_identity_and_begins_again_at_0(self, log: Log) -> None:
        log.broker.publish(records(20))
        before = log.broker.topic(TOPIC)
        log.recreate(TOPIC)
        after = log.broker.topic(TOPIC)
        assert (after.name, after.partitions) == (before.name, before.partitions) and after.id != before.id
        assert values(log.broker) == []
        log.broker.publish([Record(TOPIC, b"key", b"new")])
        (chunk,) = [chunk for chunk in read_all(log.broker).values() if chunk.values]
        assert (list(chunk.offsets), list(chunk.values)) == ([0], [b"new"])

    def test_reading_outside_of_what_is_held_names_what_is_held(self, log: Log) -> None:
        log.broker.publish([Record(TOPIC, b"key", b"%d" % n) for n in range(10)])
        (partition,) = [p for p, held in log.broker.bounds(TOPIC).items() if held.end]
        log.truncate(TOPIC, partition, 4)
        for offset in (0, 3, 11):
            with pytest.raises(OffsetOutOfRange) as raised:
                log.broker.read(TOPIC, partition, offset, *PLENTY)
            assert (raised.value.start, raised.value.end) == (4, 10)
        assert list(log.broker.read(TOPIC, partition, 4, *PLENTY).offsets) == [4, 5, 6, 7, 8, 9]

    def test_reading_at_the_end_gives_nothing_and_stays_there(self, log: Log) -> None:
        log.broker.publish(records(10))
        for partition, held in log.broker.bounds(TOPIC).items():
            chunk = log.broker.read(TOPIC, partition, held.end, *PLENTY)
            assert (list(chunk.values), chunk.next_offset) == ([], held.end)

    def test_a_partition_that_was_cut_to_nothing_goes_on_at_its_old_end(self, log: Log) -> None:
        log.broker.publish([Record(TOPIC, b"key", b"old")] * 3)
        (partition,) = [p for p, held in log.broker.bounds(TOPIC).items() if held.end]
        log.truncate(TOPIC, partition, 3)
        log.broker.publish([Record(TOPIC, b"key", b"new")])
        chunk = log.broker.read(TOPIC, partition, 3, *PLENTY)
        assert (list(chunk.offsets), list(chunk.values)) == ([3], [b"new"])

    def test_a_reading_ends_at_its_number_of_records_or_of_bytes(self, log: Log) -> None:
        log.broker.publish([Record(TOPIC, b"key", b"x" * 100)] * 10)
        (partition,) = [p for p, held in log.broker.bounds(TOPIC).items() if held.end]
        assert list(log.broker.read(TOPIC, partition, 2, 3, 1 << 30).offsets) == [2, 3, 4]
        few = log.broker.read(TOPIC, partition, 2, 100, 450)
        assert 1 <= len(few.offsets) <= 4 and few.next_offset == 2 + len(few.offsets)

    def test_a_record_larger_than_the_bytes_asked_for_is_read_alone(self, log: Log) -> None:
        log.broker.publish([Record(TOPIC, b"key", b"x" * 5_000), Record(TOPIC, b"key", b"y" * 5_000)])
        (partition,) = [p for p, held in log.broker.bounds(TOPIC).items() if held.end]
        assert list(log.broker.read(TOPIC, partition, 0, 100, 1).values) == [b"x" * 5_000]

    def test_positions_are_kept_by_group(self, log: Log) -> None:
        topic = log.broker.topic(TOPIC)
        log.broker.commit("lander", topic, {0: 5, 1: 7})
        log.broker.commit("listener", topic, {0: 1})
        log.broker.commit("lander", topic, {0: 6})
        assert log.broker.positions("lander", topic) == {0: 6, 1: 7}
        assert log.broker.positions("listener", topic) == {0: 1}
        assert log.broker.positions("nobody", topic) == {}

    def test_positions_of_a_topic_do_not_pass_to_the_one_that_took_its_name(self, log: Log) -> None:
        log.broker.publish(records(10))
        before = log.broker.topic(TOPIC)
        log.broker.commit("lander", before, {0: 5})
        log.recreate(TOPIC)
        after = log.broker.topic(TOPIC)
        assert log.broker.positions("lander", after) == {}
        log.broker.commit("lander", before, {0: 9})
        assert log.broker.positions("lander", after) == {}

    def test_a_member_that_is_alone_has_every_partition(self, log: Log) -> None:
        assert shares(log.broker) == [ALL]

    def test_two_members_divide_the_partitions_evenly(self, log: Log) -> None:
        other = log.member()
        shares(log.broker)
        assert [len(own) for own in shares(log.broker, other)] == [2, 2]
        assert shares(log.broker, other) == shares(log.broker, other), "nobody came and nobody went"
        other.close()

    def test_of_more_members_than_partitions_some_have_none(self, log: Log) -> None:
        others = [log.member() for _ in range(5)]
        assert sorted(len(own) for own in shares(log.broker, *others)) == [0, 0, 1, 1, 1, 1]
        for other in others:
            other.close()

    def test_what_a_member_that_closed_had_goes_to_the_others(self, log: Log) -> None:
        other = log.member()
        shares(log.broker, other)
        other.close()
        assert shares(log.broker) == [ALL]

    def test_a_member_that_died_is_replaced(self, log: Log) -> None:
        first, second = log.member(), log.member()
        shares(log.broker, first, second)
        log.die(first)
        assert [len(own) for own in shares(log.broker, second)] == [2, 2]
        third = log.member()
        shares(log.broker, second, third)
        second.close()
        third.close()

    def test_groups_divide_for_themselves(self, log: Log) -> None:
        other = log.member()
        shares(log.broker)
        assert shares(other, group="listener") == [ALL]
        assert shares(log.broker) == [ALL]
        other.close()

    def test_a_topic_that_does_not_exist_has_no_partitions_and_holds_up_no_other(self, log: Log) -> None:
        shares(log.broker)
        share = log.broker.share(GROUP, [*TOPICS, "events.nothing"])
        assert list(share["events.nothing"]) == [] and [list(share[topic]) for topic in TOPICS] == [[0, 1], [0, 1]]
