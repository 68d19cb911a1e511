from pathlib import Path

import pytest
from pydantic import ValidationError

from ingestion.contracts.native import Limits
from ingestion.errors import ConfigurationError
from ingestion.lander import Rotation
from ingestion.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HEADRACE_{name}".upper(), raising=False)


def test_the_defaults_are_the_embedded_deployment_under_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    settings = read_settings()
    assert settings.broker_url == f"embedded://{tmp_path}/log.sqlite"
    assert settings.lake_url == f"file://{tmp_path}/lake"
    assert settings.warehouse_url == f"duckdb://{tmp_path}/warehouse.duckdb"
    assert settings.key_file == tmp_path / "keys.json"


def test_a_relative_home_does_not_move_with_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_HOME", "data")
    assert read_settings().lake_url == f"file://{tmp_path}/data/lake"


def test_the_urls_are_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, url in (("BROKER", "kafka://h"), ("LAKE", "s3://b"), ("WAREHOUSE", "redshift://h"), ("KEYS", "/k")):
        monkeypatch.setenv(f"HEADRACE_{name}", url)
    settings = read_settings()
    assert (settings.broker_url, settings.lake_url, settings.warehouse_url) == ("kafka://h", "s3://b", "redshift://h")
    assert settings.key_file == Path("/k")


def test_the_defaults_are_those_of_the_components() -> None:
    assert (read_settings().limits, read_settings().rotation) == (Limits(), Rotation())


def test_limits_and_rotation_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MAX_BATCH_EVENTS", "7"), ("MAX_DEPTH", "9"), ("ROTATE_ROWS", "11"), ("ROTATE_SECONDS", "0")):
        monkeypatch.setenv(f"HEADRACE_{name}", value)
    settings = read_settings()
    assert (settings.limits.batch_events, settings.limits.depth) == (7, 9)
    assert (settings.rotation.rows, settings.rotation.seconds) == (11, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("PORT", "65536"),
        ("PARTITIONS", "0"),
        ("RETENTION_HOURS", "inf"),
        ("RETENTION_HOURS", "nan"),
        ("RETENTION_HOURS", "0"),
        ("ROTATE_SECONDS", "nan"),
        ("ROTATE_SECONDS", "-1"),
        ("MAX_EVENT_BYTES", "70000"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"HEADRACE_{name}", value)
    with pytest.raises(ConfigurationError, match=f"HEADRACE_{name} is '{value}'"):
        read_settings()


def test_an_event_as_large_as_is_allowed_still_fits_a_row() -> None:
    from ingestion.tables import MAX_VALUE_BYTES

    with pytest.raises(ValidationError):
        Settings(max_event_bytes=MAX_VALUE_BYTES + 1)


def test_settings_cannot_be_changed_and_each_says_what_it_is() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read_settings().port = 1  # type: ignore[misc]
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_limits_under_which_a_body_could_never_pass_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MAX_INFLIGHT_SOURCE_BYTES", "1000")
    with pytest.raises(ConfigurationError, match="must not fall"):
        read_settings()


def test_a_webhook_that_is_no_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_ALERT_WEBHOOK", "hooks.example.com")
    with pytest.raises(ConfigurationError, match=r"HEADRACE_ALERT_WEBHOOK is 'hooks.example.com': .*use a URL like"):
        read_settings()


def test_dagsters_instance_lies_under_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_HOME", "data")
    assert read_settings().dagster_home == tmp_path / "data" / "dagster"
