import re
from pathlib import Path

import yaml

from tests.services import s3

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def test_docker_users_get_the_versions_that_are_tested_here() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    pinned = {name: str(service["image"]).rpartition(":")[2] for name, service in services.items()}
    assert f"<version>{pinned['kafka']}</version>" in (HERE / "jars" / "kafka.xml").read_text()
    assert f"<version>{pinned['dynamodb']}</version>" in (HERE / "jars" / "dynamodb.xml").read_text()
    assert s3.VERSITYGW.endswith(f"@{pinned['s3']}")


def test_the_settings_for_docker_users_name_the_ports_that_are_published() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    published = {str(port).split(":")[1] for service in services.values() for port in service["ports"]}
    settings = (ROOT / "docs" / "production" / "compose.env").read_text()
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", settings)) == published
