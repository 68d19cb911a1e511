import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from deltalake import DeltaTable, write_deltalake
from rich.console import Console

from ingestion.audit import BALANCED, BROKEN, PENDING, Balance, Finding, audit
from ingestion.audit_report import as_json, exit_code, print_balance, print_sent
from ingestion.broker import Chunk
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.encoding import Block, encode
from ingestion.lake import Lake, LakeFile, Range
from ingestion.lander import GROUP
from ingestion.sent import SentBalance
from ingestion.tables import Table, event_table
from ingestion.warehouse import Holdings
from ingestion.warehouse.duckdb import DuckDBWarehouse
from tests.conftest import MakePlatform
from tests.platform import HOUR, Platform, event, record

NEXT_HOUR = "2026-05-01-13"
LOG_LAKE, LAKE_LEDGER, LEDGER_RAW = "log → lake", "lake → ledger", "ledger → raw"


@pytest.fixture
def loaded(platform: Platform) -> Platform:
    """Three loaded commits of `product_viewed`: versions 1 and 2 of one hour, version 3 of the next."""
    for number, hour in ((6, 12), (5, 12), (4, 13)):
        platform.now = platform.now.replace(hour=hour)
        platform.publish("product_viewed", number)
        platform.land()
    platform.load()
    assert platform.audit().status == BALANCED
    return platform


def places(balance: Balance) -> set[tuple[str, str | None, int | None]]:
    assert {finding.table for finding in balance.findings} <= {"product_viewed"}
    return {(finding.hop, finding.landing_hour, finding.version) for finding in balance.findings}


def change(platform: Platform, sql: str) -> None:
    platform.warehouse.query(sql)


def file_of(platform: Platform, version: int) -> LakeFile:
    (commit,) = platform.lake.table(platform.tables[0]).commits(version - 1, until=version)
    (file,) = commit.files
    return file


OF_COMMIT_2 = (
    "select r.rowid from raw.product_viewed r join headrace.load_ranges c"
    " on c.version = 2 and r.kafka_partition = c.kafka_partition"
    " and r.kafka_offset between c.start_offset and c.end_offset - 1 order by 1 limit 1"
)
ONE_ROW = f"(select * from raw.product_viewed where rowid in ({OF_COMMIT_2}))"


def test_an_empty_platform_is_balanced(make_platform: MakePlatform, views: Table) -> None:
    balance = make_platform(views, event_table("cart_viewed")).audit()
    assert (balance.status, balance.lines, balance.findings) == (BALANCED, [], [])


def test_every_hop_has_the_same_rows_in_every_hour(loaded: Platform) -> None:
    balance = loaded.audit()
    assert [(line.landing_hour, line.raw.rows) for line in balance.lines] == [(HOUR, 11), (NEXT_HOUR, 4)]
    for line in balance.lines:
        assert line.log == line.landed == line.lake == line.ledger == line.raw
    assert (balance.not_landed, balance.not_loaded, balance.unread) == (0, 0, 0)


def test_records_that_are_not_landed_are_pending(loaded: Platform) -> None:
    loaded.publish("product_viewed", 3)
    balance = loaded.audit()
    assert (balance.status, balance.not_landed, balance.not_loaded, balance.findings) == (PENDING, 3, 0, [])


def test_commits_that_are_not_loaded_are_pending(loaded: Platform) -> None:
    loaded.publish("product_viewed", 3)
    loaded.land()
    loaded.publish("product_viewed", 2)
    balance = loaded.audit()
    assert (balance.status, balance.not_landed, balance.not_loaded, balance.findings) == (PENDING, 2, 3, [])
    loaded.land()
    loaded.load()
    assert loaded.audit().status == BALANCED


def test_nothing_loaded_at_all_is_pending(platform: Platform) -> None:
    platform.publish("product_viewed", 3)
    platform.land()
    assert (platform.audit().status, platform.audit().findings) == (PENDING, [])


def test_a_row_missing_in_raw_is_found_with_its_commit(loaded: Platform) -> None:
    change(loaded, f"delete from raw.product_viewed where rowid in ({OF_COMMIT_2})")
    balance = loaded.audit()
    assert (balance.status, places(balance)) == (BROKEN, {(LEDGER_RAW, HOUR, 2)})
    assert "the ledger has 5 records, the raw table 4" in balance.findings[0].message


