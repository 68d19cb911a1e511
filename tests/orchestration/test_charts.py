"""Pictures of funnels, and the funnels as Dagster shows them."""

import base64
import io
import re
import subprocess
import sys
from datetime import date, timedelta

import pytest
from PIL import Image

from orchestration.charts import conversion_chart, day_bars, funnel_chart, funnel_markdown
from orchestration.funnels import Funnel, FunnelDay, Step
from tests.dbt_project.conftest import Shop
from tests.orchestration.known_shop import AS_OF, at, history
from tests.orchestration.page import Page

pytestmark = pytest.mark.xdist_group("known_shop")
MONDAY = date(2026, 3, 2)
IMAGE = re.compile(r"^!\[[^\]]+\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)$", re.MULTILINE)


def funnel(*reached: int, still_open: int = 0, name: str = "viewed", days: tuple[FunnelDay, ...] = ()) -> Funnel:
    names = [name, *(f"step {number}" for number in range(2, len(reached) + 1))]
    stopped = [this - after for this, after in zip(reached, [*reached[1:], 0], strict=True)]
    steps = [Step(n, "product_viewed", r, s, 0) for n, r, s in zip(names, reached, stopped, strict=True)]
    steps[0] = Step(names[0], "product_viewed", reached[0], stopped[0], still_open)
    return Funnel("f", "", "visitor", timedelta(days=7), True, tuple(steps), (), days, {}, 0)


def drawn(*converted: int, final: int = 99) -> str:
    """The conversion by day of a funnel that ten enter every day but the second, final up to a day."""
    days = [FunnelDay(MONDAY + timedelta(days=n), (10, c), n < final) for n, c in enumerate(converted) if n != 1]
    svg = conversion_chart(funnel(10, 5, days=tuple(days)), MONDAY, MONDAY + timedelta(days=len(converted)))
    Page(svg)
    return svg


def texts(svg: str) -> list[str]:
    return Page(svg).texts


def widths(svg: str) -> list[float]:
    """Of the bars, in their order."""
    boxes = re.findall(r"M ([\d.]+) [\d.]+ L ([\d.]+) [\d.]+ L [\d.]+ [\d.]+ L [\d.]+ [\d.]+ z", svg)
    return [round(float(right) - float(left), 1) for left, right in boxes][-9:]


def test_a_bar_is_as_long_as_the_share_that_came_and_lighter_where_more_may_come() -> None:
    svg = funnel_chart(funnel(1000, 250, 100, still_open=500))
    assert texts(svg)[1::2] == ["1,000 · 100.0%", "250 · 25.0% · 500 more may come", "100 · 10.0% · 500 more may come"]
    assert widths(svg) == [440, 440, 0, 440, 110, 220, 440, 44, 220]


def test_nobody_in_a_funnel_is_drawn_without_a_share() -> None:
    assert texts(funnel_chart(funnel(0, 0)))[1] == "0 · \N{EN DASH}"
    assert texts(conversion_chart(funnel(0, 0), MONDAY, MONDAY)) == ["2 Mar", "0%", "50%", "100%"]


def test_days_that_are_not_final_are_named() -> None:
    assert "not final yet" in texts(drawn(5, 0, 6, 7, final=2))
    assert "not final yet" not in texts(drawn(5, 0, 6, 7))


def test_a_line_ends_with_its_name_and_its_last_value() -> None:
    assert "step 2" in " ".join(texts(drawn(5, 0, 7))) and "70.0%" in " ".join(texts(drawn(5, 0, 7)))


def test_names_are_text_and_no_formula() -> None:
    assert "<b>$x^2$ & co" in texts(funnel_chart(funnel(2, 1, name="<b>$x^2$ & co")))


def test_the_same_numbers_give_the_same_picture_in_the_colours_of_the_page() -> None:
    def draw() -> list[str]:
        return [funnel_chart(funnel(9, 3)), drawn(5, 0, 6), day_bars("Orders", [1, None, 3], True)]

    assert draw() == draw()
    for svg in draw():
        assert not re.search(r"#[0-9a-f]{6}\b|font-family|<style|xmlns", re.sub(r"url\(#\w+\)", "", svg))
        assert "var(--step-0)" in svg


def test_markdown_has_a_line_per_day_with_who_entered_and_who_converted(known_shop: Shop) -> None:
    text = funnel_markdown(known_shop.platform.warehouse.query, days=10)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["date", *(str(AS_OF.date() - timedelta(days=n)) for n in range(10))]
    column = rows[0].index(r"view\_to\_purchase")
    for day, cell in ((row[0], row[column]) for row in rows[1:]):
        views = [
            event for event in history() if event["event_type"] == "product_viewed" and str(at(event).date()) == day
        ]
        assert cell.startswith(f"{len({event['user_id'] for event in views})} → ")
        assert cell.endswith(r"\*") == (date.fromisoformat(day) > AS_OF.date() - timedelta(days=8))


def test_markdown_carries_a_small_picture(known_shop: Shop) -> None:
    text = funnel_markdown(known_shop.platform.warehouse.query)
    (picture,) = IMAGE.findall(text)
    assert len(text) < 40_000
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        assert image.format == "PNG" and image.width > 600
    assert text == funnel_markdown(known_shop.platform.warehouse.query)


def test_markdown_without_events_says_so() -> None:
    assert funnel_markdown(lambda sql, parameters: [(None,)]) == "No event has reached the models yet."


def test_the_command_and_dagster_load_without_matplotlib() -> None:
    code = "import sys, orchestration.cli, orchestration.definitions; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"
