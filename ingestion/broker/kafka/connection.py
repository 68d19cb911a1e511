"""How to reach a cluster: one set of options for both client libraries."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ingestion.errors import ConfigurationError

if TYPE_CHECKING:  # the settings name these options, and pay for no client
    from confluent_kafka import KafkaError

SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
MSK_IAM = "AWS_MSK_IAM"
MECHANISMS = ("", "PLAIN", *SCRAM, MSK_IAM)
TELL_AGAIN_SECONDS = 30.0
MAX_BACKOFF_MS = 1_000
"""A cluster that comes back is noticed within a second."""


def complain(log: logging.Logger) -> "Callable[[KafkaError], None]":
    """A client's `error_cb`: a line for each kind of trouble, and again when it lasts."""
    told: dict[int, float] = {}

    def tell(error: "KafkaError") -> None:
        if time.monotonic() - told.get(error.code(), -TELL_AGAIN_SECONDS) >= TELL_AGAIN_SECONDS:
            told[error.code()] = time.monotonic()
            log.warning("Kafka: %s", error.str())

    return tell


@dataclass(frozen=True)
class KafkaOptions:
    """What the URL `kafka://host:9092,…` does not say. Secrets are left out of its text."""

    mechanism: str = ""
    """Login: none, PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, or AWS_MSK_IAM."""
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    key_password: str = field(default="", repr=False)
    region: str = ""
    """AWS region of the cluster, for AWS_MSK_IAM."""
    delivery_timeout_ms: int = 3_000
    """A record that is not confirmed by then is unknown."""
    allow_unsafe: bool = False
    """Only warn of topics whose settings break a promise."""
    create_topics: bool = False
    """Create topics that are missing, for trials."""
    replication: int = 1
    """Replicas of a topic that is created so."""


@dataclass(frozen=True)
class Connection:
    """Servers and how to log in, as either library wants to be told."""

    servers: str
    options: KafkaOptions = KafkaOptions()

    def __post_init__(self) -> None:
        options = self.options
        if options.mechanism not in MECHANISMS:
            raise ConfigurationError(
                f"HEADRACE_KAFKA_MECHANISM is {options.mechanism!r}; use one of {', '.join(MECHANISMS[1:])}"
            )
        if options.mechanism in ("PLAIN", *SCRAM) and not (options.user and options.password):
            raise ConfigurationError(
                f"HEADRACE_KAFKA_MECHANISM is {options.mechanism}: set HEADRACE_KAFKA_USER and HEADRACE_KAFKA_PASSWORD"
                " (or HEADRACE_KAFKA_PASSWORD_FILE)"
            )
        if options.mechanism == MSK_IAM and not options.region:
            raise ConfigurationError("HEADRACE_KAFKA_MECHANISM is AWS_MSK_IAM: set HEADRACE_KAFKA_REGION")
        if bool(options.certificate_file) != bool(options.key_file):
            raise ConfigurationError(
                "HEADRACE_KAFKA_CERTIFICATE_FILE and HEADRACE_KAFKA_KEY_FILE go together; set both"
            )

    @property
    def protocol(self) -> str:
        """Kafka's name of the combination of login and encryption."""
        options = self.options
        tls = options.tls or options.mechanism == MSK_IAM or bool(options.ca_file or options.certificate_file)
        return ("SASL_" if options.mechanism else "") + ("SSL" if tls else ("PLAINTEXT"))

    def librdkafka(self) -> dict[str, Any]:
        """Configuration of any confluent-kafka client."""
        options = self.options
        login: Mapping[str, Any] = {
            "ssl.ca.location": options.ca_file,
            "ssl.certificate.location": options.certificate_file,
            "ssl.key.location": options.key_file,
            "ssl.key.password": options.key_password,
            **self._librdkafka_login(),
        }
        return {
            "bootstrap.servers": self.servers,
            "security.protocol": self.protocol,
            "client.id": "headrace",
            "reconnect.backoff.max.ms": MAX_BACKOFF_MS,
            "log_level": 0,  # a line for each attempt to connect: what is wrong is told by `complain`, once
            **{name: value for name, value in login.items() if value},
        }

    def kafka_python(self) -> dict[str, Any]:
        """Arguments of any kafka-python client."""
        options = self.options
        login: Mapping[str, Any] = {
            "ssl_cafile": options.ca_file,
            "ssl_certfile": options.certificate_file,
            "ssl_keyfile": options.key_file,
            "ssl_password": options.key_password,
            **self._kafka_python_login(),
        }
        return {
            "bootstrap_servers": self.servers.split(","),
            "security_protocol": self.protocol,
            "client_id": "headrace",
            **{name: value for name, value in login.items() if value},
        }

    def _librdkafka_login(self) -> Mapping[str, Any]:
        options = self.options
        if options.mechanism == MSK_IAM:
            from ingestion.broker.kafka.msk_iam import token

            return {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": lambda _: token(options.region)}
        return {
            "sasl.mechanism": options.mechanism,
            "sasl.username": options.user,
            "sasl.password": options.password,
        }

    def _kafka_python_login(self) -> Mapping[str, Any]:
        options = self.options
        if options.mechanism == MSK_IAM:
            return {"sasl_mechanism": MSK_IAM}  # it signs by itself, with the region of AWS_REGION or the profile
        return {
            "sasl_mechanism": options.mechanism,
            "sasl_plain_username": options.user,
            "sasl_plain_password": options.password,
        }
