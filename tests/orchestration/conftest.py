import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ingestion.tables import all_tables
from orchestration.instance import prepare_instance
from tests.conftest import MakePlatform
from tests.dbt_project.conftest import Shop
from tests.orchestration.control import Control
from tests.orchestration.known_shop import history, receive


@pytest.fixture(scope="session")
def empty_instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an instance on disk that has its tables: to make them takes a second."""
    folder = tmp_path_factory.mktemp("instance")
    prepare_instance(folder)
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        instance.get_runs_count()
        instance.all_instigator_state()
    return folder


@pytest.fixture
def kept_instance(empty_instance: Path, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance on disk, where `headrace up` would have it."""
    shutil.copytree(empty_instance, tmp_path / "dagster")
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        yield instance


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
