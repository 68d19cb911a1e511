import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ingestion.broker import Broker, Record, open_broker
from ingestion.broker import embedded as embedded_module
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.broker.members import HEARTBEAT_US, LEASE_US, divide
from ingestion.errors import BrokerUnavailable, ConfigurationError
from tests.ingestion.broker.contract import OTHER, PLENTY, TOPIC, BrokerContract, Log, records, values

LANDER = "lander"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(tmp_path: Path, clock: Clock) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "log.sqlite", clock=clock)
    broker.ensure_topics([TOPIC, OTHER])
    yield broker
    broker.close()


class TestEmbeddedBroker(BrokerContract):
    @pytest.fixture
    def log(self, broker: EmbeddedBroker, clock: Clock) -> Log:
        def die(member: Broker) -> None:
            clock.now += LEASE_US

        another = partial(EmbeddedBroker, broker.path)
        member = partial(EmbeddedBroker, broker.path, clock=clock)
        return Log(broker, another, broker.recreate, broker.truncate, member, die)


def one_key(number: int) -> list[Record]:
    return [Record(TOPIC, b"key", b"%d" % n) for n in range(number)]


def only_partition(broker: EmbeddedBroker) -> int:
    (partition,) = [p for p, held in broker.bounds(TOPIC).items() if held.end]
    return partition


def test_a_log_that_is_opened_again_has_everything(broker: EmbeddedBroker) -> None:
    broker.publish(records(50))
    topic, kept = broker.topic(TOPIC), values(broker)
    broker.commit("lander", topic, {0: 3})
    broker.truncate(TOPIC, 0, 2)
    bounds = broker.bounds(TOPIC)
    broker.close()
    again = EmbeddedBroker(broker.path)
    assert (again.topic(TOPIC), again.bounds(TOPIC), again.positions("lander", topic)) == (topic, bounds, {0: 3})
    assert len(values(again)) == len(kept) - 2
    again.close()


def test_every_commit_is_an_fsync(broker: EmbeddedBroker) -> None:
    full = 2
    assert broker._db.execute("pragma journal_mode").fetchone() == ("wal",)
    assert broker._db.execute("pragma synchronous").fetchone() == (full,)


def test_append_times_are_the_clocks(broker: EmbeddedBroker, clock: Clock) -> None:
    broker.publish(one_key(2))
    clock.now = 5_000
    broker.publish(one_key(1))
    assert list(broker.read(TOPIC, only_partition(broker), 0, *PLENTY).timestamps) == [1_000, 1_000, 5_000]


def test_what_the_group_has_not_read_never_expires(broker: EmbeddedBroker) -> None:
    """A listener may have passed what no lander has landed yet."""
    broker.publish(one_key(20))
    topic, partition = broker.topic(TOPIC), only_partition(broker)
    assert broker.expire(LANDER, older_than_us=10**18) == 0
    broker.commit("listener", topic, {partition: 20})
    assert broker.expire(LANDER, older_than_us=10**18) == 0
    broker.commit(LANDER, topic, {partition: 4})
    assert broker.expire(LANDER, older_than_us=10**18) == 4
    held = broker.bounds(TOPIC)[partition]
    assert (held.start, held.end, len(values(broker))) == (4, 20, 16)


def test_a_group_that_is_behind_or_gone_holds_up_no_retention(broker: EmbeddedBroker) -> None:
    broker.publish(one_key(10))
    topic, partition = broker.topic(TOPIC), only_partition(broker)
    broker.commit("a view that was removed", topic, {partition: 3})
    broker.commit(LANDER, topic, {partition: 8})
    assert broker.expire(LANDER, older_than_us=10**18) == 8


def test_expiring_one_topic_leaves_the_others(broker: EmbeddedBroker) -> None:
    broker.publish([*one_key(4), *records(6, OTHER)])
    broker.commit(LANDER, broker.topic(TOPIC), {only_partition(broker): 4})
    assert broker.expire(LANDER, older_than_us=10**18) == 4
    assert len(values(broker, OTHER)) == 6


def test_young_records_do_not_expire(broker: EmbeddedBroker, clock: Clock) -> None:
    broker.publish(one_key(3))
    clock.now = 2_000
    broker.publish(one_key(4))
    partition = only_partition(broker)
    broker.commit(LANDER, broker.topic(TOPIC), {partition: 7})
    assert broker.expire(LANDER, older_than_us=2_000) == 3
    assert broker.bounds(TOPIC)[partition].start == 3


def test_a_young_record_before_an_old_one_does_not_expire(broker: EmbeddedBroker, clock: Clock) -> None:
    """The clock of another writer may be behind."""
    clock.now = 9_000
    broker.publish(one_key(1))
    clock.now = 1_000
    broker.publish(one_key(1))
    partition = only_partition(broker)
    broker.commit(LANDER, broker.topic(TOPIC), {partition: 2})
    assert broker.expire(LANDER, older_than_us=5_000) == 0
    assert len(values(broker)) == 2


def test_more_records_expire_than_one_transaction_deletes(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_module, "EXPIRED_AT_ONCE", 3)
    broker.publish(one_key(10))
    partition = only_partition(broker)
    broker.commit(LANDER, broker.topic(TOPIC), {partition: 10})
    assert broker.expire(LANDER, older_than_us=10**18) == 10
    assert (broker.bounds(TOPIC)[partition].start, values(broker)) == (10, [])


def heard(broker: EmbeddedBroker) -> set[int]:
    return {at for (at,) in broker._db.execute("select heard_at from members").fetchall()}


