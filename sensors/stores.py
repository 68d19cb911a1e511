"""The stores that the settings name, opened where they are used."""

from ingestion.broker import Broker, open_broker
from ingestion.lake import Lake
from ingestion.settings import read_settings
from ingestion.views import ViewStore, open_views
from ingestion.warehouse import Warehouse, open_warehouse

TURN_SECONDS = 900.0
"""How long a run waits for its turn: as a build of everything may take, which a load can meet."""


class Stores:
    """Log, lake, views and warehouse of this environment (`HEADRACE_…`)."""

    def broker(self) -> Broker:
        """The log."""
        settings = read_settings()
        return open_broker(settings.broker_url, settings.partitions, settings.kafka, settings.shared_topics)

    def lake(self) -> Lake:
        """The lake."""
        return Lake(read_settings().lake_url)

    def views(self) -> ViewStore:
        """The store of the views."""
        return open_views(read_settings().views_url)

    def warehouse(self) -> Warehouse:
        """The warehouse. A sensor leaves it alone, because DuckDB has one holder at a time."""
        settings = read_settings()
        return open_warehouse(settings.warehouse_url, TURN_SECONDS, settings.redshift)
