import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ingestion.errors import ConfigurationError
from ingestion.views import MAX_ITEM_BYTES, MAX_VERSION, Row, dynamodb_summaries, open_views, read_all
from ingestion.views.dynamodb import SUMMARY, DynamoDBViews
from tests.ingestion.views.contract import OTHER, VIEW, Site, ViewStoreContract, items, row, summary, values
from tests.ingestion.views.dynamodb_tables import WithTables, drop
from tests.services.aws import REGION
from tests.services.dynamodb import DynamoDB

PREFIXES = count()


class Clock:
    """Seconds since 1970, in the test's hand."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def set(self, now: int) -> None:
        self.now = now


@pytest.fixture
def aws(dynamodb: DynamoDB, monkeypatch: pytest.MonkeyPatch) -> DynamoDB:
    """DynamoDB Local as the usual settings of AWS name it."""
    for name, value in dynamodb.endpoint.environment.items():
        monkeypatch.setenv(name, value)
    return dynamodb


@pytest.fixture
def prefix(aws: DynamoDB) -> Iterator[str]:
    prefix = f"test{next(PREFIXES)}"
    yield prefix
    drop(aws, prefix)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(prefix: str, clock: Clock) -> Iterator[WithTables]:
    store = WithTables(REGION, prefix, clock)
    store.create(VIEW, OTHER)
    yield store
    store.close()


class TestDynamoDBViews(ViewStoreContract):
    @pytest.fixture
    def site(self, store: WithTables, clock: Clock) -> Site:
        return Site(store, partial(DynamoDBViews, REGION, store.prefix), clock.set)


# -- facts -------------------------------------------------------------------------------------------------------------


def test_more_rows_than_a_call_takes_are_written_and_counted(store: DynamoDBViews) -> None:
    rows = [row(f"u{n % 7}", f"{n:04}", item={"value": n}) for n in range(130)]
    assert store.upsert(VIEW, rows) == 130
    assert store.upsert(VIEW, rows) == 0
    assert {(found.key, found.sort) for key in store.keys(VIEW) for found in read_all(store, VIEW, key)} == {
        (each.key, each.sort) for each in rows
    }


def test_of_many_rows_those_are_counted_that_changed_something(store: DynamoDBViews) -> None:
    store.upsert(VIEW, [row(f"u{n}", version=2) for n in range(40)])
    changes = [row(f"u{n}", version=n % 4, item={"value": 2}) for n in range(60)]
    assert store.upsert(VIEW, changes) == 40 // 2 + 20


@pytest.mark.parametrize("sort", ["s" * 1_024, "\x01" * 1_024, "🛒" * 256])
def test_the_longest_key_sort_and_item_fit_together(store: DynamoDBViews, sort: str) -> None:
    key, item = "🛒" * 512, {"v": "x" * (MAX_ITEM_BYTES - len('{"v":""}'))}
    store.upsert(VIEW, [row(key, sort, MAX_VERSION, item, expires_at=2**40)])
    store.replace(OTHER, key, MAX_VERSION, [row(key, sort, MAX_VERSION, item, expires_at=2**40)])
    assert items(store, key) == items(store, key, OTHER) == [item]


def test_a_row_that_dynamodb_deleted_meanwhile_is_inserted_again(store: DynamoDBViews, aws: DynamoDB) -> None:
    """The insert finds it there; before the update it is gone."""
    store.upsert(VIEW, [row(version=1)])
    client, table = aws.endpoint.client(), f"{store.prefix}.{VIEW}"
    original = store._db.call

    def call(operation: str, **arguments: Any) -> dict[str, Any]:
        answer = original(operation, **arguments)
        if any(response.get("Error", {}).get("Code") == "DuplicateItem" for response in answer.get("Responses", [])):
            client.delete_item(TableName=table, Key={"key": {"S": "u1"}, "sort": {"S": "s"}})
        return answer

    store._db.call = call  # type: ignore[method-assign]
    assert store.upsert(VIEW, [row(version=2, item={"value": 2})]) == 1
    assert values(store) == [2]


# -- summaries ---------------------------------------------------------------------------------------------------------


def large(version: int, count: int = 5) -> list[Row]:
    """A summary of more rows than one item holds."""
    return [Row("p1", f"s{n}", version, {"value": n, "pad": f"{version}" * 140_000}) for n in range(count)]


def parts(store: DynamoDBViews) -> list[str]:
    """The names of a summary's parts that are there."""
    found = store._query(f"{store.prefix}.{VIEW}", "p1", 100, None)
    return sorted(item["sort"]["S"] for item in found if "digest" not in item)


def test_a_summary_larger_than_an_item_is_read_whole_and_page_by_page(store: DynamoDBViews) -> None:
    store.replace(VIEW, "p1", 1, large(1))
    assert list(read_all(store, VIEW, "p1")) == large(1)[::-1]
    first = store.read(VIEW, "p1", 2)
    second = store.read(VIEW, "p1", 2, first.next)
    third = store.read(VIEW, "p1", 2, second.next)
    assert [found.sort for found in first.rows + second.rows + third.rows] == ["s4", "s3", "s2", "s1", "s0"]
    assert third.next is None and list(store.keys(VIEW)) == ["p1"]


