"""`make bench`: every benchmark, or those that are named."""

import sys

from rich.console import Console

from benchmarks import collector, funnel, lander, latency, loader, models
from benchmarks.workload import machine

BENCHMARKS = {
    "collector": collector,
    "lander": lander,
    "loader": loader,
    "models": models,
    "funnel": funnel,
    "latency": latency,
}

console = Console()
console.print(machine())
for name in sys.argv[1:] or BENCHMARKS:
    console.print(BENCHMARKS[name].measure())
