import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet
import pytest
from deltalake import DeltaTable, write_deltalake

from ingestion import tables
from ingestion.encoding import Block, encode
from ingestion.errors import ConfigurationError, LakeConflict, LakeHistoryGone, PermanentError
from ingestion.events import Product, Properties, text
from ingestion.lake import Commit, Lake, LakeFile, LakeTable, Range
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


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(f"file://{tmp_path}/lake")


@pytest.fixture
def views_table(lake: Lake) -> LakeTable:
    return lake.table(VIEWS)


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
    files = [file.uri for file in lake_table.snapshot().files()]
    found = pa.concat_tables(
        [pa.parquet.read_table(uri, partitioning=None) for uri in files], promote_options="default"
    )
    listed: list[dict[str, object]] = found.sort_by("kafka_offset").to_pylist()
    return listed


def first_file(commits: Iterator[Commit]) -> LakeFile:
    (file,) = next(commits).files
    return file


def entry(lake_table: LakeTable, version: int) -> Path:
    return Path(lake_table.uri) / "_delta_log" / f"{version:020d}.json"


def test_a_table_is_made_when_it_is_first_looked_at(views_table: LakeTable) -> None:
    snapshot = views_table.snapshot()
    assert (snapshot.version, snapshot.files(), snapshot.position("id", 0)) == (0, [], 0)
    assert snapshot.schema.names == VIEWS.schema.names
    assert list(views_table.commits(-1)) == [Commit(0, (), ())]


def test_a_commit_holds_rows_and_moves_the_position(views_table: LakeTable) -> None:
    append(views_table, 0, 5)
    append(views_table, 5, 7)
    assert views_table.snapshot().position("id", 0) == 7
    assert [row["kafka_offset"] for row in read(views_table)] == list(range(7))
    assert views_table.snapshot(1).position("id", 0) == 5


def test_positions_of_partitions_and_of_topics_are_their_own(views_table: LakeTable) -> None:
    append(views_table, 0, 5, partition=0)
    append(views_table, 0, 3, partition=1)
    append(views_table, 0, 2, topic_id="another")
    snapshot = views_table.snapshot()
    positions = [snapshot.position(*key) for key in (("id", 0), ("id", 1), ("id", 2), ("another", 0), ("another", 1))]
    assert positions == [5, 3, 0, 2, 0]


def test_a_writer_that_has_not_seen_anothers_commit_conflicts_and_adds_nothing(views_table: LakeTable) -> None:
    stale = views_table.snapshot()
    append(views_table, 0, 5)
    with pytest.raises(LakeConflict, match="product_viewed"):
        stale.append(rows(VIEWS, [event("product_viewed", 9)]), [Range("id", 0, 0, 1, 1)])
    assert (len(read(views_table)), views_table.snapshot().position("id", 0)) == (5, 5)


def test_one_moved_partition_keeps_the_whole_commit_out(views_table: LakeTable) -> None:
    stale = views_table.snapshot()
    append(views_table, 0, 5, partition=1)
    with pytest.raises(LakeConflict):
        stale.append(rows(VIEWS, [event("product_viewed")]), [Range("id", 0, 0, 1, 1), Range("id", 1, 0, 0, 0)])
    assert views_table.snapshot().position("id", 0) == 0


def test_writers_of_different_partitions_do_not_conflict(views_table: LakeTable) -> None:
    stale = views_table.snapshot()
    append(views_table, 0, 5, partition=1)
    stale.append(rows(VIEWS, [event("product_viewed")]), [Range("id", 0, 0, 1, 1)])
    snapshot = views_table.snapshot()
    assert (snapshot.position("id", 0), snapshot.position("id", 1), len(read(views_table))) == (1, 5, 6)


def test_a_commit_without_rows_moves_the_position_too(views_table: LakeTable) -> None:
    covered = Range("id", 0, 0, 40, 0, unread=40)
    views_table.snapshot().append(rows(VIEWS, []), [covered])
    assert views_table.snapshot().position("id", 0) == 40
    assert list(views_table.commits(0)) == [Commit(1, (), (covered,))]


def test_commits_name_their_files_rows_and_ranges(views_table: LakeTable) -> None:
    covered = [append(views_table, 0, 5), append(views_table, 5, 7)]
    first, second = views_table.commits(0)
    assert (first.version, first.rows, first.ranges) == (1, 5, (covered[0],))
    assert (second.version, second.rows, second.ranges) == (2, 2, (covered[1],))
    (file,) = second.files
    assert file.landing_hour == "2026-05-01-12" and pa.parquet.read_table(file.uri, partitioning=None).num_rows == 2
    assert list(views_table.commits(2)) == [] and list(views_table.commits(0, until=1)) == [first]


