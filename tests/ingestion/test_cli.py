import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ingestion import cli
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.broker.shared import SharedTopics
from ingestion.events import EVENT_TYPES
from ingestion.keys import KeyFile
from ingestion.lake import Lake
from ingestion.settings import Settings
from ingestion.tables import all_tables, event_table
from ingestion.views import Row
from ingestion.views.sqlite import SQLiteViews
from ingestion.warehouse.duckdb import DuckDBWarehouse
from tests.platform import event, record, rejection

VIEWS, CARTS = event_table("product_viewed"), event_table("cart_viewed")


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


Headrace = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HEADRACE_{name}".upper(), raising=False)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def headrace(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Headrace]:
    """Runs `headrace …` in this process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(cli.console, "width", 200)

    def command(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["headrace", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        return Result(code if isinstance(code, int) else 0, *capsys.readouterr())

    yield command
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform of two tables, so that commands that go through all of them are quick."""
    monkeypatch.setattr(cli, "all_tables", lambda: [VIEWS, all_tables()[-1]])


@pytest.fixture
def log(home: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(home / "log.sqlite")
    broker.ensure_topics(table.topic for table in all_tables())
    yield broker
    broker.close()


@pytest.fixture
def loaded(log: EmbeddedBroker, headrace: Headrace, only: None) -> EmbeddedBroker:
    """Twenty events that have gone all the way."""
    log.publish([record(event("product_viewed", number)) for number in range(20)])
    assert headrace("land", "--once").code == headrace("load").code == 0
    return log


def one_line(result: Result) -> str:
    """The message of a command that failed: one line on stderr, and nothing on stdout."""
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()
    assert line.startswith("headrace: ")
    return line


def hour_of(home: Path) -> str:
    ((hour,),) = DuckDBWarehouse(home / "warehouse.duckdb").query("select max(landing_hour) from raw.product_viewed")
    return str(hour)


def test_a_key_is_added_listed_and_disabled(headrace: Headrace, home: Path) -> None:
    key = headrace("keys", "add", "shop").out.strip()
    assert key.startswith("hr_") and key not in (home / "keys.json").read_text()
    listed = headrace("keys", "list").out
    assert listed.startswith(f"shop  {key[:8]}") and listed.rstrip().endswith("enabled")
    assert headrace("keys", "disable", key).out == f"key {key[:8]}… of shop is disabled\n"
    assert "disabled 20" in headrace("keys", "list").out
    assert KeyFile(home / "keys.json").read()[0].disabled_at is not None


def test_a_key_of_no_name_and_a_prefix_of_no_key_are_refused(headrace: Headrace) -> None:
    assert "'No Name!'" in one_line(headrace("keys", "add", "No Name!"))
    assert "hr_nothi" in one_line(headrace("keys", "disable", "hr_nothing"))


def test_the_catalogue_has_every_type(headrace: Headrace) -> None:
    out = headrace("catalogue").out
    assert all(f"topic events.{name}," in out for name in EVENT_TYPES)


def test_the_json_schema_of_a_type_is_json(headrace: Headrace) -> None:
    schema = json.loads(headrace("catalogue", "--json-schema", "order_completed").out)
    assert schema["title"] == "order_completed" and "OrderCompleted" in json.dumps(schema)
    unknown = headrace("catalogue", "--json-schema", "nothing")
    assert unknown.code == 2 and "nothing" in unknown.err


def test_events_go_from_the_log_to_the_warehouse_and_balance(
    loaded: EmbeddedBroker, headrace: Headrace, home: Path
) -> None:
    rows = "select count(*) from raw.product_viewed"
    assert DuckDBWarehouse(home / "warehouse.duckdb").query(rows) == [(20,)]
    result = headrace("audit")
    assert result.code == 0 and "Result: balanced" in result.out


def test_every_table_is_landed_loaded_and_audited(log: EmbeddedBroker, headrace: Headrace) -> None:
    log.publish([record(event(name, 1)) for name in EVENT_TYPES] + [record(rejection(1))])
    assert headrace("land", "--once").code == headrace("load").code == 0
    report = json.loads(headrace("audit", "--json").out)
    assert [line["table"] for line in report["lines"]] == [table.name for table in all_tables()]
    assert (report["status"], {line["raw"]["rows"] for line in report["lines"]}) == ("balanced", {1})


def test_landing_once_lands_everything_whatever_the_rotation(
    log: EmbeddedBroker, headrace: Headrace, home: Path, monkeypatch: pytest.MonkeyPatch, only: None
) -> None:
    monkeypatch.setenv("HEADRACE_ROTATE_ROWS", "6")
    log.publish([record(event("product_viewed", number)) for number in range(40)])
    assert headrace("land", "--once").code == 0
    table = Lake(f"file://{home}/lake").table(VIEWS)
    assert sum(file.rows for file in table.snapshot().files()) == 40 and table.snapshot().version >= 40 // 7


@pytest.mark.parametrize(("command", "group"), [("land", "lander"), ("listen", "listener.user_activity")])
def test_once_means_everything_whoever_else_works_on_it(
    log: EmbeddedBroker, headrace: Headrace, only: None, command: str, group: str
) -> None:
    log.share(group, ["events.product_viewed"])
    log.publish([record(event("product_viewed", number)) for number in range(20)])
    assert headrace(command, "--once").code == 0
    topic = log.topic("events.product_viewed")
    assert log.positions(group, topic) == {partition: held.end for partition, held in log.bounds(topic.name).items()}


@pytest.mark.parametrize("command", ["land", "listen"])
def test_whoever_is_told_to_end_gives_back_its_part_of_the_log(log: EmbeddedBroker, home: Path, command: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ingestion", command], env={**os.environ, "HEADRACE_HOME": str(home)}
    )
    deadline = time.monotonic() + 30
    while not members(log):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(30) == 0 and members(log) == []


def members(log: EmbeddedBroker) -> list[tuple[str]]:
    return log._db.execute("select distinct member from members").fetchall()


def test_a_torn_commit_is_repaired_when_landing_begins(loaded: EmbeddedBroker, headrace: Headrace, home: Path) -> None:
    loaded.publish([record(event("product_viewed", 20))])
    headrace("land", "--once")
    table = Lake(f"file://{home}/lake").table(VIEWS)
    (commit,) = table.commits(1)
    Path(commit.files[0].uri).write_bytes(b"")
    result = headrace("land", "--once")
    assert "product_viewed: versions [2] were torn" in result.out
    assert sum(file.rows for file in table.snapshot().files()) == 21


def test_an_audit_ends_with_2_while_something_is_pending(loaded: EmbeddedBroker, headrace: Headrace) -> None:
    loaded.publish([record(event("product_viewed", 20))])
    result = headrace("audit", "--wait", "0.1")
    assert result.code == 2 and "1 records are not landed yet" in result.out


def test_an_audit_has_a_line_for_each_view_that_is_listened_to(loaded: EmbeddedBroker, headrace: Headrace) -> None:
    assert json.loads(headrace("audit", "--json").out)["views"] == []
    assert headrace("listen", "--once", "--view", "user_activity").code == 0
    result = headrace("audit")
    assert result.code == 0 and "records for the views" in result.out and "user_activity" in result.out
    loaded.publish([record(event("product_viewed", number)) for number in range(3)])
    assert headrace("land", "--once").code == headrace("load").code == 0
    pending = headrace("audit")
    assert pending.code == 2 and "3 records are not in the views yet" in pending.out
    views = json.loads(headrace("audit", "--json").out)["views"]
    assert {"view": "user_activity", "topic": "events.product_viewed", "log": 23, "pending": 3} in views


def test_an_audit_ends_with_1_and_names_the_break(loaded: EmbeddedBroker, headrace: Headrace, home: Path) -> None:
    DuckDBWarehouse(home / "warehouse.duckdb").query("delete from raw.product_viewed where device_sequence = 3")
    result = headrace("audit", "--by-hour")
    assert result.code == 1 and "ledger → raw: product_viewed, hour" in result.out and hour_of(home) in result.out
    report = json.loads(headrace("audit", "--json").out)
    assert report["status"] == "broken"
    assert [(found["hop"], found["version"]) for found in report["findings"]] == [("ledger → raw", 1)]


def test_an_audit_compares_what_was_sent(loaded: EmbeddedBroker, headrace: Headrace, tmp_path: Path) -> None:
    sent = tmp_path / "sent.jsonl"
    lines = [{"event_id": f"product_viewed-{n}", "event_type": "product_viewed", "attempt": 1, "answer": "accepted"}
             for n in range(20)]  # fmt: skip
    sent.write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
    assert headrace("audit", "--sent", str(sent)).code == 0
    sent.write_bytes(b"\n".join(map(msgspec.json.encode, [*lines, lines[0] | {"event_id": "[/lost]"}])))
    result = headrace("audit", "--sent", str(sent))
    assert result.code == 1 and "missing: [/lost]" in result.out
    report = json.loads(headrace("audit", "--json", "--sent", str(sent)).out)
    assert (report["status"], report["sent"]["missing"]) == ("broken", ["[/lost]"])
    sent.write_text("no record\n")
    assert "line 1" in one_line(headrace("audit", "--sent", str(sent)))


def test_an_hour_is_reloaded_and_only_of_the_tables_that_are_named(
    loaded: EmbeddedBroker, headrace: Headrace, home: Path
) -> None:
    hour = hour_of(home)
    assert (
        headrace("reload", "--hour", hour).out.splitlines()[0] == f"product_viewed: 20 rows of hour {hour} loaded again"
    )
    one = headrace("reload", "--hour", hour, "--table", "rejected", "--table", "cart_viewed").out.splitlines()
    assert [line.partition(":")[0] for line in one] == ["rejected", "cart_viewed"]
    assert headrace("audit").code == 0


def test_an_hour_may_be_written_without_its_zeros(loaded: EmbeddedBroker, headrace: Headrace, home: Path) -> None:
    short = "-".join(str(int(part)) for part in hour_of(home).split("-"))
    assert headrace("reload", "--hour", short, "--table", "product_viewed").out.startswith("product_viewed: 20 rows")


@pytest.mark.parametrize("hour", ["yesterday", "2026-11-22", "2026-11-22-24", "2026-11-22T10"])
def test_an_hour_that_is_none_is_refused(headrace: Headrace, hour: str) -> None:
    result = headrace("reload", "--hour", hour)
    assert result.code == 2 and "is no hour like" in result.err


def test_a_reload_of_a_lake_that_lost_a_file_is_one_line(
    loaded: EmbeddedBroker, headrace: Headrace, home: Path
) -> None:
    for file in Lake(f"file://{home}/lake").table(VIEWS).snapshot().files():
        Path(file.uri).unlink()
    assert "nothing was changed" in one_line(headrace("reload", "--hour", hour_of(home), "--table", "product_viewed"))
    assert headrace("audit").code == 1


def test_a_load_that_fails_for_one_table_loads_the_others_and_fails(
    loaded: EmbeddedBroker, headrace: Headrace, home: Path
) -> None:
    loaded.publish([record(event("product_viewed", 20)), record(rejection(1))])
    headrace("land", "--once")
    (commit,) = Lake(f"file://{home}/lake").table(VIEWS).commits(1)
    Path(commit.files[0].uri).unlink()
    assert "product_viewed" in one_line(headrace("load"))
    assert DuckDBWarehouse(home / "warehouse.duckdb").query("select count(*) from raw.rejected") == [(1,)]


def test_rejected_events_are_replayed_once(log: EmbeddedBroker, headrace: Headrace, only: None) -> None:
    sent = {"event_id": "a", "event_type": "product_viewed", "properties": {"product_id": "p"}}
    log.publish([record(rejection(1, msgspec.json.encode(sent))), record(rejection(2, b"{broken"))])
    headrace("land", "--once")
    assert headrace("rejected", "replay", "--code", "too_long").out.startswith("0 sent again, 0 would be")
    assert headrace("rejected", "replay").out.startswith("1 sent again, 1 would be rejected again")
    assert "1 were sent again before" in headrace("rejected", "replay").out
    assert headrace("rejected", "replay", "--again").out.startswith("1 sent again")


@pytest.mark.parametrize(
    ("name", "value", "command"),
    [
        ("HEADRACE_BROKER", "rabbit://x", ("land", "--once")),
        ("HEADRACE_BROKER", "rabbit://x", ("audit",)),
        ("HEADRACE_LAKE", "gs://bucket", ("load",)),
        ("HEADRACE_WAREHOUSE", "redshift://x", ("load",)),
        ("HEADRACE_PORT", "abc", ("keys", "list")),
        ("HEADRACE_PARTITIONS", "0", ("collect",)),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch, name: str, value: str, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv(name, value)
    line = one_line(headrace(*command))
    assert name in line and value in line


def test_files_that_are_no_stores_are_one_line(headrace: Headrace, home: Path, only: None) -> None:
    (home / "warehouse.duckdb").write_bytes(b"nothing" * 1_000)
    assert "warehouse.duckdb cannot be opened" in one_line(headrace("audit"))
    (home / "keys.json").write_text("{")
    assert "keys.json holds no keys" in one_line(headrace("keys", "list"))
    (home / "log.sqlite").write_bytes(b"nothing" * 1_000)
    for left in ("log.sqlite-wal", "log.sqlite-shm"):
        (home / left).unlink(missing_ok=True)
    assert "log.sqlite did not answer" in one_line(headrace("land", "--once"))


def test_a_command_that_does_not_exist_is_a_usage_error(headrace: Headrace) -> None:
    assert headrace("nothing").code == 2
    assert headrace("--version").out.startswith("headrace, version ")


def test_what_is_left_in_the_topics_of_types_that_share_one_now_lands_too(
    headrace: Headrace, log: EmbeddedBroker, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.publish([record(event(name, n)) for name in ("product_added", "cart_viewed") for n in range(3)])
    assert headrace("land", "--once").code == 0
    log.publish([record(event("cart_viewed", 3))])
    (home / "topics.toml").write_text('[topics."events.carts"]\nevent_types = ["product_added", "cart_viewed"]\n')
    monkeypatch.setenv("HEADRACE_TOPICS", str(home / "topics.toml"))
    shared = SharedTopics(log, Settings().shared_topics)
    shared.ensure_topics(["events.cart_viewed"])
    shared.publish([record(event("cart_viewed", n)) for n in (4, 5)])
    assert headrace("land", "--once").code == headrace("load").code == 0
    assert headrace("audit").code == 0
    names = "select distinct kafka_topic, count(*) over (partition by kafka_topic) from raw.cart_viewed order by 1"
    found = DuckDBWarehouse(home / "warehouse.duckdb").query(names)
    assert found == [("events.cart_viewed", 4), ("events.carts", 2)]
    assert "topic events.carts, lake table cart_viewed" in headrace("catalogue").out


def test_a_listener_fills_the_views_that_view_prints(
    headrace: Headrace, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_ACTIVITY_DAYS", "36500")
    monkeypatch.setenv("HEADRACE_CART_DAYS", "36500")
    broker = EmbeddedBroker(home / "log.sqlite")
    broker.ensure_topics([table.topic for table in all_tables()])
    broker.publish([record(event("product_added", 1, name="Kettle", quantity=2))])
    assert headrace("listen", "--once").code == 0
    assert "product_added" in headrace("view", "user_activity", "visitor-1").out
    activity = json.loads(headrace("view", "user_activity", "visitor-1", "--json").out)
    assert [row["event_id"] for row in activity["rows"]] == ["product_added-1"]
    cart = json.loads(headrace("view", "open_cart", "visitor-1", "--json").out)
    assert [(line["product_id"], line["quantity"]) for line in cart["lines"]] == [("product_id 1 ä", 2)]
    assert "Kettle" in headrace("view", "open_cart", "visitor-1").out
    assert headrace("view", "user_activity", "nobody").code == 0
    broker.close()


def test_a_listener_joins_with_the_catalogue_of_the_setting(
    headrace: Headrace, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "products.csv").write_text("product_id,name\nproduct_id 1 ä,Red kettle\n")
    monkeypatch.setenv("HEADRACE_CATALOGUE", f"file://{home}/products.csv")
    monkeypatch.setenv("HEADRACE_ACTIVITY_DAYS", "36500")
    broker = EmbeddedBroker(home / "log.sqlite")
    broker.ensure_topics([table.topic for table in all_tables()])
    broker.publish([record(event("product_viewed", 1))])
    assert headrace("listen", "--once", "--view", "user_activity").code == 0
    assert "Red kettle" in headrace("view", "user_activity", "visitor-1", "--json").out
    broker.close()


def test_counters_are_printed_with_their_totals(headrace: Headrace, home: Path) -> None:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    hour = f"{today}T00:00:00Z"
    item = {"hour": hour, "views": 1200, "adds": 3, "purchases": 1}
    store = SQLiteViews(home / "views.db")
    store.replace("product_counters", f"P-1/{today}", 7, [Row(f"P-1/{today}", "00", 7, item)])
    store.close()
    lines = headrace("view", "product_counters", "P-1").out.splitlines()
    assert any(all(word in line for word in (hour, "1,200", "3", "1")) for line in lines)
    assert any("together" in line and "1,200" in line for line in lines)
    assert json.loads(headrace("view", "product_counters", "P-1", "--limit", "1", "--json").out)["from"] == today


def test_a_read_key_is_listed_as_one(headrace: Headrace) -> None:
    headrace("keys", "add", "web")
    headrace("keys", "add", "--read", "backend")
    scopes = [line.split()[-2] for line in headrace("keys", "list").out.splitlines()]
    assert scopes == ["write", "read"]


def test_a_view_that_is_none_is_told_with_those_that_are(headrace: Headrace) -> None:
    assert "user_activity" in headrace("view", "nothing", "u1").err
