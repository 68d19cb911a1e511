"""The grammar that means the same on PostgreSQL, once translated: all else fails until somebody looked it up."""

from collections.abc import Iterator

from sqlglot import exp

from tests.redshift.errors import Refused

KNOWN = {
    # queries
    "Alias", "AtIndex", "CTE", "Distinct", "Except", "From", "Group", "Having", "Intersect", "Join", "Limit", "Offset",
    "Order", "Ordered", "Select", "Star", "Subquery", "Table", "TableAlias", "Tuple", "Union", "Unnest", "Values",
    "Where", "Window", "WindowSpec", "With", "WithinGroup",
    # values
    "Add", "And", "Anonymous", "Between", "Boolean", "Bracket", "Case", "Cast", "Column", "CurrentDate", "CurrentUser",
    "DPipe", "DataType", "DataTypeParam", "Div", "Dot", "EQ", "Escape", "Exists", "Extract", "GT", "GTE", "ILike",
    "Identifier", "If", "In", "Interval", "Is", "LT", "LTE", "Like", "Literal", "Mul", "NEQ", "Neg", "Not", "Null",
    "Or", "Paren", "RegexpLike", "SimilarTo", "Sub", "Substring", "Trim", "Var",
    # statements that change something
    "Alter", "AlterColumn", "AlterRename", "ColumnConstraint", "ColumnDef", "Constraint", "Create",
    "DefaultColumnConstraint", "Delete", "Drop", "EncodeColumnConstraint", "ForeignKey",
    "GeneratedAsIdentityColumnConstraint", "IndexParameters", "Insert", "LikeProperty", "Merge",
    "NotNullColumnConstraint", "PrimaryKey", "PrimaryKeyColumnConstraint", "Properties", "Property", "Reference",
    "RenameColumn", "Schema", "TemporaryProperty", "UniqueColumnConstraint", "Update", "When", "Whens",
}  # fmt: skip


def unknown_grammar(tree: exp.Expr) -> Iterator[Refused]:
    """What is in a statement besides."""
    for node in tree.walk():
        name = type(node).__name__
        if name not in KNOWN:
            yield Refused(f"the stand-in does not know this grammar: {name}: {node.sql('redshift')[:80]}")
