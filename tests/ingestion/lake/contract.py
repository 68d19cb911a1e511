"""What a lake does wherever its files are. A storage's test inherits `LakeContract` and gives it a `lake` fixture."""

from collections.abc import Iterator
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet
import pytest

from ingestion import tables
from ingestion.encoding import Block, encode
from ingestion.errors import LakeConflict
from ingestion.events import Product, Properties, text
from ingestion.lake import Commit, Lake, LakeFile, LakeTable, Range
from ingestion.storage import arrow_files
from ingestion.tables import Table, event_table
from tests.platform import NOON, Stored, event, record

VIEWS, CARTS = event_table("product_viewed"), event_table("cart_viewed")
NOON_US, HOUR_US = int(NOON.timestamp() * 1_000_000), 3_600_000_000


class Material(Product, frozen=True, kw_only=True):
    """A product as a later version knows it."""

    material: Annotated[str, text(64, "what it is made of")] | None = None


class LaterCart(Properties, frozen=True, kw_only=True):
    """A shopper looked at the cart."""

    cart_id: Annotated[str, text(128, "id of the cart")] | None = None
    gift: bool | None = None
    products: list[Material] | None = None


LATER_CARTS = tables._event_table("cart_viewed", LaterCart)


def rows(table: Table, events: list[Stored], start: int = 0, at: int = NOON_US) -> pa.Table:
    offsets = range(start, start + len(events))
    return encode(
        table, [Block("id", table.topic, 0, offsets, [at] * len(events), [record(event).value for event in events])]
    )


def append(
    lake_table: LakeTable, start: int, end: int, partition: int = 0, topic_id: str = "id", at: int = NOON_US
) -> Range:
    """Commit the offsets `start` to `end` of a partition."""
    table, covered = lake_table.table, Range(topic_id, partition, start, end, end - start)
    events = [event(table.name, number) for number in range(start, end)]
    lake_table.snapshot().append(rows(table, events, start, at), [covered])
    return covered


def read(lake_table: LakeTable) -> list[dict[str, object]]:
    found = pa.concat_tables([read_file(file) for file in lake_table.snapshot().files()], promote_options="default")
    listed: list[dict[str, object]] = found.sort_by("kafka_offset").to_pylist()
    return listed


def read_file(file: LakeFile) -> pa.Table:
    (path,), filesystem = arrow_files([file.uri])
    return pa.parquet.read_table(path, partitioning=None, filesystem=filesystem)


def first_file(commits: Iterator[Commit]) -> LakeFile:
    (file,) = next(commits).files
    return file


