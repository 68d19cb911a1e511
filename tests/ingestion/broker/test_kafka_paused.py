"""What the clients raise in a process that was paused while its broker was away: the log is only unavailable."""

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from ingestion.broker.kafka import broker, member
from ingestion.broker.kafka.member import Member
from ingestion.errors import BrokerUnavailable


class LosingConsumer:
    """A client in the midst of a rebalance that lost its assignment while its process was paused."""

    def __init__(self, configuration: Any) -> None:
        pass

    def commit(self, **_: Any) -> None:
        raise KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))

    def poll(self, seconds: float) -> None:
        """As a callback raises that unassigns what is not assigned any more."""
        raise KafkaException(KafkaError(KafkaError._STATE))

    def subscribe(self, topics: Any, **_: Any) -> None:
        """Whatever they are."""


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> Member:
    monkeypatch.setattr(member, "Consumer", LosingConsumer)
    return Member({}, "lander")


def test_a_member_that_lost_its_assignment_while_it_asks_is_told_that_the_group_is_unavailable(losing: Member) -> None:
    with pytest.raises(BrokerUnavailable, match="group lander cannot be asked now"):
        losing.share(["events.product_viewed"])


def test_a_member_that_lost_its_assignment_while_it_commits_is_told_that_the_group_is_unavailable(
    losing: Member,
) -> None:
    with pytest.raises(BrokerUnavailable, match="group lander cannot note its position now"):
        losing.commit([TopicPartition("events.product_viewed", 0, 7)])


def test_an_answer_whose_time_passed_while_the_process_was_paused_is_an_unavailable_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The library's own timeout comes later than ours where its thread was paused too."""
    monkeypatch.setattr(broker, "ASK_SECONDS", -1.0)
    with pytest.raises(BrokerUnavailable, match="Kafka did not answer within"):
        broker._answer(Future[None]())
