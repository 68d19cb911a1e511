"""COPY takes what Redshift's takes of Parquet in S3, in the client's transaction, and says what does not fit."""

import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.redshift.conftest import Client
from tests.redshift.server import StandIn
from tests.services.s3 import S3

ROLE = "iam_role 'arn:aws:iam::123456789012:role/copy'"
TABLE = "create table t (id bigint, name varchar(4), at timestamp, price decimal(18, 4), items super, body varbyte(8))"
SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "name": pa.string(),
        "at": pa.timestamp("us", tz="UTC"),
        "price": pa.decimal128(18, 4),
        "items": pa.list_(pa.struct({"sku": pa.string(), "price": pa.decimal128(18, 4)})),
        "body": pa.binary(),
    }
)
NOON = datetime(2026, 1, 1, 12, 0, 0, 1)
ROW = {
    "id": 1,
    "name": "äö",
    "at": NOON,
    "price": Decimal("1.5000"),
    "items": [{"sku": "a", "price": Decimal("99999999999999.9999")}],
    "body": b"\x00\xff",
}
EMPTY: dict[str, Any] = dict.fromkeys(SCHEMA.names) | {"id": 2}


class Bucket:
    """A bucket of the test's own."""

    def __init__(self, s3: S3, name: str) -> None:
        s3.create_bucket(name)
        self.name, self.client = name, s3.endpoint.client()

    def put(self, key: str, rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> None:
        """Rows as a Parquet file."""
        sink = BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
        self.client.put_object(Bucket=self.name, Key=key, Body=sink.getvalue())

    def put_manifest(self, *keys: str, mandatory: bool = True, meta: bool = True) -> None:
        """A manifest of keys, there or not."""
        sizes = {"meta": {"content_length": 1}} if meta else {}
        entries = [{"url": f"s3://{self.name}/{key}", "mandatory": mandatory, **sizes} for key in keys]
        self.client.put_object(Bucket=self.name, Key="manifest", Body=json.dumps({"entries": entries}).encode())

    def copy(self, key: str = "", options: str = "serializetojson", target: str = "t") -> str:
        """COPY of what begins with `key`."""
        return f"copy {target} from 's3://{self.name}/{key}' {ROLE} format as parquet {options}"

    def copy_manifest(self, options: str = "serializetojson") -> str:
        """COPY of the manifest."""
        return self.copy("manifest", f"manifest {options}")


@pytest.fixture
def bucket(redshift: StandIn, s3: S3, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    redshift.s3 = s3.endpoint
    bucket = Bucket(s3, f"copy-{abs(hash(request.node.nodeid))}")
    yield bucket
    bucket.client.close()


@pytest.fixture
def table(client: Client) -> Client:
    client.commit(TABLE)
    return client


def test_rows_arrive_as_they_were_written(table: Client, bucket: Bucket) -> None:
    bucket.put("1.parquet", [ROW, EMPTY])
    table.commit(bucket.copy())
    assert table.ask("select id, name, at, price, octet_length(body) from t order by id") == [
        (1, "äö", NOON, Decimal("1.5000"), 2),
        (2, None, None, None, None),
    ]
    price = "cast(item.price as decimal(18, 4))"
    items = f"select n, cast(item.sku as varchar(8)), {price} from t as record, record.items as item at n"
    assert table.ask(items) == [(0, "a", Decimal("99999999999999.9999"))]


def test_every_file_of_the_manifest_is_loaded_and_counted(table: Client, bucket: Bucket) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/PG_LAST_COPY_COUNT.html"""
    for key in ("a", "b", "c"):
        bucket.put(key, [ROW, EMPTY])
    bucket.put_manifest("a", "c")
    table.run(bucket.copy_manifest())
    assert table.ask("select pg_last_copy_count()") == [(4,)]
    assert table.ask("select count(*) from t") == [(4,)]


def test_a_copy_is_part_of_its_transaction(table: Client, bucket: Bucket) -> None:
    bucket.put("1.parquet", [ROW])
    table.run("lock t", "delete from t", bucket.copy())
    table.connection.rollback()
    assert table.ask("select count(*) from t") == [(0,)]


def test_named_columns_are_filled_in_the_order_of_the_file(table: Client, bucket: Bucket) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/copy-usage_notes-copy-from-columnar.html"""
    bucket.put("1.parquet", [{"x": "n", "y": 7}], pa.schema({"x": pa.string(), "y": pa.int64()}))
    table.commit(bucket.copy(options="", target="t (name, id)"))
    assert table.ask("select id, name, at from t") == [(7, "n", None)]


def test_fillrecord_leaves_missing_columns_empty(table: Client, bucket: Bucket) -> None:
    bucket.put("1.parquet", [{"x": 7}], pa.schema({"x": pa.int64()}))
    table.commit(bucket.copy(options="fillrecord"))
    assert table.ask("select id, name from t") == [(7, None)]


def changed(name: str, kind: pa.DataType) -> pa.Schema:
    return SCHEMA.set(SCHEMA.get_field_index(name), pa.field(name, kind))


MISFITS = {
    "an int64 in a numeric": (changed("price", pa.int64()), "price"),
    "an int32 in a bigint": (changed("id", pa.int32()), "id"),
    "a decimal of another scale": (changed("price", pa.decimal128(18, 2)), "price"),
    "a string in a timestamp": (changed("at", pa.string()), "at"),
    "a timestamp in nanoseconds": (changed("at", pa.timestamp("ns")), "at"),
    "a timestamp in a varchar": (changed("name", pa.timestamp("us")), "name"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_column_of_another_type_is_refused(case: str, table: Client, bucket: Bucket) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/copy-usage_notes-copy-from-columnar.html; github.com/apache/arrow issue
    38000 for nanoseconds, which Redshift takes for dates in a far future."""
    schema, column = MISFITS[case]
    bucket.put("1.parquet", [EMPTY | ({} if column == "id" else {"id": 2})], schema)
    code, message = table.refusal(bucket.copy())
    assert code == "XX000" and "incompatible Parquet schema" in message
    assert told(table) == [("t", f"s3://{bucket.name}/1.parquet", column)]


def test_a_string_longer_than_its_column_in_bytes_is_refused(table: Client, bucket: Bucket) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html"""
    bucket.put("1.parquet", [EMPTY | {"name": "äöü"}])
    assert "Table: 4, Data: 6" in table.refusal(bucket.copy())[1]
    assert told(table) == [("t", f"s3://{bucket.name}/1.parquet", "name")]


def test_no_string_is_longer_than_65535_bytes(client: Client, bucket: Bucket) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html"""
    client.commit("create table t (a varchar(max))")
    bucket.put("1.parquet", [{"a": "a" * 65_535}], pa.schema({"a": pa.string()}))
    client.commit(bucket.copy())
    bucket.put("1.parquet", [{"a": "a" * 65_536}], pa.schema({"a": pa.string()}))
    assert "Table: 65535, Data: 65536" in client.refusal(bucket.copy())[1]


def test_a_value_that_may_not_be_null_is_refused(client: Client, bucket: Bucket) -> None:
    client.commit("create table t (a bigint not null)")
    bucket.put("1.parquet", [{"a": None}], pa.schema({"a": pa.int64()}))
    assert client.refusal(bucket.copy())[0] == "23502"


@pytest.mark.parametrize("schema", [SCHEMA.remove(5), SCHEMA.append(pa.field("more", pa.int64()))])
def test_another_number_of_columns_is_refused(schema: pa.Schema, table: Client, bucket: Bucket) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/copy-usage_notes-copy-from-columnar.html"""
    bucket.put("1.parquet", [{"id": 1}], schema)
    assert f"Table columns: 6, Data columns: {len(schema)}" in table.refusal(bucket.copy())[1]
    assert told(table) == [("t", f"s3://{bucket.name}/1.parquet", "")]


def test_a_nested_column_needs_serializetojson(table: Client, bucket: Bucket) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/ingest-super.html"""
    bucket.put("1.parquet", [ROW])
    assert "SERIALIZETOJSON" in table.refusal(bucket.copy(options=""))[1]


def test_a_mandatory_file_that_is_not_there_is_refused(table: Client, bucket: Bucket) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/loading-data-files-using-manifest.html"""
    bucket.put("a", [ROW])
    bucket.put_manifest("a", "missing")
    assert "NoSuchKey" in table.refusal(bucket.copy_manifest())[1]
    assert told(table) == [("t", f"s3://{bucket.name}/missing", "")]
    assert table.ask("select count(*) from t") == [(0,)]


def test_a_file_that_is_not_mandatory_may_be_missing_unless_all_are(table: Client, bucket: Bucket) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/loading-data-files-using-manifest.html"""
    bucket.put("a", [ROW])
    bucket.put_manifest("a", "missing", mandatory=False)
    table.commit(bucket.copy_manifest())
    assert table.ask("select count(*) from t") == [(1,)]
    bucket.put_manifest("missing", mandatory=False)
    assert "does not exist" in table.refusal(bucket.copy_manifest())[1]


def test_a_manifest_of_parquet_says_how_long_the_files_are(table: Client, bucket: Bucket) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/loading-data-files-using-manifest.html"""
    bucket.put("a", [ROW])
    bucket.put_manifest("a", meta=False)
    assert "content_length" in table.refusal(bucket.copy_manifest())[1]


@pytest.mark.parametrize("what", ["prefix", "manifest", "bucket", "parquet"])
def test_what_is_no_parquet_is_refused(what: str, table: Client, bucket: Bucket) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="text", Body=b"no parquet")
    copies = {
        "prefix": (bucket.copy("nothing"), "does not exist"),
        "manifest": (bucket.copy("nothing", "manifest"), "does not exist"),
        "bucket": (bucket.copy().replace(bucket.name, "no-such-bucket"), "NoSuchBucket"),
        "parquet": (bucket.copy("text"), "not valid Parquet"),
    }
    statement, message = copies[what]
    assert message in table.refusal(statement)[1]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("copy t from 's3://b/k' format as parquet", "no authorization"),
        (f"copy t from 's3://b/k' {ROLE} format as parquet maxerror 5", "MAXERROR is not supported"),
        (f"copy t from 's3://b/k' {ROLE} format as csv", "PARQUET only"),
        (f"copy t from 'k' {ROLE} format as parquet", "s3:// only"),
        (f"copy t {ROLE} format as parquet", "syntax error"),
    ],
)
def test_what_copy_does_not_take_is_refused(statement: str, message: str, table: Client, bucket: Bucket) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/copy-usage_notes-copy-from-columnar.html"""
    assert message in table.refusal(statement)[1]


def test_a_table_that_is_not_there_is_named(client: Client, bucket: Bucket) -> None:
    bucket.put("1.parquet", [ROW])
    code, message = client.refusal(bucket.copy(target="no_such_table"))
    assert code == "42P01" and "no_such_table" in message


def test_unload_writes_what_copy_reads(table: Client, bucket: Bucket) -> None:
    bucket.put("in/1.parquet", [ROW, EMPTY])
    table.commit(bucket.copy("in/"), "create table u (id bigint, name varchar(4), at timestamp, price decimal(18, 4))")
    query = "select id, name, at, price from t where name is null or name <> ''x''"
    unload = f"unload ('{query}') to 's3://{bucket.name}/out/' {ROLE} format as parquet"
    table.commit(unload)
    table.commit(bucket.copy("out/", target="u"))
    assert table.ask("select * from u order by id") == [(1, "äö", NOON, Decimal("1.5000")), (2, None, None, None)]
    assert "not empty" in table.refusal(unload)[1]
    table.commit(f"{unload} allowoverwrite")


def told(client: Client) -> list[tuple[Any, ...]]:
    return client.ask("select table_name, file_name, column_name from sys_load_error_detail")
