"""Subqueries that look at the query around them, where Redshift cannot make a join of it.

docs.aws.amazon.com/redshift/latest/dg/r_correlated_subqueries.html
"""

from collections.abc import Iterator

from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope

from tests.redshift.errors import Refused

MESSAGE = "This type of correlated subquery pattern is not supported due to internal error"


def refused_correlations(tree: exp.Expr) -> Iterator[Refused]:
    """Those with a limit, from two levels down, or in the ON of an outer join."""
    query = tree if isinstance(tree, exp.Query) else tree.args.get("expression")
    if not isinstance(query, exp.Query):
        return
    for scope in traverse_scope(query):
        select = scope.expression
        if not scope.is_correlated_subquery or not isinstance(select, exp.Query):
            continue
        outer = {column.table for column in scope.external_columns if column.table}
        known = scope.parent.sources.keys() if scope.parent else set()
        limited = any(select.args.get(clause) for clause in ("limit", "offset"))
        join = select.find_ancestor(exp.Join, exp.Select)
        if limited or not outer <= known or (isinstance(join, exp.Join) and join.side):
            yield Refused(f"{MESSAGE}: {select.sql('redshift')[:80]}", "XX000")
