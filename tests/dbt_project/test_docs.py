"""What a reader of the models finds: every model and column described, once, and who reads the marts."""

import json
import re
from pathlib import Path

import pytest

from orchestration.dbt_runner import PROJECT, run_dbt
from tests.dbt_project.analytics import parsed
from tests.dbt_project.questions import read_questions

GENERATED = "_event_types.md"


def test_every_model_seed_and_column_is_described() -> None:
    nodes = [node for node in parsed().nodes.values() if str(node.resource_type) in ("model", "seed")]
    assert len(nodes) > 30
    for node in nodes:
        assert node.description, node.name
        assert node.columns, node.name
        for column in node.columns.values():
            assert column.description, f"{node.name}.{column.name}"


def test_a_column_of_the_marts_is_described_in_one_place() -> None:
    texts = {path.name: path.read_text() for path in (PROJECT / "models").rglob("*.md")}
    blocks = [name for text in texts.values() for name in re.findall(r"{% docs (\w+) %}", text)]
    assert len(blocks) == len(set(blocks))
    yaml = "".join(path.read_text() for path in (PROJECT / "models").rglob("*.yml"))
    named = set(re.findall(r"doc\('(\w+)'\)", yaml + (PROJECT / "seeds" / "_seeds.yml").read_text()))
    own = {name for file, text in texts.items() if file != GENERATED for name in re.findall(r"{% docs (\w+) %}", text)}
    assert own <= named, "a description that nothing refers to"


def test_every_mart_is_read_by_somebody_and_every_table_of_the_questions_is_exposed() -> None:
    read = {name.split(".")[-1] for one in parsed().exposures.values() for name in one.depends_on.nodes}
    marts = {
        node.name for node in parsed().nodes.values() if str(node.resource_type) == "model" and "marts" in node.fqn
    }
    assert read == marts
    asked = {name for question in read_questions() for name in re.findall(r"analytics\.(\w+)", question.sql)}
    assert asked - marts == {"stg_products_searched"}


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    assert run_dbt(["parse"], tmp_path).failure is None
    return tmp_path


def test_the_pages_of_dbt_are_generated(target: Path) -> None:
    assert run_dbt(["docs", "generate", "--empty-catalog", "--static"], target).failure is None
    assert "fct_funnel_attempts" in (target / "static_index.html").read_text()
    assert json.loads((target / "manifest.json").read_text())["exposures"]
