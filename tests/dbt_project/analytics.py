"""dbt inside the test's process, on the warehouse of a test's platform."""

import json
from collections.abc import Iterable, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

from ingestion.warehouse.duckdb import DuckDBWarehouse
from orchestration.dbt_runner import PROJECT, environment, let_go

TABLES = (
    "select table_name from information_schema.tables"
    " where table_schema = 'analytics' and table_type = 'BASE TABLE' order by 1"
)
EVERYTHING = ("--resource-type", "model", "--resource-type", "seed")
STORED = ("--select", "config.materialized:incremental", "config.materialized:table", *EVERYTHING)
WITH_TESTS = ("--select", "*")
Row = tuple[object, ...]


class Analytics:
    """The models on one warehouse."""

    def __init__(self, warehouse: DuckDBWarehouse) -> None:
        self.warehouse = warehouse

    def build(self, dates: Iterable[date | str] | None = None, *arguments: str) -> None:
        """Build everything, or what the touched `dates` ask for; fail where dbt does."""
        result = self.try_build(dates, *(arguments or self._selection()))
        assert result.success, problems(result)

    def _selection(self) -> tuple[str, ...]:
        return STORED if "fct_events" in self.tables() else EVERYTHING

    def try_build(self, dates: Iterable[date | str] | None = None, *arguments: str) -> dbtRunnerResult:
        """The same, with dbt's result."""
        named = {} if dates is None else {"dates": sorted(str(day) for day in dates)}
        return dbt(self.warehouse.path, "build", *arguments, "--vars", json.dumps(named), manifest=parsed())

    def contents(self, without: Sequence[str] = ()) -> dict[str, list[Row]]:
        """Every row of every table of the models."""
        return {name: self.rows(name, without) for name in self.tables()}

    def tables(self) -> list[str]:
        """The tables of the models and the seeds."""
        return [str(name) for (name,) in self.warehouse.query(TABLES)]

    def rows(self, table: str, without: Sequence[str] = ()) -> list[Row]:
        """The sorted rows of a table."""
        columns = self.warehouse.query(
            "select column_name from information_schema.columns where table_schema = 'analytics' and table_name = ?",
            [table],
        )
        names = ", ".join(str(name) for (name,) in columns if name not in without)
        return self.warehouse.query(f"select {names} from analytics.{table} order by all")


def dbt(warehouse: Path, command: str, *arguments: str, manifest: Manifest | None = None) -> dbtRunnerResult:
    """Run a dbt command; the warehouse's file is free again afterwards."""
    work = warehouse.parent
    places = ["--profiles-dir", str(PROJECT), "--project-dir", str(PROJECT), "--target-path", str(work / "dbt")]
    quiet = ["--quiet", "--log-path", str(work / "dbt"), "--log-level-file", "none"]
    with environment(HEADRACE_WAREHOUSE_PATH=str(warehouse)):
        try:
            return dbtRunner(manifest=manifest).invoke([*quiet, command, *places, *arguments])
        finally:
            let_go()


@cache
def parsed() -> Manifest:
    """The project, parsed once: every build of these tests has its own dates, and each would be parsed anew."""
    result = dbt(Path(mkdtemp(prefix="dbt-")) / "warehouse.duckdb", "parse")
    assert isinstance(result.result, Manifest), problems(result)
    return result.result


def problems(result: dbtRunnerResult) -> str:
    """What failed, in dbt's words."""
    nodes = getattr(result.result, "results", [])
    failed = [f"{node.node.name}: {node.message}" for node in nodes if node.status in ("error", "fail", "warn")]
    return "\n".join([str(result.exception or ""), *failed])
