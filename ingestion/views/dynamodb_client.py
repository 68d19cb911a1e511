"""Calls to DynamoDB, repeated with jitter until a deadline; what AWS answers becomes one of our errors."""

import random
import time
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from ingestion.errors import ConfigurationError, ItemRefused, ViewsUnavailable

Values = dict[str, Any]
"""An item, or the answer of a call, as botocore has it."""

PATIENCE_SECONDS = 15.0
"""How long a call is repeated."""
CONNECT_SECONDS, ANSWER_SECONDS = 2.0, 5.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 2.0

MISSING_TABLE = {"ResourceNotFoundException", "ResourceNotFound"}
FORBIDDEN = {
    "AccessDenied", "AccessDeniedException", "IncompleteSignatureException", "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
}  # fmt: skip
IMPOSSIBLE = {"ValidationException", "ValidationError", "ItemCollectionSizeLimitExceeded"}
CONDITION_FAILED = "ConditionalCheckFailedException"
FINAL = {"ResourceInUseException", "UnknownOperationException"}


class ConditionFailed(Exception):
    """A conditional write was refused; `item` is what was there."""

    def __init__(self, item: Values) -> None:
        super().__init__("the condition does not hold")
        self.item = item


class Refused(Exception):
    """An operation on tables that is not possible, or not any more."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Patience:
    """The time that one piece of work has: pauses grow, are shared out at random, and end at the deadline."""

    def __init__(self, seconds: float) -> None:
        self._deadline, self._longest = time.monotonic() + seconds, FIRST_PAUSE_SECONDS

    def pause(self, reason: object) -> None:
        """Wait before the next try. ViewsUnavailable, with the reason, where there is no time for one."""
        pause = random.uniform(0, self._longest)  # noqa: S311
        if time.monotonic() + pause > self._deadline:
            raise ViewsUnavailable(f"DynamoDB did not do what it was asked: {reason}")
        time.sleep(pause)
        self._longest = min(2 * self._longest, LONGEST_PAUSE_SECONDS)


class DynamoDB:
    """A client that may be used by many threads."""

    def __init__(self, client: Any, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._client, self._patience_seconds = client, patience_seconds

    def patience(self) -> Patience:
        """A new piece of work."""
        return Patience(self._patience_seconds)

    def call(self, operation: str, **arguments: Any) -> Values:
        """Call until it is answered. ConditionFailed, or one of our errors."""
        patience, ask = self.patience(), getattr(self._client, operation)
        while True:
            try:
                answer: Values = ask(**arguments)
                return answer
            except ClientError as error:
                details = error.response["Error"]
                if details["Code"] == CONDITION_FAILED:
                    raise ConditionFailed(error.response.get("Item", {})) from error
                if details["Code"] in FINAL:
                    raise Refused(details["Code"], str(error)) from error
                raise_if_permanent(details["Code"], str(error))
                patience.pause(error)
            except (NoCredentialsError, PartialCredentialsError) as error:
                raise ConfigurationError(
                    f"HEADRACE_VIEWS is DynamoDB, and AWS does not know who asks: {error}"
                ) from error
            except BotoCoreError as error:
                patience.pause(error)

    def items(self, operation: str, **arguments: Any) -> Iterator[Values]:
        """Every item of a Query or Scan, page after page."""
        more: Values = {}
        while True:
            page = self.call(operation, **arguments, **more)
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()


def raise_if_permanent(code: str, message: str) -> None:
    """The error of an answer that will be the same next time."""
    if code in MISSING_TABLE:
        raise ConfigurationError(f"a table of the views is missing; run `headrace views apply`: {message}")
    if code in FORBIDDEN:
        raise ConfigurationError(
            f"AWS does not let the views be used; docs/production/dynamodb.md has a policy: {message}"
        )
    if code in IMPOSSIBLE:
        raise ItemRefused(f"DynamoDB refuses this for ever: {message}")


def connect(region: str, connections: int) -> Any:
    """A boto3 client; endpoint, credentials and profile come from the usual settings of AWS."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=connections,
        parameter_validation=False,  # a fifth of a call's time, for what our own types have checked
    )
    try:
        return boto3.Session().client("dynamodb", region_name=region, config=config)
    except (ProfileNotFound, ValueError) as error:
        raise ConfigurationError(
            f"HEADRACE_VIEWS is DynamoDB in {region!r}, which AWS does not take: {error}"
        ) from error
