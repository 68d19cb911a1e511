"""A warehouse with every raw table, and the models on it."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingestion.broker import Record
from ingestion.contracts.native import Limits, Reception, map_body
from ingestion.tables import all_tables
from ingestion.warehouse import Staleness
from tests.dbt_project.analytics import Analytics
from tests.platform import Platform

RECEIVED = datetime(2026, 1, 1, tzinfo=UTC)


class Shop:
    """A platform that receives native events, and the models on its warehouse."""

    def __init__(self, path: Path) -> None:
        self.platform = Platform(path, all_tables())
        self.analytics = Analytics(self.platform.warehouse)

    def receive(self, events: Sequence[dict[str, Any]], at: datetime = RECEIVED, source: str = "shop") -> None:
        """Events go through the collector's mapping, the log and the lake into the raw tables."""
        for start in range(0, len(events), 5_000):
            self.publish(events[start : start + 5_000], at, source)
        self.load()

    def publish(self, body: object, at: datetime = RECEIVED, source: str = "shop") -> None:
        """What a request with this body puts into the log."""
        results = map_body(msgspec.json.encode(body), Reception(source, at), Limits(batch_events=10_000))
        self.platform.broker.publish([result for result in results if isinstance(result, Record)])

    def load(self) -> None:
        """Land and load what is in the log."""
        self.platform.land()
        self.platform.load()

    def staleness(self) -> Staleness:
        """The dates to build, with the loads that touched them."""
        return self.platform.warehouse.staleness()

    def build_stale(self) -> int:
        """Build until nothing is stale; returns how many builds it took."""
        builds = 0
        while (stale := self.staleness()).dates:
            self.build([date.event_date for date in stale.dates], stale.load_seq)
            builds += 1
        return builds

    def build(self, dates: Sequence[str], seen: int) -> None:
        """Build some dates, which have seen the loads up to `seen`."""
        self.analytics.build(dates)
        self.platform.warehouse.record_built(dates, seen)


MakeShop = Callable[[str], Shop]


@pytest.fixture
def make_shop(tmp_path: Path) -> Iterator[MakeShop]:
    """Makes a shop in a folder of its own."""
    shops: list[Shop] = []

    def make(name: str) -> Shop:
        (tmp_path / name).mkdir()
        shops.append(Shop(tmp_path / name))
        return shops[-1]

    yield make
    for shop in shops:
        shop.platform.close()


@pytest.fixture
def shop(make_shop: MakeShop) -> Shop:
    """One shop."""
    return make_shop("shop")
