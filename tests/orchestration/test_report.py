"""The page says what is true of a known shop, and nothing that a reader would take wrongly."""

import re
import shutil
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ingestion.errors import ModelsNotBuilt
from ingestion.warehouse.duckdb import DuckDBWarehouse
from orchestration.cli import cli
from orchestration.numbers import as_count, as_money, as_percent, as_range, as_short_date
from orchestration.report import write_report
from tests.dbt_project.conftest import Shop
from tests.orchestration.known_shop import FIRST, HOSTILE, LAST, NAMES, find_truth, history, left_at_entry, through
from tests.orchestration.page import Page

pytestmark = pytest.mark.xdist_group("known_shop")
TRUTH = find_truth(history())
DASH = "\N{EN DASH}"


@pytest.fixture(scope="session")
def html(known_shop: Shop) -> str:
    return write_report(known_shop.platform.warehouse.query, FIRST, LAST)


@pytest.fixture(scope="session")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture
def copy(known_shop: Shop, tmp_path: Path) -> DuckDBWarehouse:
    """A warehouse of the same contents that a test may change."""
    return DuckDBWarehouse(shutil.copy(known_shop.platform.warehouse.path, tmp_path))


def rate(part: int, whole: int) -> str:
    return as_percent(part / whole if whole else None)


def test_the_key_figures_are_those_of_the_events(page: Page) -> None:
    assert page.after("Visitors") == [as_count(TRUTH.visitors)]
    assert page.after("Sessions") == [as_count(TRUTH.sessions)]
    assert page.after("Orders") == [as_count(TRUTH.orders)]
    assert page.after("Conversion") == [rate(TRUTH.converting_sessions, TRUTH.sessions)]
    abandoned, detail = page.after("Cart abandonment", 2)
    assert abandoned == rate(TRUTH.abandoned, TRUTH.decided)
    assert detail.startswith(f"{TRUTH.abandoned} of {TRUTH.decided} additions")
    assert detail.endswith(f"{TRUTH.undecided} are not final yet and not counted") and TRUTH.undecided


def test_revenue_is_net_of_refunds_and_never_adds_currencies(page: Page) -> None:
    assert set(TRUTH.net) == {"EUR", "GBP", None}
    assert set(page.after("Net revenue", 3)) == {as_money(net, currency) for currency, net in TRUTH.net.items()}
    rows = page.table("Per currency; a refund counts on the date on which it was made")
    assert {currency: cells[-1] for currency, cells in rows.items()} == {
        currency or "(no currency)": as_money(net, currency) for currency, net in TRUTH.net.items()
    }


@pytest.mark.parametrize(
    ("caption", "excluded", "steps"),
    [
        (
            "Steps of view to purchase",
            None,
            {"viewed": "product_viewed", "added": "product_added", "ordered": "order_completed"},
        ),
        (
            "Steps of cart to order",
            "product_removed",
            {"added": "product_added", "checkout": "checkout_started", "ordered": "order_completed"},
        ),
    ],
)
def test_funnels_are_those_of_the_events(caption: str, excluded: str | None, steps: dict[str, str], page: Page) -> None:
    truth = through(list(steps.values()), excluded, history())
    entered, before = truth[0][0], None
    assert sum(still_open for _, still_open in truth), "some may still go on"
    for (name, (reached, still_open)), after in zip(zip(steps, truth, strict=True), [*truth[1:], None], strict=True):
        stopped = [as_count(reached - after[0]), as_count(still_open)] if after else [DASH, DASH]
        previous = DASH if before is None else rate(reached, before)
        assert page.table(caption)[name] == [as_count(reached), previous, rate(reached, entered), *stopped]
        before = reached


def test_who_may_still_go_on_is_not_counted_as_lost(page: Page) -> None:
    (viewed, added, _) = through(["product_viewed", "product_added", "order_completed"], None, history())
    row = page.tables["Visitors lost after each step"][1]
    assert row[:4] == ["view to purchase", "viewed", str(viewed[0] - added[0] - viewed[1]), row[3]]
    assert row[3] == rate(viewed[0] - added[0] - viewed[1], viewed[0])


def test_where_people_drop_names_the_products_that_they_left(page: Page) -> None:
    left = left_at_entry(["product_viewed", "product_added", "order_completed"], history())[:3]
    row = page.tables["Visitors lost after each step"][1]
    assert row[5] == ", ".join(f"{NAMES[product] or product}\N{NO-BREAK SPACE}{count}" for product, count in left)


def test_products_are_counted_by_name(page: Page) -> None:
    rows = page.table("The 4 products ordered most often")
    for product, counts in TRUTH.products.items():
        name = NAMES[product]
        cells = rows[f"{name} {product}" if name else product]
        assert cells[:4] == [*map(as_count, counts), rate(counts[2], counts[0])]


def test_retention_has_the_weeks_that_have_begun_and_marks_the_one_that_runs(page: Page) -> None:
    rows = page.table("Weekly cohorts")
    assert len(TRUTH.cohorts) == len(rows) >= 2
    for monday, (visitors, *returned) in TRUTH.cohorts.items():
        shares = [rate(count, visitors) for count in returned]
        shown = [*shares[:-1], *(f"{running}*" for running in shares[-1:])]
        cells = rows[as_short_date(monday)]
        assert [cell for cell in cells if cell] == [as_count(visitors), *shown]


