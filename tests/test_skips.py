"""Nobody reads the skips of a CI run, so there a skipped test has failed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = """
import pytest

def test_that_skips():
    pytest.skip("no such service here")

@pytest.mark.skipif(True, reason="not on this machine")
def test_that_is_skipped():
    pass

@pytest.mark.xfail(reason="known")
def test_that_is_expected_to_fail():
    assert False
"""
SKIPPING_MODULE = 'import pytest\n\npytest.importorskip("no_such_module")\n'


@pytest.mark.parametrize(
    ("environment", "outcome"),
    [
        ({}, "3 skipped, 1 xfailed"),
        ({"CI": "true"}, "1 failed, 1 xfailed, 2 errors"),
        ({"HEADRACE_REQUIRE_SERVICES": "1"}, "1 failed, 1 xfailed, 2 errors"),
    ],
)
def test_a_skipped_test_fails_where_nothing_may_be_skipped(
    tmp_path: Path, environment: dict[str, str], outcome: str
) -> None:
    (tmp_path / "test_some.py").write_text(SKIPPING)
    (tmp_path / "test_module.py").write_text(SKIPPING_MODULE)
    inherited = {k: v for k, v in os.environ.items() if k not in ("CI", "HEADRACE_REQUIRE_SERVICES")}
    options = "-p", "tests.conftest", "-p", "no:cacheprovider", "--continue-on-collection-errors"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=Path(__file__).parents[1],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout, done.stdout
    assert (done.returncode == 0) == (not environment)
