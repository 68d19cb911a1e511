"""Logins to Redshift: what the settings say, and what AWS is asked for. AWS's answers are stubs."""

import json
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from ingestion.errors import ConfigurationError
from ingestion.warehouse.redshift_login import RedshiftOptions, credentials, read_address

SECRET = {"Name": "shop/redshift", "SecretString": json.dumps({"username": "loader", "password": "Passw0rd"})}
TEMPORARY = {"DbUser": "IAM:loader", "DbPassword": "Passw0rd"}
SERVERLESS = {"dbUser": "IAMR:loader", "dbPassword": "Passw0rd"}
LOGINS = [
    (
        RedshiftOptions(secret="shop/redshift", region="eu-central-1"),
        ("secretsmanager", "get_secret_value", {"SecretId": "shop/redshift"}, SECRET),
        "loader",
    ),
    (
        RedshiftOptions(user="loader", cluster="shop", region="eu-central-1"),
        (
            "redshift",
            "get_cluster_credentials",
            {"ClusterIdentifier": "shop", "DbUser": "loader", "DbName": "events"},
            TEMPORARY,
        ),
        "IAM:loader",
    ),
    (
        RedshiftOptions(workgroup="shop", region="eu-central-1"),
        ("redshift-serverless", "get_credentials", {"workgroupName": "shop", "dbName": "events"}, SERVERLESS),
        "IAMR:loader",
    ),
]


class Aws:
    """Clients whose next answer is known."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._make = boto3.client
        self._clients: dict[str, Any] = {}
        monkeypatch.setattr(boto3, "client", self.client)

    def client(self, service: str, region_name: str | None = None) -> Any:
        """What `boto3.client` gives."""
        assert region_name == "eu-central-1"
        return self._clients[service]

    def stub(self, service: str) -> Stubber:
        """The answers of a service."""
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        self._clients[service] = self._make(service, region_name="eu-central-1", **keys)
        stubber = Stubber(self._clients[service])
        stubber.activate()
        return stubber


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    return Aws(monkeypatch)


@pytest.mark.parametrize(("options", "call", "user"), LOGINS, ids=["secret", "cluster", "workgroup"])
def test_aws_is_asked_for_user_and_password(aws: Aws, options: RedshiftOptions, call: Any, user: str) -> None:
    service, operation, asked, answer = call
    stubber = aws.stub(service)
    stubber.add_response(operation, answer, asked)
    assert credentials(options, "events") == (user, "Passw0rd")
    stubber.assert_no_pending_responses()


@pytest.mark.parametrize(("options", "call", "user"), LOGINS, ids=["SECRET", "CLUSTER", "WORKGROUP"])
def test_what_aws_refuses_names_the_setting(
    aws: Aws, options: RedshiftOptions, call: Any, user: str, request: pytest.FixtureRequest
) -> None:
    service, operation, *_ = call
    aws.stub(service).add_client_error(operation, "AccessDeniedException", "not authorized")
    setting = request.node.callspec.id
    with pytest.raises(ConfigurationError, match=f"HEADRACE_REDSHIFT_{setting} .*not authorized.*policy"):
        credentials(options, "events")


@pytest.mark.parametrize("secret", ["Passw0rd", '"Passw0rd"', '{"username": "loader", "pass": "Passw0rd"}', "[]"])
def test_a_secret_of_another_form_is_named_and_not_shown(aws: Aws, secret: str) -> None:
    aws.stub("secretsmanager").add_response("get_secret_value", {"SecretString": secret})
    with pytest.raises(ConfigurationError, match="HEADRACE_REDSHIFT_SECRET does not lead to a login") as refused:
        credentials(RedshiftOptions(secret="shop/redshift", region="eu-central-1"), "events")
    assert "Passw0rd" not in str(refused.value)


def test_without_any_login_the_settings_are_named() -> None:
    with pytest.raises(ConfigurationError, match="set HEADRACE_REDSHIFT_USER and HEADRACE_REDSHIFT_PASSWORD"):
        credentials(RedshiftOptions(user="loader"), "events")


def test_a_password_is_no_part_of_the_options_text() -> None:
    assert "Passw0rd" not in repr(RedshiftOptions(user="loader", password="Passw0rd"))


@pytest.mark.parametrize("url", ["redshift://loader:Passw0rd@shop:5439/events", "redshift://shop", "redshift:///x"])
def test_an_address_without_a_place_or_with_a_password_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="use redshift://host:5439/database") as refused:
        read_address(url)
    assert "Passw0rd" not in str(refused.value)


def test_the_port_of_redshift_goes_without_saying() -> None:
    assert str(read_address("redshift://shop/events")) == "shop:5439/events"
