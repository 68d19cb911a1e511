"""Work that can be stopped anywhere: a generator that names each point at which a crash would matter.

`run` goes through it; where the environment names a point (`HEADRACE_CRASH_AT=lander.committed:2`), the process
kills itself with SIGKILL when it reaches that point for the second time. Tests advance such generators by hand.
"""

import os
import signal
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[str, None, T]
"""Yields the names of the points it passes and returns a T."""

Reach = Callable[[str], None]


def crash_at(setting: str) -> Reach:
    """What to call at each point, for a setting like `lander.committed:2` (the second time) or an empty one."""
    point, _, times = setting.partition(":")
    left = int(times or 1)

    def reach(name: str) -> None:
        nonlocal left
        if name == point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reach


def run(steps: Steps[T], reach: Reach) -> T:
    """Go through `steps`, telling `reach` each point, and return the result."""
    while True:
        try:
            point = next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        reach(point)
