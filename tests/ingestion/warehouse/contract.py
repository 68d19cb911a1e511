"""What every adapter of a warehouse must do. An adapter's test inherits `WarehouseContract` and gives a `site`."""

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ingestion.counting import Count
from ingestion.encoding import Block, checksum, encode
from ingestion.errors import PermanentError, WarehouseBusy
from ingestion.lake import Commit, Lake, LakeTable, Range
from ingestion.tables import event_table
from ingestion.warehouse import LoadedRange, Warehouse
from tests.platform import HOUR, NOON, Stored, event, record

VIEWS, CARTS = event_table("product_viewed"), event_table("cart_viewed")
NOON_US = int(NOON.timestamp() * 1_000_000)


@dataclass
class Site:
    """A warehouse, a lake to load it from, and another client of the same warehouse that does not wait for long."""

    warehouse: Warehouse
    lake: Lake
    another: Callable[[], Warehouse]
    overwrite: Callable[[str, bytes], object] = lambda uri, content: Path(uri).write_bytes(content)
    """Put something else in the place of a file of the lake."""


class Unexpected(Exception):
    """Stands for a crash inside a load."""


def land(lake_table: LakeTable, events: Sequence[Stored | bytes], start: int, at: int = NOON_US) -> None:
    """One commit with events at the offsets from `start` on."""
    values = [e if isinstance(e, bytes) else record(e).value for e in events]
    block = Block("id", lake_table.table.topic, 0, range(start, start + len(values)), [at] * len(values), values)
    covered = Range("id", 0, start, start + len(values), len(values))
    lake_table.snapshot().append(encode(lake_table.table, [block]), [covered])


def load(warehouse: Warehouse, lake_table: LakeTable, fail: Exception | None = None) -> list[str]:
    """Load what is pending, as the loader does, and return the dates that were touched; or fail at the very end."""
    with warehouse.load(lake_table.table) as transaction:
        commits = list(lake_table.commits(transaction.loaded_version()))
        files = [file for commit in commits for file in commit.files]
        transaction.append(lake_table.snapshot().schema, files)
        touched = transaction.touch(files)
        transaction.record(commits, transaction.count(files))
        if fail:
            raise fail
    return touched


def views(start: int, end: int) -> list[Stored]:
    return [event("product_viewed", number) for number in range(start, end)]


def raw(warehouse: Warehouse, column: str = "kafka_offset") -> list[object]:
    return [value for (value,) in warehouse.query(f"select {column} from raw.product_viewed order by kafka_offset")]


def hold_a_load(another: Callable[[], Warehouse], held: Path, release: Path) -> None:
    """What another process does that is in the middle of a load."""
    with another().load(VIEWS):
        held.touch()
        while not release.exists():
            pass


