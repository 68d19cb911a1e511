"""What the topics of a cluster shall be: one declaration, and the difference between it and what is there.

A declaration is a TOML file (HEADRACE_TOPICS), or what follows from the event contract: a topic per event type, and
`events.rejected`. The file may let event types share a topic. Everything here is pure; asking and changing a cluster
is `ingestion.broker.kafka.control`.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ingestion.errors import ConfigurationError
from ingestion.events import EVENT_TYPES
from ingestion.events import topic as own_topic
from ingestion.tables import all_tables

COMPRESSIONS = ("producer", "zstd", "lz4", "snappy", "gzip", "uncompressed")
HOUR_MS = 3_600_000
SAFE_REPLICATION = 3
LARGEST_RECORD = 256 * 1024
"""Above everything that the collector writes: 60 KiB of an event, or a rejection with 16 KiB of what was sent."""
ONE_TIME = "message.timestamp.type"
IN_SYNC, UNCLEAN, CLEANUP = "min.insync.replicas", "unclean.leader.election.enable", "cleanup.policy"
READ, WRITE, DESCRIBE_CONFIGS = "READ", "WRITE", "DESCRIBE_CONFIGS"
TOPIC, GROUP = "TOPIC", "GROUP"
PREFIX = own_topic("")
LANDER_GROUPS = ("lander", "listener.")
"""Groups of the lander and of the listener's views, by what they begin with."""


@dataclass(frozen=True)
class TopicSpec:
    """A declared topic. `subscribers` may read it, under groups that begin with their name."""

    name: str
    partitions: int = 6
    replication: int = 3
    min_insync_replicas: int = 2
    retention_hours: int = 168
    compression: str = "producer"
    max_message_bytes: int = 1024 * 1024
    owner: str = ""
    subscribers: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    """What shares it; nothing where it is one event type's own."""

    @property
    def configs(self) -> Mapping[str, str]:
        """Every setting of the topic that matters here; what is not said is not touched."""
        return {
            CLEANUP: "delete",
            "compression.type": self.compression,
            "max.message.bytes": str(self.max_message_bytes),
            ONE_TIME: "LogAppendTime",
            IN_SYNC: str(self.min_insync_replicas),
            "retention.bytes": "-1",
            "retention.ms": str(self.retention_hours * HOUR_MS),
            UNCLEAN: "false",
        }


SETTINGS = tuple(each.name for each in fields(TopicSpec) if each.name not in ("name", "event_types"))
"""What may be said of one topic, and of all by default."""


@dataclass(frozen=True, order=True)
class Grant:
    """An ACL: `principal` may do `operation` on the topic `name`, or on groups whose names begin with it."""

    principal: str
    operation: str
    resource: str
    name: str

    def __str__(self) -> str:
        return (
            f"{self.principal} may {self.operation} {self.resource.lower()} {self.name}{'*' * (self.resource == GROUP)}"
        )


@dataclass(frozen=True)
class Declaration:
    """Topics, and who works with all of them: principals that write, and those that land and listen."""

    topics: tuple[TopicSpec, ...]
    writers: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()

    @property
    def shared(self) -> Mapping[str, Sequence[str]]:
        """The topics that hold the events of several types, and of which."""
        return {topic.name: topic.event_types for topic in self.topics if topic.event_types}

    @property
    def grants(self) -> frozenset[Grant]:
        """The rights that follow."""
        return frozenset(self._grants())

    def _grants(self) -> Iterator[Grant]:
        for topic in self.topics:
            for principal in self.writers:
                yield Grant(principal, WRITE, TOPIC, topic.name)
            for principal in (*self.readers, *topic.subscribers):
                yield Grant(principal, READ, TOPIC, topic.name)
            for principal in (*self.writers, *self.readers):  # they look at start whether the topics are safe
                yield Grant(principal, DESCRIBE_CONFIGS, TOPIC, topic.name)
            for principal in topic.subscribers:
                yield Grant(principal, READ, GROUP, principal.removeprefix("User:"))
        for principal in self.readers:
            for group in LANDER_GROUPS:
                yield Grant(principal, READ, GROUP, group)


@dataclass(frozen=True)
class TopicState:
    """A topic as a cluster has it."""

    partitions: int
    replication: int
    configs: Mapping[str, str]


@dataclass(frozen=True)
class ClusterState:
    """What a cluster has. `grants` is None where it checks no ACLs."""

    topics: Mapping[str, TopicState]
    grants: frozenset[Grant] | None = None


