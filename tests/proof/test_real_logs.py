"""Two real click logs with known truths, sent over HTTP or in pieces: what the warehouse counts is what is known.

They are of 2017 and 2019, which the views have long forgotten.
"""

import csv
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingestion.broker import Record
from ingestion.contracts.native import Limits, Reception, map_body
from ingestion.tables import event_table
from ingestion.warehouse.duckdb import DuckDBWarehouse
from tests.ingestion.broker.cluster import Operator
from tests.ingestion.lake.test_bucket import bucket_of
from tests.platform import Platform
from tests.proof.deployment import Deployment
from tests.proof.test_kafka_faults import deployed, operator
from tests.services.kafka import Kafka
from tests.services.s3 import S3

__all__ = ["operator"]

DATA = Path(__file__).parents[3] / "shared" / "data"
REES46 = DATA / "rees46_multicategory_2019oct01"
TAOBAO = DATA / "taobao_userbehavior_multiday"
TYPES = {
    "view": "product_viewed",
    "cart": "product_added",
    "favorite": "product_added_to_wishlist",
    "purchase": "order_completed",
}
BIG_ID = "2103807459595387724"
NAMES = {event_type: name for name, event_type in TYPES.items()}

needs_logs = pytest.mark.skipif(not DATA.is_dir(), reason="the real click logs are not beside the repository")


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """A log's lines as native events; the id of an event is given once, from its line in the source."""
    with (folder / "events.csv").open(newline="") as lines:
        for line in csv.DictReader(lines):
            yield to_event(line, folder.name)


def to_event(line: dict[str, str], source: str) -> dict[str, Any]:
    given = {name: value for name, value in line.items() if value}
    product: dict[str, Any] = {name: given[name] for name in ("product_id", "brand", "price") if name in given}
    product |= {"category": given.get("category_code"), "category_id": given["category_id"]}
    is_order = line["event_type"] == "purchase"
    order = {"order_id": f"{source}-{line['seq']}", "total": given.get("price"), "products": [product]}
    return {
        "event_id": f"{source}-{line['seq']}",
        "event_type": TYPES[line["event_type"]],
        "occurred_at": line["event_time"],
        "user_id": line["user_id"],
        "session_id": given.get("session_id"),
        "properties": order if is_order else product,
    }


def truth_by_hour(folder: Path) -> Counter[tuple[str, str]]:
    with (folder / "truth_hourly.csv").open(newline="") as lines:
        return Counter({(line["hour_utc"], line["event_type"]): int(line["n"]) for line in csv.DictReader(lines)})


def counted_by_hour(warehouse: DuckDBWarehouse) -> Counter[tuple[str, str]]:
    counted: Counter[tuple[str, str]] = Counter()
    for (table,) in warehouse.query("select table_name from information_schema.tables where table_schema = 'raw'"):
        hour_of = "strftime(date_trunc('hour', occurred_at), '%Y-%m-%d %H:%M:%S')"
        for hour, rows in warehouse.query(f"select {hour_of}, count(*) from raw.{table} group by 1"):
            counted[str(hour), NAMES[str(table)]] += int(str(rows))
    return counted


@needs_logs
def test_rees46_sent_over_http_counts_as_known(tmp_path: Path) -> None:
    send_rees46(Deployment(tmp_path))
    check_rees46(tmp_path)


@needs_logs
def test_rees46_sent_over_http_through_kafka_and_s3_counts_as_known(
    tmp_path: Path, kafka: Kafka, operator: Operator, s3: S3
) -> None:
    send_rees46(deployed(tmp_path, kafka, HEADRACE_LAKE=bucket_of(s3), **s3.endpoint.environment))
    check_rees46(tmp_path)


def send_rees46(deployment: Deployment, until: str = "2020") -> None:
    """Send the log's events before `until` to a deployment, wait until all is loaded, and have it judged."""
    file = deployment.home / "rees46.jsonl"
    events = [event for event in read(REES46) if event["occurred_at"] < until]
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    with deployment:
        where = ["--url", deployment.url, "--key", deployment.key, "--record", str(deployment.record)]
        sent = deployment.run("send", str(file), *where)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        audit = deployment.run("audit", "--wait", "60", "--sent", str(deployment.record))
        assert audit.returncode == 0, audit.stdout + audit.stderr
    assert deployment.judge() == []


