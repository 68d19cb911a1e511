"""Two real click logs with known truths: sessions and funnels as others have counted them."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.dbt_project.analytics import WITH_TESTS
from tests.dbt_project.conftest import MakeShop, Shop
from tests.proof.test_real_logs import REES46, TAOBAO, needs_logs, read

Truth = list[int]
BY_VISITOR = """
select cast(count(distinct case when level >= 1 then visitor_id end) as integer),
    cast(count(distinct case when level >= 2 then visitor_id end) as integer),
    cast(count(distinct case when level >= 3 then visitor_id end) as integer)
from analytics.fct_funnel_attempts where funnel_id = ?
"""


def truth(folder: Path, name: str) -> Truth:
    truths: dict[str, Any] = json.loads((folder / "truths.json").read_text())
    return [int(number) for number in truths[name]["rows"][0]]


def funnel(shop: Shop, funnel_id: str) -> Truth:
    (row,) = shop.analytics.warehouse.query(BY_VISITOR, [funnel_id])
    return [int(str(number)) for number in row]


def count(shop: Shop, table: str) -> int:
    ((rows,),) = shop.analytics.warehouse.query(f"select count(*) from analytics.{table}")
    return int(str(rows))


def check(shop: Shop, folder: Path) -> None:
    assert count(shop, "fct_sessions") == truth(folder, "sessions_30min")[0]
    assert funnel(shop, "view_to_purchase") == truth(folder, "funnel_strict")
    assert funnel(shop, "view_to_purchase_same_product") == truth(folder, "funnel_same_product")


@needs_logs
def test_rees46_has_the_sessions_and_conversions_that_are_known(shop: Shop) -> None:
    shop.receive(list(read(REES46)))
    shop.analytics.build(None, *WITH_TESTS)
    check(shop, REES46)
    assert count(shop, "fct_sessions") == 4518
    assert funnel(shop, "view_to_purchase") == [4504, 111, 62]
    ((events, sessions),) = shop.analytics.warehouse.query(
        "select (select count(*) from analytics.stg_events), (select sum(events) from analytics.fct_sessions)"
    )
    assert events == sessions == 17434, "every event is in one session"


@needs_logs
@pytest.mark.parametrize("seed", range(2))
def test_taobao_in_any_order_and_pieces_with_builds_between_gives_the_same_tables(
    seed: int, make_shop: MakeShop
) -> None:
    events = list(read(TAOBAO))
    whole, pieces = make_shop("whole"), make_shop("pieces")
    whole.receive(events)
    whole.analytics.build()
    chance = random.Random(seed)
    shuffled = chance.sample(events, len(events))
    cuts = sorted(chance.sample(range(1, len(events)), 3))
    for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        pieces.receive(shuffled[start:end])
        pieces.build_stale()
    check(pieces, TAOBAO)
    assert funnel(pieces, "view_to_purchase") == [43, 29, 14]
    place = ["topic_id", "kafka_partition", "kafka_offset"]
    assert pieces.analytics.contents(place) == whole.analytics.contents(place)
