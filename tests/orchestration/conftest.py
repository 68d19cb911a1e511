import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ingestion.tables import all_tables
from orchestration.instance import prepare_instance
from tests.conftest import MakePlatform
from tests.dbt_project.conftest import Shop
from tests.ingestion.views.landing import later, stored
from tests.orchestration.control import Control
from tests.orchestration.known_shop import history, receive
from tests.orchestration.viewed_shop import ViewedShop


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


@pytest.fixture
def viewed_shop(tmp_path: Path) -> Iterator[ViewedShop]:
    """A visitor viewed two products and put one into the cart; the first view came three times, once with junk."""
    shop = ViewedShop(tmp_path)
    again = stored(received_at=later(seconds=1), occurred_at=later(minutes=1))
    overnight = stored(received_at=later(seconds=2), occurred_at=later(hours=13))
    shop.publish(
        stored(price="19.9", name="ä, ö"), again, overnight, stored(event_id="e2", user_id=None, anonymous_id="a")
    )
    shop.publish(stored("product_added", "e3", quantity=2), stored("product_added", "e4", user_id=None))
    shop.platform.publish("product_viewed", [b"\xff", b"{}"])
    shop.platform.land()
    shop.listen()
    yield shop
    shop.close()
