"""Bugs of the models: what a partition hangs on, who a visitor is, what counts once, what a funnel means."""

from tests.proof.mutant import Mutant

MACROS, MARTS = "dbt_project/macros", "dbt_project/models/marts"
INCREMENTAL = "tests/dbt_project/test_incremental.py"
LATE = f"{INCREMENTAL}::test_what_arrives_late_reaches_the_dates_that_hang_on_it"
TWICE = f"{INCREMENTAL}::test_dates_built_twice_change_nothing_and_a_build_of_no_dates_builds_nothing"
LOGIN = f"{INCREMENTAL}::test_a_login_makes_earlier_dates_stale_until_they_are_built"
COPIES = "tests/dbt_project/test_shop.py::test_copies_count_once_within_a_day_of_each_other_whatever_their_delay"
SHOP = "tests/dbt_project/test_shop.py::test_orders_revenue_products_and_retention"
OWN = "tests/dbt_project/test_own_tests.py"
LEVELS = "tests/dbt_project/test_funnels_by_clickhouse.py::test_the_level_of_every_visitor_is_that_of_window_funnel"

MODEL_MUTANTS = (
    Mutant(
        "only the dates of the new rows are built",
        f"{MACROS}/dates.sql",
        "{{ return(widened(touched, reach['after'], reach['before'])) }}",
        "{{ return(touched) }}",
        LATE,
    ),
    Mutant(
        "a build reads only the dates that it builds",
        f"{MACROS}/dates.sql",
        "in_days(column, widened(days, before, after))",
        "in_days(column, days)",
        TWICE,
    ),
    Mutant(
        "an order does not reach the attempts before it",
        f"{MACROS}/dates.sql",
        "'after': window + copies}",
        "'after': copies}",
        LATE,
    ),
    Mutant(
        "a session does not reach the orders after it",
        f"{MACROS}/dates.sql",
        "(var('touch_days') | int) + chain + copies",
        "chain + copies",
        LATE,
    ),
    Mutant(
        "copies reach no neighbouring date",
        f"{MACROS}/dates.sql",
        "{%- set copies = 1 -%}",
        "{%- set copies = 0 -%}",
        f"{INCREMENTAL}::test_a_copy_that_was_received_before_takes_the_place_of_one_on_the_next_date",
    ),
    Mutant(
        "partitions are added to, not replaced",
        f"{MACROS}/replace_partitions.sql",
        "  delete from {{ arg_dict['target_relation'] }} where {{ in_built_dates(column) }};\n",
        "",
        TWICE,
    ),
    Mutant(
        "a date without rows keeps its old ones",
        f"{MACROS}/replace_partitions.sql",
        "where {{ in_built_dates(column) }};\n  insert",
        "where {{ column }} in (select {{ column }} from {{ arg_dict['temp_relation'] }});\n  insert",
        "tests/dbt_project/test_replace_partitions.py::test_a_date_that_has_no_rows_any_more_is_emptied",
    ),
    Mutant(
        "a login stitches nothing",
        f"{MACROS}/identity.sql",
        "when {{ tie }}.user_id is not null then",
        "when false then",
        LOGIN,
    ),
    Mutant(
        "the dates that a login re-keys are not touched",
        f"{MACROS}/identity.sql",
        "select 'rekeyed', rekeyed.event_date, load_lock.loads",
        "select 'rekeyed', rekeyed.event_date, cast(0 as bigint)",
        LOGIN,
    ),
    Mutant(
        "a login stitches whatever was before it",
        f"{MACROS}/identity.sql",
        "<= {{ var('stitch_days') | int * day_us() }}",
        ">= 0",
        OWN,
    ),
    Mutant(
        "the newest copy of an event counts",
        "dbt_project/models/staging/stg_events.sql",
        "order by received_at, kafka_topic",
        "order by received_at desc, kafka_topic",
        COPIES,
    ),
    Mutant(
        "a copy on the next date counts too",
        "dbt_project/models/staging/stg_events.sql",
        "earlier_date = {{ plus_days('event_date', -1) }} and earlier_place < place",
        "false",
        COPIES,
    ),
    Mutant(
        "a pause of just the gap begins a session",
        f"{MARTS}/fct_events.sql",
        "occurred_us - previous_us > {{ gap_us }}",
        "occurred_us - previous_us >= {{ gap_us }}",
        OWN,
    ),
    Mutant(
        "a session is looked for on the event's own date",
        f"{MARTS}/fct_events.sql",
        "in_built_dates('event_date', before=max_days + 1)",
        "in_built_dates('event_date')",
        f"{INCREMENTAL}::test_a_session_that_ends_where_the_built_dates_begin_stays_whole",
    ),
    Mutant(
        "what a row says hangs on the time of the build",
        f"{MARTS}/fct_cart_lines.sql",
        "        else 'abandoned'\n",
        "        when added.occurred_at < current_timestamp then 'abandoned'\n        else 'open'\n",
        "tests/dbt_project/test_redshift_sql.py::test_nothing_hangs_on_a_clock_or_on_chance",
    ),
    Mutant(
        "a refund is not subtracted",
        f"{MARTS}/mart_revenue_daily.sql",
        "cast(gross_revenue - refunds as",
        "cast(gross_revenue as",
        SHOP,
    ),
    Mutant(
        "a strict funnel takes steps of one moment",
        f"{MACROS}/funnel_attempts.sql",
        "case when is_strict then 0 else 3 end as tie_order",
        "3 as tie_order",
        LEVELS,
    ),
    Mutant(
        "steps of one moment never count",
        f"{MACROS}/funnel_attempts.sql",
        "case when is_strict then 0 else 3 end as tie_order",
        "0 as tie_order",
        LEVELS,
    ),
    Mutant(
        "the window of a funnel is ignored",
        f"{MACROS}/funnel_attempts.sql",
        "_us <= deadline_us then 1 else 0",
        "_us is not null then 1 else 0",
        LEVELS,
    ),
    Mutant(
        "the window of a funnel excludes its end",
        f"{MACROS}/funnel_attempts.sql",
        "_us <= deadline_us then 1 else 0",
        "_us < deadline_us then 1 else 0",
        LEVELS,
    ),
    Mutant(
        "an attempt is counted from its first entry",
        f"{MACROS}/funnel_attempts.sql",
        "max(occurred_us) as entry_us",
        "min(occurred_us) as entry_us",
        LEVELS,
    ),
    Mutant(
        "what ends an attempt is ignored",
        f"{MACROS}/funnel_attempts.sql",
        "where kind = 'exclude' and step <= {{ k }}",
        "where kind = 'exclude' and step < {{ k }}",
        "tests/dbt_project/test_funnels_by_search.py",
    ),
    Mutant(
        "a build notes loads that came after dbt had read",
        "orchestration/models.py",
        "warehouse.record_built(dates, seen.load_seq, definitions)",
        "warehouse.record_built(dates, warehouse.staleness().load_seq, definitions)",
        "tests/orchestration/test_models.py::test_what_a_load_brings_while_dbt_runs_stays_stale",
    ),
    Mutant(
        "a build of some models notes its dates as built",
        "orchestration/models.py",
        "if outcome.failure is None and not selected:",
        "if outcome.failure is None:",
        "tests/orchestration/test_models.py::test_a_build_of_some_models_leaves_its_dates_stale",
    ),
    Mutant(
        "a build that failed notes its dates as built",
        "orchestration/models.py",
        "if outcome.failure is None and not selected:",
        "if not selected:",
        "tests/orchestration/test_models.py::test_a_build_that_fails_leaves_its_dates_stale_and_says_so",
    ),
    Mutant(
        "an older build takes back what a newer one has seen",
        "ingestion/warehouse/duckdb.py",
        "max(load_seq, known.get(date, 0))",
        "load_seq",
        "tests/ingestion/test_staleness.py",
    ),
)
