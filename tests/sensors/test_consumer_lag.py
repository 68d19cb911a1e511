"""Lag per topic and group, as observations on the lake's tables."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from ingestion.broker.embedded import EmbeddedBroker
from ingestion.lander import GROUP
from ingestion.tables import Table, all_tables, event_table
from sensors.consumer_lag import consumer_lag, groups, lags
from sensors.stores import Stores
from tests.platform import Platform, event, record


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedBroker]:
    """The log of this environment, with every topic."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    broker = EmbeddedBroker(tmp_path / "log.sqlite")
    broker.ensure_topics([table.topic for table in all_tables()])
    yield broker
    broker.close()


def tick(cursor: str | None = None) -> dg.SensorResult:
    with dg.build_sensor_context(cursor=cursor, resources={"stores": Stores()}) as context:
        result = consumer_lag(context)
    assert isinstance(result, dg.SensorResult)
    return result


def observed(result: dg.SensorResult) -> dict[str, dict[str, object]]:
    return {
        event.asset_key.path[-1]: {name: value.value for name, value in event.metadata.items()}
        for event in result.asset_events or ()
    }


def test_a_lag_is_what_a_group_has_not_passed(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 30)
    assert lags(platform.broker, views, [GROUP, "listener.user_activity"]) == {GROUP: 30, "listener.user_activity": 30}
    platform.land()
    platform.publish("product_viewed", 4)
    assert lags(platform.broker, views, [GROUP, "listener.user_activity"]) == {GROUP: 4, "listener.user_activity": 34}


def test_what_retention_took_is_waited_for_no_longer(platform: Platform, views: Table) -> None:
    platform.publish("product_viewed", 30)
    ends = {partition: held.end for partition, held in platform.broker.bounds(views.topic).items()}
    for partition, end in ends.items():
        platform.broker.truncate(views.topic, partition, end - 1)
    assert lags(platform.broker, views, [GROUP]) == {GROUP: len(ends)}


def test_the_groups_of_a_topic_are_the_lander_and_the_views_that_it_feeds() -> None:
    by_table = {table.name: groups(table) for table in all_tables()}
    assert by_table["product_added"] == [GROUP, "listener.user_activity", "listener.cart_events"]
    assert by_table["rejected"] == [GROUP]


def test_every_topic_is_observed_once_and_then_only_what_changed(log: EmbeddedBroker) -> None:
    log.publish([record(event("product_viewed", n)) for n in range(7)])
    first = tick()
    assert set(observed(first)) == {table.name for table in all_tables()}
    assert observed(first)["product_viewed"]["lag lander"] == 7
    again = tick(first.cursor)
    assert (again.asset_events, again.skip_reason is not None) == ([], True)
    log.publish([record(event("product_viewed", 8))])
    assert observed(tick(again.cursor)) == {
        "product_viewed": {"lag lander": 8, "lag listener.user_activity": 8},
    }


def test_types_that_share_a_topic_have_its_lag(
    log: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "topics.toml"
    file.write_text('[topics."events.carts"]\nevent_types = ["product_added", "cart_viewed"]\n')
    monkeypatch.setenv("HEADRACE_TOPICS", str(file))
    with closing(Stores().broker()) as shared:
        shared.ensure_topics([event_table("cart_viewed").topic])
        shared.publish([record(event("cart_viewed", n)) for n in range(3)])
    found = observed(tick())
    assert found["cart_viewed"]["lag lander"] == found["product_added"]["lag lander"] == 3
    assert found["product_viewed"]["lag lander"] == 0


def test_a_log_that_does_not_answer_is_a_reason_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    (tmp_path / "log.sqlite").write_bytes(b"no log" * 100)
    result = tick('{"product_viewed": {"lander": 3}}')
    assert result.skip_reason is not None and "log.sqlite" in str(result.skip_reason)
    assert result.cursor == '{"product_viewed": {"lander": 3}}'
