"""Where a Redshift is, and how to log in to it. What AWS issues a password for is asked of AWS, each time anew."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ingestion.errors import ConfigurationError

SCHEME, PORT = "redshift://", 5439


@dataclass(frozen=True)
class RedshiftOptions:
    """What the URL `redshift://host:5439/database` does not say. Secrets are left out of its text."""

    user: str = ""
    password: str = field(default="", repr=False)
    secret: str = ""
    """Name or ARN in Secrets Manager of a JSON with `username` and `password`, instead of both."""
    cluster: str = ""
    """Identifier of a provisioned cluster, for a login by IAM as `user`."""
    workgroup: str = ""
    """Name of a serverless workgroup, for a login by IAM."""
    region: str = ""
    role: str = "default"
    """ARN of the IAM role that COPY reads the lake with, or `default`: the one that the warehouse has."""
    tls: bool = True
    lake: str = ""
    """URL of the lake, below which COPY finds its manifests."""


@dataclass(frozen=True)
class Address:
    """A database of a Redshift."""

    host: str
    port: int
    database: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


def read_address(url: str) -> Address:
    """The address that a URL says. A password has no place there: it would be shown wherever the URL is."""
    parts = urlsplit(url)
    database = parts.path.strip("/")
    if not (parts.hostname and database) or parts.username:
        raise ConfigurationError(
            f"HEADRACE_WAREHOUSE is {SCHEME}{parts.netloc.rpartition('@')[2]}{parts.path}; use"
            f" {SCHEME}host:{PORT}/database, and HEADRACE_REDSHIFT_USER and its like for the login"
        )
    return Address(parts.hostname, parts.port or PORT, database)


def credentials(options: RedshiftOptions, database: str) -> tuple[str, str]:
    """User and password. Raises ConfigurationError where they are not said, or AWS does not give them."""
    if options.workgroup:
        asked = {"workgroupName": options.workgroup, "dbName": database}
        return _ask(options, "WORKGROUP", "redshift-serverless", "get_credentials", asked, ("dbUser", "dbPassword"))
    if options.cluster:
        asked = {"ClusterIdentifier": options.cluster, "DbUser": options.user, "DbName": database}
        return _ask(options, "CLUSTER", "redshift", "get_cluster_credentials", asked, ("DbUser", "DbPassword"))
    if options.secret:
        asked = {"SecretId": options.secret}
        return _ask(options, "SECRET", "secretsmanager", "get_secret_value", asked, ("username", "password"))
    if not (options.user and options.password):
        raise ConfigurationError(
            "HEADRACE_WAREHOUSE is in Redshift: set HEADRACE_REDSHIFT_USER and HEADRACE_REDSHIFT_PASSWORD (or"
            " …_PASSWORD_FILE), or HEADRACE_REDSHIFT_SECRET, …_CLUSTER or …_WORKGROUP for a login by AWS"
        )
    return options.user, options.password


def _ask(
    options: RedshiftOptions,
    setting: str,
    service: str,
    operation: str,
    asked: Mapping[str, str],
    names: tuple[str, str],
) -> tuple[str, str]:
    """Two values of AWS's answer, or of the JSON in it that a secret is."""
    import boto3  # by those who log in so
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client: Any = boto3.client(service, region_name=options.region or None)
        answer = getattr(client, operation)(**asked)
        found = json.loads(answer["SecretString"]) if "SecretString" in answer else answer
        return found[names[0]], found[names[1]]
    except (BotoCoreError, ClientError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"HEADRACE_REDSHIFT_{setting} does not lead to a login: {type(error).__name__}: {error}; look at the policy"
            " of this role and at HEADRACE_REDSHIFT_REGION"
        ) from error
