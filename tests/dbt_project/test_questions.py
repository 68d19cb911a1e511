"""The page of questions: it shows what its queries return, and on two real click logs they return the truth."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.dbt_project.conftest import Shop
from tests.dbt_project.questions import PAGE, Row, answer, ask, read_questions
from tests.dbt_project.recount import Happening, happening
from tests.dbt_project.recounted_answers import RECOUNTS
from tests.dbt_project.test_known_truths import truth
from tests.proof.test_real_logs import REES46, TAOBAO, needs_logs, read

SQL = {question.text: question.sql for question in read_questions()}
NOT_IN_THE_LOGS = {
    "How long does each step take?",
    "On which device do checkouts stop?",
    "What do shoppers search for in vain?",
}
LOGS = {"rees46": REES46, "taobao": TAOBAO}
pytestmark = pytest.mark.xdist_group("questions")  # one process builds the two warehouses


def built(folder: Path, events: dict[str, list[dict[str, Any]]], at: datetime) -> Path:
    """A warehouse with the events of some sources, and the models on it."""
    shop = Shop(folder)
    for source, sent in events.items():
        shop.receive(sent, at, source)
    shop.analytics.build()
    shop.platform.close()
    return shop.analytics.warehouse.path


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = sorted((PAGE.parent / "sample").glob("*.jsonl"))
    events = {file.stem: [json.loads(line) for line in file.read_text().splitlines()] for file in files}
    return built(tmp_path_factory.mktemp("sample"), events, datetime(2026, 3, 31, tzinfo=UTC))


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    events = {source: list(read(folder)) for source, folder in LOGS.items()}
    return built(tmp_path_factory.mktemp("logs"), events, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def happenings() -> list[Happening]:
    return [happening(source, event) for source, folder in LOGS.items() for event in read(folder)]


def test_the_page_shows_what_its_queries_return(sample: Path) -> None:
    for question in read_questions():
        assert answer(sample, question.sql) == question.answer, question.text
        assert len(question.answer.splitlines()) > 1, f"{question.text}: it shows no row"


def test_every_question_and_link_of_the_page_is_found() -> None:
    page = PAGE.read_text()
    assert len(SQL) == page.count("\n### ") == page.count("```sql") > 20
    for target in re.findall(r"\]\(([^)#]+)\)", page):
        assert (PAGE.parent / target).exists(), target


@needs_logs
def test_every_query_returns_rows_on_real_logs(logs: Path) -> None:
    assert {text for text, sql in SQL.items() if not ask(logs, sql)} == NOT_IN_THE_LOGS


@needs_logs
def test_answers_are_the_known_truths(logs: Path) -> None:
    both = {name: [sum(n) for n in zip(truth(REES46, name), truth(TAOBAO, name), strict=True)] for name in FUNNELS}
    for name, text in FUNNELS.items():
        assert ask(logs, SQL[text]) == [tuple(both[name])], text
    converted = {
        source: (truth(folder, "funnel_strict")[0], truth(folder, "funnel_strict")[2])
        for source, folder in LOGS.items()
    }
    assert ask(logs, SQL["Which source converts best?"]) == [(source, *counts) for source, counts in converted.items()]
    top = json.loads((REES46 / "truths.json").read_text())["top_viewed"]["rows"]
    assert [[product, str(views)] for product, views in ask(logs, SQL["Which products are viewed most?"])] == top


FUNNELS = {
    "funnel_strict": "How many visitors convert over a range of days?",
    "funnel_same_product": "How many visitors order the very product that they viewed?",
}


@needs_logs
@pytest.mark.parametrize("text", RECOUNTS)
def test_answers_on_real_logs_are_those_of_a_recount(text: str, logs: Path, happenings: list[Happening]) -> None:
    assert rounded(ask(logs, SQL[text])) == rounded(RECOUNTS[text](happenings))


def rounded(rows: Sequence[Row]) -> list[Row]:
    """Shares to four digits, other numbers to two: DuckDB cuts a percentile at the digits of its column."""
    return [tuple(_rounded(value) for value in row) for row in rows]


def _rounded(value: object) -> object:
    if not isinstance(value, int | float | Decimal):
        return value
    number = float(value)
    return round(number, 4 if number <= 1 else 2)
