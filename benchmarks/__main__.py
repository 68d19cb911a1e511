"""`make bench`: every benchmark, or those that are named."""

import sys

from rich.console import Console

from benchmarks import collector, dynamodb, funnel, kafka, lander, latency, listener, loader, models, read_service
from benchmarks.workload import machine

BENCHMARKS = {
    "collector": collector,
    "lander": lander,
    "kafka": kafka,
    "listener": listener,
    "dynamodb": dynamodb,
    "read_service": read_service,
    "loader": loader,
    "models": models,
    "funnel": funnel,
    "latency": latency,
}

console = Console()
console.print(machine())
for name in sys.argv[1:] or BENCHMARKS:
    console.print(BENCHMARKS[name].measure())
