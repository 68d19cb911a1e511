from collections.abc import Iterator

import dagster as dg
import pytest

from tests.sensors.shop import Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A small code location."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Shop(instance)