class WarehouseContract:
    def test_a_load_brings_rows_ledger_ranges_and_touched_dates(self, site: Site) -> None:
        lake_table = site.lake.table(VIEWS)
        land(lake_table, views(0, 3), 0)
        land(lake_table, views(3, 5), 3)
        assert load(site.warehouse, lake_table) == ["2026-05-01"]
        holdings = site.warehouse.holdings([VIEWS])
        entries = [(e.table, e.version, e.landing_hour, e.count.rows) for e in holdings.ledger]
        assert sorted(entries, key=lambda e: e[1]) == [
            ("product_viewed", 0, None, 0),
            ("product_viewed", 1, HOUR, 3),
            ("product_viewed", 2, HOUR, 2),
        ]
        sums = {e.version: e.count.checksum for e in holdings.ledger}
        assert sums[2] == sum(checksum(record(e).value) for e in views(3, 5))
        assert sorted(holdings.ranges, key=lambda loaded: loaded.version) == [
            LoadedRange("product_viewed", 1, Range("id", 0, 0, 3, 3)),
            LoadedRange("product_viewed", 2, Range("id", 0, 3, 5, 2)),
        ]
        assert raw(site.warehouse) == [0, 1, 2, 3, 4]

    def test_typed_columns_arrive_as_they_were_sent(self, site: Site) -> None:
        lake_table, sent = site.lake.table(VIEWS), event("product_viewed", 7)
        land(lake_table, [sent], 0)
        load(site.warehouse, lake_table)
        columns = "event_id", "price::varchar", "position", "app_version", "device_model", "landing_hour"
        assert [raw(site.warehouse, column) for column in columns] == [
            ["product_viewed-7"], ["7.1250"], [7], ["1.2"], [None], [HOUR],
        ]  # fmt: skip
        assert raw(site.warehouse, "occurred_at") == [sent["occurred_at"].replace(tzinfo=None)]
        assert raw(site.warehouse, "kafka_timestamp") == [NOON.replace(tzinfo=None)]

    def test_rows_that_do_not_fit_load_with_their_bytes(self, site: Site) -> None:
        lake_table = site.lake.table(VIEWS)
        land(lake_table, [b"\xff\0", b"broken", *views(2, 3)], 0)
        assert load(site.warehouse, lake_table) == ["2026-05-01"]
        assert raw(site.warehouse, "octet_length(kafka_value_bytes)") == [2, None, None]
        assert raw(site.warehouse, "event_id") == [None, None, "product_viewed-2"]
        (part,) = site.warehouse.holdings([VIEWS]).counts["product_viewed"]
        assert (part.count.rows, part.corrupt) == (3, 0)

    def test_the_last_loaded_version_is_each_tables_own(self, site: Site) -> None:
        lake_table = site.lake.table(VIEWS)
        with site.warehouse.load(VIEWS) as transaction:
            assert transaction.loaded_version() == -1
        land(lake_table, views(0, 3), 0)
        load(site.warehouse, lake_table)
        with site.warehouse.load(VIEWS) as transaction:
            assert transaction.loaded_version() == 1
        with site.warehouse.load(CARTS) as transaction:
            assert transaction.loaded_version() == -1

    def test_an_error_inside_a_load_leaves_nothing_of_it(self, site: Site) -> None:
        lake_table = site.lake.table(VIEWS)
        land(lake_table, views(0, 3), 0)
        load(site.warehouse, lake_table)
        land(lake_table, views(3, 9), 3)
        before = site.warehouse.holdings([VIEWS])
        with pytest.raises(Unexpected):
            load(site.warehouse, lake_table, fail=Unexpected())
        assert site.warehouse.holdings([VIEWS]) == before

    def test_an_hour_is_counted_from_the_ledger_and_deleted_from_the_rows(self, site: Site) -> None:
        lake_table = site.lake.table(VIEWS)
        land(lake_table, views(0, 3), 0)
        land(lake_table, views(3, 5), 3, at=NOON_US + 3_600_000_000)
        load(site.warehouse, lake_table)
        with site.warehouse.load(VIEWS) as transaction:
            assert transaction.loaded_hour(HOUR) == Count(3, sum(checksum(record(e).value) for e in views(0, 3)))
            assert transaction.loaded_hour("2026-05-01-20") == Count()
            transaction.delete_hour(HOUR)
        assert raw(site.warehouse) == [3, 4]

    def test_files_are_counted_one_by_one(self, site: Site) -> None:
        lake_table = site.lake.table(VIEWS)
        land(lake_table, views(0, 3), 0)
        land(lake_table, views(3, 5), 3)
        first, second = [commit.files[0] for commit in lake_table.commits(0)]
        with site.warehouse.load(VIEWS) as transaction:
            counts = transaction.count([first, second])
        assert {uri: count.rows for uri, count in counts.items()} == {first.uri: 3, second.uri: 2}
        assert counts[first.uri].checksum == sum(checksum(record(e).value) for e in views(0, 3))

    def test_files_of_one_commit_and_hour_are_one_ledger_entry(self, site: Site) -> None:
        lake_table = site.lake.table(VIEWS)
        land(lake_table, views(0, 3), 0)
        land(lake_table, views(3, 5), 3)
        files = tuple(commit.files[0] for commit in lake_table.commits(0))
        with site.warehouse.load(VIEWS) as transaction:
            transaction.record([Commit(7, files, ())], transaction.count(files))
        (entry,) = site.warehouse.holdings([VIEWS]).ledger
        assert (entry.version, entry.landing_hour, entry.count.rows) == (7, HOUR, 5)

    def test_a_date_is_touched_by_the_last_load_that_brought_it_rows(self, site: Site) -> None:
        lake_table = site.lake.table(VIEWS)
        for start, day in ((0, 1), (1, 2), (2, 1)):
            moved = event("product_viewed", start) | {"occurred_at": f"2026-04-0{day}T23:59:59Z"}
            land(lake_table, [moved], start)
            load(site.warehouse, lake_table)
        touched = site.warehouse.query("select event_date::varchar, load_seq from headrace.touched order by 1")
        entries = sorted(site.warehouse.holdings([VIEWS]).ledger, key=lambda e: e.version)
        assert touched == [("2026-04-01", entries[3].load_seq), ("2026-04-02", entries[2].load_seq)]
        assert entries[1].load_seq < entries[2].load_seq < entries[3].load_seq

    def test_a_second_load_at_once_is_refused_before_it_has_read_anything(self, site: Site) -> None:
        with site.warehouse.load(VIEWS), pytest.raises(WarehouseBusy), site.another().load(VIEWS):
            pytest.fail("two loads were under way at once")
        with site.another().load(VIEWS) as transaction:
            assert transaction.loaded_version() == -1

    def test_a_load_of_another_process_is_waited_for_and_then_refused(self, site: Site, tmp_path: Path) -> None:
        held, release = tmp_path / "held", tmp_path / "release"
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=hold_a_load, args=(site.another, held, release))
        process.start()
        while not held.exists():
            assert process.is_alive()
        with pytest.raises(WarehouseBusy), site.another().load(VIEWS):
            pytest.fail("two processes were loading at once")
        release.touch()
        process.join(60)
        assert process.exitcode == 0
        with site.another().load(VIEWS):
            pass

    def test_copies_count_the_rows_of_an_event(self, site: Site) -> None:
        assert site.warehouse.copies(VIEWS, ["product_viewed-1"]) == {}
        lake_table = site.lake.table(VIEWS)
        land(lake_table, [*views(0, 2), *views(1, 3)], 0)
        load(site.warehouse, lake_table)
        ids = [f"product_viewed-{number}" for number in (0, 1, 7)]
        assert site.warehouse.copies(VIEWS, ids) == {"product_viewed-0": 1, "product_viewed-1": 2}

    def test_a_load_of_nothing_is_no_rows(self, site: Site) -> None:
        lake_table = site.lake.table(VIEWS)
        lake_table.snapshot()
        with site.warehouse.load(VIEWS) as transaction:
            commits = list(lake_table.commits(-1))
            transaction.record(commits, {})
        assert raw(site.warehouse) == [] and site.warehouse.holdings([VIEWS]).counts["product_viewed"] == []

    def test_a_file_that_is_missing_or_no_parquet_is_named_and_nothing_is_loaded(self, site: Site) -> None:
        lake_table = site.lake.table(VIEWS)
        land(lake_table, views(0, 3), 0)
        (file,) = lake_table.snapshot().files()
        site.overwrite(file.uri, b"no parquet at all")
        for gone in (file, replace(file, uri=f"{file.uri}.gone")):
            with pytest.raises(PermanentError, match=Path(gone.uri).name), site.warehouse.load(VIEWS) as transaction:
                transaction.append(lake_table.snapshot().schema, [gone])
        assert site.warehouse.query("select count(*) from headrace.load_ledger") == [(0,)]

    def test_rows_are_counted_by_the_commit_whose_range_they_lie_in(self, site: Site) -> None:
        lake_table = site.lake.table(VIEWS)
        land(lake_table, views(0, 3), 0)
        land(lake_table, views(3, 5), 3)
        load(site.warehouse, lake_table)
        ranges = site.warehouse.holdings([VIEWS]).ranges
        site.warehouse.query("update raw.product_viewed set kafka_value = 'x' where kafka_offset = 1")
        site.warehouse.query("update raw.product_viewed set kafka_offset = 3 where kafka_offset = 4")
        site.warehouse.query("update raw.product_viewed set kafka_offset = 70 where kafka_offset = 2")
        counts = {part.version: part for part in site.warehouse.count_commits(VIEWS, ranges)}
        found = {v: (part.count.rows, part.repeated, part.corrupt) for v, part in counts.items()}
        assert found == {1: (2, 0, 1), 2: (2, 1, 0), None: (1, 0, 0)}

    def test_a_table_that_was_never_loaded_holds_nothing(self, site: Site) -> None:
        holdings = site.warehouse.holdings([VIEWS, CARTS])
        assert (list(holdings.ledger), list(holdings.ranges), dict(holdings.counts)) == ([], [], {})
        assert site.warehouse.count_commits(VIEWS, []) == []
