"""Redshift's SQL as PostgreSQL says it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp

from tests.redshift.calls import rewrite_calls
from tests.redshift.columns import define, varchar_bytes
from tests.redshift.errors import Refused
from tests.redshift.grammar import parse, say
from tests.redshift.refusals import check
from tests.redshift.super_paths import navigate
from tests.redshift.table_design import Design, cut_design
from tests.redshift.transfers import Transfer, parse_transfer

SCHEMAS = "redshift, pg_catalog"
"""The search path ends with them: functions of Redshift's before PostgreSQL's of the same name."""
NOTHING = "do 'begin end'"
COMMENTS = re.compile(r"^(?:\s|/\*.*?\*/|--[^\n]*(?:\n|$))+", re.DOTALL)
AS_THEY_ARE = re.compile(
    r"(begin|start|commit|end|rollback|abort|deallocate|lock|comment|grant|revoke|analyze|vacuum|show"
    r"|(create|alter|drop)\s+(user|group|role)|alter\s+default|alter\s+\w+\s+\S+\s+owner)\b",
    re.IGNORECASE,
)
OF_POSTGRES = {
    "search_path", "statement_timeout", "timezone", "datestyle", "extra_float_digits", "client_encoding",
    "application_name", "session", "transaction",
}  # fmt: skip
SETTING = re.compile(r"set\s+(?:session\s+|local\s+)?(\w+)\s*(?:to|=)\s*(.*)", re.IGNORECASE | re.DOTALL)
CREATE_TABLE = re.compile(r"create\s+(local\s+)?(temporary\s+|temp\s+)?table\b", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """What PostgreSQL runs for a statement."""

    sql: str
    transfer: Transfer | None = None
    """A COPY or UNLOAD, which the stand-in runs itself."""
    commits: bool = False
    """Whether it commits the transaction that it is in."""
    alone: bool = False
    """Whether it is refused within a transaction."""


def translate(sql: str) -> Statement:
    """A statement of Redshift. Raises Refused."""
    bare = COMMENTS.sub("", sql).rstrip().rstrip(";")
    word = bare.split(maxsplit=1)[0].lower() if bare else ""
    if not bare or AS_THEY_ARE.match(bare):
        return Statement(bare)
    if word in ("set", "reset"):
        return Statement(_setting(bare))
    if word in ("copy", "unload"):
        return Statement(NOTHING, parse_transfer(bare))
    if word == "truncate":
        return Statement(bare, commits=True)
    if CREATE_TABLE.match(bare):
        return Statement(_create_table(bare))
    tree = parse(bare)
    if isinstance(tree, exp.Create) and tree.args.get("no_schema_binding"):
        return Statement(_late_binding_view(tree))
    if isinstance(tree, exp.Alter) and (change := tree.find(exp.AlterColumn)) and change.args.get("dtype"):
        return Statement(_resize(tree, change), alone=True)
    return Statement(say(rewrite(tree)))


def rewrite(tree: exp.Expr) -> exp.Expr:
    """The tree with PostgreSQL's words for what it says otherwise."""
    check(tree)
    define(tree)
    navigate(tree)
    rewrite_calls(tree)
    return tree


def _setting(sql: str) -> str:
    """Settings of the session; those that PostgreSQL lacks are kept under a name that it takes."""
    if not (setting := SETTING.fullmatch(sql)):
        return sql
    name, value = setting.groups()
    if name.lower() == "search_path":
        return f"{sql}, {SCHEMAS}"
    return sql if name.lower() in OF_POSTGRES else f"set redshift.{name} to {value}"


def _create_table(sql: str) -> str:
    """One statement that makes the table and keeps its design, or does neither."""
    without, design = cut_design(sql)
    tree = rewrite(parse(without))
    table = tree.find(exp.Table)
    if table is None:
        raise Refused(f"syntax error: no table in {sql[:80]}", "42601")
    if tree.expression or tree.find(exp.LikeProperty):
        return _both(say(tree), f"perform redshift.count_bytes({quote(say(table))})", *_keep_design(say(table), design))
    return _both(say(tree), *_keep_design(say(table), design))


def _keep_design(table: str, design: Design) -> Iterator[str]:
    if design == Design():
        return
    keys = f"array[{', '.join(map(quote, design.sort_keys))}]::text[]"
    style, key = quote(design.dist_style), quote(design.dist_key)
    yield f"perform redshift.keep_design({quote(table)}, {style}, {key}, {keys}, {quote(design.sort_style)})"


def _both(made: str, *then: str) -> str:
    """Statements as one: a client that commits after each sees all or none."""
    return f"do $both$ begin execute {quote(made)}; {'; '.join(then)}; end $both$" if then else made


def _late_binding_view(tree: exp.Create) -> str:
    """A view that outlives its tables."""
    query = say(rewrite(tree.expression.unnest()))
    arguments = f"{quote(say(tree.this))}, {quote(query)}, {bool(tree.args.get('replace'))}"
    return f"do $view$ begin perform redshift.create_late_binding_view({arguments}); end $view$"


def _resize(tree: exp.Alter, change: exp.AlterColumn) -> str:
    """Another length of a varchar."""
    check(tree)
    arguments = f"{quote(say(tree.this))}, {quote(change.name.lower())}, {varchar_bytes(change.args['dtype'])}"
    return f"do $resize$ begin perform redshift.resize({arguments}); end $resize$"


def quote(text: str | None) -> str:
    """A literal."""
    return "null" if text is None else "'" + text.replace("'", "''") + "'"