def test_a_row_doubled_in_raw_is_found_with_its_commit(loaded: Platform) -> None:
    change(loaded, f"insert into raw.product_viewed from {ONE_ROW}")
    assert places(loaded.audit()) == {(LEDGER_RAW, HOUR, 2), ("raw", HOUR, 2)}


def test_a_value_changed_in_raw_is_found_with_its_commit(loaded: Platform) -> None:
    change(loaded, f"update raw.product_viewed set kafka_value = kafka_value || ' ' where rowid in ({OF_COMMIT_2})")
    balance = loaded.audit()
    assert places(balance) == {(LEDGER_RAW, HOUR, 2), ("raw", HOUR, 2)}
    assert any("not the same ones" in finding.message for finding in balance.findings)


def test_a_lost_row_and_a_doubled_one_do_not_cancel_out(loaded: Platform) -> None:
    change(loaded, f"insert into raw.product_viewed from {ONE_ROW}")
    change(loaded, "delete from raw.product_viewed where kafka_offset = 0 and kafka_partition = 0")
    assert places(loaded.audit()) == {(LEDGER_RAW, HOUR, 1), (LEDGER_RAW, HOUR, 2), ("raw", HOUR, 2)}


def test_an_empty_raw_table_names_every_commit_of_it(loaded: Platform) -> None:
    change(loaded, "delete from raw.product_viewed")
    assert places(loaded.audit()) == {(LEDGER_RAW, HOUR, 1), (LEDGER_RAW, HOUR, 2), (LEDGER_RAW, NEXT_HOUR, 3)}
    change(loaded, "drop table raw.product_viewed")
    assert places(loaded.audit()) == {(LEDGER_RAW, HOUR, 1), (LEDGER_RAW, HOUR, 2), (LEDGER_RAW, NEXT_HOUR, 3)}


def test_rows_under_another_hour_are_found_in_both(loaded: Platform) -> None:
    change(loaded, f"update raw.product_viewed set landing_hour = '{NEXT_HOUR}' where rowid in ({OF_COMMIT_2})")
    assert places(loaded.audit()) == {(LEDGER_RAW, HOUR, 2), (LEDGER_RAW, NEXT_HOUR, 2)}


def test_swapped_hours_are_found_in_both(loaded: Platform) -> None:
    change(loaded, "update raw.product_viewed set landing_hour = '2026-05-01-' || (25 - right(landing_hour, 2)::int)")
    found = places(loaded.audit())
    assert found == {(LEDGER_RAW, hour, version) for hour in (HOUR, NEXT_HOUR) for version in (1, 2, 3)}


def test_a_ledger_row_that_was_removed_is_found(loaded: Platform) -> None:
    change(loaded, "delete from headrace.load_ledger where version = 2")
    assert places(loaded.audit()) == {(LAKE_LEDGER, HOUR, 2), (LEDGER_RAW, HOUR, 2), (LAKE_LEDGER, None, 2)}


def test_the_last_ledger_row_removed_would_load_a_commit_again_and_is_found(loaded: Platform) -> None:
    change(loaded, "delete from headrace.load_ledger where version = 3")
    balance = loaded.audit()
    assert balance.status == BROKEN and (LEDGER_RAW, NEXT_HOUR, 3) in places(balance)


def test_a_break_is_not_blamed_on_commits_that_are_pending(loaded: Platform) -> None:
    loaded.now = loaded.now.replace(hour=12)
    loaded.publish("product_viewed", 3)
    loaded.land()
    change(loaded, "delete from headrace.load_ledger where version = 2")
    assert places(loaded.audit()) == {(LAKE_LEDGER, HOUR, 2), (LEDGER_RAW, HOUR, 2), (LAKE_LEDGER, None, 2)}


def test_a_ledger_row_without_rows_that_was_removed_is_found(loaded: Platform) -> None:
    change(loaded, "delete from headrace.load_ledger where version = 0")
    assert places(loaded.audit()) == {(LAKE_LEDGER, None, 0)}


