"""A real Apache Kafka (KRaft): one broker or three, open or with users and ACLs."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

from kafka import KafkaAdminClient

from tests.services.certificates import Authority
from tests.services.jars import jars, only_one, tool
from tests.services.process import JVM, START_SECONDS, Server, ServerFailed, accepts, free_ports, scratch_folder

HERE = Path(__file__).parent
ADMIN, ADMIN_PASSWORD = "admin", "admin-password"
CLUSTER = "aGVhZHJhY2UtdGVzdHMtMQ"
LOGGING = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")
IMPATIENT = {"bootstrap_timeout_ms": 5_000, "request_timeout_ms": 5_000}


@dataclass(frozen=True)
class Node:
    """Where a broker lives, whether it runs or not."""

    id: int
    port: int
    controller_port: int
    tls_port: int
    folder: Path

    @property
    def config(self) -> Path:
        """Its server.properties."""
        return self.folder / "server.properties"


class Kafka:
    """A cluster with its files in `folder`; its brokers are numbered from 1.

    `users` (name to password) turn on ACLs, and SCRAM at one port and client certificates at another; the super user is
    ADMIN, everybody else may do what ACLs allow.
    `properties` are added to every broker's.
    """

    def __init__(
        self,
        folder: Path,
        java: list[str],
        brokers: int = 1,
        users: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self._java, self._properties = java, properties or {}
        self._users = {ADMIN: ADMIN_PASSWORD, **users} if users is not None else {}
        self.authority = Authority(folder / "certificates")
        ports = iter(free_ports(3 * brokers))
        self.nodes = [
            Node(n, next(ports), next(ports), next(ports), folder / f"node-{n}") for n in range(1, brokers + 1)
        ]
        self.brokers = {
            node.id: Server([*java, "kafka.Kafka", str(node.config)], node.folder, partial(self._is_unfenced, node))
            for node in self.nodes
        }

    def start(self, timeout: float = START_SECONDS) -> None:
        """Format every node, and start all until each can lead a partition."""
        self._format()
        for broker in self.brokers.values():
            broker.spawn()
        for broker in self.brokers.values():
            broker.wait(timeout)

    def close(self) -> None:
        """Killed and not stopped: in an orderly end the last of three waits for the others for ever."""
        for broker in self.brokers.values():
            broker.close()

    @property
    def broker(self) -> Server:
        """The broker of a cluster of one: `with kafka.broker.down(): ...`."""
        [broker] = self.brokers.values()
        return broker

    @property
    def bootstrap_servers(self) -> str:
        """`host:port,…`, as `kafka://` URLs and clients want it."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def tls_bootstrap_servers(self) -> str:
        """The same for those who log in with a certificate of the `authority`."""
        return ",".join(f"127.0.0.1:{node.tls_port}" for node in self.nodes)

    def kafka_python(self, user: str = ADMIN) -> dict[str, Any]:
        """Arguments for any client of kafka-python."""
        return {"bootstrap_servers": self.bootstrap_servers, **self._login(user, "_", "sasl_plain_", "sasl_mechanism")}

    def librdkafka(self, user: str = ADMIN) -> dict[str, Any]:
        """Configuration for any client of confluent-kafka."""
        return {"bootstrap.servers": self.bootstrap_servers, **self._login(user, ".", "sasl.", "sasl.mechanism")}

    def leader(self, topic: str, partition: int = 0) -> int:
        """The id of the broker that leads a partition."""
        with closing(KafkaAdminClient(**self.kafka_python())) as admin:
            [described] = admin.describe_topics([topic])
        leaders: dict[int, int] = {found["partition_index"]: found["leader_id"] for found in described["partitions"]}
        return leaders[partition]

    def _login(self, user: str, separator: str, prefix: str, mechanism: str) -> dict[str, str]:
        if not self._users:
            return {}
        return {
            f"security{separator}protocol": "SASL_PLAINTEXT",
            mechanism: "SCRAM-SHA-256",
            f"{prefix}username": user,
            f"{prefix}password": self._users[user],
        }

    def _is_unfenced(self, node: Node) -> None:
        """Each is asked for itself: without a quorum a survivor still calls the dead ones alive."""
        accepts(node.port)
        own = self.kafka_python() | {"bootstrap_servers": f"127.0.0.1:{node.port}"} | IMPATIENT
        with closing(KafkaAdminClient(**own)) as admin:
            brokers = admin.describe_cluster()["brokers"]
        if node.id not in {broker["broker_id"] for broker in brokers if not broker["is_fenced"]}:
            raise ServerFailed(f"broker {node.id} is fenced")

    def _format(self) -> None:
        users = [f"SCRAM-SHA-256=[name={name},password={password}]" for name, password in self._users.items()]
        scram = [argument for user in users for argument in ("--add-scram", user)]
        running = []
        for node in self.nodes:
            node.folder.mkdir(parents=True)
            node.config.write_text(self._configuration(node))
            tool = [*self._java, "kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER]
            command = [*tool, "--config", str(node.config), *scram]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        for process in running:
            printed, _ = process.communicate(timeout=START_SECONDS)
            if process.returncode:
                raise ServerFailed(f"a node could not be formatted: {printed[-3_000:]}")

    def _configuration(self, node: Node) -> str:
        text = Template((HERE / "kafka.properties").read_text()).substitute(
            node=node.id,
            port=node.port,
            controller_port=node.controller_port,
            voters=",".join(f"{each.id}@127.0.0.1:{each.controller_port}" for each in self.nodes),
            protocol="SASL_PLAINTEXT" if self._users else "PLAINTEXT",
            data=node.folder / "data",
            replicas=min(3, len(self.nodes)),
            in_sync=2 if len(self.nodes) > 2 else 1,
        )
        if self._users:
            text += Template((HERE / "kafka_users.properties").read_text()).substitute(
                admin=ADMIN,
                password=ADMIN_PASSWORD,
                port=node.port,
                controller_port=node.controller_port,
                tls_port=node.tls_port,
                key_store=self.authority.sign(f"node-{node.id}"),
                authority=self.authority.certificate,
            )
        return text + "".join(f"{name}={value}\n" for name, value in self._properties.items())


@contextmanager
def kafka_cluster(
    brokers: int = 1, users: Mapping[str, str] | None = None, properties: Mapping[str, str] | None = None
) -> Iterator[Kafka]:
    """Ready until the end of the block. Raises Unavailable."""
    with scratch_folder("kafka") as folder:
        cluster = Kafka(folder, _java(jars("kafka")), brokers, users, properties)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.close()


def _java(jars: Path, *options: str) -> list[str]:
    return [tool("java"), "-Xmx512m", *JVM, *(options or _archived(jars)), *LOGGING, "-cp", f"{jars}/*"]


def _archived(jars: Path) -> tuple[str, ...]:
    """Classes as one archive halve every later start; made once, by a broker that is started and stopped for it."""
    with only_one(f"{jars.parent.name}-{jars.name}.jsa") as archive:
        if not archive.exists():
            partial = archive.with_suffix(".partial")
            with scratch_folder("kafka") as folder:
                cluster = Kafka(folder, _java(jars, f"-XX:ArchiveClassesAtExit={partial}"))
                try:
                    cluster.start()
                    cluster.broker.stop(timeout=60)
                finally:
                    cluster.close()
            partial.rename(archive)
    return (f"-XX:SharedArchiveFile={archive}",)
