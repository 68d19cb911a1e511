"""`make stack` as its user sees it: real servers beneath `headrace up`, until Ctrl-C."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ingestion.keys import KeyFile
from orchestration.services import free_port, wait_until_ready
from tests.services.jars import Unavailable, jars
from tests.services.stack import HEADRACE, HOME

SECONDS = 240.0
"""For what takes some 40 on two idle cores."""
PROJECT = Path(__file__).parents[2]


def exported(file: Path) -> dict[str, str]:
    """What a shell has after it sourced a file of exports."""
    words = (word for word in shlex.split(file.read_text()) if word != "export")
    return dict(word.split("=", 1) for word in words)


@pytest.mark.xdist_group("stack")
@pytest.mark.timeout(600)
def test_what_is_sent_to_the_stack_is_landed_and_loaded_and_it_ends_when_it_is_told_to(tmp_path: Path) -> None:
    try:
        jars("kafka")
    except Unavailable as missing:
        pytest.skip(str(missing))
    ports = {f"HEADRACE_{name}PORT": str(free_port()) for name in ("", "DAGSTER_", "READ_")}
    environment = {**os.environ, **ports, "HEADRACE_ROTATE_SECONDS": "1", "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-m", "tests.services.stack"]
    log = (tmp_path / "stack.log").open("wb")
    with log, subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log) as stack:
        try:
            url = f"http://127.0.0.1:{ports['HEADRACE_PORT']}"
            wait_until_ready(url, SECONDS)
            key = KeyFile(tmp_path / HOME / "keys.json").add("shop")
            user = {**environment, **exported(tmp_path / HOME / "environment")}
            sending = {**user, "HEADRACE_URL": url, "HEADRACE_WRITE_KEY": key}
            record = str(tmp_path / "sent.jsonl")
            subprocess.run(
                [HEADRACE, "simulate", "--events", "300", "--rate", "200", "--record", record], env=sending, check=True
            )
            audit = [str(HEADRACE), "audit", "--wait", str(SECONDS), "--sent", record]
            balance = subprocess.run(audit, env=user, capture_output=True, text=True, check=False)
            assert balance.returncode == 0, balance.stdout + balance.stderr
        finally:
            stack.terminate()
            ended = stack.wait(SECONDS)
    said = (tmp_path / "stack.log").read_text()
    assert ended == 0, said[-3_000:]
    assert f"source {HOME}/environment" in said