def test_files_are_found_by_their_landing_hour(views_table: LakeTable) -> None:
    append(views_table, 0, 5)
    append(views_table, 5, 7, at=NOON_US + HOUR_US)
    append(views_table, 7, 8, at=NOON_US + HOUR_US)
    snapshot = views_table.snapshot()
    hours = ["2026-05-01-12", "2026-05-01-13", "2026-05-01-14"]
    assert [[file.rows for file in snapshot.files(hour)] for hour in hours] == [[5], [1, 2], []]
    assert {file for hour in hours for file in snapshot.files(hour)} == set(snapshot.files())
    assert set(snapshot.files()) == {file for commit in views_table.commits(0) for file in commit.files}


def test_compacting_is_no_news_and_changes_no_row_and_no_position(views_table: LakeTable) -> None:
    for start in range(0, 8, 2):
        append(views_table, start, start + 2)
    before = read(views_table)
    DeltaTable(Path(views_table.uri)).optimize.compact()
    assert list(views_table.commits(4)) == [Commit(5, (), ())]
    assert len(views_table.snapshot().files()) == 1
    assert (read(views_table), views_table.snapshot().position("id", 0)) == (before, 8)
    views_table.sync(0)


def test_rows_that_were_deleted_are_no_news(views_table: LakeTable) -> None:
    append(views_table, 0, 5)
    DeltaTable(Path(views_table.uri)).delete("kafka_offset = 2")
    assert list(views_table.commits(1)) == [Commit(2, (), ())]


def test_a_log_that_was_cleaned_before_it_was_listed_is_gone_and_not_empty(views_table: LakeTable) -> None:
    for start in range(3):
        append(views_table, start, start + 1)
    DeltaTable(Path(views_table.uri)).create_checkpoint()
    entry(views_table, 1).unlink()
    with pytest.raises(LakeHistoryGone, match="version 1"):
        list(views_table.commits(0))
    assert [commit.version for commit in views_table.commits(1)] == [2, 3]


def test_positions_outlive_a_hundred_commits_and_their_checkpoint(views_table: LakeTable) -> None:
    append(views_table, 0, 3, partition=1)
    for start in range(100):
        append(views_table, start, start + 1)
    log = Path(views_table.uri) / "_delta_log"
    checkpointed = max(int(path.name[:20]) for path in log.glob("*.checkpoint.parquet"))
    for version in range(checkpointed):
        entry(views_table, version).unlink()
    snapshot = views_table.snapshot()
    assert (snapshot.version, snapshot.position("id", 0), snapshot.position("id", 1)) == (101, 100, 3)
    append(views_table, 100, 101)
    assert views_table.snapshot().position("id", 0) == 101
    assert len(views_table.snapshot().files()) == 102


def test_a_new_column_is_added_and_an_older_writer_still_lands(lake: Lake) -> None:
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
    gifts = DeltaTable(old.uri).to_pyarrow_table().sort_by("kafka_offset").select(["gift", "products"]).to_pylist()
    assert [row["gift"] for row in gifts] == [None, True, None, None, None]
    assert gifts[1]["products"][0]["material"] == "oak"
    assert gifts[4]["products"][0]["material"] is None and gifts[4]["products"][0]["product_id"] == "product_id 4 ä"


