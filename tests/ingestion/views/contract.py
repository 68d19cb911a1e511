"""What every adapter of a view store must do. An adapter's test inherits `ViewStoreContract` and gives it a `site`."""

import itertools
import multiprocessing
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.errors import ItemRefused
from ingestion.views import MAX_ITEM_BYTES, MAX_PAGE, MAX_VERSION, Item, Row, ViewStore, read_all

VIEW, OTHER = "user_activity", "cart_events"
WRITERS, BATCHES, BATCH = 3, 12, 20
ODD_KEYS = (
    "ä", "日本語", "🛒", " ", "a b", "a/b", "a%2Fb", "a#b", "a?b=c", "'; drop table rows; --", "null", "0", "00", "1e3",
    "\0", "a\0b", "a\0c", "\x1f", "\x7f", "\u00e9", "e\u0301", "\uffff", "%", "_", "{}", "dead", "\\x00", "a" * 2_048,
)  # fmt: skip


@dataclass
class Site:
    """A store whose clock the test holds, and another client of the same store that other processes can open."""

    store: ViewStore
    another: Callable[[], ViewStore]
    set_clock: Callable[[int], None]


def row(key: str = "u1", sort: str = "s", version: int = 1, item: Item | None = None, **more: int) -> Row:
    return Row(key, sort, version, {"value": 1} if item is None else item, **more)


def tombstone(key: str = "u1", sort: str = "s", version: int = 1) -> Row:
    return Row(key, sort, version, None)


def items(store: ViewStore, key: str = "u1", view: str = VIEW) -> list[Item | None]:
    return [found.item for found in read_all(store, view, key)]


def values(store: ViewStore, key: str = "u1", view: str = VIEW) -> list[object]:
    return [item and item["value"] for item in items(store, key, view)]


def summary(key: str, version: int, **rows: int) -> list[Row]:
    return [Row(key, sort, version, {"value": value}) for sort, value in rows.items()]


def upsert_shuffled(another: Callable[[], ViewStore], seed: int, together: Barrier) -> None:
    """What one of several writing processes does, once all of them are there: the same rows in an order of its own."""
    store, rows = another(), contended()
    random.Random(seed).shuffle(rows)
    together.wait(60)
    for batch in range(BATCHES):
        store.upsert(VIEW, rows[batch * BATCH : (batch + 1) * BATCH])
    store.close()


def contended() -> list[Row]:
    """Rows of few keys in many versions."""
    return [row(f"u{n % 3}", f"s{n % 7}", n, {"value": n}) for n in range(BATCHES * BATCH)]


def replace_in_turn(another: Callable[[], ViewStore], seed: int, together: Barrier) -> None:
    """What one of several processes does that write summaries."""
    store, versions = another(), list(range(1, 31))
    random.Random(seed).shuffle(versions)
    together.wait(60)
    for version in versions:
        store.replace(VIEW, "p1", version, whole(version))
    store.close()


def whole(version: int) -> list[Row]:
    """All rows of a version; which sorts there are changes from one to the next."""
    return summary("p1", version, **{f"s{n}": version for n in range(10) if (n + version) % 3})


