from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet
import pytest
from deltalake import DeltaTable

from ingestion import tables
from ingestion.errors import LakeHistoryGone, PermanentError, ReloadRefused, WarehouseBusy
from ingestion.events import Product, Properties, text
from ingestion.lake import LakeFile, LakeTable
from ingestion.loader import Loaded, load, reload
from ingestion.steps import run
from ingestion.tables import REJECTED_TABLE, Table, event_table
from ingestion.warehouse.duckdb import DuckDBWarehouse
from tests.conftest import MakePlatform
from tests.platform import HOUR, Platform, Stored, event, steps_until

CARTS = event_table("cart_viewed")
NEXT_HOUR = "2026-05-01-13"
STEPS = ["loader.locked", "loader.listed", "loader.appended", "loader.recorded"]


class Material(Product, frozen=True, kw_only=True):
    """A product as a later version knows it."""

    material: Annotated[str, text(64, "what it is made of")] | None = None


class LaterCart(Properties, frozen=True, kw_only=True):
    """A shopper looked at the cart."""

    cart_id: Annotated[str, text(128, "id of the cart")] | None = None
    gift: bool | None = None
    products: list[Material] | None = None


LATER_CARTS = tables._event_table("cart_viewed", LaterCart)


def lake_table(platform: Platform) -> LakeTable:
    return platform.lake.table(platform.tables[0])


def one_file(platform: Platform, version: int) -> LakeFile:
    (commit,) = lake_table(platform).commits(version - 1, until=version)
    (file,) = commit.files
    return file


def land(platform: Platform, number: int) -> None:
    platform.publish(platform.tables[0].name, number)
    assert platform.land().rows == number


@pytest.fixture
def two_hours(platform: Platform) -> Platform:
    """Three loaded commits: 5 and 3 rows of one hour, 4 rows of the next."""
    land(platform, 5)
    land(platform, 3)
    platform.now = platform.now.replace(hour=13)
    land(platform, 4)
    platform.load()
    return platform


def state(platform: Platform, table: Table) -> list[object]:
    """The raw table and what is known about it, in an order of its own."""
    holdings = platform.warehouse.holdings([table])
    return [platform.rows(table), *(sorted(map(str, p)) for p in (holdings.ledger, holdings.ranges))]


@contextmanager
def nothing_changes(platform: Platform, table: Table) -> Iterator[None]:
    before = state(platform, table)
    yield
    assert state(platform, table) == before


def test_every_commit_is_loaded_once(platform: Platform, views: Table) -> None:
    for number in (5, 1, 7):
        land(platform, number)
        (loaded,) = platform.load()
        assert (loaded.rows, loaded.touched) == (number, ("2026-05-01",))
        assert platform.load() == [Loaded("product_viewed")]
    assert len(platform.rows(views)) == 13
    assert platform.audit().status == 0


def test_commits_that_wait_are_loaded_together(platform: Platform, views: Table) -> None:
    for number in (5, 1, 7):
        land(platform, number)
    (loaded,) = platform.load()
    assert (loaded.commits, loaded.rows) == (4, 13)
    assert {entry.version for entry in platform.warehouse.holdings([views]).ledger} == {0, 1, 2, 3}


def test_a_lake_without_records_loads_an_empty_table(make_platform: MakePlatform, views: Table) -> None:
    platform = make_platform(views, REJECTED_TABLE)
    assert [(loaded.commits, loaded.rows) for loaded in platform.load()] == [(1, 0), (1, 0)]
    assert platform.rows(views) == platform.rows(REJECTED_TABLE) == []
    assert [loaded.commits for loaded in platform.load()] == [0, 0]


def test_compacting_the_lake_loads_nothing(two_hours: Platform, views: Table) -> None:
    DeltaTable(lake_table(two_hours).uri).optimize.compact()
    before = two_hours.rows(views)
    assert two_hours.load() == [Loaded("product_viewed", commits=1)]
    assert two_hours.rows(views) == before
    two_hours.reload()
    assert two_hours.rows(views) == before and two_hours.audit().status == 0


def test_commits_that_were_compacted_before_they_were_loaded_are_loaded_once(platform: Platform, views: Table) -> None:
    land(platform, 5)
    land(platform, 3)
    DeltaTable(lake_table(platform).uri).optimize.compact()
    (loaded,) = platform.load()
    assert (loaded.rows, len(platform.rows(views))) == (8, 8)
    assert platform.audit().status == 0