def test_a_ledger_row_that_was_doubled_is_found(loaded: Platform) -> None:
    change(loaded, "insert into headrace.load_ledger from headrace.load_ledger where version = 2")
    assert places(loaded.audit()) == {(LAKE_LEDGER, HOUR, 2), (LEDGER_RAW, HOUR, 2), (LAKE_LEDGER, None, 2)}


def test_a_ledger_row_of_another_hour_is_found(loaded: Platform) -> None:
    change(loaded, f"update headrace.load_ledger set landing_hour = '{NEXT_HOUR}' where version = 2")
    found = places(loaded.audit())
    assert found == {(hop, hour, 2) for hop in (LAKE_LEDGER, LEDGER_RAW) for hour in (HOUR, NEXT_HOUR)}


def test_a_range_that_was_removed_is_a_gap(loaded: Platform) -> None:
    change(loaded, "delete from headrace.load_ranges where version = 2")
    balance = loaded.audit()
    assert ("lake", None, 3) in places(balance) and (LAKE_LEDGER, None, 2) in places(balance)
    assert any("goes on at" in finding.message for finding in balance.findings)


def test_ranges_that_overlap_are_found(loaded: Platform) -> None:
    change(loaded, "update headrace.load_ranges set start_offset = start_offset - 1 where version = 2")
    assert ("lake", None, 2) in places(loaded.audit())


def test_a_lake_file_that_is_missing_is_a_finding_and_no_error(loaded: Platform) -> None:
    Path(file_of(loaded, 2).uri).unlink()
    balance = loaded.audit()
    assert places(balance) == {("lake", HOUR, 2), (LOG_LAKE, HOUR, 2), (LAKE_LEDGER, HOUR, 2), ("lake", None, 2)}
    assert Path(file_of(loaded, 2).uri).name in balance.findings[0].message


def test_a_lake_file_that_is_no_parquet_is_a_finding_and_no_error(loaded: Platform) -> None:
    Path(file_of(loaded, 2).uri).write_bytes(b"torn")
    assert ("lake", HOUR, 2) in places(loaded.audit())


def test_a_pending_file_that_is_missing_is_a_finding_and_no_error(loaded: Platform) -> None:
    loaded.publish("product_viewed", 3)
    loaded.land()
    Path(file_of(loaded, 4).uri).unlink()
    balance = loaded.audit()
    assert balance.status == BROKEN and ("lake", NEXT_HOUR, 4) in places(balance)


def test_a_lake_file_with_fewer_rows_is_found_with_its_commit(loaded: Platform) -> None:
    file = file_of(loaded, 2)
    pa.parquet.write_table(pa.parquet.read_table(file.uri, partitioning=None).slice(1), file.uri)
    assert places(loaded.audit()) == {(LOG_LAKE, HOUR, 2), (LAKE_LEDGER, HOUR, 2), ("lake", None, 2)}


def test_a_value_changed_in_the_lake_is_found_with_its_commit(loaded: Platform) -> None:
    file = file_of(loaded, 2)
    rows = pa.parquet.read_table(file.uri, partitioning=None).to_pylist()
    rows[0]["kafka_value"] += " "
    schema = pa.parquet.read_schema(file.uri)
    pa.parquet.write_table(pa.Table.from_pylist(rows, schema), file.uri)
    assert places(loaded.audit()) == {(LOG_LAKE, HOUR, 2), (LAKE_LEDGER, HOUR, 2), ("lake", HOUR, 2)}


def test_breaks_are_found_in_a_compacted_lake_too(loaded: Platform) -> None:
    delta = DeltaTable(loaded.lake.table(loaded.tables[0]).uri)
    delta.optimize.compact()
    loaded.load()
    assert loaded.audit().status == BALANCED
    change(loaded, f"delete from raw.product_viewed where rowid in ({OF_COMMIT_2})")
    assert places(loaded.audit()) == {(LEDGER_RAW, HOUR, 2)}


def test_rows_deleted_from_the_lake_are_found_with_their_commit(loaded: Platform) -> None:
    DeltaTable(loaded.lake.table(loaded.tables[0]).uri).delete("kafka_partition = 0 and kafka_offset = 0")
    assert places(loaded.audit()) == {(LOG_LAKE, HOUR, 1), (LAKE_LEDGER, HOUR, 1), ("lake", None, 1)}


