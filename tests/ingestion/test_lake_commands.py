"""`headrace lake …`, with moto as the Glue Data Catalog and a real S3 server beneath the manifests."""

import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result
from moto import mock_aws

from ingestion import cli
from ingestion import s3 as s3_module
from ingestion.errors import ConfigurationError
from ingestion.glue import GlueCatalogue, definition
from ingestion.lake import Lake
from ingestion.lake_ddl import Engine, ddl, declared
from ingestion.storage import Storage, open_storage
from ingestion.tables import all_tables, event_table
from tests.ingestion.lake.contract import append
from tests.services.aws import REGION
from tests.services.s3 import S3

LAKE = "s3://bucket/prefix"
VIEWS = event_table("product_viewed")


@pytest.fixture
def glue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """boto3's client of an empty catalogue, where the settings name the lake."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("HEADRACE_LAKE", LAKE)
    with mock_aws():
        client = boto3.client("glue")
        yield client
        client.close()


def headrace(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, ["lake", *arguments])


def table(glue: Any, name: str = VIEWS.name) -> dict[str, Any]:
    found: dict[str, Any] = glue.get_table(DatabaseName="headrace", Name=name)["Table"]
    return found


def test_register_makes_every_table_and_a_second_run_changes_nothing(glue: Any) -> None:
    made = headrace("register")
    assert made.exit_code == 0, made.output
    assert made.output.splitlines()[0] == "+ database headrace"
    assert f"+ {VIEWS.name}: {len(VIEWS.schema)} columns at {LAKE}/{VIEWS.name}/" in made.output
    pages = glue.get_paginator("get_tables").paginate(DatabaseName="headrace")
    assert {found["Name"] for page in pages for found in page["TableList"]} == {table.name for table in all_tables()}
    versions = [table(glue, of.name)["VersionId"] for of in all_tables()]
    assert headrace("register").output == "The catalogue is as declared.\n"
    assert [table(glue, of.name)["VersionId"] for of in all_tables()] == versions


def test_a_table_has_what_athena_and_trino_look_for(glue: Any) -> None:
    headrace("register")
    found = table(glue)
    storage = found["StorageDescriptor"]
    assert (found["TableType"], found["Parameters"]["table_type"]) == ("EXTERNAL_TABLE", "DELTA")
    assert found["Parameters"]["spark.sql.sources.provider"] == "delta"
    assert storage["Location"] == f"{LAKE}/{VIEWS.name}/"
    assert storage["SerdeInfo"]["Parameters"]["path"] == f"{LAKE}/{VIEWS.name}"
    told = [(c["Name"], c["Type"], c["Comment"]) for c in [*storage["Columns"], *found["PartitionKeys"]]]
    assert told == [(c.name, c.type, c.description) for c in declared(VIEWS, Engine.ATHENA)]
    assert [column["Name"] for column in found["PartitionKeys"]] == ["landing_hour"]


def test_plan_only_says_what_would_change(glue: Any) -> None:
    planned = headrace("register", "--plan", "--database", "analysts")
    assert planned.output.splitlines()[0] == "+ database analysts" and f"+ {VIEWS.name}: " in planned.output
    assert glue.get_databases()["DatabaseList"] == []


def test_a_contract_that_grew_changes_the_table_and_keeps_what_others_set(glue: Any) -> None:
    headrace("register")
    older = definition(VIEWS, LAKE)
    columns = older["StorageDescriptor"]["Columns"]
    changed = [{"Name": "gone", "Type": "string"}, {**columns[1], "Type": "int"}, *columns[2:]]
    older["StorageDescriptor"]["Columns"] = changed
    older["Parameters"] = {"comment": "of a colleague"}
    glue.update_table(DatabaseName="headrace", TableInput=older)
    lines = headrace("register").output.splitlines()
    assert lines[:2] == [f"~ {VIEWS.name}: + column event_id string", f"~ {VIEWS.name}: - column gone string"]
    assert lines[2].startswith(f"~ {VIEWS.name}: column event_type 'int ")
    assert lines[3].startswith(f"~ {VIEWS.name}: Parameters ") and len(lines) == 4
    assert table(glue)["StorageDescriptor"]["Columns"] == columns
    assert table(glue)["Parameters"]["comment"] == "of a colleague"
    assert headrace("register").output == "The catalogue is as declared.\n"


def test_a_table_that_athena_made_is_taken_over(glue: Any) -> None:
    glue.create_database(DatabaseInput={"Name": "headrace"})
    storage = {"Location": f"{LAKE}/{VIEWS.name}", "Columns": []}
    made = {"Name": VIEWS.name, "Parameters": {"table_type": "DELTA"}, "StorageDescriptor": storage}
    glue.create_table(DatabaseName="headrace", TableInput=made)
    assert f"~ {VIEWS.name}: + column event_id string" in headrace("register").output
    assert len(table(glue)["StorageDescriptor"]["Columns"]) == len(VIEWS.schema) - 1


def test_a_table_that_lies_elsewhere_is_refused_and_nothing_is_changed(glue: Any) -> None:
    glue.create_database(DatabaseInput={"Name": "headrace"})
    storage = {"Location": "s3://analysts/own/"}
    glue.create_table(DatabaseName="headrace", TableInput={"Name": VIEWS.name, "StorageDescriptor": storage})
    error = headrace("register").exception
    assert isinstance(error, ConfigurationError)
    assert "headrace.product_viewed of Glue is at 's3://analysts/own/', not at" in str(error)
    assert [found["Name"] for found in glue.get_tables(DatabaseName="headrace")["TableList"]] == [VIEWS.name]
    assert table(glue)["StorageDescriptor"]["Location"] == "s3://analysts/own/"


def test_what_another_made_meanwhile_is_an_error_and_not_overwritten(glue: Any) -> None:
    catalogue = GlueCatalogue(glue, "headrace")
    changes = catalogue.plan([VIEWS], LAKE)
    catalogue.apply(changes)
    with pytest.raises(ConfigurationError, match=r"AlreadyExists.*run it again"):
        catalogue.apply(changes)


def test_descriptions_fit_into_glue() -> None:
    for of in all_tables():
        wanted = definition(of, LAKE)
        comments = [column["Comment"] for column in wanted["StorageDescriptor"]["Columns"]]
        assert max(len(comment.encode()) for comment in comments) <= 255
        assert len(wanted["Description"].encode()) <= 2_048 and "\n" not in wanted["Description"] + "".join(comments)


def test_glue_that_refuses_is_told_with_the_next_step() -> None:
    class Refusing:
        """A client whose role may not ask."""

        class exceptions:  # noqa: N801  # as boto3 names it
            EntityNotFoundException = KeyError

        def get_database(self, **_: object) -> None:
            raise ClientError(
                {"Error": {"Code": "AccessDeniedException", "Message": "no glue:GetDatabase"}}, "GetDatabase"
            )

    with pytest.raises(ConfigurationError, match=r"no glue:GetDatabase; look at the AWS settings .*docs/production"):
        GlueCatalogue(Refusing(), "headrace").plan([VIEWS], LAKE)


def test_without_a_region_the_setting_is_named(glue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "none")
    error = headrace("register").exception
    assert isinstance(error, ConfigurationError) and "You must specify a region; look at the AWS settings" in str(error)


@pytest.mark.parametrize("engine", list(Engine))
def test_ddl_prints_the_statements_of_every_table(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_LAKE", f"{LAKE}/")
    assert headrace("ddl", "--engine", engine.value).output == ddl(engine, all_tables(), LAKE, "headrace")
    assert "analysts" in headrace("ddl", "--engine", engine.value, "--database", "analysts").output


@pytest.mark.parametrize("command", [("ddl", "--engine", "athena"), ("register",), ("manifests",)])
def test_a_lake_on_a_local_disk_is_refused_with_the_next_step(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_LAKE", "file:///srv/lake")
    error = headrace(*command).exception
    assert isinstance(error, ConfigurationError)
    assert "HEADRACE_LAKE is 'file:///srv/lake': Athena, Trino and Spectrum read S3; set it to" in str(error)


@pytest.mark.parametrize("name", ["Headrace", "head-race", "1lake", "lake; drop", ""])
def test_a_name_that_is_none_of_a_database_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_LAKE", LAKE)
    refused = headrace("ddl", "--engine", "trino", "--database", name)
    assert refused.exit_code == 2 and f"{name!r}; use small letters, digits and _" in " ".join(refused.output.split())


def test_manifests_name_the_files_of_the_lake_hour_by_hour(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = f"lake-{uuid.uuid4()}"
    s3.create_bucket(bucket)
    for name, value in {**s3.endpoint.environment, "HEADRACE_LAKE": f"s3://{bucket}/raw"}.items():
        monkeypatch.setenv(name, value)
    s3_module.store.cache_clear()
    s3_module.session.cache_clear()
    views = Lake(f"s3://{bucket}/raw").table(VIEWS)
    hour = 3_600_000_000
    for number in range(4):
        append(views, number, number + 1, at=1_777_635_000_000_000 + number // 2 * hour)
    printed = headrace("manifests")
    assert printed.exit_code == 0, printed.exception
    first, second = printed.output.splitlines()
    assert first == (
        "ALTER TABLE headrace_spectrum.product_viewed ADD IF NOT EXISTS PARTITION (landing_hour='2026-05-01-11')"
        f" LOCATION 's3://{bucket}/raw/product_viewed/_symlink_format_manifest/landing_hour=2026-05-01-11/';"
    )
    assert "2026-05-01-12" in second
    append(views, 4, 5, at=1_777_635_000_000_000)
    assert len(manifest(open_storage(f"s3://{bucket}/raw"), "2026-05-01-11")) == 2, "a manifest is a photograph"
    assert headrace("manifests").output == printed.output
    for wanted in ("2026-05-01-11", "2026-05-01-12"):
        listed = manifest(open_storage(f"s3://{bucket}/raw"), wanted)
        assert sorted(listed) == sorted(file.uri for file in views.snapshot().files(wanted))


def manifest(storage: Storage, hour: str) -> list[str]:
    """The URIs in a manifest."""
    return storage.read(f"{VIEWS.name}/_symlink_format_manifest/landing_hour={hour}/manifest").decode().split()
