import pytest

from ingestion.broker import Topic
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.lake import Range
from ingestion.lander import GROUP, Lander, Rotation
from ingestion.steps import run
from ingestion.tables import Table, event_table
from tests.conftest import MakePlatform
from tests.platform import Platform, event, steps_until

CARTS = event_table("cart_viewed")


def positions(platform: Platform, table: Table) -> dict[int, int]:
    topic = platform.broker.topic(table.topic)
    snapshot = platform.lake.table(table).snapshot()
    return {partition: snapshot.position(topic.id, partition) for partition in topic.partitions}


def ends(platform: Platform, table: Table) -> dict[int, int]:
    return {partition: held.end for partition, held in platform.broker.bounds(table.topic).items()}


def ranges(platform: Platform, table: Table) -> list[Range]:
    return [covered for commit in platform.lake.table(table).commits(0) for covered in commit.ranges]


def landed_rows(platform: Platform, table: Table) -> int:
    return sum(file.rows for file in platform.lake.table(table).snapshot().files())


def test_a_round_lands_what_the_log_has_and_says_how_far_it_came(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 20)
    landed = platform.land()
    assert (landed.rows, landed.commits, landed.unfit, landed.problems) == (20, 1, 0, [])
    assert positions(platform, views) == ends(platform, views)
    assert platform.broker.positions(GROUP, platform.broker.topic(views.topic)) == ends(platform, views)


def test_a_second_round_adds_only_what_is_new(platform: Platform, views: Table) -> None:
    for number in (5, 0, 7):
        platform.publish("product_viewed", number)
        assert platform.land().rows == number
    assert landed_rows(platform, views) == 12


def test_a_log_without_records_makes_no_commit(platform: Platform, views: Table) -> None:
    assert platform.land().commits == 0
    assert platform.lake.table(views).snapshot().version == 0


def test_positions_come_from_the_lake_and_not_from_the_group(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 20)
    topic = platform.broker.topic(views.topic)
    platform.broker.commit(GROUP, topic, {0: 99, 1: 99})
    assert platform.land().rows == 20
    platform.broker.commit(GROUP, topic, {0: 0, 1: 0})
    assert platform.land().rows == 0


def test_each_table_has_its_own_commits(make_platform: MakePlatform, views: Table) -> None:
    platform = make_platform(views, CARTS)
    platform.publish("product_viewed", 4)
    platform.publish("cart_viewed", 3)
    assert platform.land().commits == 2
    assert (landed_rows(platform, views), landed_rows(platform, CARTS)) == (4, 3)


def test_rows_of_an_hour_are_in_a_file_of_their_own(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 4)
    platform.now = platform.now.replace(hour=15)
    platform.publish("product_viewed", 6)
    assert platform.land().commits == 1
    files = platform.lake.table(views).snapshot().files()
    assert sorted((file.landing_hour, file.rows) for file in files) == [("2026-05-01-12", 4), ("2026-05-01-15", 6)]


