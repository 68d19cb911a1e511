"""What a load asks of the lake's files themselves, whatever warehouse it is for: DuckDB reads just the columns."""

from collections.abc import Mapping, Sequence

import duckdb

from ingestion.counting import Count
from ingestion.lake import LakeFile
from ingestion.storage import readable
from ingestion.tables import Table

PARQUET = "read_parquet(?, union_by_name = true, hive_partitioning = false)"
PARQUET_WITH_NAMES = "read_parquet(?, union_by_name = true, hive_partitioning = false, filename = true)"


def count_each(db: duckdb.DuckDBPyConnection, files: Sequence[LakeFile]) -> Mapping[str, Count]:
    """What is in each of `files`, by URI."""
    rows = db.execute(
        f"select filename, count(*), sum(checksum) from {PARQUET_WITH_NAMES} group by 1", [uris(db, files)]
    ).fetchall()
    return {uri: Count(n, int(total)) for uri, n, total in rows}


def event_dates(db: duckdb.DuckDBPyConnection, table: Table, files: Sequence[LakeFile]) -> list[str]:
    """The event dates of the rows in `files`, in order."""
    dates = db.execute(
        f"select distinct {table.event_date_column}::date from {PARQUET}"
        f" where {table.event_date_column} is not null order by 1",
        [uris(db, files)],
    ).fetchall()
    return [str(date) for (date,) in dates]


def uris(db: duckdb.DuckDBPyConnection, files: Sequence[LakeFile]) -> list[str]:
    """Where `files` are, as DuckDB can read them."""
    return readable(db, [file.uri for file in files])