@pytest.fixture
def torn(views_table: LakeTable) -> LakeTable:
    """A table of three commits, of which a test tears the last."""
    for start in range(0, 6, 2):
        append(views_table, start, start + 2)
    return views_table


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def fill_with_zeros(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


TEARS = [shorten, empty, fill_with_zeros, Path.unlink]


@pytest.mark.parametrize("tear", TEARS)
def test_a_last_commit_whose_data_file_is_torn_is_removed(torn: LakeTable, tear: Callable[[Path], None]) -> None:
    file = first_file(torn.commits(2))
    tear(Path(file.uri))
    assert torn.repair() == [3]
    assert (torn.snapshot().version, torn.snapshot().position("id", 0), len(read(torn))) == (2, 4, 4)
    append(torn, 4, 6)
    assert len(read(torn)) == 6


@pytest.mark.parametrize("tear", TEARS[:3])
def test_a_last_commit_whose_log_entry_is_torn_is_removed(torn: LakeTable, tear: Callable[[Path], None]) -> None:
    tear(entry(torn, 3))
    assert torn.repair() == [3]
    assert (torn.snapshot().version, torn.snapshot().position("id", 0), len(read(torn))) == (2, 4, 4)


def test_several_last_commits_may_be_torn(torn: LakeTable) -> None:
    shorten(entry(torn, 3))
    file = first_file(torn.commits(1, until=2))
    empty(Path(file.uri))
    assert torn.repair() == [3, 2]
    assert torn.snapshot().position("id", 0) == 2


def test_a_commit_that_is_whole_keeps_what_is_before_it(torn: LakeTable) -> None:
    file = first_file(torn.commits(1, until=2))
    Path(file.uri).unlink()
    assert torn.repair() == []
    assert torn.snapshot().version == 3


def test_a_whole_table_and_a_compacted_one_need_no_repair(torn: LakeTable, lake: Lake) -> None:
    assert lake.table(CARTS).repair() == []
    assert torn.repair() == []
    DeltaTable(Path(torn.uri)).optimize.compact()
    DeltaTable(Path(torn.uri)).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    before = torn.snapshot().version
    assert torn.repair() == []
    assert (torn.snapshot().version, len(read(torn))) == (before, 6)


@pytest.mark.parametrize("tear", TEARS[:3])
def test_a_table_torn_at_its_very_creation_is_made_again(views_table: LakeTable, tear: Callable[[Path], None]) -> None:
    views_table.snapshot()
    tear(entry(views_table, 0))
    with pytest.raises(PermanentError, match="repaired when a lander starts"):
        views_table.snapshot()
    assert views_table.repair() == [0]
    append(views_table, 0, 2)
    assert len(read(views_table)) == 2


@pytest.mark.parametrize("tear", TEARS[:3])
def test_a_torn_checkpoint_is_removed_for_the_entries_say_the_same(
    torn: LakeTable, tear: Callable[[Path], None]
) -> None:
    DeltaTable(Path(torn.uri)).create_checkpoint()
    (checkpoint,) = (Path(torn.uri) / "_delta_log").glob("*.checkpoint.parquet")
    tear(checkpoint)
    assert torn.repair() == []
    assert (torn.snapshot().version, torn.snapshot().position("id", 0), len(read(torn))) == (3, 6, 6)


def test_a_checkpoint_goes_with_the_torn_commit_that_it_holds(torn: LakeTable) -> None:
    file = first_file(torn.commits(2))
    DeltaTable(Path(torn.uri)).create_checkpoint()
    empty(Path(file.uri))
    assert torn.repair() == [3]
    assert (torn.snapshot().position("id", 0), len(read(torn))) == (4, 4)


def test_syncing_a_commit_without_its_file_names_the_file(torn: LakeTable) -> None:
    file = first_file(torn.commits(2))
    Path(file.uri).unlink()
    torn.sync(3)
    with pytest.raises(PermanentError, match=Path(file.uri).name):
        torn.sync(2)


def test_a_writer_without_ranges_adds_rows_that_no_range_names(views_table: LakeTable) -> None:
    views_table.snapshot()
    write_deltalake(Path(views_table.uri), rows(VIEWS, [event("product_viewed")]), mode="append")
    (created, commit) = views_table.commits(-1)
    assert (created.rows, commit.rows, commit.ranges) == (0, 1, ())


@pytest.fixture(params=["with space", "ä", "50%", "50% off", "a=b", "a+b#c", "it's"])
def odd_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lake]:
    folder = tmp_path / request.param
    yield Lake(f"file://{folder}")
    shutil.rmtree(folder)


def test_odd_characters_in_the_path_do_not_matter(odd_lake: Lake) -> None:
    odd = odd_lake.table(VIEWS)
    append(odd, 0, 3)
    odd.sync(-1)
    assert odd.repair() == []
    (file,) = odd.snapshot().files()
    assert file == first_file(odd.commits(0)) and Path(file.uri).exists() and len(read(odd)) == 3


@pytest.mark.parametrize("path", ["/a%20b", "/what?", "/[1]", "/*"])
def test_a_path_that_the_library_misreads_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="HEADRACE_LAKE"):
        Lake(f"file://{path}")


@pytest.mark.parametrize("url", ["gs://bucket", "/var/lake", "file://", "s3://", ""])
def test_a_url_of_another_kind_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="HEADRACE_LAKE"):
        Lake(url)