@pytest.mark.parametrize("point", STEPS)
def test_a_load_that_stops_before_its_end_leaves_nothing(platform: Platform, views: Table, point: str) -> None:
    land(platform, 5)
    steps = load(platform.lake, platform.warehouse, views)
    steps_until(steps, point)
    steps.close()
    assert platform.warehouse.holdings([views]).ledger == []
    assert platform.load()[0].rows == 5
    assert platform.audit().status == 0


@pytest.mark.parametrize("point", ["loader.locked", "loader.listed", "loader.deleted", "loader.appended"])
def test_a_reload_that_stops_before_its_end_changes_nothing(two_hours: Platform, views: Table, point: str) -> None:
    with nothing_changes(two_hours, views):
        steps = reload(two_hours.lake, two_hours.warehouse, views, HOUR)
        steps_until(steps, point)
        steps.close()


def test_a_commit_that_lands_during_a_load_waits_for_the_next(platform: Platform, views: Table) -> None:
    land(platform, 5)
    steps = load(platform.lake, platform.warehouse, views)
    steps_until(steps, "loader.listed")
    land(platform, 2)
    assert run(steps, lambda _: None).rows == 5
    assert platform.load()[0].rows == 2
    assert platform.audit().status == 0


def test_commits_are_listed_only_after_the_lock(platform: Platform, views: Table) -> None:
    land(platform, 5)
    steps = load(platform.lake, platform.warehouse, views)
    steps_until(steps, "loader.locked")
    land(platform, 2)
    assert run(steps, lambda _: None).rows == 7


def test_of_two_loads_at_once_the_second_is_busy_before_it_reads_the_ledger(platform: Platform, views: Table) -> None:
    land(platform, 5)
    first = load(platform.lake, platform.warehouse, views)
    steps_until(first, "loader.appended")
    with pytest.raises(WarehouseBusy):
        next(load(platform.lake, DuckDBWarehouse(platform.warehouse.path, wait=0.1), views))
    assert run(first, lambda _: None).rows == 5
    assert platform.load()[0].rows == 0
    assert len(platform.rows(views)) == 5


def test_reloading_an_hour_changes_nothing_however_often(two_hours: Platform, views: Table) -> None:
    with nothing_changes(two_hours, views):
        for hour, rows in ((HOUR, 8), (NEXT_HOUR, 4), (HOUR, 8), ("2026-05-01-20", 0)):
            (loaded,) = two_hours.reload(hour)
            assert loaded.rows == rows
    assert two_hours.audit().status == 0


def test_reloading_leaves_commits_that_are_pending_to_the_load(two_hours: Platform, views: Table) -> None:
    land(two_hours, 6)
    with nothing_changes(two_hours, views):
        assert [loaded.rows for loaded in (*two_hours.reload(HOUR), *two_hours.reload(NEXT_HOUR))] == [8, 4]
    assert two_hours.load()[0].rows == 6
    assert two_hours.reload(NEXT_HOUR)[0].rows == 10
    assert two_hours.audit().status == 0


def test_reloading_repairs_what_was_changed_in_the_raw_table(two_hours: Platform, views: Table) -> None:
    before = two_hours.rows(views)
    two_hours.warehouse.query("delete from raw.product_viewed where kafka_offset = 0")
    two_hours.warehouse.query("update raw.product_viewed set kafka_value = 'x' where kafka_offset = 1")
    two_hours.warehouse.query("insert into raw.product_viewed from raw.product_viewed where kafka_offset = 2")
    two_hours.reload(HOUR)
    two_hours.reload(NEXT_HOUR)
    assert two_hours.rows(views) == before


def test_reloading_touches_the_dates_again(two_hours: Platform) -> None:
    sequence = "select max(load_seq) from headrace.touched"
    ((before,),) = two_hours.warehouse.query(sequence)
    assert two_hours.reload(HOUR)[0].touched == ("2026-05-01",)
    ((after,),) = two_hours.warehouse.query(sequence)
    assert isinstance(before, int) and isinstance(after, int) and after > before


def remove(file: LakeFile) -> None:
    Path(file.uri).unlink()


def spoil(file: LakeFile) -> None:
    Path(file.uri).write_bytes(b"no parquet")


def take_a_row(file: LakeFile) -> None:
    pa.parquet.write_table(pa.parquet.read_table(file.uri, partitioning=None).slice(1), file.uri)


def double_a_row(file: LakeFile) -> None:
    rows = pa.parquet.read_table(file.uri, partitioning=None)
    pa.parquet.write_table(pa.concat_tables([rows.slice(1), rows.slice(1, 1)]), file.uri)


