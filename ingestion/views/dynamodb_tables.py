"""The tables of the views in DynamoDB: what they should be, what has to change, and the change."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ingestion.errors import ConfigurationError, ItemRefused
from ingestion.views.dynamodb_client import DynamoDB, Refused, Values

EXPIRY = "expires_at"
TAGS = {"application": "headrace"}
KEYS = [{"AttributeName": "key", "KeyType": "HASH"}, {"AttributeName": "sort", "KeyType": "RANGE"}]
TYPES = [{"AttributeName": name, "AttributeType": "S"} for name in ("key", "sort")]
ACTIVE_SECONDS, LOOK_AGAIN_SECONDS = 120.0, 0.5


class Kind(StrEnum):
    """What a step is to whoever reads the plan."""

    CHANGE = "change"
    NOTICE = "notice"
    REFUSED = "refused"


@dataclass(frozen=True)
class Step:
    """One thing to say of a table; a change is made by calling `operation`."""

    table: str
    text: str
    kind: Kind = Kind.CHANGE
    operation: str = ""
    arguments: Values = field(default_factory=dict)


class Tables:
    """Plans and makes the tables `prefix.view`."""

    def __init__(self, db: DynamoDB, prefix: str) -> None:
        self._db, self._prefix = db, prefix

    def plan(self, views: Sequence[str]) -> list[Step]:
        """What has to be done so that each view has its table; nothing where all is as it should be."""
        there = [name for name in self._names() if name.startswith(f"{self._prefix}.")]
        wanted = [f"{self._prefix}.{view}" for view in views]
        steps = [step for name in wanted for step in (self._changes(name) if name in there else _creation(name))]
        return steps + [
            Step(name, "belongs to no view that is known; it stays", Kind.NOTICE)
            for name in there
            if name not in wanted
        ]

    def apply(self, steps: Sequence[Step]) -> None:
        """Make the changes of a plan. ConfigurationError, and nothing is made, where a step is refused."""
        refused = [f"{step.table} {step.text}" for step in steps if step.kind is Kind.REFUSED]
        if refused:
            raise ConfigurationError("nothing was changed: " + "; ".join(refused))
        for step in steps:
            if step.operation:
                self._make(step)

    def _make(self, step: Step) -> None:
        try:
            self._db.call(step.operation, **step.arguments)
        except (Refused, ItemRefused):  # another may have done the same at the same time
            if step in self._changes(step.table):
                raise
        self._wait_until_active(step.table)

    def _wait_until_active(self, table: str) -> None:
        deadline = time.monotonic() + ACTIVE_SECONDS
        while (status := self._describe(table)["TableStatus"]) != "ACTIVE":
            if time.monotonic() > deadline:
                raise ConfigurationError(f"{table} is {status} after {ACTIVE_SECONDS} s; apply again later")
            time.sleep(LOOK_AGAIN_SECONDS)

    def _changes(self, table: str) -> Iterator[Step]:
        description = self._describe(table)
        if (description["KeySchema"], _sorted(description["AttributeDefinitions"])) != (KEYS, _sorted(TYPES)):
            yield Step(table, "has other keys, which cannot be changed; take another prefix", Kind.REFUSED)
            return
        if description.get("BillingModeSummary", {}).get("BillingMode") != "PAY_PER_REQUEST":
            yield Step(table, "has provisioned capacity, which stays; the default is on-demand", Kind.NOTICE)
        if not description.get("DeletionProtectionEnabled"):
            protection = {"TableName": table, "DeletionProtectionEnabled": True}
            yield Step(table, "is protected from deletion", operation="update_table", arguments=protection)
        yield from self._expiry(table)
        yield from self._tags(table, description["TableArn"])

    def _expiry(self, table: str) -> Iterator[Step]:
        found = self._db.call("describe_time_to_live", TableName=table)["TimeToLiveDescription"]
        enabled = found["TimeToLiveStatus"] in ("ENABLED", "ENABLING")
        if enabled and found["AttributeName"] != EXPIRY:
            text = f"deletes items by {found['AttributeName']!r} and not by {EXPIRY!r}; disable its TTL first"
            yield Step(table, text, Kind.REFUSED)
        elif not enabled:
            yield _expiring(table)

    def _tags(self, table: str, arn: str) -> Iterator[Step]:
        try:
            found = self._db.call("list_tags_of_resource", ResourceArn=arn)["Tags"]
        except Refused:
            return  # DynamoDB Local has no tags
        missing = [
            {"Key": key, "Value": value} for key, value in TAGS.items() if {"Key": key, "Value": value} not in found
        ]
        if missing:
            text = "is tagged " + ", ".join(f"{tag['Key']}={tag['Value']}" for tag in missing)
            yield Step(table, text, operation="tag_resource", arguments={"ResourceArn": arn, "Tags": missing})

    def _describe(self, table: str) -> Values:
        described: Values = self._db.call("describe_table", TableName=table)["Table"]
        return described

    def _names(self) -> Iterator[str]:
        more: Values = {}
        while True:
            page = self._db.call("list_tables", **more)
            yield from page["TableNames"]
            if "LastEvaluatedTableName" not in page:
                return
            more = {"ExclusiveStartTableName": page["LastEvaluatedTableName"]}


def _creation(table: str) -> Iterator[Step]:
    arguments = {
        "TableName": table,
        "KeySchema": KEYS,
        "AttributeDefinitions": TYPES,
        "BillingMode": "PAY_PER_REQUEST",
        "DeletionProtectionEnabled": True,
        "Tags": [{"Key": key, "Value": value} for key, value in TAGS.items()],
    }
    yield Step(
        table, "is created, on-demand and protected from deletion", operation="create_table", arguments=arguments
    )
    yield _expiring(table)


def _expiring(table: str) -> Step:
    setting = {"Enabled": True, "AttributeName": EXPIRY}
    arguments = {"TableName": table, "TimeToLiveSpecification": setting}
    return Step(table, f"deletes items by {EXPIRY!r}", operation="update_time_to_live", arguments=arguments)


def _sorted(definitions: Sequence[Any]) -> list[Any]:
    return sorted(definitions, key=lambda definition: str(definition["AttributeName"]))
