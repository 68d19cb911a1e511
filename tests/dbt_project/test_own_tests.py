"""The tests that the project brings itself, of units and of data, hold on a random history."""

import itertools
import random

from tests.dbt_project.analytics import WITH_TESTS
from tests.dbt_project.conftest import Shop
from tests.dbt_project.histories import FIRST, burst


def test_unit_and_data_tests_hold(shop: Shop) -> None:
    chance, numbers = random.Random(3), itertools.count()
    shop.receive([one for _ in range(60) for one in burst(chance, numbers, FIRST, "")])
    shop.analytics.build(None, *WITH_TESTS)