def test_rows_that_came_into_the_lake_twice_are_found_with_the_commit_that_doubled_them(loaded: Platform) -> None:
    table = loaded.lake.table(loaded.tables[0])
    rows = pa.parquet.read_table(file_of(loaded, 2).uri, partitioning=None)
    hours = pa.array([HOUR] * rows.num_rows)
    write_deltalake(table.uri, rows.append_column("landing_hour", hours), mode="append")
    assert {("lake", HOUR, 2), (LOG_LAKE, HOUR, 2)} <= places(loaded.audit())
    loaded.load()
    found = places(loaded.audit())
    assert {("lake", HOUR, 2), (LOG_LAKE, HOUR, 2), (LAKE_LEDGER, None, 4), ("raw", HOUR, 2)} <= found


def test_rows_of_no_range_are_found(loaded: Platform) -> None:
    topic = loaded.broker.topic(loaded.tables[0].topic)
    block = Block(topic.id, topic.name, 0, [900], [loaded.now_us()], [record(event("product_viewed", 900)).value])
    write_deltalake(loaded.lake.table(loaded.tables[0]).uri, encode(loaded.tables[0], [block]), mode="append")
    balance = loaded.audit()
    assert any("1 rows are in no commit's range" in finding.message for finding in balance.findings)


def test_a_gap_between_two_commits_is_found_with_the_later_one(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 6)
    topic, table = platform.broker.topic(views.topic), platform.lake.table(views)
    for start, end in ((0, 1), (2, 3)):
        block = Block(topic.id, topic.name, 0, [start], [platform.now_us()], [b"{}"])
        table.snapshot().append(encode(views, [block]), [Range(topic.id, 0, start, end, 1)])
    balance = platform.audit()
    assert ("lake", None, 2) in places(balance)
    assert any("goes on at 2 after 1" in finding.message for finding in balance.findings if finding.version == 2)


def test_a_record_missing_in_the_log_is_found_with_its_commit(loaded: Platform) -> None:
    loaded.broker._db.execute("delete from records where partition = 0 and offset = 1")
    balance = loaded.audit()
    assert places(balance) == {(LOG_LAKE, HOUR, 1)}


def test_a_record_changed_in_the_log_is_found_with_its_commit(loaded: Platform) -> None:
    ((partition, offset),) = loaded.warehouse.query(
        "select kafka_partition, start_offset from headrace.load_ranges where version = 2 limit 1"
    )
    loaded.broker._db.execute(
        "update records set value = x'00' where partition = ? and offset = ?", [partition, offset]
    )
    assert places(loaded.audit()) == {(LOG_LAKE, HOUR, 2)}


def test_a_log_that_ends_before_the_lake_is_found(loaded: Platform) -> None:
    ((end,),) = loaded.broker._db.execute("select end_offset from partitions where partition = 0")
    loaded.broker._db.execute("delete from records where partition = 0 and offset = ?", [end - 1])
    loaded.broker._db.execute("update partitions set end_offset = ? where partition = 0", [end - 1])
    balance = loaded.audit()
    assert (LOG_LAKE, None, None) in places(balance)
    assert f"ends at {end - 1}, the lake holds it up to {end}" in balance.findings[0].message


def test_what_has_expired_from_the_log_still_balances(loaded: Platform) -> None:
    assert loaded.broker.expire(GROUP, older_than_us=loaded.now_us() - 1) > 0
    loaded.now = loaded.now.replace(hour=14)
    loaded.publish("product_viewed", 2)
    loaded.land()
    loaded.load()
    balance = loaded.audit()
    assert (balance.status, balance.findings) == (BALANCED, [])
    (first, *_, last) = balance.lines
    assert (first.log.rows, first.lake.rows, last.log.rows) == (0, 11, 2)


def test_a_break_is_found_in_what_the_log_has_left(loaded: Platform) -> None:
    loaded.broker.truncate(loaded.tables[0].topic, 0, 1)
    loaded.broker._db.execute("delete from records where partition = 0 and offset = 1")
    balance = loaded.audit()
    assert places(balance) == {(LOG_LAKE, HOUR, 1)}


