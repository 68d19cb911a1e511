"""Topics and rights of a cluster, asked and changed with kafka-python."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import KafkaError, NoError, SecurityDisabledError

from ingestion.broker.kafka.connection import Connection
from ingestion.errors import BrokerUnavailable, ConfigurationError
from ingestion.topics import DESCRIBE_CONFIGS, GROUP, READ, TOPIC, WRITE, ClusterState, Grant, Plan, TopicState

PATIENCE = {"bootstrap_timeout_ms": 10_000, "request_timeout_ms": 15_000}
PREFIX = "events."
MANAGED = (READ, WRITE, DESCRIBE_CONFIGS)


class Control:
    """The control plane of one cluster."""

    def __init__(self, connection: Connection) -> None:
        try:
            self._admin = KafkaAdminClient(**connection.kafka_python(), **PATIENCE)
        except KafkaError as error:
            raise BrokerUnavailable(f"Kafka at {connection.servers} did not answer: {error}") from error

    def state(self) -> ClusterState:
        """Every topic `events.…`, and the rights on each of them."""
        with _told("topics cannot be described"):
            names = sorted(name for name in self._admin.list_topics() if name.startswith(PREFIX))
            return ClusterState(self._topics(names), self._grants(names))

    def apply(self, plan: Plan) -> None:
        """Do what a plan says; ConfigurationError where a part of it is refused."""
        if plan.refused:
            raise ConfigurationError("nothing was changed: " + "; ".join(plan.refused))
        with _told("the plan was carried out in part; plan and apply again"):
            self._create(plan)
            if plan.partitions:
                self._admin.create_partitions({name: to for name, (_, to) in plan.partitions.items()})
            self._configure(plan)
            self._grant(plan.grant)
            for grant in plan.revoke:
                self._admin.delete_acls([_filter(grant)])

    def close(self) -> None:
        """Let go of the connection."""
        self._admin.close()

    def _topics(self, names: list[str]) -> Mapping[str, TopicState]:
        if not names:
            return {}
        asked = [ConfigResource("topic", name) for name in names]
        configs = self._admin.describe_configs(asked, config_filter="all").get("topic", {})
        if hidden := sorted(set(names) - configs.keys()):
            raise ConfigurationError(f"the settings of {hidden[0]} are hidden; this user needs DESCRIBE_CONFIGS on it")
        return {
            topic["name"]: TopicState(
                len(topic["partitions"]),
                min((len(each["replica_nodes"]) for each in topic["partitions"]), default=0),
                {name: str(entry["value"]) for name, entry in configs[topic["name"]].items()},
            )
            for topic in self._admin.describe_topics(names)
        }

    def _grants(self, names: Iterable[str]) -> frozenset[Grant] | None:
        everything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
        try:
            found, error = self._admin.describe_acls(
                ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, everything)
            )
        except SecurityDisabledError:
            return None
        if error is SecurityDisabledError:
            return None
        if error is not NoError:
            raise ConfigurationError(
                f"ACLs cannot be described: {error.__name__}; this user needs DESCRIBE on the cluster"
            )
        topics = set(names)
        return frozenset(
            grant for acl in found if (grant := _grant(acl)) and (grant.resource == GROUP or grant.name in topics)
        )

    def _create(self, plan: Plan) -> None:
        if not plan.create:
            return
        new = {
            spec.name: {
                "num_partitions": spec.partitions,
                "replication_factor": spec.replication,
                "configs": dict(spec.configs),
            }
            for spec in plan.create
        }
        self._admin.create_topics(new, wait_for_metadata=True)

    def _configure(self, plan: Plan) -> None:
        for name, changed in plan.configs.items():
            resource = ConfigResource("topic", name, {key: value for key, (_, value) in changed.items()})
            answer = self._admin.alter_configs([resource])["topic"][name]
            if answer != "OK":
                raise ConfigurationError(f"{name} cannot be set: {answer}")

    def _grant(self, grants: Iterable[Grant]) -> None:
        if wanted := [_acl(grant) for grant in grants]:
            failed = self._admin.create_acls(wanted)["failed"]
            if failed:
                raise ConfigurationError(f"{len(failed)} ACLs were refused; this user needs ALTER on the cluster")


def _pattern(grant: Grant) -> ACLResourcePatternType:
    return ACLResourcePatternType.PREFIXED if grant.resource == GROUP else ACLResourcePatternType.LITERAL


def _acl(grant: Grant) -> ACL:
    return ACL(
        principal=grant.principal,
        host="*",
        operation=ACLOperation[grant.operation],
        permission_type=ACLPermissionType.ALLOW,
        resource_pattern=ResourcePattern(ResourceType[grant.resource], grant.name, _pattern(grant)),
    )


def _filter(grant: Grant) -> ACLFilter:
    pattern = ResourcePatternFilter(ResourceType[grant.resource], grant.name, _pattern(grant))
    return ACLFilter(grant.principal, "*", ACLOperation[grant.operation], ACLPermissionType.ALLOW, pattern)


def _grant(acl: Any) -> Grant | None:
    """The grant that an ACL is, where it is one that a declaration can say; others are nobody's business here."""
    pattern, operation = acl.resource_pattern, acl.operation.name
    kind = {ResourceType.TOPIC: TOPIC, ResourceType.GROUP: GROUP}.get(pattern.resource_type)
    if kind is None or acl.host != "*" or acl.permission_type != ACLPermissionType.ALLOW or operation not in MANAGED:
        return None
    grant = Grant(acl.principal, operation, kind, pattern.resource_name)
    return grant if pattern.pattern_type == _pattern(grant) else None


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        raise BrokerUnavailable(f"{what}: {error}") from error
