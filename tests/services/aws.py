"""How clients reach a server that speaks like one of AWS."""

from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

REGION, ACCESS_KEY, SECRET_KEY = "eu-central-1", "headrace", "headracesecret"
"""DynamoDB Local takes only letters and digits."""


@dataclass(frozen=True)
class Endpoint:
    """A service (`dynamodb`, `s3`) at a port of 127.0.0.1: of its server, or of a proxy before it."""

    service: str
    port: int

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What every AWS client reads; the variables of several services go together."""
        return {
            f"AWS_ENDPOINT_URL_{self.service.upper()}": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ALLOW_HTTP": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, **config: Any) -> Any:
        """A boto3 client; `config` goes to botocore's Config."""
        return boto3.client(
            self.service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(**{"s3": {"addressing_style": "path"}, **config}),
        )

    def answers(self, operation: str) -> None:
        """Raise unless the server answers a call without arguments."""
        client = self.client(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5)
        try:
            getattr(client, operation)()
        finally:
            client.close()
