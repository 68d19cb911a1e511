"""Services as processes, with small Python programs in their place."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingestion.errors import PermanentError
from orchestration.services import Service, Services
from tests.orchestration.test_deployment import is_running

SLEEP = "import time; time.sleep(60)"
Make = Callable[..., Services]


def python(name: str, code: str = SLEEP, **options: object) -> Service:
    return Service(name, [sys.executable, "-c", code], **options)  # type: ignore[arg-type]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with (tmp_path / "lock").open("w") as lock:
        yield lambda *services: Services(services, os.environ, tmp_path / "logs", lock.fileno())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_every_process_has_ended_with_the_block(make: Make) -> None:
    with make(python("one"), python("two")) as services:
        pids = [one.pid for one in services.running]
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))


def test_what_a_service_started_ends_with_it(make: Make, tmp_path: Path) -> None:
    code = f"""
import subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", deaf])
open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
time.sleep(60)"""
    with make(python("parent", code)):
        wait_for(lambda: (tmp_path / "child").exists() and bool((tmp_path / "child").read_text()))
        child = int((tmp_path / "child").read_text())
    wait_for(lambda: not is_running(child))


def test_services_end_in_the_opposite_order(make: Make) -> None:
    ended: list[str] = []
    with make(
        python("collector", before_stop=lambda: ended.append("collector")),
        python("daemon", before_stop=lambda: ended.append("daemon")),
    ):
        pass
    assert ended == ["daemon", "collector"]


def test_a_service_that_ends_by_itself_is_started_again_and_said(make: Make) -> None:
    prepared: list[str] = []
    said: list[str] = []
    with make(python("lander", before_start=lambda: prepared.append("lander"))) as services:
        (lander,) = services.running
        first = lander.pid
        services.restart_ended(said.append)
        assert not said
        os.kill(first, signal.SIGKILL)
        wait_for(lander.has_ended)
        services.restart_ended(said.append)
        assert lander.pid != first and is_alive(lander.pid)
    assert len(prepared) == 2
    assert said == [f"lander ended; starting it again in 1 s (its log: {lander.log})"]


def test_each_start_that_fails_waits_longer(make: Make) -> None:
    (service,) = make(python("lander")).running
    assert [service.pause() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_service_that_ends_at_once_is_shown_with_its_last_words(make: Make) -> None:
    broken = python("collector", "import sys; sys.exit('port 8080 is taken')", is_ready=lambda: False)
    with make(broken) as services, pytest.raises(PermanentError, match=r"collector ended at once.*\n.*8080 is taken"):
        services.wait_until_ready(30)


def test_a_service_that_is_not_ready_in_time_is_named(make: Make) -> None:
    slow = python("web server", is_ready=lambda: False)
    with make(slow) as services, pytest.raises(PermanentError, match="web server was not ready within 0 s"):
        services.wait_until_ready(0)


def test_services_are_announced_when_they_are_ready(make: Make) -> None:
    announced: list[str] = []
    with make(python("one"), python("two")) as services:
        services.wait_until_ready(30, lambda service: announced.append(service.name))
    assert announced == ["one", "two"]
