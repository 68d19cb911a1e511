"""The shop's product catalogue, which views join with: a CSV or Parquet file with a column `product_id`.

Its version is when the file was published (its modification time), so every reader of the file comes to the same
one, and rows that were joined with a newer file win. Replace the file as a whole: write another and rename it.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ingestion.errors import ConfigurationError
from ingestion.views.landed import as_text

KEY = "product_id"
LOOK_AGAIN_SECONDS = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Products:
    """The catalogue at one version (microseconds since 1970, 0 for none): what it says of a product, as text."""

    version: int = 0
    rows: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def join(self, product_id: str | None) -> Mapping[str, object]:
        """What a view's row gets: the product, where it is known, and the version that was asked."""
        if not self.version:
            return {}
        found = self.rows.get(product_id or "")
        joined = {"catalogue_version": as_text(self.version)}
        return {**joined, "product": found} if found is not None else joined


class ProductFile:
    """The catalogue in a file, read again when it has changed; looks at the file at most once a second.

    ConfigurationError where it cannot be read at the start. A file that breaks later changes nothing.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self._clock = _path(url), clock
        self._looked_at = clock()
        self._products = self._read()

    def products(self) -> Products:
        """The catalogue as it is now."""
        if self._clock() - self._looked_at >= LOOK_AGAIN_SECONDS:
            self._looked_at = self._clock()
            try:
                if self._version() != self._products.version:
                    self._products = self._read()
                    log.info("%s: %d products of %s", self.path, len(self._products.rows), self._products.version)
            except ConfigurationError as error:
                log.error("the product catalogue stays as it was: %s", error)
        return self._products

    def _read(self) -> Products:
        version = self._version()
        try:
            read = pyarrow.parquet.read_table if self.path.suffix == ".parquet" else _read_csv
            rows = _rows(read(self.path))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise ConfigurationError(
                f"HEADRACE_CATALOGUE: {self.path} holds no products: {error};"
                f" use CSV or Parquet with a column {KEY!r} and text or numbers"
            ) from error
        if self._version() != version:
            raise ConfigurationError(f"HEADRACE_CATALOGUE: {self.path} changed while it was read; rename it into place")
        return Products(version, rows)

    def _version(self) -> int:
        try:
            return self.path.stat().st_mtime_ns // 1_000
        except OSError as error:
            raise ConfigurationError(f"HEADRACE_CATALOGUE: {self.path} cannot be read: {error}") from error


def _read_csv(path: Path) -> pa.Table:
    names = pyarrow.csv.open_csv(path).schema.names
    as_texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True)
    return pyarrow.csv.read_csv(path, convert_options=as_texts)


def _rows(table: pa.Table) -> dict[str, dict[str, str]]:
    """What the table says of each product, without what it leaves empty; of a product's rows the last counts."""
    texts = pa.table({name: table.column(name).cast(pa.string()) for name in table.column_names})
    texts.column(KEY)
    return {
        row[KEY]: {name: value for name, value in row.items() if value is not None and name != KEY}
        for row in texts.to_pylist()
        if row[KEY]
    }


def _path(url: str) -> Path:
    scheme, separator, path = url.partition("://")
    if not separator:
        return Path(url)
    if scheme != "file" or not path:
        raise ConfigurationError(f"HEADRACE_CATALOGUE is {url!r}; use file:///path/to/products.csv (or .parquet)")
    return Path(unquote(path))
