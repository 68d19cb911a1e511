"""Commits of the lake that a view of facts lacks: Dagster fills it where no listener keeps it up.

A view has what its last materialisation names, and what its listener's group has passed in the log. What landed since
and was passed by nobody for a while is brought by one run. Nothing says whether a listener runs: where one does, there
is nothing to ask for.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import dagster as dg

from ingestion.broker import Broker, Topic
from ingestion.errors import LakeHistoryGone, UnknownTopic
from ingestion.lake import Commit, Lake, LakeFile, LakeTable, Range, Snapshot
from ingestion.listened import group
from ingestion.settings import read_settings
from ingestion.tables import event_table
from ingestion.views.facts import View
from ingestion.views.registry import fact_views
from sensors.attempts import RANGE_END, RANGE_START, TABLES_TAG, Attempt, is_due, read_attempts
from sensors.landed_commits import recent_keys
from sensors.stores import Stores

LAKE_VERSIONS = "lake_versions"
"""In a view's materialisation: up to which version of each lake table it has everything."""
GRACE_SECONDS = 60.0
"""How far a listener may be behind what has landed before Dagster does its work."""
INTERVAL_SECONDS = 15
MATERIALISATIONS = 20
FOR_EVER = -math.inf


@dataclass(frozen=True)
class Lacked:
    """What a view lacks of a lake table at `version`: files, since when, and the version after which they came."""

    version: int
    files: tuple[LakeFile, ...] = ()
    since: float = math.inf
    after: int = -1


@dataclass(frozen=True)
class Fill:
    """One run: its views, and the range of landing hours that it is shown under."""

    views: tuple[str, ...]
    first: str
    last: str


def decide(
    behind: Mapping[str, Sequence[Lacked]], attempts: Sequence[Attempt], now: float, recent: Sequence[str]
) -> Fill | None:
    """The run to ask for, if any; `recent` are the last partitions, in order."""
    late = [view for view, lacked in behind.items() if any(one.since < now - GRACE_SECONDS for one in lacked)]
    due = [view for view in late if is_due(view, attempts, now)]
    if not due:
        return None
    hours = {file.landing_hour for view in due for lacked in behind[view] for file in lacked.files}
    shown = sorted(hours.intersection(recent)) or [recent[-1]]
    return Fill(tuple(due), shown[0], shown[-1])


def lacked(table: LakeTable, after: int | None, topic: Topic | None, passed: Mapping[int, int]) -> Lacked:
    """What a view lacks that has every commit up to `after` (None: none), and whose listener is at `passed`.

    A topic that was made anew hides what no listener had passed of the one before; the nightly repair brings that.
    """
    snapshot, known = table.snapshot(), -1 if after is None else after
    behind = _behind(snapshot, topic, passed) if topic else None
    if snapshot.version <= known or behind == {}:
        return Lacked(snapshot.version)
    try:
        commits = [commit for commit in _not_passed(table, known, snapshot.version, topic, behind) if commit.files]
    except LakeHistoryGone:
        return Lacked(snapshot.version, tuple(snapshot.files()), FOR_EVER, known)
    if not commits:
        return Lacked(snapshot.version)
    files = tuple(file for commit in reversed(commits) for file in commit.files)
    return Lacked(snapshot.version, files, commits[-1].committed_at, commits[-1].version - 1)


def read_versions(instance: dg.DagsterInstance, view: str) -> Mapping[str, int]:
    """The versions that a view's last materialisation names, by lake table; none where there is none."""
    for record in instance.fetch_materializations(dg.AssetKey(["views", view]), limit=MATERIALISATIONS).records:
        said = record.asset_materialization.metadata.get(LAKE_VERSIONS) if record.asset_materialization else None
        if isinstance(said, dg.JsonMetadataValue) and isinstance(said.data, dict):
            return said.data
    return {}  # or somebody reported one by hand


def read_lacked(lake: Lake, broker: Broker, view: View, versions: Mapping[str, int]) -> dict[str, Lacked]:
    """What a view lacks of each of its lake tables."""
    found = {}
    for name in view.event_types:
        topic, passed = _passed(broker, view, event_table(name).topic)
        found[name] = lacked(lake.table(event_table(name)), versions.get(name), topic, passed)
    return found


def build_views_behind(job_name: str, hours: dg.TimeWindowPartitionsDefinition) -> dg.SensorDefinition:
    """The sensor, for the job that fills views of facts and their partitions."""

    @dg.sensor(
        job_name=job_name, minimum_interval_seconds=INTERVAL_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING
    )
    def views_behind(context: dg.SensorEvaluationContext, stores: dg.ResourceParam[Stores]) -> dg.SensorResult:
        """Asks for one run that brings what has landed into the views that no listener keeps up."""
        attempts = read_attempts(context.instance, job_name)
        if attempts is None:
            return dg.SensorResult(skip_reason="a run that fills views is under way")
        with closing(stores.broker()) as broker:
            behind = {
                view.name: list(read_lacked(stores.lake(), broker, view, versions).values())
                for view in fact_views(read_settings().activity_days).values()
                for versions in [read_versions(context.instance, view.name)]
            }
        fill = decide(behind, attempts, time.time(), recent_keys(hours))
        if fill is None:
            return dg.SensorResult(skip_reason="every view has what has landed, or will have it in a moment")
        return dg.SensorResult([request(fill)])

    return views_behind


def request(fill: Fill) -> dg.RunRequest:
    """The run that brings what its views lack, shown under a range of hours."""
    return dg.RunRequest(
        asset_selection=[dg.AssetKey(["views", view]) for view in fill.views],
        asset_check_keys=[],
        tags={RANGE_START: fill.first, RANGE_END: fill.last, TABLES_TAG: ",".join(fill.views)},
    )


def _passed(broker: Broker, view: View, topic: str) -> tuple[Topic | None, Mapping[int, int]]:
    try:
        found = broker.topic(topic)
    except UnknownTopic:
        return None, {}
    return found, broker.positions(group(view), found)


def _behind(snapshot: Snapshot, topic: Topic, passed: Mapping[int, int]) -> dict[int, int]:
    """The positions of the partitions of which more has landed than a listener passed."""
    positions = {partition: passed.get(partition, 0) for partition in topic.partitions}
    return {p: position for p, position in positions.items() if snapshot.position(topic.id, p) > position}


def _not_passed(
    table: LakeTable, after: int, until: int, topic: Topic | None, behind: Mapping[int, int] | None
) -> Iterator[Commit]:
    """The commits after version `after` that no listener passed, latest first; all of them where there is no topic.

    Of a partition there is no other before the commit that begins at the listener's position, or earlier.
    """
    unseen = dict(behind or {})
    for version in range(until, after, -1):
        (commit,) = table.commits(version - 1, version)
        if topic is None or any(_is_new(covered, topic.id, behind or {}) for covered in commit.ranges):
            yield commit
        for covered in commit.ranges:
            if topic and covered.topic_id == topic.id and covered.start <= unseen.get(covered.partition, -1):
                del unseen[covered.partition]
        if topic and not unseen:
            return


def _is_new(covered: Range, topic_id: str, behind: Mapping[int, int]) -> bool:
    return covered.topic_id != topic_id or covered.end > behind.get(covered.partition, covered.end)
