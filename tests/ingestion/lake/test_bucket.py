"""The lake in S3, on a real server, and behind a proxy that fails as S3 does."""

import multiprocessing
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ingestion import s3 as s3_module
from ingestion.audit import BALANCED
from ingestion.errors import LakeUnavailable, TransientError
from ingestion.lake import Lake, LakeTable, Range
from ingestion.lander import Lander
from ingestion.views.replay import lake_rows
from tests.ingestion.lake.contract import VIEWS, LakeContract, append, read, rows
from tests.platform import Platform, event
from tests.services.fault_proxy import FaultProxy
from tests.services.faults import Fault, Plan, at_random, calm
from tests.services.s3 import S3

FAULTS = {
    Fault.THROTTLE: 0.05,
    Fault.ERROR: 0.05,
    Fault.UNAVAILABLE: 0.05,
    Fault.RESET: 0.05,
    Fault.LOSE_ANSWER: 0.1,
    Fault.SLOW: 0.02,
}
REQUESTS = 150
WRITERS, RACED_OFFSETS = 3, 20
Connect = Callable[[dict[str, str]], None]


@pytest.fixture
def bucket(s3: S3) -> str:
    """The URL of a bucket of the test's own, with a prefix."""
    return bucket_of(s3)


def bucket_of(s3: S3) -> str:
    name = f"lake-{uuid.uuid4()}"
    s3.create_bucket(name)
    return f"s3://{name}/raw/events"


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Sets the AWS settings that a process would be started with."""

    def connect(environment: dict[str, str]) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)
        s3_module.store.cache_clear()
        s3_module.session.cache_clear()

    return connect


@pytest.fixture
def lake(s3: S3, bucket: str, connect: Connect) -> Lake:
    connect(s3.endpoint.environment)
    return Lake(bucket)


@pytest.fixture
def views_table(lake: Lake) -> LakeTable:
    return lake.table(VIEWS)


class TestBucket(LakeContract):
    """Of S3Proxy."""


class TestBucketOfAnotherServer(LakeContract):
    """Of versitygw, a second opinion."""

    @pytest.fixture
    def lake(self, versitygw: S3, connect: Connect) -> Lake:
        connect(versitygw.endpoint.environment)
        return Lake(bucket_of(versitygw))


@pytest.mark.parametrize("server", ["s3", "versitygw"])
def test_of_writers_of_one_partition_in_several_processes_one_wins_each_time(
    server: str, request: pytest.FixtureRequest, connect: Connect
) -> None:
    s3: S3 = request.getfixturevalue(server)
    connect(s3.endpoint.environment)
    url = bucket_of(s3)
    table = Lake(url).table(VIEWS)
    table.snapshot()
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_all, args=(url,)) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    assert [row["kafka_offset"] for row in read(table)] == list(range(RACED_OFFSETS))


def append_all(url: str) -> None:
    """Append offset after offset of one partition, from wherever the table stands."""
    table = Lake(url).table(VIEWS)
    while (start := (snapshot := table.snapshot()).position("id", 0)) < RACED_OFFSETS:
        made = rows(VIEWS, [event("product_viewed", start)], start)
        with suppress(TransientError):
            snapshot.append(made, [Range("id", 0, start, start + 1, 1)])


@contextmanager
def failing(s3: S3, bucket: str, connect: Connect, plan: Plan) -> Iterator[tuple[Lake, FaultProxy]]:
    with FaultProxy(s3.endpoint, plan) as proxy:
        connect(proxy.endpoint.environment)
        yield Lake(bucket), proxy


def test_everything_from_the_log_to_the_warehouse_goes_through_a_bucket(platform: Platform, lake: Lake) -> None:
    platform.lake = lake
    for events in ([b"no event"], 40, 3):
        platform.publish("product_viewed", events)
        platform.land()
        platform.load()
    before = platform.rows(VIEWS)
    platform.reload()
    assert platform.rows(VIEWS) == before and len(before) == 44
    assert platform.audit().status == BALANCED
    assert sum(batch.num_rows for batch in lake_rows(lake, VIEWS)) == 44


@pytest.mark.parametrize("seed", range(2))
def test_faults_lose_and_double_nothing(
    seed: int, platform: Platform, s3: S3, bucket: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "TRIES", 1)
    with failing(s3, bucket, connect, at_random(seed, FAULTS)) as (lake, proxy):
        platform.lake = lake
        lander = platform.lander()
        while proxy.counts.total() < REQUESTS:
            platform.publish("product_viewed", 5)
            take_turns(platform, lander)
        assert {*FAULTS} <= {*proxy.counts}
        proxy.plan = calm
        for _ in range(3):  # connections that broke are met once more
            take_turns(platform, lander)
        assert platform.audit().status == BALANCED


def take_turns(platform: Platform, lander: Lander) -> None:
    """Land and load, as far as the storage allows."""
    with suppress(TransientError):
        platform.land(lander)
    with suppress(TransientError):
        platform.load()


def test_an_answer_that_was_lost_after_the_commit_leaves_the_records_there_once(
    platform: Platform, s3: S3, bucket: str, connect: Connect
) -> None:
    with failing(s3, bucket, connect, calm) as (lake, proxy):
        platform.lake = lake
        platform.land()
        platform.publish("product_viewed", 5)
        proxy.plan = lambda request: Fault.LOSE_ANSWER if request.path.endswith(f"{1:020d}.json") else None
        with pytest.raises(LakeUnavailable, match="nothing is known"):
            platform.land()
        proxy.plan = calm
        platform.land()
        assert proxy.counts[Fault.LOSE_ANSWER] > 0 and len(read(lake.table(VIEWS))) == 5
        platform.load()
        assert platform.audit().status == BALANCED


def test_storage_that_is_down_is_told_with_the_next_step(s3: S3, bucket: str, connect: Connect) -> None:
    down = failing(s3, bucket, connect, lambda _: Fault.UNAVAILABLE)
    with down as (lake, _), pytest.raises(LakeUnavailable, match="AWS settings"):
        lake.table(VIEWS).snapshot()


def test_a_clock_that_is_wrong_is_told(s3: S3, bucket: str, connect: Connect) -> None:
    skewed = failing(s3, bucket, connect, lambda _: Fault.CLOCK_SKEW)
    with skewed as (lake, _), pytest.raises(LakeUnavailable, match="RequestTimeTooSkewed"):
        lake.table(VIEWS).snapshot()


def test_a_key_that_is_not_known_is_told(s3: S3, bucket: str, connect: Connect) -> None:
    connect({**s3.endpoint.environment, "AWS_SECRET_ACCESS_KEY": "wrong"})
    with pytest.raises(LakeUnavailable, match="AWS settings"):
        Lake(bucket).table(VIEWS).snapshot()


def test_a_bucket_that_does_not_exist_is_told(s3: S3, connect: Connect) -> None:
    connect(s3.endpoint.environment)
    with pytest.raises(LakeUnavailable, match="s3://nowhere-at-all/product_viewed"):
        Lake("s3://nowhere-at-all").table(VIEWS).snapshot()


def test_credentials_of_a_profile_are_used(s3: S3, bucket: str, connect: Connect, tmp_path: Path) -> None:
    known = s3.endpoint.environment
    secrets = f"aws_access_key_id={known['AWS_ACCESS_KEY_ID']}\naws_secret_access_key={known['AWS_SECRET_ACCESS_KEY']}"
    (tmp_path / "credentials").write_text(f"[shop]\n{secrets}\n")
    (tmp_path / "config").write_text(f"[profile shop]\nregion={known['AWS_REGION']}\n")
    files = {"SHARED_CREDENTIALS": "credentials", "CONFIG": "config"}
    connect({f"AWS_{name}_FILE": str(tmp_path / file) for name, file in files.items()} | {"AWS_PROFILE": "shop"})
    connect({name: value for name, value in known.items() if "ENDPOINT" in name})
    table = Lake(bucket).table(VIEWS)
    append(table, 0, 3)
    assert len(read(table)) == 3


def test_encryption_is_asked_for_as_the_setting_says(s3: S3, bucket: str, connect: Connect) -> None:
    connect({**s3.endpoint.environment, "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms", "AWS_SSE_KMS_KEY_ID": "shop-key"})
    with pytest.raises(LakeUnavailable, match="encryption is not supported"):  # S3Proxy has none, and was asked
        Lake(bucket).table(VIEWS).snapshot()