def test_asking_is_written_down_every_few_seconds_only(broker: EmbeddedBroker, clock: Clock) -> None:
    broker.share("lander", [TOPIC])
    began = clock.now
    clock.now += HEARTBEAT_US - 1
    broker.share("lander", [TOPIC])
    assert heard(broker) == {began}
    clock.now += 1
    broker.share("lander", [TOPIC])
    assert heard(broker) == {clock.now}


def test_a_member_keeps_its_part_until_its_lease_ends(broker: EmbeddedBroker, clock: Clock) -> None:
    other = EmbeddedBroker(broker.path, clock=clock)
    other.share("lander", [TOPIC])
    clock.now += LEASE_US - 1
    assert len(broker.share("lander", [TOPIC])[TOPIC]) == 1
    clock.now += 1
    assert broker.share("lander", [TOPIC]) == {TOPIC: [0, 1]}
    clock.now += HEARTBEAT_US
    broker.share("lander", [TOPIC])
    assert len(heard(broker)) == 1, "who has left is deleted"
    other.close()


def test_a_clock_that_was_set_back_keeps_no_dead_member_alive(broker: EmbeddedBroker, clock: Clock) -> None:
    clock.now = 10**12
    EmbeddedBroker(broker.path, clock=clock).share("lander", [TOPIC])
    clock.now = 1_000
    assert broker.share("lander", [TOPIC]) == {TOPIC: [0, 1]}


def test_whoever_asks_for_one_topic_only_takes_nothing_of_the_others(broker: EmbeddedBroker, clock: Clock) -> None:
    other = EmbeddedBroker(broker.path, clock=clock)
    other.share("lander", [OTHER])
    share = broker.share("lander", [TOPIC, OTHER])
    assert share[TOPIC] == [0, 1] and len(share[OTHER]) == len(other.share("lander", [OTHER])[OTHER]) == 1
    other.close()


@pytest.mark.parametrize("topics", [1, 3, 14])
@pytest.mark.parametrize("partitions", [1, 2, 7])
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_every_partition_has_one_owner_and_nobody_has_two_more_than_another(
    topics: int, partitions: int, count: int
) -> None:
    every = [(f"events.{topic:02}", partition) for topic in range(topics) for partition in range(partitions)]
    names = [f"member {number}" for number in range(count)]
    dealt = divide(every, {topic: names for topic, _ in every})
    assert sorted(each for own in dealt.values() for each in own) == every
    assert max(map(len, dealt.values())) - min(map(len, dealt.values())) <= 1


def test_a_log_that_is_gone_can_still_be_closed(broker: EmbeddedBroker) -> None:
    broker.share("lander", [TOPIC])
    broker.close()
    broker.close()


def test_cutting_beyond_the_end_stops_at_the_end_and_never_goes_back(broker: EmbeddedBroker) -> None:
    broker.publish(one_key(5))
    partition = only_partition(broker)
    broker.truncate(TOPIC, partition, 99)
    broker.truncate(TOPIC, partition, 2)
    held = broker.bounds(TOPIC)[partition]
    assert (held.start, held.end) == (5, 5)


def test_a_locked_file_is_unavailable_and_nothing_is_stored(broker: EmbeddedBroker) -> None:
    broker._db.execute("pragma busy_timeout=20")
    other = sqlite3.connect(broker.path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(BrokerUnavailable, match="locked"):
        broker.publish(records(1))
    other.execute("rollback")
    other.close()
    assert values(broker) == []
    broker.publish(records(1))
    assert len(values(broker)) == 1


def test_a_full_disk_is_unavailable_and_the_log_goes_on_when_there_is_room(broker: EmbeddedBroker) -> None:
    (pages,) = broker._db.execute("pragma page_count").fetchone()
    broker._db.execute(f"pragma max_page_count={pages + 2}")
    with pytest.raises(BrokerUnavailable, match="full"):
        broker.publish([Record(TOPIC, b"key", b"x" * 100_000)] * 10)
    assert values(broker) == []
    broker._db.execute("pragma max_page_count=1000000")
    broker.publish(records(3))
    assert len(values(broker)) == 3


class FailsAtCommit:
    """A connection whose next commit fails as a broken disk does."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db, self.broken = db, True

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "commit" and self.broken:
            raise sqlite3.OperationalError("disk I/O error")
        return self._db.execute(sql, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


def test_after_a_commit_that_failed_the_log_goes_on(broker: EmbeddedBroker) -> None:
    failing: Any = FailsAtCommit(broker._db)
    broker._db = failing
    with pytest.raises(BrokerUnavailable, match="disk I/O error"):
        broker.publish(records(2))
    failing.broken = False
    assert values(broker) == []
    broker.publish(records(3))
    assert len(values(broker)) == 3


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BrokerUnavailable, match="file"):
        EmbeddedBroker(tmp_path / "file" / "log.sqlite")


def test_a_file_that_is_no_log_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(BrokerUnavailable, match="not a database"):
        EmbeddedBroker(tmp_path / "log.sqlite")


def test_the_url_names_the_adapter_and_its_path(tmp_path: Path) -> None:
    broker = open_broker(f"embedded://{tmp_path}/a/b.sqlite", partitions=5)
    broker.ensure_topics([TOPIC])
    assert broker.topic(TOPIC).partitions == (0, 1, 2, 3, 4)
    assert (tmp_path / "a" / "b.sqlite").exists()
    broker.close()


@pytest.mark.parametrize("url", ["kafka://", "redis://host:6379", "embedded://", "/var/log", ""])
def test_a_url_without_an_adapter_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="HEADRACE_BROKER"):
        open_broker(url)
