from datetime import UTC, datetime

import dagster as dg

from orchestration.partitions import HOURS
from orchestration.schedules import nightly_replay, replayed_range
from sensors.attempts import RANGE_END, RANGE_START


def test_the_nightly_replay_is_one_run_of_the_last_whole_hours() -> None:
    at = datetime(2026, 5, 3, 3, 30, tzinfo=UTC)
    request = nightly_replay(dg.build_schedule_context(scheduled_execution_time=at))
    assert isinstance(request, dg.RunRequest)
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == ("2026-05-01-03", "2026-05-03-02")
    assert replayed_range(at, hours=1) == ("2026-05-03-02", "2026-05-03-02")


def test_its_hours_are_partitions() -> None:
    assert all(HOURS.has_partition_key(key) for key in replayed_range(datetime(2026, 1, 8, tzinfo=UTC)))
