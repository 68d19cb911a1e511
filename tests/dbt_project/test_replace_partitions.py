"""The strategy: the dates to build become what the query returned, in one transaction."""

from datetime import UTC, datetime

from tests.dbt_project.analytics import problems
from tests.dbt_project.conftest import Shop
from tests.dbt_project.histories import event

NOON = datetime(2025, 10, 1, 12, 0, tzinfo=UTC)
SESSIONS = ("--select", "fct_sessions")


def test_a_failed_insert_leaves_the_table_as_it_was(shop: Shop) -> None:
    shop.receive([event(1, "product_viewed", NOON, anonymous_id="b1")])
    shop.analytics.build()
    before = shop.analytics.rows("fct_sessions")
    shop.analytics.warehouse.query("update analytics.fct_events set visitor_id = null")
    result = shop.analytics.try_build([NOON.date()], *SESSIONS)
    assert not result.success and "NOT NULL constraint" in problems(result)
    assert shop.analytics.rows("fct_sessions") == before


def test_a_date_that_has_no_rows_any_more_is_emptied(shop: Shop) -> None:
    shop.receive([event(1, "product_viewed", NOON, anonymous_id="b1")])
    shop.analytics.build()
    shop.analytics.warehouse.query("delete from raw.product_viewed")
    shop.analytics.build([NOON.date()])
    assert shop.analytics.rows("fct_sessions") == shop.analytics.rows("stg_events") == []


def test_rows_of_other_dates_are_not_touched(shop: Shop) -> None:
    shop.receive([event(1, "product_viewed", NOON, anonymous_id="b1")])
    shop.analytics.build()
    before = shop.analytics.contents()
    shop.analytics.warehouse.query("delete from raw.product_viewed")
    shop.analytics.build([NOON.date().replace(month=11)])
    assert shop.analytics.contents() == before
