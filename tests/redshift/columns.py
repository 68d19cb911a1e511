"""Column definitions: lengths count bytes, and keys are information that nothing enforces, as on Redshift."""

import sqlglot
from sqlglot import exp

from tests.redshift.errors import Refused

DEFAULT_BYTES = {"VARCHAR": 256, "NVARCHAR": 256, "TEXT": 256, "VARBINARY": 64_000}
"""docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html and r_VARBYTE_type.html"""
MAX_BYTES = {"VARCHAR": 65_535, "NVARCHAR": 65_535, "TEXT": 65_535, "VARBINARY": 16_777_216}
INFORMATION = (exp.PrimaryKey, exp.ForeignKey, exp.UniqueColumnConstraint)
INFORMATION_OF_COLUMN = (exp.PrimaryKeyColumnConstraint, exp.UniqueColumnConstraint, exp.Reference)


def define(tree: exp.Expr) -> None:
    """Change the definitions of `create table` and `alter table` into PostgreSQL's. Raises Refused."""
    if not isinstance(tree, exp.Create | exp.Alter):
        return
    for schema in tree.find_all(exp.Schema):
        schema.set("expressions", [part for part in schema.expressions if not _is_information(part)])
    for column in tree.find_all(exp.ColumnDef):
        _define(column)


def varchar_bytes(kind: exp.DataType) -> int | None:
    """How many bytes a type holds; None where it has no length. Raises Refused for more than Redshift's limit."""
    name = kind.this.value if isinstance(kind.this, exp.DType) else ""
    if name not in MAX_BYTES:
        return None
    written = kind.expressions[0].name.lower() if kind.expressions else ""
    size = MAX_BYTES[name] if written == "max" else int(written or 0)
    if size > MAX_BYTES[name]:
        raise Refused(f"length for type {name.lower()} cannot exceed {MAX_BYTES[name]}", "22023")
    return size or None


def _is_information(part: exp.Expr) -> bool:
    return isinstance(part, INFORMATION) or (
        isinstance(part, exp.Constraint) and any(isinstance(inner, INFORMATION) for inner in part.expressions)
    )


def _define(column: exp.ColumnDef) -> None:
    constraints = column.args.get("constraints") or []
    column.set("constraints", [part for part in constraints if not isinstance(part.kind, INFORMATION_OF_COLUMN)])
    for identity in column.find_all(exp.GeneratedAsIdentityColumnConstraint):
        identity.set("minvalue", identity.args.get("start"))
    kind = column.args.get("kind")
    if kind is None or (name := kind.this.value) not in MAX_BYTES:
        return
    size = DEFAULT_BYTES[name] if name == "TEXT" else varchar_bytes(kind) or DEFAULT_BYTES[name]
    column.set("kind", exp.DataType.build("bytea" if name == "VARBINARY" else f"varchar({size})", dialect="postgres"))
    check = sqlglot.parse_one(f'octet_length("{column.name}") <= {size}', read="postgres")
    limit = exp.ColumnConstraint(
        this=exp.to_identifier(f"longer_than_{size}_{column.name}"), kind=exp.CheckColumnConstraint(this=check)
    )
    column.append("constraints", limit)
