import logging
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from ingestion.errors import ConfigurationError
from ingestion.views.facts import Lookups
from ingestion.views.products import ProductFile, Products
from ingestion.views.sqlite import SQLiteViews
from ingestion.views.user_activity import user_activity
from tests.ingestion.views.landing import bring, everything, landed, stored
from tests.platform import NOON

CSV = 'product_id,title,price\np1,"Kettle, red",20\n00123,,9.90\n'
KETTLES = {"p1": {"title": "Kettle, red", "price": "20"}, "00123": {"price": "9.90"}}


class Clock:
    """Seconds, in the test's hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return published(tmp_path / "products.csv", CSV, 1_000)


def published(path: Path, text: str, seconds: int) -> Path:
    """The file as it was replaced at a time."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, (seconds, seconds))
    new.replace(path)
    return path


def test_a_csv_is_read_as_text_and_ids_keep_their_zeros(path: Path) -> None:
    assert ProductFile(f"file://{path}").products() == Products(1_000_000_000, KETTLES)


def test_a_path_is_a_url_too(path: Path) -> None:
    assert ProductFile(str(path)).products().rows == KETTLES


def test_parquet_is_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "products.parquet"
    columns = {"product_id": [1, 2], "title": ["Kettle", None], "stock": [3, 4]}
    pyarrow.parquet.write_table(pa.table(columns), path)
    assert ProductFile(str(path)).products().rows == {"1": {"title": "Kettle", "stock": "3"}, "2": {"stock": "4"}}


def test_of_a_products_rows_the_last_counts(path: Path) -> None:
    published(path, "product_id,title\np1,one\np1,two\n,nobody\n", 1_000)
    assert ProductFile(str(path)).products().rows == {"p1": {"title": "two"}}


def test_a_file_that_changes_is_read_again_within_a_second(path: Path, clock: Clock) -> None:
    file = ProductFile(str(path), clock)
    published(path, "product_id,title\np1,new\n", 2_000)
    assert file.products().rows == KETTLES
    clock.now = 1.0
    assert file.products() == Products(2_000_000_000, {"p1": {"title": "new"}})


@pytest.mark.parametrize("text", ["", "title\nKettle\n", "product_id,title\np1\n"])
def test_a_file_that_breaks_later_changes_nothing(
    path: Path, clock: Clock, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = ProductFile(str(path), clock)
    published(path, text, 2_000)
    clock.now = 1.0
    with caplog.at_level(logging.ERROR):
        assert file.products().rows == KETTLES
    assert "products.csv" in caplog.text
    path.unlink()
    clock.now = 2.0
    assert file.products().rows == KETTLES


@pytest.mark.parametrize("text", ["", "title\nKettle\n", "product_id,title\np1\n"])
def test_a_file_without_products_is_refused_at_the_start(path: Path, text: str) -> None:
    published(path, text, 1_000)
    with pytest.raises(ConfigurationError, match=r"HEADRACE_CATALOGUE.*products.csv holds no products"):
        ProductFile(str(path))


@pytest.mark.parametrize("url", ["/nowhere/products.csv", "s3://bucket/products.csv", "file://"])
def test_a_url_that_leads_nowhere_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="HEADRACE_CATALOGUE"):
        ProductFile(url)


def test_rows_that_were_joined_with_a_newer_catalogue_win_in_any_order(tmp_path: Path) -> None:
    old, new = Products(1_000, {"p1": {"title": "old"}}), Products(2_000, {"p1": {"title": "new"}})
    for number, order in enumerate(((old, new), (new, old))):
        store = SQLiteViews(tmp_path / f"{number}.db", clock=NOON.timestamp)
        for products in order:
            bring(store, user_activity(), landed(stored()), Lookups(products))
        (row,) = everything(store, "user_activity")
        assert row.item and row.item["product"] == {"title": "new"}
        store.close()
