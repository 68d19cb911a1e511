"""What Redshift refuses although PostgreSQL runs it, each with the page of its guide that says so."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlglot import exp
from sqlglot.generators.redshift import RedshiftGenerator

from tests.redshift.correlations import refused_correlations
from tests.redshift.errors import Refused
from tests.redshift.functions import FRAMED, refused_calls
from tests.redshift.grammar import name_of
from tests.redshift.known_grammar import unknown_grammar

GUIDE = "docs.aws.amazon.com/redshift/latest/dg/"
MAX_LITERAL_BYTES, MAX_NAME_BYTES = 65_535, 127
RESERVED = RedshiftGenerator.RESERVED_KEYWORDS - {"raw"}
"""RAW is one, too, but tests of both warehouses ask for raw tables without quotes."""
FOREIGN_TYPES = {
    "ARRAY", "BIGSERIAL", "BIT", "ENUM", "HSTORE", "INET", "INT4RANGE", "JSON", "JSONB", "LIST", "MAP", "MONEY",
    "SERIAL", "SMALLSERIAL", "STRUCT", "TINYINT", "UBIGINT", "UINT", "UUID", "XML",
}  # fmt: skip
OBJECTS = ("INDEX", "SEQUENCE", "TRIGGER", "TYPE", "DOMAIN", "EXTENSION")


@dataclass(frozen=True)
class Rule:
    """Something that is refused: in which words, by which page, and how to see it in a node of the tree."""

    message: str
    page: str
    is_broken: Callable[[Any], bool]
    code: str = "42601"


def _is_reserved(name: exp.Identifier) -> bool:
    """After AS, or after the dot of a column, any word will do."""
    is_label = isinstance(name.parent, exp.Alias) and name.arg_key == "alias"
    is_qualified = isinstance(name.parent, exp.Column) and name.arg_key == "this" and bool(name.parent.table)
    return not (name.quoted or is_label or is_qualified) and name.name.lower() in RESERVED


def _lacks_frame(window: exp.Window) -> bool:
    called = isinstance(window.this, exp.Anonymous) and name_of(window.this) in FRAMED
    return called and bool(window.args.get("order")) and not window.args.get("spec")


def _is_foreign(kind: exp.DataType) -> bool:
    return isinstance(kind.this, exp.DType) and kind.this.value in FOREIGN_TYPES


def _is_offset_of_values(spec: exp.WindowSpec) -> bool:
    offsets = [spec.args[side] for side in ("start", "end") if isinstance(spec.args.get(side), exp.Expr)]
    return str(spec.args.get("kind")).upper() in ("RANGE", "GROUPS") and bool(offsets)


def _branches(merge: exp.Merge) -> list[exp.When]:
    return list(merge.args["whens"].expressions)


def _repeats_branches(merge: exp.Merge) -> bool:
    matched = [bool(when.args.get("matched")) for when in _branches(merge)]
    return len(set(matched)) < len(matched)


def _is_empty_where_it_may_not(column: exp.ColumnDef) -> bool:
    kinds = {type(constraint.kind) for constraint in column.args.get("constraints") or []}
    empty = exp.NotNullColumnConstraint in kinds and exp.DefaultColumnConstraint not in kinds
    return isinstance(column.parent, exp.Alter) and empty


def _changes_type(alter: exp.Alter) -> bool:
    changes = [action.args.get("dtype") for action in alter.args["actions"] if isinstance(action, exp.AlterColumn)]
    return any(kind is not None and not kind.is_type(*exp.DataType.TEXT_TYPES) for kind in changes)


RULES: Mapping[type[exp.Expr], tuple[Rule, ...]] = {
    exp.OnConflict: (Rule('syntax error at or near "ON"', "r_INSERT_30.html", lambda _: True),),
    exp.Returning: (Rule('syntax error at or near "RETURNING"', "r_INSERT_30.html", lambda _: True),),
    exp.Filter: (Rule('syntax error at or near "FILTER"', "c_Aggregate_Functions.html", lambda _: True),),
    exp.Lateral: (Rule('syntax error at or near "LATERAL"', "r_FROM_clause30.html", lambda _: True),),
    exp.Distinct: (
        Rule("SELECT DISTINCT ON is not supported", "r_SELECT_list.html", lambda node: bool(node.args.get("on"))),
    ),
    exp.CTE: (
        Rule(
            'syntax error at or near "MATERIALIZED"',
            "r_WITH_clause.html",
            lambda node: node.args.get("materialized") is not None,
        ),
        Rule("a CTE must be a query", "r_WITH_clause.html", lambda node: not isinstance(node.this, exp.Query)),
    ),
    exp.NullSafeEQ: (Rule('syntax error at or near "DISTINCT"', "r_comparison_condition.html", lambda _: True),),
    exp.NullSafeNEQ: (Rule('syntax error at or near "DISTINCT"', "r_comparison_condition.html", lambda _: True),),
    exp.Array: (Rule("array types are not supported", "c_unsupported-postgresql-datatypes.html", lambda _: True),),
    exp.JSONExtract: (Rule("operator does not exist: ->", "query-super.html", lambda _: True, "42883"),),
    exp.JSONExtractScalar: (Rule("operator does not exist: ->>", "query-super.html", lambda _: True, "42883"),),
    exp.DataType: (Rule("type does not exist", "c_unsupported-postgresql-datatypes.html", _is_foreign, "42704"),),
    exp.Create: (
        Rule(
            "objects of this kind are not supported",
            "c_unsupported-postgresql-features.html",
            lambda node: node.kind in OBJECTS,
            "0A000",
        ),
    ),
    exp.CheckColumnConstraint: (
        Rule("CHECK constraints are not supported", "c_unsupported-postgresql-features.html", lambda _: True),
    ),
    exp.Values: (
        Rule(
            "VALUES lists used as constant tables are not supported",
            "c_unsupported-postgresql-features.html",
            lambda node: isinstance(node.parent, exp.From | exp.Join | exp.Subquery | exp.CTE),
        ),
    ),
    exp.Window: (
        Rule(
            "Aggregate window functions with an ORDER BY clause require a frame clause",
            "r_Window_function_synopsis.html",
            _lacks_frame,
        ),
    ),
    exp.WindowSpec: (
        Rule("only ROWS frames may have an offset", "r_Window_function_synopsis.html", _is_offset_of_values),
    ),
    exp.Anonymous: (
        Rule(
            "concat takes two arguments",
            "r_CONCAT.html",
            lambda node: name_of(node) == "concat" and len(node.expressions) != 2,
            "42883",
        ),
    ),
    exp.Merge: (
        Rule(
            "MERGE: a WHEN clause takes no condition",
            "r_MERGE.html",
            lambda node: any(when.args.get("condition") for when in _branches(node)),
        ),
        Rule("MERGE: one WHEN MATCHED and one WHEN NOT MATCHED", "r_MERGE.html", _repeats_branches),
        Rule("MERGE: the target takes no alias", "r_MERGE.html", lambda node: bool(node.this.alias)),
        Rule(
            "MERGE: the source is a table", "r_MERGE.html", lambda node: not isinstance(node.args["using"], exp.Table)
        ),
    ),
    exp.Literal: (
        Rule(
            f"a string of more than {MAX_LITERAL_BYTES} bytes",
            "r_Character_types.html",
            lambda node: node.is_string and len(node.this.encode()) > MAX_LITERAL_BYTES,
            "54000",
        ),
    ),
    exp.Identifier: (
        Rule("a reserved word needs quotes", "r_pg_keywords.html", _is_reserved),
        Rule(
            "Redshift would cut a name of this length",
            "r_names.html",
            lambda node: len(node.name.encode()) > MAX_NAME_BYTES,
            "42622",
        ),
    ),
    exp.ColumnDef: (
        Rule(
            "ALTER TABLE ADD COLUMN takes no IF NOT EXISTS",
            "r_ALTER_TABLE.html",
            lambda node: isinstance(node.parent, exp.Alter) and bool(node.args.get("exists")),
        ),
        Rule("a new column that is NOT NULL needs a default", "r_ALTER_TABLE.html", _is_empty_where_it_may_not),
    ),
    exp.Alter: (
        Rule(
            "one ALTER TABLE adds one column",
            "r_ALTER_TABLE.html",
            lambda node: sum(isinstance(action, exp.ColumnDef) for action in node.args["actions"]) > 1,
        ),
        Rule("only the length of a VARCHAR can be altered", "r_ALTER_TABLE.html", _changes_type, "0A000"),
    ),
    exp.Lock: (Rule('syntax error at or near "FOR"', "r_SELECT_synopsis.html", lambda _: True),),
    exp.TableSample: (Rule('syntax error at or near "TABLESAMPLE"', "r_FROM_clause30.html", lambda _: True),),
    exp.UnloggedProperty: (Rule('syntax error at or near "UNLOGGED"', "r_CREATE_TABLE_NEW.html", lambda _: True),),
    exp.MaterializedProperty: (
        Rule("the stand-in has no materialized views", "materialized-view-overview.html", lambda _: True, "0A000"),
    ),
    exp.Qualify: (Rule("the stand-in does not run QUALIFY", "r_QUALIFY_clause.html", lambda _: True, "0A000"),),
    exp.IgnoreNulls: (Rule("the stand-in does not run IGNORE NULLS", "r_WF_LAG.html", lambda _: True, "0A000"),),
    exp.Pivot: (Rule("the stand-in does not run PIVOT", "r_FROM_clause-pivot-unpivot-examples.html", lambda _: True),),
}


def refusals(tree: exp.Expr) -> Iterator[Refused]:
    """Everything that Redshift would not run in a statement."""
    for node in tree.walk():
        for rule in RULES.get(type(node), ()):
            if rule.is_broken(node):
                yield Refused(f"{rule.message} ({GUIDE}{rule.page}): {node.sql('redshift')[:80]}", rule.code)
    yield from refused_calls(tree)
    yield from refused_correlations(tree)
    yield from unknown_grammar(tree)


def check(tree: exp.Expr) -> None:
    """Raise Refused where Redshift would not run the statement."""
    for refusal in refusals(tree):
        raise refusal
