"""Redshift's grammar: statements as trees in which every function stays the call that it was.

sqlglot knows what many functions mean and says them otherwise to PostgreSQL, not always rightly: it drops
`ignore nulls` and counts elapsed time for `datediff`. So each call is hidden from it under another name.
"""

import re
from itertools import pairwise

import sqlglot
from sqlglot import exp
from sqlglot.dialects.redshift import Redshift
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from tests.redshift.errors import Refused

SYNTAX = {
    "CAST", "CONVERT", "EXTRACT", "OVERLAY", "POSITION", "SUBSTRING", "TRIM", "EXISTS", "VALUES", "IDENTITY", "VARBYTE",
    "WITHIN", "GROUP", "CONFLICT", "MATERIALIZED", "CHECK",
}  # fmt: skip
"""What stands before a parenthesis with a grammar of its own."""
KEYWORDS = {
    "LEFT",
    "RIGHT",
    "REPLACE",
    "FORMAT",
    "ANY_VALUE",
    "MAP",
    "STRUCT",
    "ARRAY",
    "OBJECT",
    "UNNEST",
    "CURRENT_SCHEMA",
}
"""Functions that share their name with a keyword."""
STATEMENTS = (exp.Query, exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Alter, exp.Drop)
HIDDEN, PARAMETER = "opaque_call_", "bound_parameter_"


def tokens(sql: str) -> list[Token]:
    """The tokens of a statement. Raises Refused."""
    try:
        return list(Redshift().tokenize(sql))
    except SqlglotError as error:
        raise Refused(f"syntax error: {error}", "42601") from error


def parse(sql: str) -> exp.Expr:
    """The tree of one statement. Raises Refused where it is no SQL of Redshift."""
    try:
        trees = sqlglot.parse(_hide_calls(re.sub(r"\$(\d+)\b", rf"{PARAMETER}\1", sql)), read="redshift")
    except SqlglotError as error:
        raise Refused(f"syntax error: {str(error).splitlines()[0]}", "42601") from error
    if len(trees) != 1:
        raise Refused("one statement at a time", "42601")
    tree = trees[0]
    if not isinstance(tree, STATEMENTS):
        raise Refused(f"the stand-in does not know this statement: {sql[:80]}", "42601")
    for node in tree.find_all(exp.Identifier, exp.Anonymous):
        if str(node.this).startswith(HIDDEN):
            node.set("this", node.this[len(HIDDEN) :])
    return tree


def say(tree: exp.Expr) -> str:
    """The tree as PostgreSQL's SQL."""
    sql = tree.sql("postgres", unsupported_level=ErrorLevel.RAISE)
    return re.sub(rf"\b{PARAMETER}(\d+)\b", r"$\1", sql)


def name_of(call: exp.Anonymous) -> str:
    """The function that is called, in lower case."""
    return str(call.this).lower()


def _hide_calls(sql: str) -> str:
    found = tokens(sql)
    calls = [
        token.start
        for token, following in pairwise(found)
        if following.token_type == TokenType.L_PAREN and _is_call(token)
    ]
    for start in reversed(calls):
        sql = sql[:start] + HIDDEN + sql[start:]
    return sql


def _is_call(token: Token) -> bool:
    name = token.text.upper()
    is_quoted = token.token_type in (TokenType.STRING, TokenType.IDENTIFIER)
    return not is_quoted and (name in KEYWORDS or (token.token_type == TokenType.VAR and name not in SYNTAX))
