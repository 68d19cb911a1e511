"""dbt inside this process, on a project that was parsed once.

`--vars` makes dbt parse everything anew in each run (4 CPU-seconds); a manifest handed to it is taken as it is.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ingestion.errors import ConfigurationError
from ingestion.settings import read_settings
from ingestion.warehouse.redshift_login import SCHEME, credentials, read_address

PROJECT = Path(__file__).parents[1] / "dbt_project"
SOURCES = ("*.yml", "models/**/*", "macros/**/*", "seeds/**/*", "tests/**/*")
DEFINITIONS = ("dbt_project.yml", "models/**/*.sql", "macros/**/*.sql", "seeds/**/*.csv")
"""Files that say what a row means; descriptions and tests are in the others."""
RESULTS = {"LogModelResult", "LogSeedResult", "LogTestResult"}
QUIET = ("--log-level-file", "none", "--no-use-colors")


@dataclass
class Outcome:
    """What dbt did: its result events, and why it failed."""

    results: list[Mapping[str, Any]] = field(default_factory=list)
    failure: str | None = None

    def succeeded(self) -> set[str]:
        """The unique ids of the nodes that dbt built."""
        infos = [result["data"]["node_info"] for result in self.results]
        return {info["unique_id"] for info in infos if info["node_status"] == "success"}


def prepare_manifest() -> Path:
    """The folder with the parsed project; parsed anew where a file of it, dbt or the warehouse's name has changed.

    Whoever comes first parses, the others wait: daemon, web server and code server start together.
    """
    target = PROJECT / "target" / database_name()
    target.mkdir(parents=True, exist_ok=True)
    with (target / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        versions = f"{version('dbt-core')} {version('dbt-duckdb')} {version('dbt-redshift')} "
        stamp, wanted = target / "parsed", versions + _hash_files(SOURCES)
        if not (stamp.exists() and stamp.read_text() == wanted):
            outcome = run_dbt(["parse", "--quiet"], target)
            if outcome.failure:
                raise ConfigurationError(f"{PROJECT} cannot be parsed: {outcome.failure}")
            stamp.write_text(wanted)
    return target


def run_dbt(arguments: Sequence[str], target: Path) -> Outcome:
    """Run a dbt command on the warehouse of the settings, and let go of its file again."""
    from dbt.cli.main import dbtRunner  # heavy, and of use to runs only
    from google.protobuf.json_format import MessageToDict

    outcome = Outcome()

    def keep(event: Any) -> None:
        if event.info.name in RESULTS:
            outcome.results.append(MessageToDict(event, preserving_proto_field_name=True))

    places = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--target-path", str(target)]
    only_read = [] if arguments[0] == "parse" else ["--no-write-json"]  # others read the manifest meanwhile
    command = [*arguments, *places, *only_read, "--log-path", str(target), *QUIET]
    with environment(**profile()):
        try:
            done = dbtRunner(_read_manifest(target, arguments[0]), [keep]).invoke(command)
        finally:
            let_go()
    if not done.success:
        infos = [result["data"]["node_info"] for result in outcome.results]
        names = ", ".join(info["node_name"] for info in infos if info["node_status"] in ("error", "fail"))
        outcome.failure = str(done.exception or f"dbt says no to {names}; its messages are in the run's stdout")
    return outcome


def profile() -> Mapping[str, str]:
    """What profiles.yml reads, so that dbt builds in the warehouse of the settings."""
    settings = read_settings()
    if not settings.warehouse_url.startswith(SCHEME):
        return {"HEADRACE_DBT_TARGET": "duckdb", "HEADRACE_WAREHOUSE_PATH": settings.warehouse_url.partition("://")[2]}
    address = read_address(settings.warehouse_url)
    user, password = credentials(settings.redshift, address.database)
    return {
        "HEADRACE_DBT_TARGET": "redshift",
        "HEADRACE_REDSHIFT_HOST": address.host,
        "HEADRACE_REDSHIFT_PORT": str(address.port),
        "HEADRACE_REDSHIFT_DATABASE": address.database,
        "HEADRACE_REDSHIFT_USER": user,
        "HEADRACE_REDSHIFT_PASSWORD": password,
        "HEADRACE_REDSHIFT_SSLMODE": "prefer" if settings.redshift.tls else "disable",
    }


def database_name() -> str:
    """The database that the models are in: of DuckDB the name of its file."""
    url = read_settings().warehouse_url
    return f"redshift-{read_address(url).database}" if url.startswith(SCHEME) else Path(url).stem


def hash_definitions() -> str:
    """Differs where a row built before might be another one now: by a funnel, a window, or a model's SQL.

    SQL counts, because rows of an old and a new query in one table are two definitions under one name; the price is
    that an edited comment builds everything once more.
    """
    return _hash_files(DEFINITIONS)


def _hash_files(patterns: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in PROJECT.glob(pattern) if path.is_file()}):
        digest.update(f"{path.relative_to(PROJECT)} {path.stat().st_size} ".encode() + path.read_bytes())
    return digest.hexdigest()


def _read_manifest(target: Path, command: str) -> Any:
    """The parsed project as dbt keeps it for itself; None for the command that parses."""
    if command == "parse":
        return None
    from dbt.contracts.graph.manifest import Manifest

    return Manifest.from_msgpack((target / "partial_parse.msgpack").read_bytes())


def let_go() -> None:
    """dbt-duckdb holds the file until the process ends."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    connections: Any = DuckDBConnectionManager
    if connections._ENV is not None:
        connections._ENV.close()
    connections.close_all_connections()


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Environment variables for as long as the block runs: profiles.yml reads them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