def test_the_page_names_range_freshness_and_definitions(page: Page) -> None:
    said = " ".join(page.texts)
    assert as_range(FIRST, LAST) == f"4 {DASH} 22 March 2026" and as_range(FIRST, LAST) in page.texts
    assert "Last event received 20 March 2026, 18:00 UTC" in said
    assert "20 March 2026 is not over in the data" in said and "nothing is known of the dates after 20 March" in said
    assert "within 7 days of the first step, each step later than the one before." in said
    assert "product_removed between added and checkout ends the attempt." in said


def test_the_page_asks_nothing_of_any_server_and_has_nothing_that_runs(html: str, page: Page) -> None:
    assert [reference for reference in page.references if not reference.startswith("#")] == []
    assert not page.tags & {"script", "link", "iframe", "img", "object", "embed"}
    assert not re.search(r"https?:|url\((?!#)|@import", html)
    assert len(html) < 150_000


def test_a_name_with_markup_is_shown_as_text(html: str, page: Page) -> None:
    assert "<script" not in html
    assert any(HOSTILE in text for text in page.texts)


def test_the_same_warehouse_gives_the_same_page(html: str, known_shop: Shop) -> None:
    assert write_report(known_shop.platform.warehouse.query, FIRST, LAST) == html


def test_a_range_without_events_says_so(known_shop: Shop) -> None:
    page = Page(write_report(known_shop.platform.warehouse.query, date(2025, 1, 1), date(2025, 1, 31)))
    assert "Nothing happened on these dates." in page.texts
    assert not page.tables


def test_a_date_without_orders_has_dashes_where_there_is_nothing_to_share(copy: DuckDBWarehouse) -> None:
    for table, column in (("fct_funnel_attempts", "entry_date"), ("fct_cart_lines", "added_date")):
        copy.query(f"delete from analytics.{table} where {column} = ?", [FIRST])
    copy.query(
        "update analytics.mart_daily_kpis set sessions = 0, converting_sessions = 0 where event_date = ?", [FIRST]
    )
    page = Page(write_report(copy.query, FIRST, FIRST))
    assert page.after("Conversion") == page.after("Cart abandonment") == [DASH]
    assert page.texts.count("Nobody entered this funnel.") == 4


def test_rows_of_an_earlier_definition_are_left_out_and_named(copy: DuckDBWarehouse) -> None:
    copy.query("update analytics.funnels set window_seconds = 86400 where funnel_id = 'view_to_purchase'")
    said = " ".join(Page(write_report(copy.query, FIRST, LAST)).texts)
    assert "dates of the funnel view_to_purchase were built with an earlier definition and are left out" in said


def test_loads_that_the_models_have_not_seen_are_named(copy: DuckDBWarehouse) -> None:
    copy.query("insert into headrace.touched values ('product_viewed', ?, 1000)", [FIRST])
    copy.query("insert into headrace.touched values ('product_viewed', ?, 1000)", [FIRST - timedelta(days=1)])
    said = " ".join(Page(write_report(copy.query, FIRST, LAST)).texts)
    assert "More is loaded than these numbers have seen, for 1 of the dates (4 March 2026)" in said


def test_a_warehouse_without_models_names_the_next_step(tmp_path: Path, copy: DuckDBWarehouse) -> None:
    with pytest.raises(ModelsNotBuilt, match=r"no analytics\.\w+ .*`headrace build`.*`headrace up`"):
        write_report(DuckDBWarehouse(tmp_path / "new.duckdb").query, FIRST, LAST)
    copy.query("drop table analytics.mart_revenue_daily")
    with pytest.raises(ModelsNotBuilt, match=r"no analytics\.mart_revenue_daily \(1 of"):
        write_report(copy.query, FIRST, LAST)


def test_models_that_have_seen_no_event_say_so(copy: DuckDBWarehouse) -> None:
    def nothing(sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        return [(None,)] if "max(received_at)" in sql else copy.query(sql, parameters)

    assert "No event has reached the warehouse yet." in Page(write_report(nothing, FIRST, LAST)).texts


def test_the_command_writes_the_page(copy: DuckDBWarehouse, html: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_WAREHOUSE", f"duckdb://{copy.path}")
    copy.publish()
    output = copy.path.parent / "page.html"
    asked = ["report", "--from", str(FIRST), "--to", str(LAST), "--output", str(output)]
    done = CliRunner().invoke(cli, asked, catch_exceptions=False)
    assert done.output == f"{output}: 2026-03-04 to 2026-03-22\n"
    assert output.read_text() == html


def test_the_command_refuses_dates_in_the_wrong_order() -> None:
    done = CliRunner().invoke(cli, ["report", "--from", "2026-03-22", "--to", "2026-03-04"])
    assert done.exit_code == 2 and "2026-03-04 is before --from 2026-03-22" in done.output
