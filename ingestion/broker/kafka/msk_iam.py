"""Login to Amazon MSK with an IAM role: a token is a signed URL, made from whatever credentials boto3 finds.

The format is that of AWS's own signer; botocore signs. Tokens last a quarter of an hour, and
confluent-kafka asks again. kafka-python signs by itself.
"""

import base64
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.session import Session

from ingestion.errors import ConfigurationError

LIFETIME_SECONDS = 900
AGENT = "&User-Agent=headrace"


def token(region: str, credentials: Credentials | None = None) -> tuple[str, float]:
    """A token for the clusters of `region`, and when it expires, in seconds since 1970."""
    credentials = credentials or Session().get_credentials()
    if credentials is None:
        raise ConfigurationError("HEADRACE_KAFKA_MECHANISM is AWS_MSK_IAM, and there are no AWS credentials here")
    request = AWSRequest("GET", f"https://kafka.{region}.amazonaws.com/?Action=kafka-cluster%3AConnect")
    SigV4QueryAuth(credentials, "kafka-cluster", region, expires=LIFETIME_SECONDS).add_auth(request)
    signed = parse_qs(urlsplit(request.url).query)["X-Amz-Date"][0]
    begun = datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    text = base64.urlsafe_b64encode((request.url + AGENT).encode()).decode().rstrip("=")
    return text, begun.timestamp() + LIFETIME_SECONDS
