"""Who works on what in the embedded log: the members of its groups, and the partitions divided among them.

A member is heard of again every few seconds while it asks; one that was not heard of for a lease has left. Everybody
divides what everybody sees in the same way, so there is nothing to agree on. A time after now counts like one before:
a clock that was set back must not keep a dead member alive.
"""

import sqlite3
from collections.abc import Mapping, Sequence

LEASE_US = 6_000_000
HEARTBEAT_US = 2_000_000
SCHEMA = """
create table if not exists members (
    consumer_group text, topic text, member text, heard_at integer, primary key (consumer_group, topic, member)
) without rowid;
"""


def is_heard(db: sqlite3.Connection, group: str, member: str, topics: Sequence[str], now_us: int) -> bool:
    """Whether the group has lately heard of `member` for each of `topics`."""
    lately = db.execute(
        "select topic from members where consumer_group = ? and member = ? and abs(heard_at - ?) < ?",
        [group, member, now_us, HEARTBEAT_US],
    )
    return set(topics) <= {topic for (topic,) in lately}


def hear(db: sqlite3.Connection, group: str, member: str, topics: Sequence[str], now_us: int) -> None:
    """Note that `member` asked, and delete who has left."""
    db.execute("delete from members where abs(heard_at - ?) >= ?", [now_us, LEASE_US])
    rows = [(group, topic, member, now_us) for topic in topics]
    db.executemany("insert or replace into members values (?, ?, ?, ?)", rows)


def leave(db: sqlite3.Connection, member: str) -> None:
    """Give back everything that `member` has."""
    db.execute("delete from members where member = ?", [member])


def share(
    db: sqlite3.Connection, group: str, member: str, topics: Sequence[str], now_us: int
) -> Mapping[str, Sequence[int]]:
    """The part of `member` in each of `topics`."""
    living: dict[str, list[str]] = {}
    for topic, name in db.execute(
        "select topic, member from members where consumer_group = ? and abs(heard_at - ?) < ? order by member",
        [group, now_us, LEASE_US],
    ):
        living.setdefault(topic, []).append(name)
    partitions = db.execute("select name, partition from partitions join topics on topic = number order by 1, 2")
    own = divide([(topic, partition) for topic, partition in partitions if topic in living], living)[member]
    return {topic: [partition for name, partition in own if name == topic] for topic in topics}


def divide(
    partitions: Sequence[tuple[str, int]], members: Mapping[str, Sequence[str]]
) -> Mapping[str, Sequence[tuple[str, int]]]:
    """Each member's partitions: dealt out in turn, each among the members of its topic."""
    dealt: dict[str, list[tuple[str, int]]] = {member: [] for names in members.values() for member in names}
    for turn, (topic, partition) in enumerate(partitions):
        names = members[topic]
        dealt[names[turn % len(names)]].append((topic, partition))
    return dealt