def check_rees46(home: Path) -> None:
    warehouse = DuckDBWarehouse(home / "warehouse.duckdb")
    warehouse.query("drop table raw.rejected")
    truths = json.loads((REES46 / "truths.json").read_text())
    counted = counted_by_hour(warehouse)
    assert counted == truth_by_hour(REES46)
    per_type = {name: int(rows) for name, rows, *_ in truths["per_type"]["rows"]}
    totals: Counter[str] = Counter()
    for (_, name), rows in counted.items():
        totals[name] += rows
    assert totals == per_type
    top = "select product_id, count(*) from raw.product_viewed group by 1 order by 2 desc, product_id limit 5"
    assert [[p, str(n)] for p, n in warehouse.query(top)] == truths["top_viewed"]["rows"]
    ((revenue,),) = warehouse.query("select sum(total)::decimal(18, 2) from raw.order_completed")
    assert str(revenue) == truths["revenue"]["rows"][0][0]
    repeated = sum(repeated_lines(warehouse, name) for name in per_type)
    assert repeated == 5, "lines that stand twice in the source are no copies"
    big = "select count(*) from raw.product_viewed where kafka_value->>'$.properties.category_id' = ?"
    lines = csv.DictReader((REES46 / "events.csv").read_text().splitlines())
    known = sum(line["category_id"] == BIG_ID and line["event_type"] == "view" for line in lines)
    assert warehouse.query(big, [BIG_ID]) == [(known,)], "ids above 2^53 survive"


def repeated_lines(warehouse: DuckDBWarehouse, name: str) -> int:
    """Rows of a type that say the same as another one with another id."""
    path = "$.properties.products" if name == "purchase" else "$.properties"
    same = f"occurred_at, user_id, session_id, kafka_value->'{path}'"
    sql = f"select coalesce(sum(n - 1), 0) from (select count(*) as n from raw.{TYPES[name]} group by {same})"
    return int(str(warehouse.query(sql)[0][0]))


@needs_logs
@pytest.mark.parametrize("seed", range(3))
def test_taobao_in_any_order_and_pieces_gives_the_same_tables(seed: int, tmp_path: Path) -> None:
    events = list(read(TAOBAO))
    whole = land_in_pieces(tmp_path / "whole", [events])
    chance = random.Random(seed)
    shuffled = chance.sample(events, len(events))
    cuts = sorted(chance.sample(range(1, len(events)), 7))
    pieces = [shuffled[start:end] for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    in_pieces = land_in_pieces(tmp_path / "pieces", pieces)
    assert counted_by_hour(in_pieces) == counted_by_hour(whole) == truth_by_hour(TAOBAO)
    for event_type in TYPES.values():
        assert contents(in_pieces, event_type) == contents(whole, event_type)


def land_in_pieces(folder: Path, pieces: Sequence[Sequence[dict[str, Any]]]) -> DuckDBWarehouse:
    """The warehouse after each piece was received, landed and loaded."""
    folder.mkdir()
    platform = Platform(folder, [event_table(name) for name in TYPES.values()])
    reception = Reception("taobao", datetime(2026, 1, 1, tzinfo=UTC))
    for piece in pieces:
        results = map_body(msgspec.json.encode(piece), reception, Limits(batch_events=10_000))
        platform.broker.publish([result for result in results if isinstance(result, Record)])
        platform.land()
        platform.load()
    platform.close()
    return platform.warehouse


def contents(warehouse: DuckDBWarehouse, event_type: str) -> list[tuple[object, ...]]:
    """All rows of a raw table, without where the log held them."""
    place = "topic_id, kafka_partition, kafka_offset, kafka_timestamp"
    return warehouse.query(f"select * exclude ({place}) from raw.{event_type} order by all")