def test_a_break_is_not_blamed_on_commits_that_the_log_has_forgotten(loaded: Platform) -> None:
    starts = loaded.warehouse.query("select kafka_partition, start_offset from headrace.load_ranges where version = 2")
    for partition, start in starts:
        assert isinstance(partition, int) and isinstance(start, int) and start > 0
        loaded.broker.truncate(loaded.tables[0].topic, partition, start)
    loaded.broker._db.execute("delete from records where partition = ? and offset = ?", starts[0])
    assert places(loaded.audit()) == {(LOG_LAKE, HOUR, 2)}


def test_records_that_retention_took_unread_are_counted_and_the_rest_balances(loaded: Platform, views: Table) -> None:
    loaded.publish("product_viewed", 10)
    for partition, held in loaded.broker.bounds(views.topic).items():
        loaded.broker.truncate(views.topic, partition, held.end - 1)
    loaded.land()
    loaded.load()
    balance = loaded.audit()
    assert (balance.status, balance.unread, balance.findings) == (BALANCED, 8, [])


def test_a_topic_that_was_recreated_still_balances(loaded: Platform, views: Table) -> None:
    loaded.broker.recreate(views.topic)
    assert loaded.audit().status == BALANCED
    loaded.publish("product_viewed", 5)
    assert (loaded.audit().status, loaded.audit().not_landed) == (PENDING, 5)
    loaded.land()
    loaded.load()
    balance = loaded.audit()
    assert (balance.status, sum(line.log.rows for line in balance.lines)) == (BALANCED, 5)


def test_a_break_after_a_recreation_is_not_blamed_on_commits_of_the_old_topic(loaded: Platform, views: Table) -> None:
    loaded.broker.recreate(views.topic)
    loaded.publish("product_viewed", 9)
    loaded.land()
    loaded.load()
    loaded.broker._db.execute("delete from records where offset = 0")
    assert places(loaded.audit()) == {(LOG_LAKE, NEXT_HOUR, 4)}


class MovesOn(DuckDBWarehouse):
    """A warehouse that is read just before the rest of the platform goes on."""

    def __init__(self, path: Path, go_on: Callable[[], object]) -> None:
        super().__init__(path)
        self._go_on = go_on

    def holdings(self, tables: object) -> Holdings:
        try:
            return super().holdings(tables)  # type: ignore[arg-type]
        finally:
            self._go_on()


def test_what_is_landed_and_loaded_after_the_warehouse_was_read_is_pending(loaded: Platform) -> None:
    def go_on() -> None:
        loaded.publish("product_viewed", 4)
        loaded.land()
        loaded.load()
        loaded.publish("product_viewed", 2)

    balance = audit(loaded.broker, loaded.lake, MovesOn(loaded.warehouse.path, go_on), loaded.tables)
    assert (balance.status, balance.not_landed, balance.not_loaded, balance.findings) == (PENDING, 2, 4, [])


class GoesOnWhileRead(EmbeddedBroker):
    """A log after whose first reading something happens; it gives two records at once."""

    def __init__(self, broker: EmbeddedBroker, go_on: Callable[[], object]) -> None:
        self.__dict__.update(broker.__dict__)
        self._go_on: Callable[[], object] | None = go_on

    def read(self, topic: str, partition: int, offset: int, max_records: int, max_bytes: int) -> Chunk:
        chunk = super().read(topic, partition, offset, 2, max_bytes)
        if self._go_on:
            go_on, self._go_on = self._go_on, None
            go_on()
        return chunk


def test_what_is_landed_while_the_log_is_read_is_pending(loaded: Platform) -> None:
    def go_on() -> None:
        loaded.publish("product_viewed", 4)
        loaded.land()
        loaded.load()

    balance = audit(GoesOnWhileRead(loaded.broker, go_on), loaded.lake, loaded.warehouse, loaded.tables)
    assert balance.findings == []


def test_records_that_expire_while_they_are_counted_break_nothing(loaded: Platform) -> None:
    def go_on() -> None:
        assert loaded.broker.expire(GROUP, older_than_us=10**18) > 0

    balance = audit(GoesOnWhileRead(loaded.broker, go_on), loaded.lake, loaded.warehouse, loaded.tables)
    assert balance.findings == []


