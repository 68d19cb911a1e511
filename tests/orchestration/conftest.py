from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ingestion.tables import all_tables
from tests.conftest import MakePlatform
from tests.orchestration.control import Control


@pytest.fixture
def control(tmp_path: Path, make_platform: MakePlatform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    """Dagster beside a platform of every table."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Control(instance, make_platform(*all_tables()))
