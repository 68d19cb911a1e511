import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from ingestion.errors import ConfigurationError, LakeHistoryGone, PermanentError
from ingestion.lake import Lake, LakeTable
from tests.ingestion.lake.contract import CARTS, VIEWS, LakeContract, append, first_file, read, rows
from tests.platform import event


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(f"file://{tmp_path}/lake")


@pytest.fixture
def views_table(lake: Lake) -> LakeTable:
    return lake.table(VIEWS)


def entry(lake_table: LakeTable, version: int) -> Path:
    return Path(lake_table.uri) / "_delta_log" / f"{version:020d}.json"


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


class TestFolder(LakeContract):
    """Of a local disk."""
