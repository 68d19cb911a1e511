import dagster as dg

from ingestion.views.product_counters import NAME
from sensors.attempts import Attempt
from sensors.counters_behind import COUNTERS_KEY, VERSION, decide, read_counted

NOW = 1_000.0


def test_what_was_published_since_it_was_counted_is_asked_for() -> None:
    assert decide(9, 7, [], NOW)
    assert not decide(9, 9, [], NOW)
    assert not decide(7, 9, [], NOW), "the report is older than what was counted"


def test_where_nothing_was_counted_everything_is_asked_for_once_something_is_published() -> None:
    assert decide(1, None, [], NOW)
    assert not decide(0, None, [], NOW)


def test_after_a_failure_it_waits_a_little_and_stays_pending() -> None:
    failed = Attempt(NOW - 2, NOW - 1, False, {NAME}.__contains__)
    assert not decide(9, 7, [failed], NOW)
    assert decide(9, 7, [failed], NOW + 10)


def test_what_was_counted_is_what_the_last_materialisation_that_names_it_says() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert read_counted(instance) is None
        for metadata in ({VERSION: 9}, {VERSION: 7}, {}):
            instance.report_runless_asset_event(dg.AssetMaterialization(COUNTERS_KEY, metadata=metadata))
        assert read_counted(instance) == 7