def in_processes(site: Site, work: Callable[[Callable[[], ViewStore], int, Barrier], None]) -> None:
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(WRITERS)
    writers = [spawn.Process(target=work, args=(site.another, seed, together)) for seed in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * WRITERS


VERSIONED = st.builds(
    row,
    key=st.sampled_from(("u1", "u2")),
    sort=st.sampled_from(("a", "b")),
    version=st.integers(0, 3),
    item=st.sampled_from(({"value": 1}, {"value": 2}, {"other": None}, {})),
    expires_at=st.sampled_from((None, 10_000, 20_000)),
) | st.builds(tombstone, sort=st.sampled_from(("a", "b")), version=st.integers(0, 3))


class ViewStoreContract:
    # -- facts -------------------------------------------------------------------------------------------------------

    def test_a_row_is_read_as_it_was_written(self, site: Site) -> None:
        item = {
            "text": "ä\n\0'\"",
            "number": -7,
            "share": 0.1,
            "none": None,
            "list": [True, {"a": []}],
            "big": "9" * 30,
        }
        site.store.upsert(VIEW, [row("u1", "s", 3, item, expires_at=5_000)])
        assert site.store.read(VIEW, "u1", 1).rows == (Row("u1", "s", 3, item, 5_000),)

    @pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
    def test_the_highest_version_stays_whatever_the_order(self, site: Site, order: Sequence[int]) -> None:
        for version in order:
            site.store.upsert(VIEW, [row(version=version, item={"value": version})])
        assert values(site.store) == [3]

    def test_an_upsert_says_how_many_rows_it_changed(self, site: Site) -> None:
        both = [row("u1", version=2), row("u2", version=2)]
        assert site.store.upsert(VIEW, []) == 0
        assert site.store.upsert(VIEW, both) == 2
        assert site.store.upsert(VIEW, both) == 0, "they are there"
        assert site.store.upsert(VIEW, [row("u1", version=1), tombstone("u2", version=1)]) == 0, "they are older"
        changes = [row("u1", version=3, item={"value": 7}), tombstone("u2", version=2), row("u3"), row("u1", "t")]
        assert site.store.upsert(VIEW, [*changes, row("u4", version=0)]) == 5
        assert site.store.upsert(VIEW, [row("u2", version=2)]) == 0, "a tombstone of its version is there"

    def test_versions_of_one_row_in_one_batch_end_in_the_highest(self, site: Site) -> None:
        site.store.upsert(VIEW, [row(version=v, item={"value": v}) for v in (2, 5, 1, 4)])
        assert values(site.store) == [5]

    def test_versions_are_numbers_and_reach_to_63_bits(self, site: Site) -> None:
        for version in (9, 10, MAX_VERSION, MAX_VERSION - 1, 100):
            site.store.upsert(VIEW, [row(version=version, item={"value": version})])
        assert values(site.store) == [MAX_VERSION]

    def test_two_contents_of_one_version_end_in_the_same_one_in_both_orders(self, site: Site) -> None:
        one, two = {"value": 1, "a": 1}, {"value": 2}
        site.store.upsert(VIEW, [row("u1", item=one), row("u2", item=two)])
        site.store.upsert(VIEW, [row("u1", item=two), row("u2", item=one)])
        assert items(site.store, "u1") == items(site.store, "u2") and len(items(site.store)) == 1

    def test_a_tombstone_hides_its_row_and_every_lower_version(self, site: Site) -> None:
        site.store.upsert(VIEW, [row(version=1), tombstone(version=2)])
        site.store.upsert(VIEW, [row(version=1), row(sort="other", item={"value": 7})])
        assert values(site.store) == [7]

    def test_a_tombstone_that_came_first_keeps_the_row_out(self, site: Site) -> None:
        site.store.upsert(VIEW, [tombstone(version=2)])
        site.store.upsert(VIEW, [row(version=1)])
        assert values(site.store) == []

    def test_a_tombstone_loses_to_a_higher_version(self, site: Site) -> None:
        site.store.upsert(VIEW, [tombstone(version=2), row("u2", version=3)])
        site.store.upsert(VIEW, [row(version=3), tombstone("u2", version=2)])
        assert values(site.store) == values(site.store, "u2") == [1]

    def test_of_one_version_the_tombstone_stays(self, site: Site) -> None:
        site.store.upsert(VIEW, [tombstone("u1"), row("u2")])
        site.store.upsert(VIEW, [row("u1"), tombstone("u2")])
        assert values(site.store, "u1") == values(site.store, "u2") == []

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(rows=st.lists(VERSIONED, max_size=8), data=st.data())
    def test_any_order_batching_and_repetition_ends_equal(
        self, site: Site, rows: list[Row], data: st.DataObject
    ) -> None:
        number = next(NUMBERS)
        again = data.draw(
            st.permutations([*rows, *data.draw(st.lists(st.sampled_from(rows)) if rows else st.just([]))])
        )
        cut = data.draw(st.integers(0, len(again)))
        site.store.upsert(f"once{number}", rows)
        site.store.upsert(f"again{number}", again[:cut])
        site.store.upsert(f"again{number}", again[cut:])
        for key in ("u1", "u2"):
            assert list(read_all(site.store, f"once{number}", key)) == list(read_all(site.store, f"again{number}", key))

    # -- reading -----------------------------------------------------------------------------------------------------

    def test_nothing_is_read_of_an_unknown_key_or_view(self, site: Site) -> None:
        site.store.upsert(VIEW, [row("u1")])
        for view, key in ((VIEW, "u2"), (VIEW, "u"), (VIEW, "u11"), (OTHER, "u1"), ("nothing", "u1")):
            found = site.store.read(view, key, 10)
            assert (found.rows, found.next) == ((), None)

    def test_rows_are_read_newest_first(self, site: Site) -> None:
        sorts = ["2026-05-01", "2026-04-30", "2026-05-01 ä", "10", "9", "Z", "a", "ä", "\uffff", "🛒"]
        site.store.upsert(VIEW, [row(sort=sort, item={"value": sort}) for sort in sorts])
        assert values(site.store) == sorted(sorts, reverse=True)

    @pytest.mark.parametrize("limit", [1, 2, 7, 24, 25, 26])
    def test_pages_give_every_row_once(self, site: Site, limit: int) -> None:
        site.store.upsert(VIEW, [row(sort=f"{n:02}", item={"value": n}) for n in range(25)])
        found, token = [], None
        while True:
            page = site.store.read(VIEW, "u1", limit, token)
            assert len(page.rows) <= limit
            found += [found_row.sort for found_row in page.rows]
            token = page.next
            if token is None:
                break
        assert found == [f"{n:02}" for n in reversed(range(25))]

    def test_more_than_the_largest_page_is_read_page_after_page(self, site: Site) -> None:
        many = 2 * MAX_PAGE + 50
        site.store.upsert(VIEW, [row(sort=f"{n:06}", item={"value": n, "pad": "x" * 1_000}) for n in range(many)])
        assert len(site.store.read(VIEW, "u1", MAX_PAGE).rows) == MAX_PAGE
        assert values(site.store) == list(reversed(range(many)))

    def test_a_row_that_comes_between_two_pages_does_not_repeat_what_was_read(self, site: Site) -> None:
        site.store.upsert(VIEW, [row(sort=sort, item={"value": sort}) for sort in "abcd"])
        first = site.store.read(VIEW, "u1", 2)
        site.store.upsert(VIEW, [row(sort="e"), row(sort="c5")])
        second = site.store.read(VIEW, "u1", 2, first.next)
        assert [r.sort for r in first.rows + second.rows] == ["d", "c", "b", "a"]

    def test_rows_that_are_hidden_do_not_shorten_a_page(self, site: Site) -> None:
        site.store.upsert(VIEW, [row(sort=f"{n:02}", item={"value": n}) for n in range(20)])
        site.store.upsert(VIEW, [tombstone(sort=f"{n:02}", version=2) for n in range(10, 19)])
        page = site.store.read(VIEW, "u1", 5)
        assert [r.sort for r in page.rows] == ["19", "09", "08", "07", "06"]

    def test_the_pages_of_several_keys_come_in_the_order_in_which_they_were_asked_for(self, site: Site) -> None:
        site.store.upsert(VIEW, [row(f"u{n}", sort, item={"value": n}) for n in range(30) for sort in "abc"])
        first = site.store.read(VIEW, "u7", 1)
        asked = [*((f"u{n}", None) for n in reversed(range(31))), ("u7", first.next)]
        pages = list(site.store.read_each(VIEW, asked, 2))
        assert pages == [site.store.read(VIEW, key, 2, token) for key, token in asked]
        assert [len(page.rows) for page in pages] == [0] + [2] * 31 and pages[-1].rows[0].sort == "b"

    @pytest.mark.parametrize("token", ["!", "ä", "a", "gICA", "2026-05-01", "\0", " "])
    def test_a_page_token_that_nobody_gave_is_refused(self, site: Site, token: str) -> None:
        with pytest.raises(ItemRefused, match="page token"):
            site.store.read(VIEW, "u1", 5, token)

    @pytest.mark.parametrize("limit", [0, -1, MAX_PAGE + 1])
    def test_a_limit_that_makes_no_sense_is_refused(self, site: Site, limit: int) -> None:
        with pytest.raises(ItemRefused, match=f"limit is {limit}"):
            site.store.read(VIEW, "u1", limit)

    # -- keys --------------------------------------------------------------------------------------------------------

    def test_unicode_and_binary_looking_keys_are_keys_of_their_own(self, site: Site) -> None:
        site.store.upsert(VIEW, [row(key, item={"value": n}) for n, key in enumerate(ODD_KEYS)])
        assert [values(site.store, key) for key in ODD_KEYS] == [[n] for n in range(len(ODD_KEYS))]
        assert sorted(site.store.keys(VIEW)) == sorted(ODD_KEYS)

    def test_unicode_and_binary_looking_sorts_are_rows_of_their_own(self, site: Site) -> None:
        sorts = [sort[:1_000] for sort in ODD_KEYS]
        site.store.upsert(VIEW, [row(sort=sort, item={"value": n}) for n, sort in enumerate(sorts)])
        assert [r.sort for r in read_all(site.store, VIEW, "u1")] == sorted(sorts, reverse=True)
        paged = site.store.read(VIEW, "u1", 1)
        while paged.next:
            paged = site.store.read(VIEW, "u1", 1, paged.next)
        assert paged.rows[0].sort == min(sorts)

    @pytest.mark.parametrize("key", ["", "a" * 2_049, "ä" * 1_025, "\ud800"])
    def test_a_key_that_is_empty_too_long_or_no_text_is_refused(self, site: Site, key: str) -> None:
        refused = pytest.raises(ItemRefused, match=f"view {VIEW}: the key")
        with refused:
            site.store.upsert(VIEW, [row(key)])
        with refused:
            site.store.replace(VIEW, key, 1, [])
        with refused:
            site.store.read(VIEW, key, 1)

    @pytest.mark.parametrize("sort", ["", "a" * 1_025, "\ud800"])
    def test_a_sort_that_is_empty_too_long_or_no_text_is_refused(self, site: Site, sort: str) -> None:
        with pytest.raises(ItemRefused, match=f"view {VIEW}: the sort"):
            site.store.upsert(VIEW, [row(sort=sort)])

    @pytest.mark.parametrize("version", [-1, MAX_VERSION + 1])
    def test_a_version_outside_63_bits_is_refused(self, site: Site, version: int) -> None:
        with pytest.raises(ItemRefused, match="version"):
            site.store.upsert(VIEW, [row(version=version)])

    def test_the_keys_of_a_view_are_those_that_have_a_row_to_read(self, site: Site) -> None:
        site.set_clock(1_000)
        site.store.upsert(VIEW, [row("u1"), row("u1", "t"), row("u2"), tombstone("u3"), row("u4", expires_at=999)])
        site.store.upsert(OTHER, [row("u5")])
        assert sorted(site.store.keys(VIEW)) == ["u1", "u2"]

    # -- size --------------------------------------------------------------------------------------------------------

    def test_an_item_that_is_too_large_is_refused_by_name_and_keeps_its_batch_out(self, site: Site) -> None:
        envelope = len('{"value":""}')
        largest = {"value": "x" * (MAX_ITEM_BYTES - envelope)}
        site.store.upsert(VIEW, [row("u1", item=largest)])
        assert items(site.store) == [largest]
        too_large = row("user 7", item={"value": largest["value"] + "x"})
        refused = pytest.raises(ItemRefused, match=f"key 'user 7': an item of {MAX_ITEM_BYTES + 1} bytes")
        with refused:
            site.store.upsert(VIEW, [row("u2"), too_large, row("u3")])
        with refused:
            site.store.replace(OTHER, "user 7", 1, [too_large])
        assert list(site.store.keys(VIEW)) == ["u1"] and list(site.store.keys(OTHER)) == []

    def test_bytes_are_counted_and_not_characters(self, site: Site) -> None:
        with pytest.raises(ItemRefused, match="bytes"):
            site.store.upsert(VIEW, [row(item={"value": "🛒" * (MAX_ITEM_BYTES // 4)})])

    # -- expiry ------------------------------------------------------------------------------------------------------

    def test_an_expired_row_is_hidden_before_it_is_deleted(self, site: Site) -> None:
        site.set_clock(1_000)
        site.store.upsert(VIEW, [row(sort=str(at), item={"value": at}, expires_at=at) for at in (999, 1_000, 1_001)])
        site.store.upsert(VIEW, [row(sort="never", item={"value": "never"})])
        assert values(site.store) == ["never", 1_001]
        site.set_clock(1_001)
        assert values(site.store) == ["never"]

    def test_what_is_deleted_is_what_expired(self, site: Site) -> None:
        site.set_clock(1_000)
        site.store.upsert(VIEW, [row(sort=str(at), item={"value": at}, expires_at=at) for at in (1_500, 2_500)])
        site.store.upsert(VIEW, [row(sort="never", item={"value": "never"})])
        site.set_clock(2_000)
        site.store.expire()
        assert values(site.store) == ["never", 2_500]
        site.set_clock(0)
        assert 2_500 in values(site.store)

    def test_a_row_that_expired_stays_hidden_when_it_is_written_again(self, site: Site) -> None:
        site.set_clock(2_000)
        for _ in range(2):
            site.store.upsert(VIEW, [row(expires_at=1_000)])
            assert values(site.store) == [] and list(site.store.keys(VIEW)) == []
            site.store.expire()

    # -- summaries ---------------------------------------------------------------------------------------------------

    def test_a_replacement_is_all_that_a_key_has(self, site: Site) -> None:
        site.store.replace(VIEW, "p1", 1, summary("p1", 1, a=1, b=1))
        site.store.replace(VIEW, "p2", 1, summary("p2", 1, a=7))
        site.store.replace(VIEW, "p1", 2, summary("p1", 2, b=2, c=2))
        assert [(r.sort, r.version) for r in read_all(site.store, VIEW, "p1")] == [("c", 2), ("b", 2)]
        assert values(site.store, "p2") == [7]

    def test_a_late_replacement_brings_back_nothing(self, site: Site) -> None:
        site.store.replace(VIEW, "p1", 5, summary("p1", 5, a=5))
        site.store.replace(VIEW, "p1", 4, summary("p1", 4, a=4, gone=4))
        assert values(site.store, "p1") == [5]

    def test_a_key_that_was_emptied_stays_empty_for_a_late_replacement(self, site: Site) -> None:
        site.store.replace(VIEW, "p1", 1, summary("p1", 1, a=1))
        site.store.replace(VIEW, "p1", 3, [])
        site.store.replace(VIEW, "p1", 2, summary("p1", 2, a=2))
        assert values(site.store, "p1") == [] and list(site.store.keys(VIEW)) == []

    def test_two_replacements_of_one_version_end_in_the_same_one_and_never_in_a_mixture(self, site: Site) -> None:
        for key, order in (("p1", (1, 2)), ("p2", (2, 1))):
            for value in order:
                rows = summary(key, 1, both=value) + summary(key, 1, **{f"only{value}": value})
                site.store.replace(VIEW, key, 1, rows)
        assert values(site.store, "p1") in ([1, 1], [2, 2]) and values(site.store, "p2") in ([1, 1], [2, 2])

    @pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3, 3))))
    def test_replacements_in_any_order_end_in_the_last_version(self, site: Site, order: Sequence[int]) -> None:
        for version in order:
            site.store.replace(VIEW, "p1", version, whole(version))
        assert list(read_all(site.store, VIEW, "p1")) == sorted(whole(3), key=lambda r: r.sort, reverse=True)

    def test_rows_of_another_key_or_version_or_twice_the_same_are_no_replacement(self, site: Site) -> None:
        for rows in ([row("p2")], [row("p1", version=2)], [row("p1"), row("p1")], [tombstone("p1")]):
            with pytest.raises(ItemRefused, match=f"view {VIEW}, key 'p1'"):
                site.store.replace(VIEW, "p1", 1, rows)
        assert values(site.store, "p1") == []

    # -- several processes -------------------------------------------------------------------------------------------

    def test_what_one_client_wrote_another_reads(self, site: Site) -> None:
        site.store.upsert(VIEW, [row()])
        other = site.another()
        assert values(other) == [1]
        other.close()

    def test_processes_that_write_the_same_rows_in_other_orders_at_once_end_equal(self, site: Site) -> None:
        in_processes(site, upsert_shuffled)
        highest = {(r.key, r.sort): r for r in contended()}
        found = {(r.key, r.sort): r for key in site.store.keys(VIEW) for r in read_all(site.store, VIEW, key)}
        assert found == highest

    def test_processes_that_replace_at_once_end_in_the_last_version(self, site: Site) -> None:
        in_processes(site, replace_in_turn)
        assert list(read_all(site.store, VIEW, "p1")) == sorted(whole(30), key=lambda r: r.sort, reverse=True)


NUMBERS = itertools.count()