def test_records_that_do_not_fit_are_landed_and_counted(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", [b"broken", event("product_viewed", 1), b"", event("cart_viewed", 2), b"\xff"])
    landed = platform.land()
    assert (landed.rows, landed.unfit) == (5, 4)
    assert positions(platform, views) == ends(platform, views)


@pytest.mark.parametrize("rotation", [Rotation(rows=3), Rotation(bytes=1_500), Rotation(rows=1, bytes=1)])
def test_a_backlog_is_landed_in_as_many_commits_as_the_rotation_asks(
    platform: Platform, views: Table, rotation: Rotation
) -> None:
    platform.publish("product_viewed", 20)
    lander, commits = platform.lander(rotation), 0
    while (landed := platform.land(lander)).rows:
        commits += landed.commits
        assert landed.rows <= 4
    assert commits >= 5 and landed_rows(platform, views) == 20
    platform.load()
    assert platform.audit().findings == []


def test_a_buffer_is_committed_when_it_is_due_and_not_before(platform: Platform, views: Table) -> None:
    now = 100.0
    lander = Lander(platform.broker, platform.lake, [views], Rotation(rows=10, seconds=60), lambda: now)
    platform.publish("product_viewed", 2)
    assert run(lander.round(), lambda _: None).rows == 0
    now += 59
    platform.publish("product_viewed", 2)
    assert run(lander.round(), lambda _: None).rows == 0
    now += 1
    assert run(lander.round(), lambda _: None).rows == 4
    platform.publish("product_viewed", 40)
    assert next(rows for _ in range(9) if (rows := run(lander.round(), lambda _: None).rows)) == 10


def test_a_lander_that_was_overtaken_drops_what_it_read(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 20)
    slow = platform.lander()
    steps = slow.round(flush=True)
    steps_until(steps, "lander.read")
    assert platform.land().rows == 20
    assert run(steps, lambda _: None).rows == 0
    assert platform.land(slow).rows == 0
    assert landed_rows(platform, views) == 20


def test_a_lander_that_was_overtaken_after_it_had_looked_conflicts_and_reads_on(
    platform: Platform, views: Table
) -> None:
    platform.publish("product_viewed", 20)
    slow = platform.lander()
    steps = slow.round(flush=True)
    steps_until(steps, "lander.encoded")
    assert platform.land().rows == 20
    assert run(steps, lambda _: None).rows == 0
    platform.publish("product_viewed", 3)
    assert platform.land(slow).rows == 3
    assert landed_rows(platform, views) == 23


def test_a_lander_that_was_overtaken_in_one_partition_keeps_the_other(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 20)
    slow, only_0 = platform.lander(), OnePartition(platform.broker)
    steps = slow.round(flush=True)
    steps_until(steps, "lander.read")
    fast = Lander(only_0, platform.lake, [views], Rotation(), lambda: 0.0)
    first = platform.land(fast).rows
    second = run(steps, lambda _: None).rows
    assert 0 < first < 20 and first + second == 20
    assert positions(platform, views) == ends(platform, views)


def test_two_landers_divide_the_partitions_and_neither_holds_up_the_other(platform: Platform, views: Table) -> None:
    first, second = platform.lander(), another_lander(platform)
    platform.land(first), platform.land(second)
    platform.publish("product_viewed", 20)
    steps = first.round(flush=True)
    steps_until(steps, "lander.encoded")
    rows = platform.land(second).rows, run(steps, lambda _: None).rows
    assert sorted(rows) == sorted(ends(platform, views).values()) and min(rows) > 0
    assert positions(platform, views) == ends(platform, views)


def test_whoever_gets_a_partition_goes_on_where_its_owner_landed(platform: Platform, views: Table) -> None:
    first, second = platform.lander(), another_lander(platform)
    platform.publish("product_viewed", 10)
    assert platform.land(first).rows == 10
    platform.land(second)
    platform.publish("product_viewed", 10)
    assert platform.land(first).rows + platform.land(second).rows == 10
    second._broker.close()
    platform.publish("product_viewed", 10)
    landed = platform.land(first)
    assert (landed.rows, landed.read) == (10, 10), "nothing is read that the other has landed"


def test_what_was_read_is_landed_though_it_has_another_owner_now(platform: Platform, views: Table) -> None:
    first = platform.lander()
    platform.publish("product_viewed", 20)
    assert run(first.round(), lambda _: None).read == 20
    another_lander(platform)._ask()
    assert platform.land(first).rows == 20


def test_a_lander_of_the_whole_does_not_wait_for_who_else_is_there(platform: Platform, views: Table) -> None:
    another_lander(platform)._ask()
    platform.publish("product_viewed", 20)
    assert platform.land(platform.lander()).rows < 20
    platform.land(platform.lander(whole=True))
    assert landed_rows(platform, views) == 20


def another_lander(platform: Platform) -> Lander:
    return Lander(platform.another_broker(), platform.lake, platform.tables, Rotation(), lambda: 0.0)


class OnePartition(EmbeddedBroker):
    """A log that shows only its partition 0."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self.__dict__ = broker.__dict__

    def topic(self, name: str) -> Topic:
        topic = super().topic(name)
        return Topic(topic.name, topic.id, topic.partitions[:1])


def test_a_topic_that_was_recreated_is_read_from_its_own_beginning(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 9)
    platform.land()
    platform.broker.recreate(views.topic)
    platform.publish("product_viewed", 4)
    assert platform.land().rows == 4
    assert landed_rows(platform, views) == 13
    assert len({covered.topic_id for covered in ranges(platform, views)}) == 2


@pytest.mark.parametrize("point", ["lander.read", "lander.positioned"])
def test_a_topic_that_is_recreated_between_reading_and_landing_keeps_records_apart(
    platform: Platform, views: Table, point: str
) -> None:
    platform.publish("product_viewed", 9)
    lander = platform.lander()
    steps = lander.round(flush=True)
    steps_until(steps, point)
    platform.broker.recreate(views.topic)
    platform.publish("product_viewed", 4)
    assert run(steps, lambda _: None).rows == 0
    assert platform.land(lander).rows == 4
    assert {covered.topic_id for covered in ranges(platform, views)} == {platform.broker.topic(views.topic).id}


def test_what_retention_took_is_named_and_counted_and_the_rest_is_landed(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 20)
    platform.land()
    before = positions(platform, views)
    platform.publish("product_viewed", 20)
    for partition, end in ends(platform, views).items():
        platform.broker.truncate(views.topic, partition, end - 3)
    landed = platform.land()
    assert (landed.rows, landed.unread) == (6, 14)
    assert landed.problems == [f"{views.topic}: retention took 14 records before they were read"]
    for covered in ranges(platform, views)[2:]:
        assert covered.start == before[covered.partition]
        assert covered.end - covered.start == covered.rows + covered.unread and covered.rows == 3


def test_a_log_that_retention_emptied_moves_the_position_without_rows(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 20)
    for partition, end in ends(platform, views).items():
        platform.broker.truncate(views.topic, partition, end)
    landed = platform.land()
    assert (landed.rows, landed.unread) == (0, 20)
    assert positions(platform, views) == ends(platform, views)
    assert platform.land().problems == []


def test_a_log_that_ends_before_the_lake_is_told_and_not_read(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 20)
    platform.land()
    lose_records(platform.broker, views, 3)
    platform.publish("product_viewed", 1)
    landed = platform.land()
    assert landed.rows == 0 and "lost records" in landed.problems[0]
    assert landed_rows(platform, views) == 20


def lose_records(broker: EmbeddedBroker, table: Table, number: int) -> None:
    """Take the last records of every partition and let it end before them, as a restored copy of a log does."""
    broker._db.execute("delete from records where offset >= (select min(end_offset) from partitions) - ?", [number])
    broker._db.execute("update partitions set end_offset = (select min(end_offset) from partitions) - ?", [number])


def test_a_topic_that_is_missing_does_not_hold_up_the_others(make_platform: MakePlatform, views: Table) -> None:
    platform = make_platform(views)
    platform.tables = [CARTS, views]
    platform.publish("product_viewed", 5)
    landed = platform.land()
    assert landed.rows == 5
    assert len(landed.problems) == 1 and "events.cart_viewed" in landed.problems[0]


@pytest.mark.parametrize(
    "point", ["lander.read", "lander.positioned", "lander.encoded", "lander.committed", "lander.synced", "lander.noted"]
)
def test_a_lander_that_stops_anywhere_is_taken_over_by_the_next(platform: Platform, views: Table, point: str) -> None:
    platform.publish("product_viewed", 20)
    steps_until(platform.lander().round(flush=True), point)
    platform.publish("product_viewed", 5)
    platform.land()
    assert landed_rows(platform, views) == 25
    platform.load()
    assert platform.audit().findings == []


def test_the_group_moves_only_after_the_commit_was_made_durable(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 20)
    topic, seen = platform.broker.topic(views.topic), {}
    steps = platform.lander().round(flush=True)
    for point in steps:
        seen[point] = dict(platform.broker.positions(GROUP, topic))
    assert seen["lander.committed"] == seen["lander.synced"] == {}
    assert seen["lander.noted"] == ends(platform, views)


def test_partitions_share_a_round_so_that_a_backlog_starves_nobody(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 80)
    assert all(end > 20 for end in ends(platform, views).values())
    platform.land(platform.lander(Rotation(rows=10)))
    assert all(0 < position < 10 for position in positions(platform, views).values())
