"""What Redshift refuses although PostgreSQL runs it, each with the page of its documentation that says so."""

from sqlglot import exp


class Refused(Exception):
    """A statement that Redshift would not run, or that the stand-in cannot run as Redshift would."""

    def __init__(self, message: str, code: str = "0A000") -> None:
        self.code = code
        super().__init__(message)


def check(tree: exp.Expr) -> None:
    """Raise Refused where Redshift would not run the statement."""
