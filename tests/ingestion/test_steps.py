import signal
import subprocess
import sys

import pytest

from ingestion.steps import Steps, crash_at, run


def three_steps() -> Steps[str]:
    yield from ("a", "b", "a")
    return "done"


def test_steps_are_run_to_their_result_and_every_point_is_told() -> None:
    reached: list[str] = []
    assert run(three_steps(), reached.append) == "done"
    assert reached == ["a", "b", "a"]


def test_what_happens_at_a_point_ends_the_steps() -> None:
    def reach(point: str) -> None:
        if point == "b":
            raise KeyError(point)

    with pytest.raises(KeyError):
        run(three_steps(), reach)


@pytest.mark.parametrize("setting", ["", "c", "a:3", "b:2"])
def test_a_point_that_is_not_reached_so_often_kills_nothing(setting: str) -> None:
    assert run(three_steps(), crash_at(setting)) == "done"


@pytest.mark.parametrize(("setting", "points"), [("a", ["a"]), ("b", ["a", "b"]), ("a:2", ["a", "b", "a"])])
def test_a_process_kills_itself_when_it_reaches_a_point_for_the_named_time(setting: str, points: list[str]) -> None:
    program = f"""
from ingestion.steps import crash_at
reach = crash_at({setting!r})
for point in "aba":
    print(point, flush=True)
    reach(point)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, points)
