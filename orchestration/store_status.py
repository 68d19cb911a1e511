"""The stores' lines of the status: whether log, lake, views and warehouse answer, and what to do where one does not."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from ingestion.broker import Broker, open_broker
from ingestion.errors import HeadraceError, WarehouseBusy
from ingestion.lake import Lake
from ingestion.settings import Settings
from ingestion.tables import all_tables
from ingestion.views import open_views
from ingestion.views.registry import fact_views
from ingestion.warehouse import open_warehouse

LOG, LAKE, VIEWS, WAREHOUSE = "log", "lake", "views", "warehouse"
BUSY_SECONDS = 1.0
"""How long to wait for the warehouse; a build may hold it for minutes."""

TODO: Mapping[str, str] = {
    LOG: "Start it, or correct HEADRACE_BROKER; until then the collector answers 503, and senders keep their events.",
    LAKE: "Start it, or correct HEADRACE_LAKE; until then the log keeps what cannot land.",
    VIEWS: "Start it, or correct HEADRACE_VIEWS; the listener and Dagster bring what is missing by themselves.",
    WAREHOUSE: "Start it, or correct HEADRACE_WAREHOUSE; the lake keeps what cannot be loaded.",
}


@dataclass(frozen=True)
class StoreStatus:
    """A store and where it is; `problem` is empty where it answers."""

    name: str
    url: str
    problem: str = ""
    is_busy: bool = False

    @property
    def todo(self) -> str:
        """What to do where it does not answer."""
        return TODO[self.name] if self.problem else ""


def read_stores(settings: Settings) -> list[StoreStatus]:
    """One line per store. All are asked at once: a dead one is waited for some seconds."""
    asked = (
        (LOG, settings.broker_url, _ask_log),
        (LAKE, settings.lake_url, lambda settings: Lake(settings.lake_url).table(all_tables()[0]).latest()),
        (VIEWS, settings.views_url, _ask_views),
        (WAREHOUSE, settings.warehouse_url, _ask_warehouse),
    )
    with ThreadPoolExecutor(len(asked)) as threads:
        return list(threads.map(lambda each: _read_store(settings, *each), asked))


@contextmanager
def open_log(settings: Settings) -> Iterator[Broker]:
    """The log, with the topics of all tables."""
    with closing(
        open_broker(settings.broker_url, settings.partitions, settings.kafka, settings.shared_topics)
    ) as broker:
        broker.ensure_topics([table.topic for table in all_tables()])
        yield broker


def _read_store(settings: Settings, name: str, url: str, ask: Callable[[Settings], object]) -> StoreStatus:
    place = _without_password(url)
    try:
        ask(settings)
    except WarehouseBusy:
        return StoreStatus(name, place, is_busy=True)
    except HeadraceError as error:
        return StoreStatus(name, place, str(error))
    return StoreStatus(name, place)


def _ask_log(settings: Settings) -> None:
    with open_log(settings) as broker:
        broker.topic(all_tables()[0].topic)


def _ask_views(settings: Settings) -> None:
    with closing(open_views(settings.views_url)) as store:
        store.read(next(iter(fact_views())), "headrace", 1)


def _ask_warehouse(settings: Settings) -> None:
    open_warehouse(settings.warehouse_url, BUSY_SECONDS, settings.redshift).query("select 1")


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
