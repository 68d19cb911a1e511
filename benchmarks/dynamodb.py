"""The listener into DynamoDB Local, beside bare boto3 doing the same writes and reads in the same run.

DynamoDB Local shares the two cores and syncs every item, so the wall rate is its own; CPU seconds are this process's.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from rich.table import Table

from benchmarks.workload import cpu_seconds, records
from ingestion.broker.embedded import EmbeddedBroker
from ingestion.listener import Listener
from ingestion.steps import run
from ingestion.tables import all_tables
from ingestion.views.dynamodb import DynamoDBViews
from ingestion.views.facts import Lookups
from ingestion.views.registry import fact_views
from tests.services.aws import REGION
from tests.services.dynamodb import dynamodb_local

EVENTS = 3_000
PREFIX = "bench"
NEWER = "attribute_not_exists(version) or version < :version"


def measure() -> Table:
    """Events per CPU-second and per second, for a view of one claim and one row per event."""
    with (
        dynamodb_local() as server,
        mock.patch.dict(os.environ, server.endpoint.environment),
        tempfile.TemporaryDirectory() as folder,
    ):
        view = fact_views()["user_activity"]
        store = DynamoDBViews(REGION, PREFIX)
        store.tables.apply(store.tables.plan([view.name, view.claims, "bare", "batches"]))
        broker = EmbeddedBroker(Path(folder) / "log")
        broker.ensure_topics([table.topic for table in all_tables()])
        broker.publish(records(EVENTS))
        listening = _timed(lambda: _listen(Listener(broker, store, [view], Lookups)))
        client = server.endpoint.client()
        items = _written(client, view.name, view.claims)
        bare = _timed(lambda: _puts(client, items))
        batches = _timed(lambda: _batches(client, items))
        store.close()
        broker.close()
    table = Table("", "events/CPU-s", "events/s", title="listener → DynamoDB Local")
    for name, (cpu, wall) in (("listener", listening), ("bare put_item, query", bare), ("batch_write_item", batches)):
        table.add_row(name, f"{EVENTS / cpu:.0f}", f"{EVENTS / wall:.0f}")
    table.caption = "bare: per event two conditional puts and a query; the batches know no conditions and read nothing"
    return table


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    start = time.monotonic()
    cpu, _ = cpu_seconds(work)
    return cpu, time.monotonic() - start


def _listen(listener: Listener) -> None:
    """Bring the log into the view."""
    written = 0
    while (heard := run(listener.round(), lambda point: None)).read:
        written += heard.written.rows
    if written != EVENTS:
        raise RuntimeError(f"{written} of {EVENTS} events were written")


def _written(client: Any, *views: str) -> list[dict[str, Any]]:
    """The items of the view and of its claims, to write them again."""
    pages = (client.get_paginator("scan").paginate(TableName=f"{PREFIX}.{view}") for view in views)
    return [item for scanned in pages for page in scanned for item in page["Items"]]


def _puts(client: Any, items: list[dict[str, Any]]) -> None:
    for item in items:
        values = {":version": item["version"]}
        client.put_item(
            TableName=f"{PREFIX}.bare", Item=item, ConditionExpression=NEWER, ExpressionAttributeValues=values
        )
    for item in items[: len(items) // 2]:
        client.query(
            TableName=f"{PREFIX}.bare",
            KeyConditionExpression="#key = :key",
            ExpressionAttributeNames={"#key": "key"},
            ExpressionAttributeValues={":key": item["key"]},
            ConsistentRead=True,
            Limit=10,
        )


def _batches(client: Any, items: list[dict[str, Any]]) -> None:
    for start in range(0, len(items), 25):
        writes = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
        client.batch_write_item(RequestItems={f"{PREFIX}.batches": writes})
