from datetime import datetime
from decimal import Decimal
from typing import Annotated

import pyarrow as pa
import pytest
from msgspec import Struct

from ingestion import tables
from ingestion.events import (
    EVENT_TYPES,
    App,
    Device,
    Event,
    Field,
    Product,
    Properties,
    Rejection,
    fields,
    text,
)
from ingestion.tables import COORDINATES, REJECTED_TABLE, Table, all_tables, event_table, table_named

every_table = pytest.mark.parametrize("table", all_tables(), ids=lambda table: table.name)


def all_fields() -> list[tuple[str, Field]]:
    classes: list[type[Struct]] = [Event, App, Device, Rejection, Product, *EVENT_TYPES.values()]
    return [(cls.__name__, field) for cls in classes for field in fields(cls)]


def test_there_is_a_table_for_each_of_the_13_types_and_for_rejections() -> None:
    assert [table.name for table in all_tables()] == [*EVENT_TYPES, "rejected"]
    assert len(EVENT_TYPES) == 13
    assert all(table_named(table.name) is table for table in all_tables())


def test_no_two_tables_share_a_name_or_a_topic() -> None:
    for names in ([t.name.lower() for t in all_tables()], [t.topic for t in all_tables()]):
        assert len(set(names)) == len(names)


def test_a_name_without_a_class_has_no_table() -> None:
    with pytest.raises(KeyError):
        table_named("nothing")


@every_table
def test_columns_are_the_typed_fields_and_then_where_the_log_held_it(table: Table) -> None:
    names = [column.name for column in table.columns]
    assert table.schema.names == [*names, *COORDINATES.names]
    lower = [name.lower() for name in table.schema.names]
    assert len(set(lower)) == len(lower)


@pytest.mark.parametrize(("name", "cls"), EVENT_TYPES.items())
def test_every_property_of_a_type_is_a_column_with_its_name(name: str, cls: type[Properties]) -> None:
    columns = {column.name: column for column in event_table(name).columns}
    for field in fields(cls):
        assert columns[field.name].path == ("properties", field.name)
        assert columns[field.name].required == field.required
        assert columns[field.name].max_bytes == field.max_bytes


@every_table
def test_every_column_and_every_table_says_what_it_is(table: Table) -> None:
    assert table.description and "\n" not in table.description
    for field in table.schema:
        if "list" not in str(field.type):
            assert field.metadata[b"description"], field.name


def test_every_field_of_a_contract_class_has_a_description() -> None:
    assert [(cls, f.name) for cls, f in all_fields() if not f.description and f.type in tables.SCALARS] == []


def test_every_string_is_bounded() -> None:
    assert [(cls, field.name) for cls, field in all_fields() if field.type is str and not field.max_bytes] == []


@every_table
def test_a_row_counts_for_the_date_of_a_timestamp_that_it_must_have(table: Table) -> None:
    (column,) = [column for column in table.columns if column.name == table.event_date_column]
    assert column.type == tables.TIMESTAMP and column.required


def test_envelope_app_and_device_are_columns_of_every_event() -> None:
    columns = {column.name: column for column in event_table("order_completed").columns}
    assert columns["app_version"].path == ("app", "version")
    assert columns["device_os_name"].path == ("device", "os_name")
    assert columns["received_at"].path == ("received_at",)
    assert not {"app", "device", "properties", "context"} & columns.keys()


def test_kinds_of_fields_have_their_column_types() -> None:
    columns = {column.name: column.type for column in event_table("order_completed").columns}
    assert columns["order_id"] == pa.string()
    assert columns["total"] == pa.decimal128(18, 4)
    assert columns["device_sequence"] == pa.int64()
    assert columns["occurred_at"] == pa.timestamp("us", tz="UTC")
    assert columns["products"].value_type.field("price").type == pa.decimal128(18, 4)
    rejected = {column.name: column.type for column in REJECTED_TABLE.columns}
    assert rejected["whole_request"] == pa.bool_()


@pytest.mark.parametrize("taken", ["event_id", "app_name", "kafka_offset", "landing_error", "landing_hour"])
def test_a_field_with_a_name_that_the_envelope_has_taken_is_refused(taken: str) -> None:
    cls = type("Colliding", (Properties,), {"__annotations__": {taken: str}, "__doc__": "A type."}, kw_only=True)
    with pytest.raises(TypeError, match=taken):
        tables._event_table("colliding", cls)


@pytest.mark.parametrize("kind", [float, bytes, set, tuple])
def test_a_field_of_a_kind_without_a_column_type_is_refused(kind: type) -> None:
    cls = type("Strange", (Properties,), {"__annotations__": {"strange": kind}, "__doc__": "A type."}, kw_only=True)
    with pytest.raises(TypeError, match="no column type"):
        tables._event_table("strange", cls)


def test_a_type_may_have_lists_of_scalars_and_classes_inside_classes() -> None:
    class Nested(Properties, frozen=True, kw_only=True):
        """A type."""

        tags: list[Annotated[str, text(32, "a tag")]]
        at: datetime | None = None
        product: Product | None = None
        amounts: list[Decimal] | None = None

    columns = {column.name: column.type for column in tables._event_table("nested", Nested).columns}
    assert columns["tags"] == pa.list_(pa.string())
    assert columns["amounts"] == pa.list_(pa.decimal128(18, 4))
    assert columns["product"].field("product_id").type == pa.string()