@dataclass(frozen=True)
class Plan:
    """What `apply` would do, in this order; with a refusal it does nothing."""

    create: tuple[TopicSpec, ...] = ()
    partitions: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Topics that get more: from and to."""
    configs: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)
    """Settings that change: from and to, by topic."""
    grant: tuple[Grant, ...] = ()
    revoke: tuple[Grant, ...] = ()
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the cluster is as declared."""
        return not (self.create or self.partitions or self.configs or self.grant or self.revoke)


def read_declaration(path: Path | None) -> Declaration:
    """The declaration of a file, or the one that follows from the event contract."""
    if path is None:
        return declare({}, "the event contract")
    try:
        return declare(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"HEADRACE_TOPICS is {str(path)!r}, which cannot be read: {error}") from error


def declare(document: Mapping[str, Any], source: str) -> Declaration:
    """The declaration that a document says; every topic of the event contract is in it, declared or by its defaults."""
    _check_keys(source, document, ("defaults", "writers", "readers", "topics"))
    defaults, own = document.get("defaults", {}), document.get("topics", {})
    _check_keys(f"{source}: defaults", defaults, SETTINGS)
    names = _names(source, own)
    if unknown := sorted(set(own) - set(names)):
        raise ConfigurationError(
            f"{source}: no event type has the topic {unknown[0]!r}; the topics are {', '.join(names)}"
        )
    topics = tuple(_topic(source, name, {**defaults, **own.get(name, {})}) for name in names)
    return Declaration(topics, _principals(source, document, "writers"), _principals(source, document, "readers"))


def _names(source: str, own: Mapping[str, Any]) -> list[str]:
    """The topics that there shall be: those that event types share, and each other type's own."""
    holders = _holders(source, own)
    names = [holders.get(table.name, table.topic) for table in all_tables()]
    for name in set(holders.values()):
        if not name.startswith(PREFIX) or name in [table.topic for table in all_tables()]:
            raise ConfigurationError(
                f"{source}: {name!r} holds event types: let its name begin with {PREFIX!r}, and be no type's own"
            )
    return list(dict.fromkeys(names))


def _holders(source: str, own: Mapping[str, Any]) -> Mapping[str, str]:
    """The topic of each event type that is said to be in one."""
    holders: dict[str, str] = {}
    for name, event_type in ((name, each) for name, said in own.items() for each in _listed(said, "event_types")):
        if event_type not in list(EVENT_TYPES):
            raise ConfigurationError(
                f"{source}: {name}: {event_type!r} is no event type that can share a topic; the event types are"
                f" {', '.join(EVENT_TYPES)}"
            )
        if event_type in holders:
            raise ConfigurationError(
                f"{source}: {event_type} is in {holders[event_type]} and in {name}: let one topic have it"
            )
        holders[event_type] = name
    return holders


def difference(wanted: Declaration, found: ClusterState) -> Plan:
    """What has to change so that the cluster is as declared."""
    known = [spec for spec in wanted.topics if spec.name in found.topics]
    changes = {spec.name: _changed(spec, found.topics[spec.name]) for spec in known}
    grants = found.grants or frozenset()
    notes = [
        f"{name} is not declared, and stays: deleting a topic is refused, because it takes what nobody has landed"
        for name in sorted(found.topics.keys() - {spec.name for spec in wanted.topics})
    ]
    if found.grants is None and wanted.grants:
        notes.append("the cluster checks no ACLs: writers, readers and subscribers are not enforced")
    return Plan(
        create=tuple(spec for spec in wanted.topics if spec.name not in found.topics),
        partitions={
            spec.name: (found.topics[spec.name].partitions, spec.partitions)
            for spec in known
            if spec.partitions > found.topics[spec.name].partitions
        },
        configs={name: changed for name, changed in changes.items() if changed},
        grant=tuple(sorted(wanted.grants - grants)) if found.grants is not None else (),
        revoke=tuple(
            sorted(grant for grant in grants - wanted.grants if grant.resource == TOPIC and grant.name in changes)
        ),
        refused=tuple(reason for spec in known for reason in _refusals(spec, found.topics[spec.name])),
        notes=tuple(notes),
    )


