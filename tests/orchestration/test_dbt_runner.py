from pathlib import Path

import pytest

from orchestration import dbt_runner
from orchestration.dbt_runner import Outcome, prepare_manifest, run_dbt
from tests.orchestration.control import Control


def test_the_project_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_manifest()
    monkeypatch.delattr(dbt_runner, "run_dbt")
    prepare_manifest()


def test_a_project_that_changed_is_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_manifest()
    (target := prepare_manifest()).joinpath("parsed").write_text("of another project")
    parsed: list[list[str]] = []

    def parse(arguments: list[str], into: Path) -> Outcome:
        parsed.append(arguments)
        return Outcome()

    monkeypatch.setattr(dbt_runner, "run_dbt", parse)
    assert prepare_manifest() == target
    assert parsed == [["parse", "--quiet"]]


def test_a_failure_names_what_dbt_refused(control: Control) -> None:
    outcome = run_dbt(["build", "--select", "fct_sessions"], prepare_manifest())
    assert outcome.failure is not None, "there is no raw table yet"
    assert "fct_sessions" in outcome.failure


def test_a_run_leaves_the_manifest_alone_because_others_read_it(control: Control) -> None:
    manifest = prepare_manifest() / "manifest.json"
    before = manifest.stat().st_mtime_ns, manifest.stat().st_ino
    run_dbt(["build", "--select", "funnels", "--exclude-resource-type", "test"], manifest.parent)
    assert (manifest.stat().st_mtime_ns, manifest.stat().st_ino) == before