@pytest.mark.parametrize("harm", [remove, spoil, take_a_row, double_a_row])
def test_a_reload_is_refused_where_the_lake_has_not_what_the_ledger_names(
    two_hours: Platform, views: Table, harm: Callable[[LakeFile], None]
) -> None:
    harm(one_file(two_hours, 2))
    refusal = ReloadRefused if harm in (take_a_row, double_a_row) else PermanentError
    with nothing_changes(two_hours, views), pytest.raises(refusal, match=r"product_viewed.*othing was changed"):
        two_hours.reload(HOUR)
    two_hours.reload(NEXT_HOUR)


@pytest.mark.parametrize("harm", [remove, spoil, take_a_row])
def test_a_load_is_refused_where_the_lake_has_not_what_the_commit_names(
    two_hours: Platform, views: Table, harm: Callable[[LakeFile], None]
) -> None:
    land(two_hours, 3)
    harm(one_file(two_hours, 4))
    with nothing_changes(two_hours, views), pytest.raises(PermanentError, match="product_viewed"):
        two_hours.load()


def test_a_commit_that_the_lake_forgot_before_it_was_loaded_is_named(two_hours: Platform, views: Table) -> None:
    land(two_hours, 1)
    land(two_hours, 1)
    DeltaTable(lake_table(two_hours).uri).create_checkpoint()
    (Path(lake_table(two_hours).uri) / "_delta_log" / f"{4:020d}.json").unlink()
    with nothing_changes(two_hours, views), pytest.raises(LakeHistoryGone, match="version 4"):
        two_hours.load()


def test_rows_that_fit_nowhere_are_loaded_and_reloaded(platform: Platform, views: Table) -> None:
    values: list[Stored | bytes] = [b"", b"\xff", b"{", b"{}", event("product_viewed", 1), b"x" * 70_000]
    platform.publish("product_viewed", values)
    platform.land()
    platform.load()
    before = platform.rows(views)
    assert len(before) == 6
    platform.reload()
    assert platform.rows(views) == before and platform.audit().status == 0


def test_only_rows_without_a_date_touch_nothing(platform: Platform) -> None:
    platform.publish("product_viewed", [b"", b"broken"])
    platform.land()
    (loaded,) = platform.load()
    assert (loaded.rows, loaded.touched) == (2, ())


def later(number: int) -> dict[str, object]:
    properties = {"cart_id": "c", "gift": True, "products": [{"product_id": "p", "material": "oak"}]}
    return {**event("cart_viewed", number), "properties": properties}


@pytest.fixture
def versions(make_platform: MakePlatform) -> tuple[Platform, Platform]:
    """One platform as this program sees it and as a later one does, whose carts have more fields."""
    old, new = make_platform(CARTS), make_platform(LATER_CARTS)
    old.publish("cart_viewed", [event("cart_viewed", 1)])
    old.land()
    return old, new


def cart_columns(platform: Platform) -> list[tuple[object, object]]:
    rows = platform.warehouse.query("select gift, products from raw.cart_viewed order by device_sequence")
    return [(gift, [product.get("material") for product in products]) for gift, products in rows]  # type: ignore[attr-defined]


def test_fields_added_between_two_commits_of_an_hour_load_and_reload(versions: tuple[Platform, Platform]) -> None:
    old, new = versions
    new.publish("cart_viewed", [later(2)])
    new.land()
    old.publish("cart_viewed", [event("cart_viewed", 4)])
    old.land()
    new.load()
    assert cart_columns(new) == [(None, [None]), (True, ["oak"]), (None, [None])]
    before = new.rows(CARTS)
    new.reload()
    assert new.rows(CARTS) == before and new.audit().status == 0


def test_fields_are_added_to_a_raw_table_that_has_rows(versions: tuple[Platform, Platform]) -> None:
    old, new = versions
    old.load()
    new.publish("cart_viewed", [later(2)])
    new.land()
    new.load()
    assert cart_columns(new) == [(None, [None]), (True, ["oak"])]


def test_an_older_loader_loads_newer_fields_and_takes_none_away(versions: tuple[Platform, Platform]) -> None:
    old, new = versions
    new.publish("cart_viewed", [later(2)])
    new.land()
    old.load()
    assert cart_columns(old) == [(None, [None]), (True, ["oak"])]
    old.publish("cart_viewed", [event("cart_viewed", 4)])
    old.land()
    old.load()
    assert cart_columns(old) == [(None, [None]), (True, ["oak"]), (None, [None])]
    before = old.rows(CARTS)
    old.reload()
    assert old.rows(CARTS) == before
