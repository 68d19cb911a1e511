"""SUPER values: `a.b[0].c` looks into one, and `from t, t.items as item at n` takes one apart."""

from collections.abc import Sequence

import sqlglot
from sqlglot import exp

Part = exp.Expr


def navigate(tree: exp.Expr) -> None:
    """Change the paths of a query into calls."""
    names = {source.alias_or_name.lower() for source in tree.find_all(exp.Table, exp.CTE, exp.Subquery)}
    tables = {(table.db.lower(), table.name.lower()) for table in tree.find_all(exp.Table)}
    items = _unnest(tree, names)
    for node in list(tree.find_all(exp.Column, exp.Dot, exp.Bracket)):
        if node.parent is None or isinstance(node.parent, exp.Dot | exp.Bracket) or not (parts := _parts(node)):
            continue
        if start := _base(parts, names, tables, items):
            _replace(node, _value(parts, start))


def _unnest(tree: exp.Expr, names: set[str]) -> set[str]:
    """Put a lateral join in the place of each value that a FROM takes apart; returns the names of the elements."""
    items: set[str] = set()
    for source in list(tree.find_all(exp.Unnest, exp.AtIndex)):
        item, path = _taken_apart(source)
        if len(path) < 2 or path[0].name.lower() not in names:
            continue
        index = f', n - 1 as "{source.expression.name}"' if isinstance(source, exp.AtIndex) else ""
        elements = f"redshift.elements({_value(path, 2).sql('postgres')}) with ordinality as unnested (value, n)"
        lateral = f'lateral (select value as "{item}"{index} from {elements}) as "{item}"'
        source.replace(sqlglot.parse_one(f"select 1 from {lateral}", read="postgres").find(exp.Lateral))
        items.add(item.lower())
    return items


def _taken_apart(source: exp.Expr) -> tuple[str, list[Part]]:
    """The name of the elements, and the path of the array."""
    if isinstance(source, exp.AtIndex):
        return source.this.alias, _parts(source.this.this)
    return source.args["alias"].columns[0].name, _parts(source.expressions[0])


def _parts(node: Part) -> list[Part]:
    """The steps of a path, outermost first; none for something else."""
    if isinstance(node, exp.Column):
        return [] if isinstance(node.this, exp.Star) else list(node.parts)
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
        outer = _parts(node.this)
        return [*outer, node.expression] if outer else []
    if isinstance(node, exp.Bracket) and len(node.expressions) == 1:
        outer = _parts(node.this)
        return [*outer, node.expressions[0]] if outer else []
    return []


def _base(parts: Sequence[Part], names: set[str], tables: set[tuple[str, str]], items: set[str]) -> int:
    """How many of the parts name the column that holds the value; 0 where all of them do."""
    first = parts[0].name.lower()
    if first in items:
        return 1
    qualified = len(parts) > 2 and (first, parts[1].name.lower()) in tables
    start = 3 if qualified else 2 if first in names and len(parts) > 1 else 1
    return start if len(parts) > start else 0


def _value(parts: Sequence[Part], start: int) -> exp.Expr:
    """The value at the end of a path. Names of attributes are folded to lower case, quoted or not."""
    names = [part.copy() for part in parts[:start]]
    column = exp.Column(this=names[-1], table=names[-2] if start > 1 else None)
    steps = [exp.Literal.string(part.name.lower()) for part in parts[start:]]
    return exp.Anonymous(this="redshift.navigate", expressions=[column, *steps]) if steps else column


def _replace(node: Part, value: exp.Expr) -> None:
    """A cast of a value that does not fit gives null, as `cast_super_null_on_error` has it."""
    cast = node.parent
    if isinstance(cast, exp.Cast) and not cast.to.is_type("super"):
        kind = exp.DataType.build("text") if cast.to.is_type(*exp.DataType.TEXT_TYPES) else cast.to.copy()
        value = exp.Anonymous(this="redshift.super_as", expressions=[value, exp.cast(exp.null(), kind)])
    node.replace(value)
