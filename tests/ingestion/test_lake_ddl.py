"""The lake for other engines: what is declared is what the files hold, and questions have the answers of raw."""

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from ingestion.events import Product, fields
from ingestion.lake_ddl import MANIFESTS, TYPES, Engine, ddl, declared, spectrum_partitions
from ingestion.storage import readable
from ingestion.tables import PARTITION_COLUMN, Table, all_tables, event_table
from tests.platform import Platform, event

LAKE = "s3://bucket/raw/o'events"
DIALECTS = {Engine.ATHENA: "athena", Engine.TRINO: "trino", Engine.SPECTRUM: "redshift"}
TYPE_DIALECTS = {**DIALECTS, Engine.ATHENA: "hive"}
UNKNOWN_TO_SQLGLOT = ("CALL ", "CREATE EXTERNAL SCHEMA ")
INSTANT = "TIMESTAMP WITH TIME ZONE"
GUIDE = (Path(__file__).parents[2] / "docs/production/lake.md").read_text()
*QUESTIONS, LISTS_OF_TRINO, LISTS_OF_SPECTRUM = re.findall(r"^```sql\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
LISTS_OF_DUCKDB = (
    "select line.product_id, sum(line.quantity) as pieces from headrace.order_completed, unnest(products) as t (line)"
    " group by line.product_id order by line.product_id"
)


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Every table with some rows in three landing hours, views also twice and unfit, all of it loaded."""
    with closing(Platform(tmp_path_factory.mktemp("lake"), all_tables())) as platform:
        for _ in range(3):
            for table in platform.tables:
                platform.publish(table.name, 5)
            views = [event("product_viewed", 7_000 + n, product_id=f"p{n % 4}") for n in range(11)]
            platform.publish("product_viewed", [*views, *views[:3], b"no JSON"])
            orders = [("EUR", "12.5000"), ("EUR", "0.1250"), ("CHF", "7.0000")]
            platform.publish(
                "order_completed",
                [event("order_completed", 7_101 + n, currency=c, revenue=r) for n, (c, r) in enumerate(orders)],
            )
            platform.land()
            platform.now += timedelta(hours=1)
        platform.load()
        yield platform


@pytest.fixture(params=list(Engine))
def engine(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.param
    return engine


@pytest.mark.parametrize("table", all_tables(), ids=lambda table: table.name)
def test_every_declared_column_is_one_of_the_files_and_has_its_type(
    landed: Platform, engine: Engine, table: Table
) -> None:
    for file in landed.lake.table(table).snapshot().files():
        held = duckdb.execute("describe from read_parquet(?, hive_partitioning = false)", [file.uri]).fetchall()
        types = {name: kind.replace(INSTANT, "TIMESTAMP") for name, kind, *_ in held} | {PARTITION_COLUMN: "VARCHAR"}
        assert {column.name: of_duckdb(column.type, engine) for column in declared(table, engine)} == types


def of_duckdb(declared_type: str, engine: Engine) -> str:
    """A declared type as DuckDB writes it, which has no lengths; a time is UTC, with a zone or without."""
    sql = exp.DataType.build(declared_type, dialect=TYPE_DIALECTS[engine]).sql("duckdb")
    without_lengths = re.sub(r"(?<=TEXT|BLOB)[(][0-9]+[)]", "", sql)
    ((kind,),) = duckdb.execute(f"select typeof(null::{without_lengths})").fetchall()
    return str(kind).replace(INSTANT, "TIMESTAMP")


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.splitlines()[0].removeprefix("-- "))
def test_a_question_to_the_lake_has_the_answer_of_the_raw_tables(
    landed: Platform, engine: Engine, question: str
) -> None:
    assert_same_answer(landed, engine, question)


def test_a_question_about_lists_has_the_answer_of_the_raw_tables(landed: Platform, engine: Engine) -> None:
    assert_same_answer(landed, engine, LISTS_OF_DUCKDB)


def assert_same_answer(landed: Platform, engine: Engine, question: str) -> None:
    with duckdb.connect() as db:
        db.execute("set TimeZone = 'UTC'")
        db.execute("create schema headrace")
        for name in set(re.findall(r"headrace[.](\w+)", question)):
            show(db, landed, event_table(name), engine)
        answer = db.sql(question).fetchall()
    assert len(answer) > 1
    assert answer == landed.warehouse.query(question.replace("headrace.", "raw."))


def show(db: duckdb.DuckDBPyConnection, landed: Platform, table: Table, engine: Engine) -> None:
    """The table as the engine is told to see it: the files of the snapshot, each column of its declared type."""
    columns = ", ".join(
        f'cast("{column.name}" as {of_duckdb(column.type, engine)}) as "{column.name}"'
        for column in declared(table, engine)
    )
    files = readable(db, [file.uri for file in landed.lake.table(table).snapshot().files()])
    parquet = f"read_parquet({files}, union_by_name = true, hive_partitioning = true, hive_types_autocast = false)"
    db.execute(f"create view headrace.{table.name} as select {columns} from {parquet}")


def test_the_answers_are_not_empty_by_accident(landed: Platform) -> None:
    answers = [landed.warehouse.query(question.replace("headrace.", "raw.")) for question in QUESTIONS]
    days, viewed, buyers, revenue = answers
    assert {kind for kind, *_ in days} == {"product_viewed", "order_completed"}
    assert ("p0", 3) in viewed, "the same event twice, in two hours, counts once"
    assert [hour for hour, _ in buyers] == [f"2026-05-01-{hour}" for hour in (12, 13, 14)]
    assert [currency for currency, *_ in revenue] == ["CHF", "EUR"]


@pytest.mark.parametrize("dialect", DIALECTS.values())
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.splitlines()[0].removeprefix("-- "))
def test_a_question_is_of_each_dialect(question: str, dialect: str) -> None:
    assert isinstance(sqlglot.parse_one(question, read=dialect), exp.Query)


def test_the_questions_about_lists_are_of_their_dialects_and_name_every_field_of_a_product() -> None:
    assert isinstance(sqlglot.parse_one(LISTS_OF_SPECTRUM, read="redshift"), exp.Query)
    for dialect in ("athena", "trino"):
        question = sqlglot.parse_one(LISTS_OF_TRINO, read=dialect)
        unnested = question.find(exp.Unnest)
        assert unnested
        assert [column.name for column in unnested.args["alias"].columns] == [field.name for field in fields(Product)]


def test_every_statement_is_of_its_dialect(engine: Engine) -> None:
    for statement in statements(ddl(engine, all_tables(), LAKE, "headrace")):
        if not statement.startswith(UNKNOWN_TO_SQLGLOT):
            assert isinstance(sqlglot.parse_one(statement, read=DIALECTS[engine]), exp.Create)
    for statement in spectrum_partitions(event_table("product_viewed"), ["2026-05-01-12"], LAKE, "headrace"):
        assert isinstance(sqlglot.parse_one(statement, read="redshift"), exp.Alter)


def test_a_script_can_be_cut_at_its_semicolons_and_paired_by_its_quotes(engine: Engine) -> None:
    script = ddl(engine, all_tables(), "s3://bucket/prefix", "headrace")
    assert script.count(";") == 1 + len(all_tables())
    assert all(part.count("'") % 2 == 0 for part in script.split(";"))


def test_every_table_stands_at_its_place() -> None:
    name = "product_viewed"
    views = event_table(name)
    athena = created(Engine.ATHENA, views)
    assert athena == (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS headrace.{name}\n"
        f"LOCATION 's3://bucket/raw/o''events/{name}/'\nTBLPROPERTIES ('table_type' = 'DELTA')"
    ), "Athena allows no column or other property for a Delta table"
    assert created(Engine.TRINO, views) == (
        "CALL delta.system.register_table(schema_name => 'headrace', table_name => 'product_viewed',"
        " table_location => 's3://bucket/raw/o''events/product_viewed')"
    )
    assert created(Engine.SPECTRUM, views).endswith(f"LOCATION 's3://bucket/raw/o''events/{name}/{MANIFESTS}/'")


def test_the_columns_that_spectrum_is_told_are_the_declared_ones() -> None:
    for table in all_tables():
        statement = sqlglot.parse_one(created(Engine.SPECTRUM, table), read="redshift")
        told = [
            (column.name, column.args["kind"]) for column in statement.this.find_all(exp.ColumnDef) if is_own(column)
        ]
        *columns, partition = declared(table, Engine.SPECTRUM)
        assert told == [(c.name, exp.DataType.build(c.type, dialect="redshift")) for c in columns]
        assert f'PARTITIONED BY ("{partition.name}" varchar(65535))' in created(Engine.SPECTRUM, table)


def is_own(column: exp.ColumnDef) -> bool:
    """Whether it is a column of the table and no field of a struct."""
    return isinstance(column.parent, exp.Schema)


def test_the_descriptions_stand_beside_the_columns(engine: Engine) -> None:
    lines = ddl(engine, [event_table("product_viewed")], LAKE, "headrace").replace('"', "").splitlines()
    for column in declared(event_table("product_viewed"), engine):
        (line,) = [line for line in lines if re.search(rf"\W{column.name} {re.escape(column.type)}", line)]
        assert re.split("[;']", column.description)[0] in line


def test_spectrum_has_a_database_and_a_schema_of_its_own() -> None:
    script = ddl(Engine.SPECTRUM, all_tables(), LAKE, "headrace")
    assert "DATABASE 'headrace_spectrum'" in script and " headrace." not in script


def test_a_type_without_a_name_is_told() -> None:
    with pytest.raises(TypeError, match="double has no type in this engine"):
        TYPES[Engine.ATHENA].of(pa.float64())


def created(engine: Engine, table: Table) -> str:
    """The statement that shows a table."""
    (statement,) = statements(ddl(engine, [table], LAKE, "headrace"))[1:]
    return statement


def statements(script: str) -> list[str]:
    """The statements of a script, without the comments before them."""
    parts = [part.strip() for part in script.split(";") if part.strip()]
    return [re.sub(r"\A(--.*\n)+", "", part) for part in parts]
