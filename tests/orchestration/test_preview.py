from ingestion.tables import all_tables, table_named
from orchestration.preview import preview, shown_columns
from tests.platform import Platform

PERSONAL = {"user_id", "anonymous_id", "event_id", "session_id", "kafka_value", "payload", "message", "checksum"}


def test_no_table_shows_whose_a_row_is() -> None:
    for table in all_tables():
        assert not PERSONAL.intersection(shown_columns(table)), table.name
        assert not [name for name in shown_columns(table) if name.startswith(("device_", "app_", "kafka_"))]


def test_a_cell_cannot_break_the_table(platform: Platform) -> None:
    (event,) = platform.publish("product_viewed", 1)
    assert isinstance(event, dict)
    platform.publish("product_viewed", [{**event, "properties": {"product_id": "a|b\nc", "name": "x" * 500}}])
    platform.land()
    platform.load()
    head, rule, *rows = preview(platform.warehouse, table_named("product_viewed"), "2026-05-01-12").splitlines()
    assert len(rows) == 2 and rule.count("---") == head.count(" | ") + 1
    assert [row for row in rows if "a\\|b c" in row and "x" * 40 + "…" in row]
