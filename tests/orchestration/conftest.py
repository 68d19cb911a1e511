from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ingestion.tables import all_tables
from tests.conftest import MakePlatform
from tests.dbt_project.conftest import Shop
from tests.orchestration.control import Control
from tests.orchestration.known_shop import history, receive


@pytest.fixture
def control(tmp_path: Path, make_platform: MakePlatform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    """Dagster beside a platform of every table."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Control(instance, make_platform(*all_tables()))


@pytest.fixture(scope="session")
def known_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop of known_shop.py, built once; tests read it."""
    shop = Shop(tmp_path_factory.mktemp("known"))
    receive(history(), shop.publish)
    shop.load()
    shop.build_stale()
    yield shop
    shop.platform.close()
