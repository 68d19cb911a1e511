"""A view filled from the lake: the same code as the listener's, for a backfill, a repair or where no listener runs."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.dataset

from ingestion.lake import Lake, LakeFile
from ingestion.steps import Steps
from ingestion.storage import arrow_files
from ingestion.tables import Table, event_table
from ingestion.views import ViewStore
from ingestion.views.facts import Lookups, View, Written, write
from ingestion.views.landed import columns, landed_events

BATCH = 2_000


def replay_hour(lake: Lake, store: ViewStore, view: View, hour: str | None, lookups: Lookups) -> Steps[Written]:
    """Bring what the lake holds of a landing hour (of all where `hour` is None) into a view; to do so again is safe."""
    total = Written()
    for event_type in view.event_types:
        table = event_table(event_type)
        files = lake.table(table).snapshot().files(hour)
        total.add((yield from replay_files(store, view, table, files, lookups)))
    return total


def replay_files(
    store: ViewStore, view: View, table: Table, files: Sequence[LakeFile], lookups: Lookups
) -> Steps[Written]:
    """Bring some files of a lake table into a view."""
    total = Written()
    for batch in _rows(table, files):
        total.add((yield from write(store, view, landed_events(table, batch), lookups)))
    return total


def lake_rows(lake: Lake, table: Table, hour: str | None = None) -> Iterator[pa.Table]:
    """The rows of a lake table, of one landing hour or of all, in batches; columns that came later are empty."""
    return _rows(table, lake.table(table).snapshot().files(hour))


def _rows(table: Table, files: Sequence[LakeFile]) -> Iterator[pa.Table]:
    if files:
        names = columns(table)
        schema = pa.schema([table.schema.field(name) for name in names])
        paths, filesystem = arrow_files([file.uri for file in files])
        rows = pyarrow.dataset.dataset(paths, schema=schema, format="parquet", filesystem=filesystem)
        for batch in rows.to_batches(columns=list(names), batch_size=BATCH, use_threads=False):
            yield pa.Table.from_batches([batch])
