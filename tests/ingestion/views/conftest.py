from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion.views import ViewStore
from ingestion.views.sqlite import SQLiteViews
from tests.platform import NOON


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ViewStore]:
    """A store whose clock stands at noon of the tests' day."""
    store = SQLiteViews(tmp_path / "views.db", clock=NOON.timestamp)
    yield store
    store.close()
