import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ingestion.errors import ConfigurationError, ViewsUnavailable
from ingestion.views import open_views, read_all
from ingestion.views import sqlite as sqlite_module
from ingestion.views.sqlite import SQLiteViews
from tests.ingestion.views.contract import VIEW, Site, ViewStoreContract, row, values


class Clock:
    """Seconds since 1970, in the test's hand."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def set(self, now: int) -> None:
        self.now = now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SQLiteViews]:
    store = SQLiteViews(tmp_path / "views.db", clock)
    yield store
    store.close()


class TestSQLiteViews(ViewStoreContract):
    @pytest.fixture
    def site(self, store: SQLiteViews, clock: Clock) -> Site:
        return Site(store, partial(SQLiteViews, store.path, busy_ms=20_000), clock.set)


def test_views_that_are_opened_again_have_everything(store: SQLiteViews) -> None:
    store.upsert(VIEW, [row(f"u{n}") for n in range(50)])
    store.close()
    again = SQLiteViews(store.path)
    assert len(list(again.keys(VIEW))) == 50
    again.close()


def test_every_commit_is_an_fsync(store: SQLiteViews) -> None:
    full = 2
    assert store._db.execute("pragma journal_mode").fetchone() == ("wal",)
    assert store._db.execute("pragma synchronous").fetchone() == (full,)


def test_a_locked_file_is_unavailable_and_nothing_is_stored(store: SQLiteViews) -> None:
    impatient = SQLiteViews(store.path, busy_ms=20)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(ViewsUnavailable, match="locked"):
        impatient.upsert(VIEW, [row()])
    with pytest.raises(ViewsUnavailable, match="locked"):
        impatient.replace(VIEW, "u1", 1, [row()])
    assert values(impatient) == []
    other.execute("rollback")
    other.close()
    impatient.upsert(VIEW, [row()])
    assert values(store) == [1]
    impatient.close()


def test_readers_do_not_wait_for_a_writer(store: SQLiteViews) -> None:
    store.upsert(VIEW, [row()])
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("begin immediate")
    started = time.monotonic()
    assert values(store) == [1]
    assert time.monotonic() - started < 1
    other.close()


def test_a_full_disk_is_unavailable_and_the_store_goes_on_when_there_is_room(store: SQLiteViews) -> None:
    (pages,) = store._db.execute("pragma page_count").fetchone()
    store._db.execute(f"pragma max_page_count={pages + 2}")
    with pytest.raises(ViewsUnavailable, match="full"):
        store.upsert(VIEW, [row(f"u{n}", item={"value": "x" * 100_000}) for n in range(10)])
    assert list(store.keys(VIEW)) == []
    store._db.execute("pragma max_page_count=1000000")
    store.upsert(VIEW, [row()])
    assert values(store) == [1]


def test_deleting_takes_as_many_transactions_as_it_needs(
    store: SQLiteViews, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "AT_ONCE", 3)
    store.upsert(VIEW, [row(f"u{n}", expires_at=100) for n in range(10)])
    store.upsert(VIEW, [row("kept", expires_at=101)])
    assert len(list(store.keys(VIEW))) == 11
    clock.now = 100
    assert store.expire() == 10
    assert store._db.execute("select key from rows").fetchall() == [("kept",)]


def test_tombstones_expire_too(store: SQLiteViews, clock: Clock) -> None:
    store.upsert(VIEW, [row()._replace(item=None, expires_at=100)])
    clock.now = 100
    assert store.expire() == 1


def test_a_row_that_stays_the_same_is_not_written_again(store: SQLiteViews) -> None:
    store.upsert(VIEW, [row()])
    before = store._db.total_changes
    store.upsert(VIEW, [row(), row()])
    assert store._db.total_changes == before


def test_the_url_names_the_adapter_and_its_path(tmp_path: Path) -> None:
    store = open_views(f"sqlite://{tmp_path}/a/b.db")
    store.upsert(VIEW, [row()])
    assert list(read_all(store, VIEW, "u1")) == [row()] and (tmp_path / "a" / "b.db").exists()
    store.close()


def test_a_file_that_is_no_store_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "views.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(ViewsUnavailable, match="not a database"):
        SQLiteViews(tmp_path / "views.db")


@pytest.mark.parametrize(
    "url",
    [
        "cassandra://host/shop",
        "dynamodb://",
        "dynamodb://eu-central-1",
        "dynamodb://eu-central-1/a b",
        "sqlite://",
        "/var/views.db",
        "",
    ],
)
def test_a_url_without_an_adapter_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="HEADRACE_VIEWS"):
        open_views(url)
