"""The log in Apache Kafka.

What holds a promise is asked of the cluster each time (topic identities, bounds); only records are fetched ahead.
A group's position carries the identity of its topic as metadata, so that none passes to a topic that took its name.
"""

import base64
import logging
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
    Uuid,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from ingestion.broker import Bounds, Chunk, Record, Topic
from ingestion.broker.kafka.connection import Connection
from ingestion.broker.kafka.fetcher import Fetcher
from ingestion.broker.kafka.member import Member
from ingestion.broker.kafka.producer import DurableProducer
from ingestion.errors import BrokerUnavailable, ConfigurationError, UnknownTopic
from ingestion.topics import TopicState, risks

log = logging.getLogger(__name__)

ASK_SECONDS = 4.0
"""How long one question to the cluster may take."""
SEEN_SECONDS = 0.02
ASKING = {"topic.metadata.refresh.interval.ms": 1_000}
"""The broker to ask is chosen by metadata; by default one that died would be waited for five minutes."""
MOVING = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError._NOENT,
)
"""Of a topic that is new, or whose leader has just changed; the next answer is right."""
MISSING = KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC
EARLIEST, LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
Answer = TypeVar("Answer")


class KafkaBroker:
    """A log in a Kafka cluster. One instance may be used by several threads."""

    def __init__(self, connection: Connection, partitions: int = 2) -> None:
        self._options, self._partitions = connection.options, partitions
        self._client = connection.librdkafka()
        self._admin = AdminClient({**self._client, **ASKING})
        self._lock = threading.Lock()
        self._topics: dict[str, Topic] = {}
        self._members: dict[str, Member] = {}
        self._producer = DurableProducer(self._client, self._options.delivery_timeout_ms / 1000)
        self._fetcher: Fetcher | None = None

    def ensure_topics(self, names: Iterable[str]) -> None:
        """See that the topics exist and keep what is promised; ConfigurationError names those that do not."""
        names = list(names)
        missing = [name for name in names if not self._exists(name)]
        if missing and not self._options.create_topics:
            raise ConfigurationError(
                f"Kafka has no topic {', '.join(missing)}; run `headrace topics apply`, which creates what is declared,"
                " or set HEADRACE_KAFKA_CREATE_TOPICS=true for a trial"
            )
        self._create(missing)
        if found := risks(self._states(names)):
            if not self._options.allow_unsafe:
                raise ConfigurationError(
                    "; ".join(found) + " (`headrace topics apply` does it; HEADRACE_KAFKA_ALLOW_UNSAFE=true only warns)"
                )
            log.warning("%s", "; ".join(found))

    def topic(self, name: str) -> Topic:
        """The topic that has this name now; whatever was fetched of another one with its name is dropped."""
        try:
            described = _answer(self._admin.describe_topics(TopicCollection([name]), request_timeout=ASK_SECONDS)[name])
        except KafkaException as error:
            raise self._failed(name, error) from error
        topic = Topic(name, _text(described.topic_id), tuple(sorted(p.id for p in described.partitions)))
        with self._lock:
            before = self._topics.get(name)
            self._topics[name] = topic
        if before and before.id != topic.id and self._fetcher:
            self._fetcher.forget(name)
        return topic

    def publish(self, records: Sequence[Record]) -> None:
        """Append `records`; they are durable on every replica in sync."""
        names = {record.topic for record in records}
        for name in names - self._topics.keys():
            self.topic(name)
        try:
            self._producer.publish(records)
        except UnknownTopic:
            with self._lock:  # the next call asks which of them it is
                for name in names:
                    self._topics.pop(name, None)
            raise
        if self._fetcher:
            for name in names:
                self._fetcher.expect(name)

    def bounds(self, topic: str) -> Mapping[int, Bounds]:
        """What each partition holds, transactions that are still open left out."""
        bounds = self._bounds(topic)
        if self._fetcher:
            self._fetcher.learn(topic, bounds)
        return bounds

    def read(self, topic: str, partition: int, offset: int, max_records: int, max_bytes: int) -> Chunk:
        """Records from `offset` on."""
        if not self._fetcher:
            with self._lock:
                self._fetcher = self._fetcher or Fetcher(self._client, self._held)
        return self._fetcher.read(topic, partition, offset, max_records, max_bytes)

    def share(self, group: str, topics: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """The partitions that the cluster assigned to this member of `group`."""
        with self._lock:
            member = self._members.get(group) or self._members.setdefault(group, Member(self._client, group))
        return member.share(topics)

    def commit(self, group: str, topic: Topic, positions: Mapping[int, int]) -> None:
        """Note how far `group` has come in `topic`; a topic that was recreated meanwhile is left alone."""
        try:
            if not positions or self.topic(topic.name).id != topic.id:
                return
        except UnknownTopic:
            return
        offsets = [TopicPartition(topic.name, p, offset, topic.id) for p, offset in positions.items()]
        if member := self._members.get(group):
            member.commit(offsets)
            return
        try:
            [future] = self._admin.alter_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group, offsets)], request_timeout=ASK_SECONDS
            ).values()
            for written in _answer(future).topic_partitions or []:
                if written.error:
                    raise KafkaException(written.error)
        except KafkaException as error:
            raise BrokerUnavailable(f"group {group} cannot note its position now: {error.args[0].str()}") from error

    def positions(self, group: str, topic: Topic) -> Mapping[int, int]:
        """What `commit` noted of this very topic."""
        asked = [TopicPartition(topic.name, partition) for partition in topic.partitions]
        try:
            [future] = self._admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group, asked)], request_timeout=ASK_SECONDS
            ).values()
            found = _answer(future).topic_partitions or []
        except KafkaException as error:
            raise BrokerUnavailable(f"positions of group {group} are not known now: {error.args[0].str()}") from error
        return {each.partition: each.offset for each in found if each.offset >= 0 and each.metadata == topic.id}

    def expire(self, group: str, older_than_us: int) -> int:
        """Nothing: Kafka deletes by the retention of its topics, whoever has read them."""
        return 0

    def close(self) -> None:
        """Leave the groups and let go of the connections."""
        for member in self._members.values():
            member.close()
        self._producer.close()
        if self._fetcher:
            self._fetcher.close()

    def _create(self, names: Sequence[str]) -> None:
        replicas = self._options.replication
        config = {"message.timestamp.type": "LogAppendTime", "min.insync.replicas": str(min(2, replicas))}
        new = [NewTopic(name, self._partitions, replicas, config=config) for name in names]
        for name, future in (self._admin.create_topics(new, request_timeout=ASK_SECONDS) if new else {}).items():
            try:
                _answer(future)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another process was first
                    raise self._failed(name, error) from error
        deadline = time.monotonic() + ASK_SECONDS
        while not all(self._exists(name) for name in names):  # other brokers hear of it a little later
            if time.monotonic() > deadline:
                raise BrokerUnavailable(f"Kafka created {', '.join(names)}, and does not show them yet")
            time.sleep(SEEN_SECONDS)

    def _exists(self, name: str) -> bool:
        try:
            self.topic(name)
        except UnknownTopic:
            return False
        return True

    def _states(self, names: Sequence[str]) -> Mapping[str, TopicState]:
        resources = {name: ConfigResource(ResourceType.TOPIC, name) for name in names}
        try:
            topics = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=ASK_SECONDS)
            configs = self._admin.describe_configs(list(resources.values()), request_timeout=ASK_SECONDS)
            return {
                name: TopicState(
                    len(described := _answer(topics[name]).partitions),
                    min(len(partition.replicas) for partition in described),
                    {key: entry.value for key, entry in _answer(configs[resources[name]]).items()},
                )
                for name in names
            }
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise ConfigurationError(
                    "this user cannot see how the topics are set; grant DESCRIBE_CONFIGS"
                ) from error
            if error.args[0].code() in MISSING:  # asked of another broker, which hears of a new topic later
                raise BrokerUnavailable(f"Kafka does not show all of {', '.join(names)} yet") from error
            raise self._failed(", ".join(names), error) from error

    def _held(self, topic: str, partition: int) -> Bounds:
        """What one partition holds: it answers while another has no leader."""
        return self._bounds(topic, partition).get(partition, Bounds(0, 0))

    def _bounds(self, name: str, only: int | None = None) -> Mapping[int, Bounds]:
        deadline = time.monotonic() + ASK_SECONDS
        while True:
            places = [TopicPartition(name, each) for each in self.topic(name).partitions if only in (None, each)]
            try:
                starts, ends = self._offsets(places, EARLIEST), self._offsets(places, LATEST)
                found = {p.partition: Bounds(_answer(starts[p]).offset, _answer(ends[p]).offset) for p in places}
            except KafkaException as error:
                if error.args[0].code() not in MOVING or time.monotonic() > deadline:
                    raise self._failed(name, error) from error
            else:
                if all(min(bounds.start, bounds.end) >= 0 for bounds in found.values()):
                    return found
                if time.monotonic() > deadline:  # the library's word for a partition that nobody leads
                    raise BrokerUnavailable(f"Kafka does not know now what {name} holds: a partition has no leader")
            time.sleep(SEEN_SECONDS)

    def _offsets(self, places: Sequence[TopicPartition], spec: OffsetSpec) -> "Mapping[TopicPartition, Future[Any]]":
        return self._admin.list_offsets(
            dict.fromkeys(places, spec), isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=ASK_SECONDS
        )

    def _failed(self, name: str, exception: KafkaException) -> Exception:
        error: KafkaError = exception.args[0]
        if error.code() in MISSING:
            with self._lock:
                self._topics.pop(name, None)
            return UnknownTopic(
                f"Kafka has no topic {name!r}; run `headrace topics apply`, which creates what is declared"
            )
        return BrokerUnavailable(f"Kafka did not answer for topic {name}: {error.str()}")


def _answer(future: "Future[Answer]") -> Answer:
    try:
        return future.result(ASK_SECONDS + 1)
    except TimeoutError as error:  # of ours: the library's own comes late where the process was paused
        raise BrokerUnavailable(f"Kafka did not answer within {ASK_SECONDS + 1:.0f} s") from error


def _text(topic_id: Uuid) -> str:
    """As every other tool writes it; the library's own text may hold a slash."""
    return str(uuid.UUID(bytes=base64.b64decode(f"{topic_id}==")))
