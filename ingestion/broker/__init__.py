"""The log between collector and lander: what Headrace asks of Kafka, and of the embedded log that stands in for it.

A topic has a name and an identity; a topic that was deleted and created again keeps the name and gets another
identity, and its offsets begin again at 0. A partition holds records under offsets that only grow. Reading goes by
name and explicit offset, as with Kafka: whether it is still the same topic is the reader's business to ask.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ingestion.errors import ConfigurationError

if TYPE_CHECKING:
    from ingestion.broker.kafka.connection import KafkaOptions


class Record(NamedTuple):
    """A record to append."""

    topic: str
    key: bytes
    value: bytes


@dataclass(frozen=True)
class Topic:
    """A topic as it is now."""

    name: str
    id: str
    partitions: tuple[int, ...]
    shared_by: tuple[str, ...] = ()
    """The event types that share it; nothing where it is one type's own."""


@dataclass(frozen=True)
class Bounds:
    """A partition holds offsets `start` (inclusive) to `end` (exclusive)."""

    start: int
    end: int


@dataclass(frozen=True)
class Chunk:
    """Records of one partition in the order of their offsets, as columns; `next_offset` is the position after them.

    `timestamps` are the log's append times in microseconds since 1970, UTC.
    """

    partition: int
    offsets: Sequence[int]
    timestamps: Sequence[int]
    values: Sequence[bytes]
    next_offset: int


class Broker(Protocol):
    """An adapter of a log. Every method raises BrokerUnavailable where the log does not answer."""

    def ensure_topics(self, names: Iterable[str]) -> None:
        """Create the topics that do not exist."""

    def topic(self, name: str) -> Topic:
        """The topic that has this name now; UnknownTopic where there is none."""

    def publish(self, records: Sequence[Record]) -> None:
        """Append `records`; when this returns they are durable. After an error none of them may be taken for stored."""

    def bounds(self, topic: str) -> Mapping[int, Bounds]:
        """What each partition holds."""

    def read(self, topic: str, partition: int, offset: int, max_records: int, max_bytes: int) -> Chunk:
        """Records from `offset` on, at least one where there is one; OffsetOutOfRange where the log has not got it."""

    def commit(self, group: str, topic: Topic, positions: Mapping[int, int]) -> None:
        """Note how far `group` has come: for lag, retention, and readers to whom a record may come again."""

    def positions(self, group: str, topic: Topic) -> Mapping[int, int]:
        """What `commit` noted."""

    def share(self, group: str, topics: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """The partitions of each topic that this member of `group` should work on now; to be asked every round.

        It divides the work among those who ask; `close` gives a member's part back at once, and what a member had that
        asks no more goes to the others some seconds later. It is no lock: for a moment two may have the same
        partition, and correctness never rests on it. A topic that does not exist has no partitions.
        """

    def expire(self, group: str, older_than_us: int) -> int:
        """Delete what is older and behind the position of `group`, and return how many records that were.

        Nothing is deleted that `group` has not read, however far others are; and no other holds up retention. 0 where
        the log forgets by its own rules.
        """

    def close(self) -> None:
        """Leave every group, and give back connections and files."""


def open_broker(
    url: str,
    partitions: int = 2,
    kafka: "KafkaOptions | None" = None,
    shared: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Broker:
    """The adapter for a URL like `embedded:///var/lib/headrace/log` or `kafka://host:9092,other:9092`.

    `partitions` is for topics that it creates, `kafka` what that adapter has to know beside the URL, `shared` the
    topics that hold several event types.
    """
    from ingestion.broker.shared import SharedTopics

    log = _open(url, partitions, kafka)
    return SharedTopics(log, shared) if shared else log


def _open(url: str, partitions: int, kafka: "KafkaOptions | None") -> Broker:
    scheme, _, place = url.partition("://")
    if scheme == "embedded" and place:
        from ingestion.broker.embedded import EmbeddedBroker

        return EmbeddedBroker(place, partitions)
    if scheme == "kafka" and place:
        from ingestion.broker.kafka.broker import KafkaBroker
        from ingestion.broker.kafka.connection import Connection, KafkaOptions

        return KafkaBroker(Connection(place, kafka or KafkaOptions()), partitions)
    raise ConfigurationError(f"HEADRACE_BROKER is {url!r}; use embedded:///path/to/log or kafka://host:9092")
