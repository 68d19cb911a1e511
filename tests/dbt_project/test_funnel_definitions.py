"""A funnel that the models would count wrongly is refused before anything is built."""

from tests.dbt_project.analytics import dbt, parsed, problems
from tests.dbt_project.conftest import Shop


def test_a_window_beyond_the_reach_of_a_build_is_refused_with_what_to_do(shop: Shop) -> None:
    warehouse = shop.analytics.warehouse.path
    assert dbt(warehouse, "seed", manifest=parsed()).success
    before = shop.analytics.rows("funnels")
    result = dbt(warehouse, "seed", "--vars", '{"funnel_max_window_days": 6}', manifest=parsed())
    assert not result.success
    assert "has a window of 604800 seconds, and funnel_max_window_days is 6: shorten the window" in problems(result)
    assert shop.analytics.rows("funnels") == before
