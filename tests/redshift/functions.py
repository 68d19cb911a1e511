"""The functions that may be called: those of Redshift that the project uses or may, and that mean the same here.

What is not listed fails. Before you add one, look it up in "SQL functions reference" of the Database Developer Guide
(docs.aws.amazon.com/redshift/latest/dg/c_SQL_functions.html), and give it its meaning in functions.sql where
PostgreSQL's is another.
"""

from collections.abc import Iterator

from sqlglot import exp

from tests.redshift.errors import Refused
from tests.redshift.grammar import name_of

AGGREGATES = {
    "avg", "bool_and", "bool_or", "count", "listagg", "max", "min", "stddev_pop", "stddev_samp", "sum", "var_pop",
    "var_samp",
}  # fmt: skip
WINDOWS = {"dense_rank", "first_value", "lag", "last_value", "lead", "ntile", "rank", "row_number"}
SCALARS = {
    "abs", "ceil", "ceiling", "char_length", "charindex", "coalesce", "concat", "date_part", "date_trunc", "dateadd",
    "datediff", "exp", "floor", "from_varbyte", "get_array_length", "getdate", "greatest", "is_array", "is_object",
    "json_parse", "json_serialize", "json_typeof", "least", "left", "len", "length", "ln", "lower", "lpad", "ltrim",
    "md5", "mod", "nullif", "nvl", "octet_length", "pg_last_copy_count", "power", "regexp_replace", "regexp_substr",
    "repeat", "replace", "reverse", "right", "round", "rpad", "rtrim", "sign", "split_part", "sqrt", "strpos", "strtol",
    "to_char", "to_date", "trunc", "upper",
}  # fmt: skip
LEADER_ONLY = {
    "age", "current_schema", "current_schemas", "generate_series", "has_database_privilege", "has_schema_privilege",
    "has_table_privilege", "now", "pg_backend_pid", "pg_get_late_binding_view_cols", "pg_get_userbyid",
    "pg_get_viewdef", "pg_table_is_visible", "version",
}  # fmt: skip
"""docs.aws.amazon.com/redshift/latest/dg/c_SQL_functions_leader_node_only.html"""
FRAMED = AGGREGATES | {"first_value", "last_value"}
OF_THE_LEADER = ("pg_", "svv_", "stv_", "stl_", "sys_")


def refused_calls(tree: exp.Expr) -> Iterator[Refused]:
    """What Redshift does not know, or knows only where no table is read."""
    ctes = {cte.alias for cte in tree.find_all(exp.CTE)}
    tables = [table for table in tree.find_all(exp.Table) if isinstance(table.this, exp.Identifier)]
    stored = [table for table in tables if table.db or table.name not in ctes]
    on_leader = not writes(tree) and all(map(_is_of_the_leader, stored))
    for call in tree.find_all(exp.Anonymous):
        name = name_of(call)
        if name in LEADER_ONLY and not on_leader:
            yield Refused(f"Specified types or functions ({name}) not supported on Redshift tables.")
        elif name not in AGGREGATES | WINDOWS | SCALARS | LEADER_ONLY:
            yield Refused(f"function {name}() does not exist, or is not in the stand-in's list", "42883")


def writes(tree: exp.Expr) -> bool:
    """Whether a statement stores rows or a view."""
    return isinstance(tree, exp.Create | exp.Insert | exp.Update | exp.Delete | exp.Merge)


def _is_of_the_leader(table: exp.Table) -> bool:
    schema, name = table.db.lower(), table.name.lower()
    return schema in ("pg_catalog", "information_schema") or name.startswith(OF_THE_LEADER)
