"""Every command of the README is run, in its order; only the one that runs the tests is not."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ingestion.settings import Settings
from orchestration.services import free_port, wait_until_ready

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUNS_THE_TESTS = "make test"
RUNS_THE_DEMO = "make demo"
KEEPS_RUNNING = "make up"

EVENT = {"event_id": "readme-1", "event_type": "cart_viewed", "anonymous_id": "browser-1", "properties": {}}


def commands() -> list[tuple[str, str]]:
    """The README's commands with the output that it shows."""
    found: list[tuple[str, str]] = []
    for block in BLOCK.findall(README):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], ""))
            else:
                found[-1] = found[-1][0], found[-1][1] + line + "\n"
    return found


def environment(home: Path, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HEADRACE_HOME": str(home),
        "HEADRACE_PORT": str(port),
        "HEADRACE_URL": f"http://127.0.0.1:{port}",
        "HEADRACE_DAGSTER_PORT": str(free_port()),
        "HEADRACE_READ_PORT": str(free_port()),
        "HEADRACE_ROTATE_SECONDS": "1",
    }


@contextmanager
def running(command: str, environment: dict[str, str]) -> Iterator[None]:
    """A command that keeps running, until the block is over."""
    process = subprocess.Popen(command.split(), env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=120)


@pytest.mark.timeout(1200)
def test_every_command_of_the_readme_runs(tmp_path: Path) -> None:
    port = free_port()
    shell_environment = environment(tmp_path, port)
    (tmp_path / "events.jsonl").write_text(json.dumps(EVENT) + "\n")
    script = ["set -euo pipefail", f"cd {tmp_path}"]
    with ExitStack() as stack:
        for command, shown in commands():
            if command == KEEPS_RUNNING:
                stack.enter_context(running(command, shell_environment))
                wait_until_ready(shell_environment["HEADRACE_URL"], 240)
            elif command.startswith("make ") and command != RUNS_THE_TESTS:
                done = subprocess.run(command.split(), cwd=ROOT, check=True, capture_output=True, timeout=400)
                assert command != RUNS_THE_DEMO or b"open_cart of" in done.stdout
            elif command != RUNS_THE_TESTS:
                script.append(with_output_checked(with_ports(command, shell_environment), shown))
        ran = subprocess.run(
            ["bash", "-c", "\n".join(script)], env=shell_environment, capture_output=True, text=True, check=False
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def with_ports(command: str, environment: dict[str, str]) -> str:
    """The command, asking the services of this test."""
    command = command.replace("127.0.0.1:8080", f"127.0.0.1:{environment['HEADRACE_PORT']}")
    return command.replace("127.0.0.1:8081", f"127.0.0.1:{environment['HEADRACE_READ_PORT']}")


def with_output_checked(command: str, shown: str) -> str:
    """The command; where the README shows what it prints, that it prints just this."""
    if not shown:
        return command
    return f"diff <({command} | sed -e '$a\\') - <<'SHOWN'\n{shown}SHOWN\n"


def test_the_readme_has_commands_for_every_reader() -> None:
    assert len(commands()) >= 12


def test_links_in_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_settings_in_the_readme_exist() -> None:
    names = {f"HEADRACE_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"^\| `(HEADRACE_\w+)`", README, re.MULTILINE)) <= names