class LakeContract:
    @pytest.fixture
    def views_table(self, lake: Lake) -> LakeTable:
        return lake.table(VIEWS)

    def test_a_table_is_made_when_it_is_first_looked_at(self, views_table: LakeTable) -> None:
        snapshot = views_table.snapshot()
        assert (snapshot.version, snapshot.files(), snapshot.position("id", 0)) == (0, [], 0)
        assert snapshot.schema.names == VIEWS.schema.names
        assert list(views_table.commits(-1)) == [Commit(0, (), ())]

    def test_a_commit_holds_rows_and_moves_the_position(self, views_table: LakeTable) -> None:
        append(views_table, 0, 5)
        append(views_table, 5, 7)
        assert views_table.snapshot().position("id", 0) == 7
        assert [row["kafka_offset"] for row in read(views_table)] == list(range(7))
        assert views_table.snapshot(1).position("id", 0) == 5

    def test_positions_of_partitions_and_of_topics_are_their_own(self, views_table: LakeTable) -> None:
        append(views_table, 0, 5, partition=0)
        append(views_table, 0, 3, partition=1)
        append(views_table, 0, 2, topic_id="another")
        snapshot = views_table.snapshot()
        positions = [
            snapshot.position(*key) for key in (("id", 0), ("id", 1), ("id", 2), ("another", 0), ("another", 1))
        ]
        assert positions == [5, 3, 0, 2, 0]

    def test_a_writer_that_has_not_seen_anothers_commit_conflicts_and_adds_nothing(
        self, views_table: LakeTable
    ) -> None:
        stale = views_table.snapshot()
        append(views_table, 0, 5)
        with pytest.raises(LakeConflict, match="product_viewed"):
            stale.append(rows(VIEWS, [event("product_viewed", 9)]), [Range("id", 0, 0, 1, 1)])
        assert (len(read(views_table)), views_table.snapshot().position("id", 0)) == (5, 5)

    def test_one_moved_partition_keeps_the_whole_commit_out(self, views_table: LakeTable) -> None:
        stale = views_table.snapshot()
        append(views_table, 0, 5, partition=1)
        with pytest.raises(LakeConflict):
            stale.append(rows(VIEWS, [event("product_viewed")]), [Range("id", 0, 0, 1, 1), Range("id", 1, 0, 0, 0)])
        assert views_table.snapshot().position("id", 0) == 0

    def test_writers_of_different_partitions_do_not_conflict(self, views_table: LakeTable) -> None:
        stale = views_table.snapshot()
        append(views_table, 0, 5, partition=1)
        stale.append(rows(VIEWS, [event("product_viewed")]), [Range("id", 0, 0, 1, 1)])
        snapshot = views_table.snapshot()
        assert (snapshot.position("id", 0), snapshot.position("id", 1), len(read(views_table))) == (1, 5, 6)

    def test_a_commit_without_rows_moves_the_position_too(self, views_table: LakeTable) -> None:
        covered = Range("id", 0, 0, 40, 0, unread=40)
        views_table.snapshot().append(rows(VIEWS, []), [covered])
        assert views_table.snapshot().position("id", 0) == 40
        assert list(views_table.commits(0)) == [Commit(1, (), (covered,))]

    def test_commits_name_their_files_rows_and_ranges(self, views_table: LakeTable) -> None:
        covered = [append(views_table, 0, 5), append(views_table, 5, 7)]
        first, second = views_table.commits(0)
        assert (first.version, first.rows, first.ranges) == (1, 5, (covered[0],))
        assert (second.version, second.rows, second.ranges) == (2, 2, (covered[1],))
        (file,) = second.files
        assert file.landing_hour == "2026-05-01-12" and read_file(file).num_rows == 2
        assert list(views_table.commits(2)) == [] and list(views_table.commits(0, until=1)) == [first]

    def test_the_last_version_is_found_from_any_that_was_known(self, views_table: LakeTable) -> None:
        for start in range(3):
            append(views_table, start, start + 1)
        assert [views_table.latest(known) for known in (-1, 0, 2, 3, 99)] == [3] * 5

    def test_files_are_found_by_their_landing_hour(self, views_table: LakeTable) -> None:
        append(views_table, 0, 5)
        append(views_table, 5, 7, at=NOON_US + HOUR_US)
        append(views_table, 7, 8, at=NOON_US + HOUR_US)
        snapshot = views_table.snapshot()
        hours = ["2026-05-01-12", "2026-05-01-13", "2026-05-01-14"]
        assert [[file.rows for file in snapshot.files(hour)] for hour in hours] == [[5], [1, 2], []]
        assert {file for hour in hours for file in snapshot.files(hour)} == set(snapshot.files())
        assert set(snapshot.files()) == {file for commit in views_table.commits(0) for file in commit.files}

    def test_compacting_is_no_news_and_changes_no_row_and_no_position(self, views_table: LakeTable) -> None:
        for start in range(0, 8, 2):
            append(views_table, start, start + 2)
        before = read(views_table)
        views_table.delta().optimize.compact()
        assert list(views_table.commits(4)) == [Commit(5, (), ())]
        assert len(views_table.snapshot().files()) == 1
        assert (read(views_table), views_table.snapshot().position("id", 0)) == (before, 8)
        views_table.sync(0)

    def test_rows_that_were_deleted_are_no_news(self, views_table: LakeTable) -> None:
        append(views_table, 0, 5)
        views_table.delta().delete("kafka_offset = 2")
        assert list(views_table.commits(1)) == [Commit(2, (), ())]

    def test_a_new_column_is_added_and_an_older_writer_still_lands(self, lake: Lake) -> None:
        old, new = lake.table(CARTS), lake.table(LATER_CARTS)
        append(old, 0, 1)
        later = event("cart_viewed", 1)
        later["properties"] = {"cart_id": "c", "gift": True, "products": [{"product_id": "p", "material": "oak"}]}
        new.snapshot().append(rows(LATER_CARTS, [later], 1), [Range("id", 0, 1, 2, 1)])
        append(old, 2, 5)
        snapshot = old.snapshot()
        assert snapshot.position("id", 0) == 5
        assert snapshot.schema.field("gift").type == pa.bool_()
        inner = snapshot.schema.field("products").type.value_type
        assert {field.name for field in inner} == {*Product.__struct_fields__, "material"}
        gifts = old.delta().to_pyarrow_table().sort_by("kafka_offset").select(["gift", "products"]).to_pylist()
        assert [row["gift"] for row in gifts] == [None, True, None, None, None]
        assert gifts[1]["products"][0]["material"] == "oak"
        assert gifts[4]["products"][0]["material"] is None and gifts[4]["products"][0]["product_id"] == "product_id 4 ä"
