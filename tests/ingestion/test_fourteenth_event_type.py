"""A new event type is one class in events.py and nothing else: tried on a copy of the package."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ingestion

ONE_CLASS = '''

@event
class GiftWrapped(Properties, frozen=True, kw_only=True):
    """A shopper had a gift wrapped."""

    ribbon: Annotated[str, text(32, "colour of the ribbon")]
    price: Annotated[Decimal, money("what the wrapping costs")] | None = None
    products: list[Product] | None = None
'''

USE = """
import json, sys
from io import StringIO
from rich.console import Console
from ingestion.broker import open_broker
from ingestion.catalogue import print_catalogue
from ingestion.contracts.native import Limits, Reception, map_body
from ingestion.lake import Lake
from ingestion.openapi import describe, json_schema
from ingestion.tables import all_tables, event_table
from tests.platform import NOON, Platform

from pathlib import Path

table = event_table("gift_wrapped")
platform = Platform(Path(sys.argv[1]), [table])
platform.broker.ensure_topics([table.topic for table in all_tables()])
sent = {"event_id": "g1", "event_type": "gift_wrapped", "properties": {
    "ribbon": "red", "price": 1.5, "products": [{"product_id": "p"}]}}
platform.broker.publish(map_body(json.dumps(sent).encode(), Reception("shop", NOON), Limits()))
platform.land()
platform.load()
catalogue = StringIO()
print_catalogue(Console(file=catalogue, width=200))
print(json.dumps({
    "topic": platform.broker.topic("events.gift_wrapped").name,
    "tables": [table.name for table in all_tables()],
    "lake": platform.lake.table(table).snapshot().schema.names,
    "rows": platform.warehouse.query("select event_id, ribbon, price::varchar, products[1].product_id"
                                     " from raw.gift_wrapped"),
    "landing_error": platform.warehouse.query("select landing_error from raw.gift_wrapped"),
    "audit": platform.audit().status,
    "catalogue": catalogue.getvalue(),
    "schema": json_schema("gift_wrapped"),
    "openapi": list(describe()["components"]["schemas"]),
}))
"""


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the package with one more class does with an event of that type."""
    folder = tmp_path_factory.mktemp("later")
    package = Path(ingestion.__file__).parent
    shutil.copytree(package, folder / "ingestion", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").mkdir()
    (folder / "tests" / "__init__.py").touch()
    shutil.copy(Path(__file__).parents[1] / "platform.py", folder / "tests")
    with (folder / "ingestion" / "events.py").open("a") as file:
        file.write(ONE_CLASS)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", USE, str(folder / "data")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_has_a_topic(later: dict[str, Any]) -> None:
    assert later["topic"] == "events.gift_wrapped"


def test_it_has_a_table_beside_the_others(later: dict[str, Any]) -> None:
    assert len(later["tables"]) == 15 and later["tables"][-2:] == ["gift_wrapped", "rejected"]


def test_its_fields_are_columns_of_the_lake(later: dict[str, Any]) -> None:
    assert {"event_id", "ribbon", "price", "products", "kafka_value"} <= set(later["lake"])


def test_its_events_go_from_http_body_to_the_warehouse_and_balance(later: dict[str, Any]) -> None:
    assert later["rows"] == [["g1", "red", "1.5000", "p"]]
    assert (later["landing_error"], later["audit"]) == ([[None]], 0)


def test_it_is_in_the_catalogue_and_has_a_json_schema(later: dict[str, Any]) -> None:
    assert "gift_wrapped: A shopper had a gift wrapped." in later["catalogue"]
    assert "colour of the ribbon" in later["catalogue"]
    assert later["schema"]["title"] == "gift_wrapped" and "ribbon" in json.dumps(later["schema"])
    assert any("GiftWrapped" in name for name in later["openapi"])