def test_a_commit_between_the_snapshot_and_the_list_of_commits_is_not_counted(
    loaded: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Lake.table

    def table(lake: Lake, wanted: Table) -> object:
        found = original(lake, wanted)
        snapshot = found.snapshot

        def snapshot_and_go_on(version: int | None = None) -> object:
            taken = snapshot(version)
            monkeypatch.setattr(Lake, "table", original)
            loaded.publish("product_viewed", 4)
            loaded.land()
            return taken

        found.snapshot = snapshot_and_go_on  # type: ignore[method-assign, assignment]
        return found

    monkeypatch.setattr(Lake, "table", table)
    balance = loaded.audit()
    assert (balance.findings, balance.not_landed) == ([], 4)


def test_tables_that_are_well_are_audited_beside_one_that_cannot_be(make_platform: MakePlatform, views: Table) -> None:
    carts = event_table("cart_viewed")
    platform = make_platform(views, carts)
    platform.publish("product_viewed", 3)
    platform.publish("cart_viewed", 3)
    platform.land()
    platform.load()
    (Path(platform.lake.table(views).uri) / "_delta_log" / f"{0:020d}.json").write_text("{}")
    balance = platform.audit()
    assert [(finding.hop, finding.table) for finding in balance.findings] == [("lake", "product_viewed")]
    assert [line.table for line in balance.lines] == ["cart_viewed"]


def test_a_topic_that_is_missing_is_a_finding(make_platform: MakePlatform, views: Table) -> None:
    platform = make_platform(views)
    balance = audit(platform.broker, platform.lake, platform.warehouse, [event_table("cart_viewed")])
    assert [(finding.hop, finding.table) for finding in balance.findings] == [("log", "cart_viewed")]


def printed(balance: Balance, by_hour: bool = False) -> str:
    out = StringIO()
    print_balance(Console(file=out, width=200), balance, by_hour)
    return out.getvalue()


def test_the_report_for_people_has_a_line_per_table_and_names_findings(loaded: Platform) -> None:
    assert "Result: balanced" in printed(loaded.audit())
    assert " 15 " in printed(loaded.audit()) and HOUR not in printed(loaded.audit())
    assert NEXT_HOUR in printed(loaded.audit(), by_hour=True)
    change(loaded, f"delete from raw.product_viewed where rowid in ({OF_COMMIT_2})")
    text = printed(loaded.audit())
    assert "ledger → raw: product_viewed, hour 2026-05-01-12, lake version 2: the ledger has 5 records" in text
    assert "Result: broken" in text


def test_the_report_prints_brackets_as_they_are_and_version_0() -> None:
    balance = Balance(findings=[Finding("lake", "views", None, 0, "file [/tmp/x] and [bold]")])
    assert "hour any, lake version 0: file [/tmp/x] and [bold]" in printed(balance)
    out = StringIO()
    print_sent(Console(file=out), SentBalance(missing=["[/]", "[red]x"]))
    assert "missing: [/]" in out.getvalue() and "missing: [red]x" in out.getvalue()


def test_the_report_for_programs_keeps_checksums_exact(loaded: Platform) -> None:
    balance = loaded.audit()
    report = json.loads(json.dumps(as_json(balance, None)))
    assert (report["status"], report["sent"], report["findings"]) == ("balanced", None, [])
    assert report["lines"][0]["raw"] == {"rows": 11, "checksum": str(balance.lines[0].raw.checksum)}


@pytest.mark.parametrize(
    ("pending", "sent", "code"),
    [
        (0, None, BALANCED),
        (1, None, PENDING),
        (0, SentBalance(), BALANCED),
        (0, SentBalance(missing=["a"]), BROKEN),
        (1, SentBalance(missing=["a"]), PENDING),
        (1, SentBalance(doubled=["a"]), BROKEN),
        (1, SentBalance(unexpected=["a"]), BROKEN),
    ],
)
def test_what_was_sent_decides_with_the_balance(pending: int, sent: SentBalance | None, code: int) -> None:
    assert exit_code(Balance(not_landed=pending), sent) == code
