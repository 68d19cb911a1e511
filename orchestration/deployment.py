"""All of Headrace on one machine: collector, lander, listener, read service, and Dagster with its three."""

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console

from ingestion.errors import ConfigurationError
from ingestion.settings import Settings
from orchestration.dbt_runner import prepare_manifest
from orchestration.instance import (
    LOCATION,
    dagster_home,
    end_crashed_runs,
    prepare_instance,
    wait_for_runs,
    write_workspace,
)
from orchestration.services import Service, Services, answers, free_port

READY_SECONDS = 120.0
LOOK_AGAIN_SECONDS = 0.5
RUNS_SECONDS = 30.0
"""How long a run that is under way may go on when all ends."""


def up(settings: Settings, console: Console) -> None:
    """Run everything until Ctrl-C or SIGTERM, with one line per service."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    console.print(f"starting; data, logs and state are in {settings.home}")
    with run_services(settings, dagster_home(settings)) as services:
        services.wait_until_ready(READY_SECONDS, lambda one: console.print(f"  {one.name:<12} {one.where}"))
        console.print("running; Ctrl-C ends it, and the next start goes on where it ended")
        while not stop.wait(LOOK_AGAIN_SECONDS):
            services.restart_ended(console.print)
        console.print("ending")


@contextmanager
def run_services(settings: Settings, dagster: Path) -> Iterator[Services]:
    """The services as processes, for as long as the block runs; Dagster keeps its state in the folder `dagster`."""
    settings.home.mkdir(parents=True, exist_ok=True)
    prepare_instance(dagster)
    with only_one(settings.home) as lock:
        prepare_manifest()
        grpc_port = free_port()
        services = list_services(settings, dagster, grpc_port)
        environment = {**os.environ, **variables(settings), "DAGSTER_HOME": str(dagster)}
        with Services(services, environment, settings.home / "logs", lock.fileno()) as running:
            lock.truncate(0)
            lock.write(", ".join(f"{one.service.name} {one.pid}" for one in running.running))
            lock.flush()
            yield running


def list_services(settings: Settings, dagster: Path, grpc_port: int) -> list[Service]:
    """What runs, in the order in which it is started."""
    workspace = write_workspace(dagster, grpc_port)
    collector = f"http://{settings.host}:{settings.port}"
    views = f"http://{settings.host}:{settings.read_port}"
    web = f"http://127.0.0.1:{settings.dagster_port}"
    headrace = [sys.executable, "-m", "ingestion"]
    code = ["-m", "orchestration.definitions", "--location-name", LOCATION]
    return [
        Service("collector", [*headrace, "collect"], f"{collector}/v1/events", lambda: answers(f"{collector}/ready")),
        Service("lander", [*headrace, "land"], settings.lake_url),
        Service("listener", [*headrace, "listen"], settings.views_url),
        Service("read service", [*headrace, "serve"], f"{views}/v1/views", lambda: answers(f"{views}/ready")),
        Service(
            "code server",
            [script("dagster"), "api", "grpc", "--host", "127.0.0.1", "--port", str(grpc_port), *code],
            "Dagster's assets and runs",
            before_start=lambda: end_crashed_runs(dagster),
            before_stop=lambda: wait_for_runs(dagster, RUNS_SECONDS),
        ),
        Service(
            "web server",
            [script("dagster-webserver"), "-h", "127.0.0.1", "-p", str(settings.dagster_port), "-w", str(workspace)],
            web,
            lambda: answers(f"{web}/server_info"),
        ),
        Service(
            "daemon",
            [script("dagster-daemon"), "run", "--log-level", "warning", "-w", str(workspace)],
            "sensors and schedules",
        ),
    ]


def variables(settings: Settings) -> Mapping[str, str]:
    """The environment of every service: folders that do not depend on where it is started."""
    return {
        "HEADRACE_HOME": str(settings.home.resolve()),
        "HEADRACE_PORT": str(settings.port),
        "HEADRACE_READ_PORT": str(settings.read_port),
        "HEADRACE_ROTATE_SECONDS": str(settings.rotate_seconds),
    }


def script(name: str) -> str:
    """A command that is installed beside the interpreter."""
    return str(Path(sys.executable).with_name(name))


@contextmanager
def only_one(home: Path) -> Iterator[TextIO]:
    """The lock of a folder, which every service holds too: a second `up` is refused while one of them lives."""
    with (home / "up.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigurationError(
                f"Headrace runs in {home} already; if its `headrace up` was killed,"
                f" end what is left of it: {file.read()}"
            ) from None
        yield file