def test_pages_go_on_in_the_summary_that_took_the_place_of_the_first(store: DynamoDBViews) -> None:
    store.replace(VIEW, "p1", 1, summary("p1", 1, a=1, b=1, c=1))
    first = store.read(VIEW, "p1", 1)
    store.replace(VIEW, "p1", 2, summary("p1", 2, a=2, b=2, c=2, d=2))
    assert [(found.sort, found.version) for found in store.read(VIEW, "p1", 5, first.next).rows] == [("b", 2), ("a", 2)]


def test_a_fact_that_looks_like_a_page_of_a_summary_is_a_fact(store: DynamoDBViews) -> None:
    sorts = [f"{SUMMARY}{n}" for n in range(4)]
    store.upsert(VIEW, [row(sort=sort) for sort in sorts])
    page = store.read(VIEW, "u1", 1)
    assert [found.sort for found in store.read(VIEW, "u1", 9, page.next).rows] == sorts[2::-1]


@pytest.mark.parametrize("newer", [large(2, count=3), summary("p1", 2, a=1), []])
def test_parts_of_older_summaries_are_swept(store: DynamoDBViews, newer: list[Row]) -> None:
    store.replace(VIEW, "p1", 1, large(1))
    assert len(parts(store)) == 3
    store.replace(VIEW, "p1", 2, newer)
    assert len(parts(store)) == (2 if len(newer) == 3 else 0)
    assert list(read_all(store, VIEW, "p1")) == newer[::-1]


def test_who_comes_too_late_leaves_nothing_and_who_comes_twice_deletes_nothing(store: DynamoDBViews) -> None:
    store.replace(VIEW, "p1", 2, large(2))
    published = parts(store)
    store.replace(VIEW, "p1", 1, large(1))
    store.replace(VIEW, "p1", 2, large(2))
    assert parts(store) == published and list(read_all(store, VIEW, "p1")) == large(2)[::-1]


def test_what_a_killed_writer_left_is_swept_by_a_later_one(
    store: DynamoDBViews, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    store.replace(VIEW, "p1", 1, large(1))
    with monkeypatch.context() as patch:
        patch.setattr(dynamodb_summaries, "_publish", killed)
        with pytest.raises(KeyboardInterrupt):
            store.replace(VIEW, "p1", 2, large(2))
    assert len(parts(store)) == 6 and list(read_all(store, VIEW, "p1")) == large(1)[::-1]
    store.replace(VIEW, "p1", 3, large(3))
    assert len(parts(store)) == 3 and list(read_all(store, VIEW, "p1")) == large(3)[::-1]


def test_a_reader_whose_summary_is_swept_under_it_reads_the_newer_one(store: DynamoDBViews) -> None:
    store.replace(VIEW, "p1", 1, large(1))
    head = dynamodb_summaries.find_head(store._db, f"{store.prefix}.{VIEW}", "p1")
    assert head is not None
    rows = dynamodb_summaries.read(store._db, f"{store.prefix}.{VIEW}", "p1", head)
    store.replace(VIEW, "p1", 2, large(2))
    with pytest.raises(dynamodb_summaries.Replaced):
        list(rows)
    assert list(read_all(store, VIEW, "p1")) == large(2)[::-1]


def test_readers_see_one_summary_or_another_and_never_a_mixture(store: DynamoDBViews) -> None:
    store.replace(VIEW, "p1", 0, large(0))
    done = threading.Event()

    def write() -> None:
        for version in range(1, 8):
            store.replace(VIEW, "p1", version, large(version, count=4 + version % 3))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not done.is_set():
        rows = store.read(VIEW, "p1", 100).rows
        seen.append({(found.version, found.item and found.item["pad"][0]) for found in rows})
        assert len(rows) in (4 + rows[0].version % 3, 5 if rows[0].version == 0 else 0)
    writer.join()
    assert all(len(versions) == 1 for versions in seen) and seen


# -- who asks ----------------------------------------------------------------------------------------------------------


def test_without_credentials_the_setting_is_named(prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with (
        closing(DynamoDBViews(REGION, prefix)) as store,
        pytest.raises(ConfigurationError, match="HEADRACE_VIEWS is DynamoDB, and AWS does not know who asks"),
    ):
        store.read(VIEW, "u1", 1)


def test_a_profile_that_is_not_there_is_named(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(ConfigurationError, match="nobody"):
            DynamoDBViews(REGION, prefix)


def test_the_url_names_region_and_prefix(store: DynamoDBViews) -> None:
    opened = open_views(f"dynamodb://{REGION}/{store.prefix}")
    opened.upsert(VIEW, [row()])
    opened.close()
    assert values(store) == [1]
