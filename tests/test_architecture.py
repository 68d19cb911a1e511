"""Rules of the tree that no linter knows."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}


def tracked(*patterns: str) -> list[Path]:
    files = [path for pattern in patterns for path in ROOT.glob(pattern) if ".venv" not in path.parts]
    assert files
    return files


def test_no_module_is_named_for_nothing() -> None:
    for path in tracked("ingestion/**/*.py", "orchestration/**/*.py", "tests/**/*.py", "benchmarks/**/*.py"):
        assert path.stem not in BANNED_NAMES, path


def test_the_lock_names_no_registry() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text()
    assert subprocess.run(["git", "ls-files", "uv.lock"], cwd=ROOT, capture_output=True, check=True).stdout == b""


def test_dependencies_are_hash_locked() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = [line for line in lines if "==" in line]
    assert len(pinned) > 20
    assert all(line.endswith("\\") for line in pinned), "a hash follows each"
