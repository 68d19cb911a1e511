"""What both client libraries are told, from one set of options."""

import base64
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.credentials import Credentials
from confluent_kafka.admin import AdminClient

from ingestion.broker.kafka.connection import Connection, KafkaOptions
from ingestion.broker.kafka.msk_iam import token
from ingestion.errors import ConfigurationError
from ingestion.settings import Settings, read_settings

SCRAM = KafkaOptions("SCRAM-SHA-512", "collector", "the password")
CERTIFICATE = KafkaOptions(ca_file="ca.pem", certificate_file="client.pem", key_file="client.key")


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        (KafkaOptions(), "PLAINTEXT"),
        (KafkaOptions(tls=True), "SSL"),
        (CERTIFICATE, "SSL"),
        (SCRAM, "SASL_PLAINTEXT"),
        (KafkaOptions("PLAIN", "user", "word", ca_file="ca.pem"), "SASL_SSL"),
        (KafkaOptions("AWS_MSK_IAM", region="eu-west-1"), "SASL_SSL"),
    ],
)
def test_the_protocol_follows_from_login_and_encryption(options: KafkaOptions, protocol: str) -> None:
    connection = Connection("a:9092,b:9092", options)
    assert connection.librdkafka()["security.protocol"] == protocol
    assert connection.kafka_python()["security_protocol"] == protocol


def test_both_libraries_get_the_same_servers_and_login() -> None:
    connection = Connection("a:9092,b:9092", SCRAM)
    assert connection.librdkafka().items() >= {
        ("bootstrap.servers", "a:9092,b:9092"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "collector"),
        ("sasl.password", "the password"),
    }
    told = connection.kafka_python()
    assert told["bootstrap_servers"] == ["a:9092", "b:9092"]
    assert (told["sasl_mechanism"], told["sasl_plain_username"]) == ("SCRAM-SHA-512", "collector")
    assert told["sasl_plain_password"] == "the password"


def test_a_client_certificate_is_given_to_both_libraries() -> None:
    told = Connection("a:9092", CERTIFICATE)
    librdkafka, kafka_python = told.librdkafka(), told.kafka_python()
    for name, librdkafka_name, kafka_python_name in (
        ("ca.pem", "ssl.ca.location", "ssl_cafile"),
        ("client.pem", "ssl.certificate.location", "ssl_certfile"),
        ("client.key", "ssl.key.location", "ssl_keyfile"),
    ):
        assert librdkafka[librdkafka_name] == kafka_python[kafka_python_name] == name


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (KafkaOptions("KERBEROS"), "HEADRACE_KAFKA_MECHANISM is 'KERBEROS'"),
        (KafkaOptions("SCRAM-SHA-256", "user"), "HEADRACE_KAFKA_PASSWORD"),
        (KafkaOptions("AWS_MSK_IAM"), "HEADRACE_KAFKA_REGION"),
        (KafkaOptions(certificate_file="client.pem"), "HEADRACE_KAFKA_KEY_FILE"),
    ],
)
def test_options_that_cannot_work_name_the_setting(options: KafkaOptions, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Connection("a:9092", options)


def test_secrets_are_in_no_text() -> None:
    options = KafkaOptions("PLAIN", "user", "the password", key_password="of the key")
    assert "the password" not in repr(Connection("a:9092", options)) and "of the key" not in repr(options)
    settings = Settings(kafka_password="the password", kafka_key_password="of the key")
    assert "the password" not in repr(settings) and "of the key" not in repr(settings)


def test_a_password_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_KAFKA_PASSWORD", "from the environment")
    assert read_settings().kafka.password == "from the environment"
    (tmp_path / "password").write_text("from a file\n")
    monkeypatch.setenv("HEADRACE_KAFKA_PASSWORD_FILE", str(tmp_path / "password"))
    assert read_settings().kafka.password == "from a file"
    monkeypatch.setenv("HEADRACE_KAFKA_PASSWORD_FILE", str(tmp_path / "nothing"))
    with pytest.raises(ConfigurationError, match="HEADRACE_KAFKA_PASSWORD_FILE"):
        _ = read_settings().kafka


def test_a_token_of_msk_is_a_signed_url_that_lasts_a_quarter_of_an_hour() -> None:
    text, expires = token("eu-west-1", Credentials("AKIDEXAMPLE", "secret", "session"))
    url = urlsplit(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
    query = parse_qs(url.query)
    assert (url.scheme, url.netloc, url.path) == ("https", "kafka.eu-west-1.amazonaws.com", "/")
    assert query["Action"] == ["kafka-cluster:Connect"] and query["X-Amz-Expires"] == ["900"]
    assert query["X-Amz-Credential"][0].endswith("/eu-west-1/kafka-cluster/aws4_request")
    assert query["X-Amz-Security-Token"] == ["session"] and len(query["X-Amz-Signature"][0]) == 64
    assert "secret" not in url.query and 890 < expires - time.time() <= 900


def test_librdkafka_takes_what_it_is_told_for_msk() -> None:
    asked = Connection("127.0.0.1:1", KafkaOptions("AWS_MSK_IAM", region="eu-west-1")).librdkafka()
    asked["oauth_cb"] = lambda _: token("eu-west-1", Credentials("AKIDEXAMPLE", "secret"))
    assert asked["sasl.mechanism"] == "OAUTHBEARER" and AdminClient({**asked, "log_level": 0}) is not None
