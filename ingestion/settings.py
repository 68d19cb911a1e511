"""Every setting, read once from the environment (`HEADRACE_…`); values only, components are built from them."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingestion.broker.kafka.connection import KafkaOptions
from ingestion.contracts.native import Limits
from ingestion.errors import ConfigurationError
from ingestion.lander import Rotation
from ingestion.topics import read_declaration
from ingestion.warehouse.redshift_login import RedshiftOptions

KIB, MIB = 1024, 1024 * 1024


class Settings(BaseSettings):
    """The settings of every command. Four URLs are the deployment; the defaults are the embedded one under `home`."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", frozen=True, extra="ignore")

    home: Path = Field(Path("headrace-data"), description="folder of the embedded log, lake, warehouse and keys")
    broker: str = Field("", description="URL of the log; default embedded://HOME/log.sqlite")
    lake: str = Field("", description="URL of the lake; default file://HOME/lake")
    warehouse: str = Field("", description="URL of the warehouse; default duckdb://HOME/warehouse.duckdb")
    views: str = Field("", description="URL of the views' store; default sqlite://HOME/views.db")
    catalogue: str = Field("", description="URL of the product catalogue that views join with: CSV or Parquet")
    keys: Path | None = Field(None, description="file of the keys; default HOME/keys.json")

    host: str = Field("127.0.0.1", description="address the collector and the read service listen on")
    port: int = Field(8080, ge=0, le=65535, description="port the collector listens on")
    read_port: int = Field(8081, ge=0, le=65535, description="port the read service listens on")
    activity_days: int = Field(90, ge=1, le=36_500, description="days that a visitor's activity is kept in its view")
    cart_days: int = Field(90, ge=1, le=36_500, description="days that a cart's events are kept in their view")
    dagster_port: int = Field(3000, ge=0, le=65535, description="port of Dagster's UI, on 127.0.0.1")
    cors_origins: str = Field("*", description="origins that browsers may send from, comma-separated")
    commit_interval_ms: int = Field(5, ge=0, description="how long a group commit waits for company")
    body_timeout_ms: int = Field(30_000, ge=1, description="a body that has not come by then is answered 408")
    answer_timeout_ms: int = Field(4_000, ge=1, description="a request that is not durable by then is answered 503")

    max_body_bytes: int = Field(1 * MIB, ge=1, description="a request's body as it comes over the wire")
    max_decoded_bytes: int = Field(4 * MIB, ge=1, description="the same after gzip")
    max_batch_events: int = Field(1_000, ge=1, description="events of one request")
    max_event_bytes: int = Field(48 * KIB, ge=1, le=60 * KIB, description="one event as it is stored")
    max_depth: int = Field(32, ge=4, le=256, description="objects and arrays inside each other")
    max_string_bytes: int = Field(16 * KIB, ge=1, description="one string inside an event")
    max_inflight_bytes: int = Field(64 * MIB, ge=1, description="bodies of all requests that wait for their answer")
    max_inflight_source_bytes: int = Field(32 * MIB, ge=1, description="the same of one source")

    redshift_user: str = Field("", description="user of the warehouse in Redshift")
    redshift_password: SecretStr = Field(SecretStr(""), description="the user's password")
    redshift_password_file: Path | None = Field(None, description="file with the password, instead")
    redshift_secret: str = Field("", description="Secrets Manager's name of user and password, instead")
    redshift_cluster: str = Field("", description="identifier of a provisioned cluster, for a login by IAM as the user")
    redshift_workgroup: str = Field("", description="name of a serverless workgroup, for a login by IAM")
    redshift_region: str = Field("", description="AWS region of the cluster or workgroup")
    redshift_role: str = Field("default", description="ARN of the IAM role that COPY reads the lake with")
    redshift_tls: bool = Field(True, description="encrypt; only a test goes without")

    topics: Path | None = Field(None, description="file that declares the topics; default: the event contract")
    kafka_mechanism: str = Field("", description="login to Kafka: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or AWS_MSK_IAM")
    kafka_user: str = Field("", description="user of PLAIN and SCRAM")
    kafka_password: SecretStr = Field(SecretStr(""), description="the user's password")
    kafka_password_file: Path | None = Field(None, description="file with the password, instead")
    kafka_tls: bool = Field(False, description="encrypt; a CA file or a certificate asks for it too")
    kafka_ca_file: str = Field("", description="PEM file of the authorities to trust; default those of the system")
    kafka_certificate_file: str = Field("", description="PEM file of this client's certificate, for mTLS")
    kafka_key_file: str = Field("", description="PEM file of this client's key, for mTLS")
    kafka_key_password: SecretStr = Field(SecretStr(""), description="password of the key file")
    kafka_region: str = Field("", description="AWS region of the cluster, for AWS_MSK_IAM")
    kafka_delivery_timeout_ms: int = Field(
        3_000, ge=100, description="a record that Kafka has not confirmed by then is answered 503"
    )
    kafka_allow_unsafe: bool = Field(False, description="only warn of topics whose settings break a promise")
    kafka_create_topics: bool = Field(False, description="create missing topics at start, for trials")
    kafka_replication: int = Field(1, ge=1, le=9, description="replicas of topics that are created so")

    partitions: int = Field(2, ge=1, description="partitions of a topic that is created")
    retention_hours: float = Field(
        168.0, gt=0, le=1_000_000, description="how long the embedded log keeps what has landed"
    )
    rotate_rows: int = Field(100_000, ge=1, description="rows after which the lander commits a table")
    rotate_bytes: int = Field(32 * MIB, ge=1, description="bytes after which the lander commits a table")
    rotate_seconds: float = Field(15.0, ge=0, description="seconds after which the lander commits a table")
    alert_webhook: str = Field(
        "", description="URL that is told of failed runs, red checks and tables that are too old"
    )
    run_retention_days: int = Field(14, ge=1, description="how long Dagster keeps finished runs and their messages")
    crash_at: str = Field("", description="point at which to kill the process, for tests: lander.committed:2")

    @field_validator("alert_webhook")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("use a URL like https://hooks.example.com/services/T0/B0")
        return value

    @model_validator(mode="after")
    def _a_body_fits_in_flight(self) -> Self:
        if not self.max_decoded_bytes <= self.max_inflight_source_bytes <= self.max_inflight_bytes:
            raise ValueError(
                "max_decoded_bytes, max_inflight_source_bytes and max_inflight_bytes must not fall:"
                " a body that never fits would be answered 429 for ever"
            )
        return self

    @cached_property
    def broker_url(self) -> str:
        """URL of the log."""
        return self.broker or f"embedded://{self.home.resolve()}/log.sqlite"

    @cached_property
    def lake_url(self) -> str:
        """URL of the lake."""
        return self.lake or f"file://{self.home.resolve()}/lake"

    @cached_property
    def warehouse_url(self) -> str:
        """URL of the warehouse."""
        return self.warehouse or f"duckdb://{self.home.resolve()}/warehouse.duckdb"

    @cached_property
    def views_url(self) -> str:
        """URL of the views' store."""
        return self.views or f"sqlite://{self.home.resolve()}/views.db"

    @cached_property
    def kafka(self) -> KafkaOptions:
        """How to reach Kafka, beside the log's URL."""
        return KafkaOptions(
            mechanism=self.kafka_mechanism,
            user=self.kafka_user,
            password=_secret("KAFKA", self.kafka_password_file) or self.kafka_password.get_secret_value(),
            tls=self.kafka_tls,
            ca_file=self.kafka_ca_file,
            certificate_file=self.kafka_certificate_file,
            key_file=self.kafka_key_file,
            key_password=self.kafka_key_password.get_secret_value(),
            region=self.kafka_region,
            delivery_timeout_ms=self.kafka_delivery_timeout_ms,
            allow_unsafe=self.kafka_allow_unsafe,
            create_topics=self.kafka_create_topics,
            replication=self.kafka_replication,
        )

    @cached_property
    def redshift(self) -> RedshiftOptions:
        """How to log in to Redshift, and how it reads the lake."""
        return RedshiftOptions(
            user=self.redshift_user,
            password=_secret("REDSHIFT", self.redshift_password_file) or self.redshift_password.get_secret_value(),
            secret=self.redshift_secret,
            cluster=self.redshift_cluster,
            workgroup=self.redshift_workgroup,
            region=self.redshift_region,
            role=self.redshift_role,
            tls=self.redshift_tls,
            lake=self.lake_url,
        )

    @cached_property
    def shared_topics(self) -> Mapping[str, Sequence[str]]:
        """The topics that hold the events of several types, and of which."""
        return read_declaration(self.topics).shared

    @property
    def key_file(self) -> Path:
        """File of the keys."""
        return self.keys or self.home / "keys.json"

    @property
    def dagster_home(self) -> Path:
        """Folder of Dagster's runs, events and ticks (DAGSTER_HOME)."""
        return self.home.resolve() / "dagster"

    @property
    def limits(self) -> Limits:
        """What one request and one event may hold."""
        return Limits(self.max_batch_events, self.max_event_bytes, self.max_depth, self.max_string_bytes)

    @property
    def rotation(self) -> Rotation:
        """When the lander commits."""
        return Rotation(self.rotate_rows, self.rotate_bytes, self.rotate_seconds)


def _secret(service: str, file: Path | None) -> str:
    """What a file holds, without the end of its line."""
    if file is None:
        return ""
    try:
        return file.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"HEADRACE_{service}_PASSWORD_FILE is {str(file)!r}: {type(error).__name__}") from None


def read_settings() -> Settings:
    """The settings of this environment; ConfigurationError names the variable and the value that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise ConfigurationError(f"the settings do not fit together: {first['msg']}") from None
        name = f"HEADRACE_{'_'.join(map(str, first['loc']))}".upper()
        raise ConfigurationError(f"{name} is {first['input']!r}: {first['msg']}") from None