def risks(topics: Mapping[str, TopicState]) -> list[str]:
    """Which topics are set so that a promise would not hold, and what to set."""
    found: list[str] = []
    for name, topic in topics.items():
        in_sync = int(topic.configs.get(IN_SYNC, "1"))
        if topic.replication >= SAFE_REPLICATION and in_sync < 2:
            found.append(f"{name} has {IN_SYNC}={in_sync}: one broker's disk would hold what was accepted; set it to 2")
        if topic.configs.get(UNCLEAN) == "true":
            found.append(f"{name} has {UNCLEAN}=true: a replica that lacks records may lead; set it to false")
        if topic.configs.get(ONE_TIME) != "LogAppendTime":
            found.append(f"{name} has {ONE_TIME}={topic.configs.get(ONE_TIME)}: landing hours would be whatever")
        if topic.configs.get(CLEANUP, "delete") != "delete":
            found.append(f"{name} has {CLEANUP}={topic.configs[CLEANUP]}: compaction takes records; set it to delete")
    return found


def _changed(spec: TopicSpec, found: TopicState) -> Mapping[str, tuple[str, str]]:
    return {
        name: (found.configs.get(name, ""), value)
        for name, value in spec.configs.items()
        if found.configs.get(name) != value
    }


def _refusals(spec: TopicSpec, found: TopicState) -> Iterator[str]:
    if spec.partitions < found.partitions:
        yield (
            f"{spec.name} has {found.partitions} partitions, {spec.partitions} are declared: Kafka cannot take"
            " partitions away, and another topic would lose their records; declare as many"
        )
    if spec.replication != found.replication:
        yield (
            f"{spec.name} has {found.replication} replicas, {spec.replication} are declared: replicas are moved with"
            " Kafka's own kafka-reassign-partitions; then declare as many"
        )
    in_sync = int(found.configs.get(IN_SYNC, "1"))
    if spec.min_insync_replicas < in_sync:
        yield (
            f"{spec.name} has {IN_SYNC}={in_sync}, {spec.min_insync_replicas} is declared: accepted events would be on"
            " fewer disks than promised; lower it by hand if you mean it"
        )


def _listed(said: Mapping[str, Any], key: str) -> list[Any]:
    """What is said under a key; what is no list is one entry, which is then found to be none."""
    found = said.get(key, [])
    return found if isinstance(found, list) else [found]


def _topic(source: str, name: str, said: Mapping[str, Any]) -> TopicSpec:
    _check_keys(f"{source}: {name}", said, [*SETTINGS, "event_types"])
    for key, value in said.items():
        expected = {"compression": str, "owner": str, "subscribers": list, "event_types": list}.get(key, int)
        if not isinstance(value, expected) or isinstance(value, bool):
            raise ConfigurationError(f"{source}: {name}: {key} is {value!r}, which is no {expected.__name__}")
    subscribers = _principals(f"{source}: {name}", said, "subscribers")
    spec = TopicSpec(name, **{**said, "subscribers": subscribers, "event_types": tuple(said.get("event_types", ()))})
    low = min(spec.partitions, spec.replication, spec.min_insync_replicas, spec.retention_hours)
    if low < 1:
        raise ConfigurationError(f"{source}: {name}: partitions, replicas and hours are 1 or more, not {low}")
    if spec.min_insync_replicas > spec.replication:
        raise ConfigurationError(
            f"{source}: {name}: min_insync_replicas is {spec.min_insync_replicas} of {spec.replication} replicas:"
            " nothing could be written"
        )
    if spec.replication >= SAFE_REPLICATION and spec.min_insync_replicas < 2:
        raise ConfigurationError(f"{source}: {name}: with {spec.replication} replicas set min_insync_replicas to 2")
    if spec.compression not in COMPRESSIONS:
        raise ConfigurationError(
            f"{source}: {name}: compression is {spec.compression!r}; use one of {', '.join(COMPRESSIONS)}"
        )
    if spec.max_message_bytes < LARGEST_RECORD:
        raise ConfigurationError(
            f"{source}: {name}: max_message_bytes is below {LARGEST_RECORD}, which a batch may take"
        )
    return spec


def _principals(source: str, said: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = said.get(key, ())
    for name in names:
        if not isinstance(name, str) or not name.startswith("User:") or name in ("User:", "User:*"):
            raise ConfigurationError(f"{source}: {key} has {name!r}; a principal is like 'User:lander'")
    return tuple(names)


def _check_keys(source: str, said: Mapping[str, Any], known: Iterable[str]) -> None:
    if unknown := sorted(set(said) - set(known)):
        raise ConfigurationError(f"{source}: {unknown[0]!r} is not known; use {', '.join(known)}")
