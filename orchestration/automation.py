"""Whether what starts runs is alive: Dagster's daemon, and the sensors and schedules that it evaluates."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from sensors.conditions import Condition

SILENT = timedelta(minutes=3)
"""Without a heartbeat for so long a daemon is gone; it beats every 30 seconds."""


def read_switches(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition) -> Mapping[str, bool]:
    """Sensors and schedules, and whether they are on: they begin switched on, and a person may have changed that."""
    states = {state.instigator_name: state.is_running for state in instance.all_instigator_state()}
    names = [*(one.name for one in repository.sensor_defs), *(one.name for one in repository.schedule_defs)]
    return {name: states.get(name, True) for name in names}


def switched_off(switches: Mapping[str, bool]) -> Iterator[Condition]:
    """Sensors and schedules that a person stopped."""
    for name, is_on in switches.items():
        if not is_on:
            yield Condition("switched off", name, "Somebody stopped it.", "Switch it on in Dagster, under Automation.")


def silent_daemons(instance: dg.DagsterInstance, now: datetime) -> Iterator[Condition]:
    """The daemon's threads that have not been heard of lately; one line where all of them are silent."""
    oldest = now.timestamp() - SILENT.total_seconds()
    statuses = instance.get_daemon_statuses()
    silent = [
        s.daemon_type for s in statuses.values() if not (s.last_heartbeat and s.last_heartbeat.timestamp > oldest)
    ]
    if silent:
        which = "" if len(silent) == len(statuses) else ", ".join(sorted(silent))
        yield Condition("Dagster's daemon is silent", which, "Nothing is loaded or built.", "Start it: headrace up")


def failing_ticks(instance: dg.DagsterInstance) -> Iterator[Condition]:
    """Sensors and schedules whose last evaluation broke."""
    for state in instance.all_instigator_state():
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1):
            if tick.is_failure and tick.error and state.is_running:
                at = datetime.fromtimestamp(tick.timestamp, UTC)
                said = f"Its tick of {at:%H:%M} UTC: {(tick.error.cause or tick.error).message.strip()}"
                yield Condition("a tick failed", state.instigator_name, said, "It ticks again by itself.")
