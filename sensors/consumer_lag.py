"""How far each consumer group is behind each topic, as observations on the lake's tables: Dagster plots the numbers.

Level-triggered and cheap: two questions to the log for each group and topic, and an observation only where a lag is
another one than was said last. Sizing and alerts of Kafka itself look at the same groups.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing

import dagster as dg

from ingestion.broker import Broker
from ingestion.errors import HeadraceError, UnknownTopic
from ingestion.lander import GROUP
from ingestion.listened import group
from ingestion.tables import Table, all_tables
from ingestion.views.registry import fact_views
from sensors.stores import Stores

INTERVAL_SECONDS = 300


def groups(table: Table) -> list[str]:
    """The groups that read a topic: the lander, and the listeners of the views that its events feed."""
    return [GROUP, *(group(view) for view in fact_views().values() if table.name in view.event_types)]


def lags(broker: Broker, table: Table, names: Sequence[str]) -> Mapping[str, int]:
    """Records of a topic that each group has not passed yet; what retention took is no longer waited for."""
    topic = broker.topic(table.topic)
    passed = {name: broker.positions(name, topic) for name in names}
    held = broker.bounds(table.topic)  # after the positions: a lag is never below zero
    return {
        name: sum(max(0, bounds.end - max(bounds.start, passed[name].get(p, 0))) for p, bounds in held.items())
        for name in names
    }


def observation(table: Table, found: Mapping[str, int]) -> dg.AssetObservation:
    """What Dagster is told of a topic."""
    return dg.AssetObservation(["lake", table.name], metadata={f"lag {name}": lag for name, lag in found.items()})


@dg.sensor(minimum_interval_seconds=INTERVAL_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def consumer_lag(context: dg.SensorEvaluationContext, stores: dg.ResourceParam[Stores]) -> dg.SensorResult:
    """Observes how many records wait for the lander and the listeners, topic by topic."""
    said: dict[str, dict[str, int]] = json.loads(context.cursor or "{}")
    found: dict[str, Mapping[str, int]] = {}
    try:
        with closing(stores.broker()) as broker:
            for table in all_tables():
                try:
                    found[table.name] = lags(broker, table, groups(table))
                except UnknownTopic as error:
                    context.log.warning("%s", error)
    except HeadraceError as error:
        return dg.SensorResult(skip_reason=f"the log does not say: {error}", cursor=context.cursor)
    changed = [table for table in all_tables() if table.name in found and said.get(table.name) != found[table.name]]
    return dg.SensorResult(
        skip_reason=None if changed else "every lag is as it was",
        asset_events=[observation(table, found[table.name]) for table in changed],
        cursor=json.dumps(found),
    )
