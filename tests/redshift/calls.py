"""Calls that PostgreSQL writes otherwise; what a function of the same name does otherwise is in functions.sql."""

from sqlglot import exp

from tests.redshift.columns import varchar_bytes
from tests.redshift.errors import Refused
from tests.redshift.grammar import name_of, say

PARTS = {
    alias: part
    for part, aliases in {
        "year": "y yr yrs years",
        "quarter": "qtr qtrs quarters",
        "month": "mon mons months",
        "week": "w weeks",
        "day": "d days",
        "hour": "h hr hrs hours",
        "minute": "m min mins minutes",
        "second": "s sec secs seconds",
        "millisecond": "ms msec msecs milliseconds",
        "microsecond": "us usec usecs microseconds",
    }.items()
    for alias in [part, *aliases.split()]
}
"""docs.aws.amazon.com/redshift/latest/dg/r_Dateparts_for_datetime_functions.html"""


def rewrite_calls(tree: exp.Expr) -> None:
    """Change the calls of a statement, those within others first."""
    for cast in reversed(list(tree.find_all(exp.Cast))):
        _cut(cast)
    for call in reversed(list(tree.find_all(exp.Anonymous))):
        name = name_of(call)
        if name in ("datediff", "dateadd", "date_part") and call.expressions:
            part = call.expressions[0].name.lower()
            call.expressions[0].replace(exp.Literal.string(PARTS.get(part, part)))
        elif name == "listagg":
            _aggregate_strings(call)


def _aggregate_strings(call: exp.Anonymous) -> None:
    ordered = call.parent if isinstance(call.parent, exp.WithinGroup) else None
    if isinstance(call.expressions[0], exp.Distinct) or isinstance((ordered or call).parent, exp.Window):
        raise Refused("the stand-in does not run LISTAGG with DISTINCT or OVER")
    value, *separator = call.expressions
    order = f" {say(ordered.expression)}" if ordered else ""
    mark = say(separator[0]) if separator else "''"
    (ordered or call).replace(exp.Var(this=f"string_agg(cast({say(value)} as text), {mark}{order})"))


def _cut(cast: exp.Cast) -> None:
    """A cast to varchar(n) cuts after n bytes, PostgreSQL's after n characters."""
    if cast.to.is_type(*exp.DataType.TEXT_TYPES):
        size = varchar_bytes(cast.to)
        if size:
            text = exp.cast(cast.this.copy(), "text")
            cut = exp.Anonymous(this="redshift.cut", expressions=[text, exp.Literal.number(size)])
            cast.replace(exp.cast(cut, f"varchar({size})", dialect="postgres"))
        else:
            cast.set("to", exp.DataType.build("varchar", dialect="postgres"))
