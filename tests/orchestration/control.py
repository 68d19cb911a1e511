"""Dagster in a test's hand: no daemon, a sensor ticks when a test says so, and its runs are executed at once."""

import functools
from datetime import UTC, datetime

import dagster as dg

from orchestration.definitions import definitions
from sensors.stores import Stores
from tests.platform import Platform, Stored


@functools.cache
def repository() -> dg.RepositoryDefinition:
    """The definitions; the dbt project is parsed at the first call."""
    return definitions().get_repository_def()


class Control:
    """An instance whose sensors and runs see a platform (HEADRACE_HOME names its folder)."""

    def __init__(self, instance: dg.DagsterInstance, platform: Platform) -> None:
        self.instance, self.platform = instance, platform
        self._cursors: dict[str, str | None] = {}

    def land(self, event_type: str = "product_viewed", day: datetime | None = None, events: int = 3) -> None:
        """Publish and land some events of a day, now."""
        self.platform.now = datetime.now(UTC)
        at = day or self.platform.now
        self.platform.publish(event_type, [happened(self.platform, event_type, at) for _ in range(events)])
        self.platform.land()

    def tick(self, sensor: str) -> dg.SensorResult:
        """Evaluate a sensor, and keep its cursor and asset events as the daemon does."""
        context = dg.build_sensor_context(self.instance, cursor=self._cursors.get(sensor))
        definition = repository().get_sensor_def(sensor)
        wants = "stores" in definition.required_resource_keys
        result = definition(context, stores=Stores()) if wants else definition(context)
        assert isinstance(result, dg.SensorResult)
        self._cursors[sensor] = result.cursor
        for asset_event in result.asset_events:
            self.instance.report_runless_asset_event(asset_event)
        return result

    def execute(self, job: str, request: dg.RunRequest | None = None) -> dg.ExecuteInProcessResult:
        """Execute a run that a sensor, a schedule or a person asked for."""
        request, definition = request or dg.RunRequest(), repository().get_job(job)
        if request.asset_selection:
            checks = None if request.asset_check_keys is None else set(request.asset_check_keys)
            definition = definition.get_subset(
                asset_selection=set(request.asset_selection), asset_check_selection=checks
            )
        return definition.execute_in_process(tags=dict(request.tags), instance=self.instance, raise_on_error=False)

    def run(self, sensor: str) -> list[dg.ExecuteInProcessResult]:
        """Tick, and execute what was asked for."""
        job = repository().get_sensor_def(sensor).job_name or ""
        return [self.execute(job, request) for request in self.tick(sensor).run_requests or ()]


def happened(platform: Platform, event_type: str, at: datetime) -> Stored:
    """A new event that happened at a time."""
    stored = platform._new(event_type)
    return stored if event_type == "rejected" else {**stored, "occurred_at": at, "received_at": at}
