"""A small code location for tests of what is wrong: a raw table whose load, check and age go as a test says."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from sensors.alerts import alerts
from sensors.attempts import RANGE_END, RANGE_START, TABLES_TAG

CARTS = dg.AssetKey(["raw", "carts"])


@dataclass
class Shop:
    """An instance, and what goes wrong in it."""

    instance: dg.DagsterInstance
    failure: str | None = None
    red: dg.AssetCheckSeverity | None = None
    repository: dg.RepositoryDefinition = field(init=False)

    def __post_init__(self) -> None:
        @dg.asset(key=CARTS, freshness_policy=dg.FreshnessPolicy.time_window(timedelta(hours=30)))
        def carts() -> None:
            if self.failure:
                raise dg.Failure(self.failure)

        @dg.asset_check(asset=CARTS)
        def whole() -> dg.AssetCheckResult:
            severity = self.red or dg.AssetCheckSeverity.ERROR
            return dg.AssetCheckResult(passed=self.red is None, severity=severity, description="3 rows are lost.")

        @dg.asset_check(asset=CARTS)
        def breaks() -> dg.AssetCheckResult:
            raise ValueError("the warehouse is not there")

        jobs = [
            dg.define_asset_job(name, dg.AssetSelection.assets(CARTS).without_checks())
            for name in ("load_raw", "build_models")
        ]
        checks = [
            dg.define_asset_job("check_raw", dg.AssetSelection.checks(whole)),
            dg.define_asset_job("check_both", dg.AssetSelection.checks_for_assets(CARTS)),
        ]
        self.repository = dg.Definitions(
            [carts],
            jobs=[*jobs, *checks],
            asset_checks=[whole, breaks],
            sensors=[alerts],
            executor=dg.in_process_executor,
        ).get_repository_def()

    def execute(self, job: str, **tags: str) -> bool:
        """Whether a run of the job succeeds."""
        run = self.repository.get_job(job).execute_in_process(instance=self.instance, tags=tags, raise_on_error=False)
        return run.success

    def load(self, tables: str = "carts", failure: str | None = None) -> bool:
        """Load tables, or fail to."""
        self.failure = failure
        return self.execute("load_raw", **{TABLES_TAG: tables})

    def build(self, first: str, last: str, failure: str | None = None) -> bool:
        """Build a range of dates, or fail to."""
        self.failure = failure
        return self.execute("build_models", **{RANGE_START: first, RANGE_END: last})

    def check(self, red: dg.AssetCheckSeverity | None) -> None:
        """Evaluate the check."""
        self.red = red
        assert self.execute("check_raw")

    def age(self, state: FreshnessState, ago: timedelta) -> None:
        """What the daemon says of the table's age since then."""
        then = (datetime.now(UTC) - ago).timestamp()
        self.instance._report_runless_asset_event(
            FreshnessStateChange(
                key=CARTS, new_state=state, previous_state=FreshnessState.UNKNOWN, state_change_timestamp=then
            )
        )
