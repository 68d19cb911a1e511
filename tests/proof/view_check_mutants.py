"""Known bugs of what compares the views with the lake; `tests/proof/mutants.py` plants them with the others."""

from tests.proof.mutant import Mutant

COMPARISON = "tests/orchestration/test_fact_comparison.py"
COUNTERS = "tests/orchestration/test_counter_comparison.py"
CHECKS = "tests/orchestration/test_view_checks.py"
DIFFERENCES, COUNTING = "orchestration/recomputed/fact_differences.sql", "orchestration/recomputed/counting.sql"

VIEW_CHECK_MUTANTS = (
    Mutant(
        "a row that a view lost is no difference",
        DIFFERENCES,
        "then owed.is_due and copies_ahead.key is null",
        "then false",
        COMPARISON,
    ),
    Mutant(
        "a row too many is no difference",
        DIFFERENCES,
        "then not shown.is_ahead",
        "then false",
        COMPARISON,
    ),
    Mutant(
        "what the lake has not landed is a difference",
        DIFFERENCES,
        "then not shown.is_ahead",
        "then true",
        COMPARISON,
    ),
    Mutant(
        "a copy that the lake has not landed excuses nothing",
        DIFFERENCES,
        "owed.is_due and copies_ahead.key is null",
        "owed.is_due",
        COMPARISON,
    ),
    Mutant(
        "a row from beyond the log's end may still land",
        DIFFERENCES,
        "between reach.landed and ends.ended - 1",
        ">= reach.landed",
        COMPARISON,
    ),
    Mutant(
        "the check looks for copies on one date only",
        COUNTING,
        "range between 1 preceding and 1 following",
        "range between current row and current row",
        COMPARISON,
    ),
    Mutant(
        "what no writer of the view has read is due",
        COUNTING,
        "reach.topic_id is null or fitting.kafka_offset < reach.passed as is_passed",
        "true as is_passed",
        COMPARISON,
    ),
    Mutant(
        "files are left out by their earliest event",
        "ingestion/lake.py",
        '            latest = adds.column(f"max.{column}")\n',
        '            latest = adds.column(f"min.{column}")\n',
        COMPARISON,
    ),
    Mutant(
        "what differed once is red",
        "orchestration/view_checks.py",
        " if (each.key, each.sort) in seen)",
        ")",
        CHECKS,
    ),
    Mutant(
        "a product is bought once for each line of an order",
        "orchestration/recomputed/counted_orders.sql",
        "list_distinct(list_transform(products, lambda line: line.product_id))",
        "list_transform(products, lambda line: line.product_id)",
        COUNTERS,
    ),
    Mutant(
        "what was appended lately has to be counted already",
        "orchestration/recomputed/counter_differences.sql",
        "        and stirred.key is null\n",
        "",
        COUNTERS,
    ),
    Mutant(
        "a copy that came lately is overlooked",
        COUNTING,
        "max(kafka_timestamp) over copies_nearby",
        "kafka_timestamp",
        COUNTERS,
    ),
    Mutant(
        "a date that is not built has to be counted already",
        "orchestration/recomputed/counter_differences.sql",
        "where unbuilt.event_date between",
        "where false and unbuilt.event_date between",
        COUNTERS,
    ),
    Mutant(
        "counters that are behind have to be right",
        "orchestration/counter_comparison.py",
        "return None if is_behind else",
        "return None if False else",
        COUNTERS,
    ),
)
