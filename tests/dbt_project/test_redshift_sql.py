"""Every model compiles for Redshift without one, whole and for some dates, into SQL that Redshift is known to take.

`make check` runs this: it needs no server.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from orchestration.dbt_runner import PROJECT
from tests.dbt_project.analytics import dbt, problems
from tests.redshift.errors import Refused
from tests.redshift.grammar import parse
from tests.redshift.refusals import refusals

ABSENT = (exp.Qualify, exp.Filter, exp.Lateral, exp.List, exp.Struct, exp.NullSafeEQ, exp.NullSafeNEQ, exp.AnyValue)
SOME_DATES = '{"dates": ["2026-03-01", "2026-03-09"], "compile_as_incremental": true}'
NOT_OF_THE_EVENTS = (exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime, exp.Rand, exp.Uuid)
CLOCKS = re.compile(r"\b(?:now|getdate|sysdate|timeofday|current_\w+|localtime\w*|today|random)\b", re.IGNORECASE)
DUCKDB_ONLY = re.compile(r"epoch_us|make_timestamp|generate_subscripts|unnest|strftime|\bfilter\s*\(", re.IGNORECASE)


@pytest.fixture(scope="module", params=["{}", SOME_DATES], ids=["whole", "some dates"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What dbt compiles, each statement in a file: the models, and in folders beside them their tests."""
    folder = tmp_path_factory.mktemp("redshift")
    offline = ("--target", "redshift", "--no-introspect", "--no-populate-cache", "--no-partial-parse")
    result = dbt(folder / "warehouse.duckdb", "compile", *offline, "--vars", request.param)
    assert result.success, problems(result)
    return folder / "dbt" / "compiled" / "headrace"


@pytest.fixture(scope="module")
def compiled(folder: Path) -> dict[str, str]:
    """The models."""
    models = (folder / "models").rglob("*.sql")
    return {path.stem: path.read_text() for path in models if path.parent.suffix != ".yml"}


def test_every_model_is_there(compiled: dict[str, str]) -> None:
    assert compiled.keys() == {path.stem for path in (PROJECT / "models").rglob("*.sql")}


def test_the_sql_has_nothing_that_redshift_lacks(compiled: dict[str, str]) -> None:
    for name, sql in compiled.items():
        assert not DUCKDB_ONLY.search(sql), name
        (tree,) = sqlglot.parse(sql, dialect="redshift")
        assert tree is not None
        assert [str(node) for node in tree.find_all(*ABSENT)] == [], name
        for window in tree.find_all(exp.Window):
            assert is_framed(window), f"{name}: {window}"


def test_every_statement_has_only_grammar_and_functions_that_are_known_of_redshift(folder: Path) -> None:
    statements = {path.name: path.read_text() for path in folder.rglob("*.sql")}
    assert len(statements) > 100, "the models' tests are among them"
    assert {name: said for name, sql in statements.items() if (said := refused(sql))} == {}


@pytest.mark.parametrize("folder", ["{}"], indirect=True)
def test_sqlfluff_can_read_the_models_as_redshift_and_has_nothing_to_say(folder: Path) -> None:
    """A parser that shares no code with the stand-in's."""
    sqlfluff = [
        str(Path(sys.executable).with_name("sqlfluff")),
        "lint",
        "--config",
        str(PROJECT.parent / "pyproject.toml"),
    ]
    said = subprocess.run(
        [*sqlfluff, "--processes", "2", folder / "models"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr


def refused(sql: str) -> list[str]:
    """What the stand-in for Redshift would refuse, without a server."""
    try:
        return [str(refusal) for refusal in refusals(parse(sql))]
    except Refused as refusal:
        return [str(refusal)]


@pytest.mark.parametrize("sql", ["select epoch_us(at) from t", "select a from t qualify row_number() over () = 1"])
def test_what_redshift_does_not_know_is_refused(sql: str) -> None:
    assert refused(sql)


def test_nothing_hangs_on_a_clock_or_on_chance(compiled: dict[str, str]) -> None:
    for name, sql in compiled.items():
        tree = sqlglot.parse_one(sql, dialect="redshift")
        assert not list(tree.find_all(*NOT_OF_THE_EVENTS)), name
        assert not CLOCKS.search(tree.sql(comments=False)), name


def is_framed(window: exp.Window) -> bool:
    """An aggregate with an order needs a frame there; one that runs onwards from each row would be quadratic."""
    if not isinstance(window.this, exp.AggFunc) or isinstance(window.this, exp.Lag | exp.Lead):
        return True
    spec = window.args.get("spec")
    return window.args.get("order") is None or (spec is not None and spec.args.get("end") == "CURRENT ROW")


def test_deprecated_yaml_is_an_error(tmp_path: Path) -> None:
    strict = ("--target", "redshift", "--no-partial-parse", "--warn-error-options", '{"error": ["Deprecations"]}')
    result = dbt(tmp_path / "warehouse.duckdb", "parse", *strict)
    assert result.success, problems(result)
