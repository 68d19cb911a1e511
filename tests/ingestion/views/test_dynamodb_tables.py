"""`headrace views plan` and `apply`: the tables of the views."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ingestion import cli
from ingestion.errors import ConfigurationError
from ingestion.views.dynamodb import DynamoDBViews
from ingestion.views.dynamodb_tables import Kind, Step, Tables
from ingestion.views.registry import stored_views
from tests.ingestion.views.contract import row, values
from tests.ingestion.views.dynamodb_tables import drop
from tests.services.aws import REGION
from tests.services.dynamodb import DynamoDB

PREFIX = "planned"


@pytest.fixture
def client(dynamodb: DynamoDB, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """boto3's client, where the settings name the prefix."""
    for name, value in dynamodb.endpoint.environment.items():
        monkeypatch.setenv(name, value)
    client = dynamodb.endpoint.client()
    yield client
    drop(dynamodb, PREFIX)
    client.close()


@pytest.fixture
def store(client: Any) -> Iterator[DynamoDBViews]:
    store = DynamoDBViews(REGION, PREFIX, patience_seconds=5)
    yield store
    store.close()


@pytest.fixture
def tables(store: DynamoDBViews) -> Tables:
    return store.tables


def test_a_plan_that_was_applied_leaves_nothing_to_do(tables: Tables) -> None:
    views = stored_views()
    plan = tables.plan(views)
    assert {step.table for step in plan} == {f"{PREFIX}.{view}" for view in views}
    tables.apply(plan)
    assert tables.plan(views) == []
    tables.apply(plan)
    assert tables.plan(views) == []


def test_a_table_is_on_demand_protected_and_deletes_what_expired(tables: Tables, client: Any) -> None:
    tables.apply(tables.plan(["a_view"]))
    described = client.describe_table(TableName=f"{PREFIX}.a_view")["Table"]
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert described["DeletionProtectionEnabled"]
    expiry = client.describe_time_to_live(TableName=f"{PREFIX}.a_view")["TimeToLiveDescription"]
    assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}


def test_what_another_changed_is_changed_back_and_the_rows_stay(
    tables: Tables, client: Any, store: DynamoDBViews
) -> None:
    tables.apply(tables.plan(["a_view"]))
    store.upsert("a_view", [row()])
    name = f"{PREFIX}.a_view"
    client.update_table(TableName=name, DeletionProtectionEnabled=False)
    client.update_time_to_live(
        TableName=name, TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires_at"}
    )
    plan = tables.plan(["a_view"])
    assert [step.operation for step in plan] == ["update_table", "update_time_to_live"]
    tables.apply(plan)
    assert tables.plan(["a_view"]) == [] and values(store, view="a_view") == [1]


def test_a_table_with_other_keys_is_refused_and_nothing_is_changed(tables: Tables, client: Any) -> None:
    create(client, "other_keys", keys=["key"])
    plan = tables.plan(["a_view", "other_keys"])
    assert [step.table for step in plan if step.kind is Kind.REFUSED] == [f"{PREFIX}.other_keys"]
    with pytest.raises(ConfigurationError, match=r"nothing was changed: planned.other_keys has other keys"):
        tables.apply(plan)
    assert f"{PREFIX}.a_view" not in client.list_tables()["TableNames"]


def test_a_table_that_deletes_by_another_attribute_is_refused(tables: Tables, client: Any) -> None:
    create(client, "ttl")
    setting = {"Enabled": True, "AttributeName": "deleted_at"}
    client.update_time_to_live(TableName=f"{PREFIX}.ttl", TimeToLiveSpecification=setting)
    with pytest.raises(ConfigurationError, match="deletes items by 'deleted_at' and not by 'expires_at'"):
        tables.apply(tables.plan(["ttl"]))


def test_provisioned_capacity_and_tables_of_no_view_stay_and_are_told(tables: Tables, client: Any) -> None:
    create(client, "provisioned", provisioned=True)
    create(client, "of_a_view_that_went")
    plan = tables.plan(["provisioned"])
    told = {step.table for step in plan if step.kind is Kind.NOTICE}
    assert told == {f"{PREFIX}.provisioned", f"{PREFIX}.of_a_view_that_went"}
    tables.apply(plan)
    assert all(step.kind is Kind.NOTICE for step in tables.plan(["provisioned"]))
    described = client.describe_table(TableName=f"{PREFIX}.provisioned")["Table"]
    assert described["ProvisionedThroughput"]["WriteCapacityUnits"] == 7


def test_tags_that_are_missing_are_added() -> None:
    """DynamoDB Local has no tags."""
    asked: list[tuple[str, dict[str, Any]]] = []

    class Tagged:
        def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
            asked.append((operation, arguments))
            return {"Tags": [{"Key": "application", "Value": "other"}, {"Key": "team", "Value": "shop"}]}

    [step] = Tables(Tagged(), PREFIX)._tags("t", "arn")  # type: ignore[arg-type]
    assert step == Step(
        "t",
        "is tagged application=headrace",
        operation="tag_resource",
        arguments={"ResourceArn": "arn", "Tags": [{"Key": "application", "Value": "headrace"}]},
    )
    assert asked == [("list_tags_of_resource", {"ResourceArn": "arn"})]


def test_the_commands_plan_and_apply(client: Any, deployed: None) -> None:
    planned = headrace("views", "plan")
    assert planned.exit_code == 0 and f"{PREFIX}.user_activity.claims is created, on-demand" in planned.output
    assert client.list_tables()["TableNames"] == []
    assert headrace("views", "apply").output == planned.output
    assert sorted(client.list_tables()["TableNames"]) == sorted(f"{PREFIX}.{view}" for view in stored_views())
    assert headrace("views", "plan").output == "nothing to change\n"


@pytest.mark.usefixtures("client", "deployed")
def test_a_store_without_its_tables_names_the_command() -> None:
    assert "run `headrace views apply`" in str(headrace("view", "user_activity", "u1").exception)


def test_a_store_that_needs_no_tables_says_so(deployed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_VIEWS")
    assert "needs no tables" in str(headrace("views", "plan").exception)


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.setenv("HEADRACE_VIEWS", f"dynamodb://{REGION}/{PREFIX}")
    monkeypatch.setattr(cli.console, "width", 200)


def headrace(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, arguments)


def create(client: Any, view: str, keys: list[str] | None = None, provisioned: bool = False) -> None:
    names = keys or ["key", "sort"]
    billing: dict[str, Any] = {"BillingMode": "PAY_PER_REQUEST"}
    if provisioned:
        billing = {"ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 7}}
    client.create_table(
        TableName=f"{PREFIX}.{view}",
        KeySchema=[{"AttributeName": n, "KeyType": t} for n, t in zip(names, ("HASH", "RANGE"), strict=False)],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
        **billing,
    )
