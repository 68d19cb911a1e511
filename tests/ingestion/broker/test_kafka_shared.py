"""Event types that share a topic of a real cluster: made as declared, and landed in a table each, once."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ingestion.broker import open_broker
from ingestion.broker.kafka.connection import KafkaOptions
from ingestion.cli import cli
from ingestion.events import EVENT_TYPES
from ingestion.settings import Settings, read_settings
from ingestion.tables import all_tables
from tests.ingestion.broker.cluster import Operator, operating
from tests.platform import event, record
from tests.proof import checker
from tests.proof.kafka_log import read_kafka
from tests.services.kafka import Kafka

CARTS = "events.shared_carts"
TYPES = ("product_added", "product_removed", "cart_viewed")
DECLARATION = f"""
[defaults]
replication = 1
min_insync_replicas = 1
partitions = 2

[topics."{CARTS}"]
event_types = ["product_added", "product_removed", "cart_viewed"]
"""


@pytest.fixture
def operator(kafka: Kafka) -> Iterator[Operator]:
    names = [CARTS, *(table.topic for table in all_tables())]
    with operating(kafka) as operator:
        operator.delete(*names)
        yield operator
        operator.delete(*names)


@pytest.fixture
def home(tmp_path: Path, kafka: Kafka, operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HEADRACE_{name}".upper(), raising=False)
    (tmp_path / "topics.toml").write_text(DECLARATION)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.setenv("HEADRACE_BROKER", f"kafka://{kafka.bootstrap_servers}")
    monkeypatch.setenv("HEADRACE_TOPICS", str(tmp_path / "topics.toml"))
    return tmp_path


def headrace(*command: str) -> Result:
    return CliRunner().invoke(cli, command)


def test_what_shares_a_topic_lands_in_a_table_each_and_once(home: Path, kafka: Kafka, operator: Operator) -> None:
    planned = headrace("topics", "plan")
    assert f"+ {CARTS}: 2 partitions, 1 replicas, for {', '.join(TYPES)}\n" in planned.output
    assert headrace("topics", "apply").output == planned.output
    assert headrace("topics", "plan").output == "The cluster is as declared.\n"
    made = {name for name in operator.admin.list_topics() if name.startswith("events.")}
    assert made == {CARTS, "events.rejected", *(f"events.{name}" for name in EVENT_TYPES if name not in TYPES)}
    settings = read_settings()
    with closing(open_broker(settings.broker_url, 2, KafkaOptions(), settings.shared_topics)) as log:
        log.ensure_topics([table.topic for table in all_tables()])
        log.publish([record(event(name, n)) for n in range(40) for name in (*TYPES, "product_viewed")])
        log.publish([record(event("product_added"))._replace(value=b"junk")])
    for command in (("land", "--once"), ("load",)):
        assert headrace(*command).exit_code == 0
    assert headrace("audit").exit_code == 0
    rows, held = checker.read_raw(home / "warehouse.duckdb"), read_kafka(kafka)
    assert len(held) == len(rows) == 161
    assert checker.judge_places(held, rows, set(), set(), set()) == []
    shared = kafka_id(operator)
    assert checker.judge_tables(rows, lambda p: checker.taker(held[p], TYPES) if p.topic_id == shared else None) == []
    assert checker.judge_contents(held, rows) == []


def kafka_id(operator: Operator) -> str:
    """The identity of the shared topic."""
    [described] = operator.admin.describe_topics([CARTS])
    return str(described["topic_id"])
