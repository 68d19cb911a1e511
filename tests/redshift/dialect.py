"""Redshift's SQL as PostgreSQL says it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """What PostgreSQL runs for a statement."""

    sql: str
    transfer: object | None = None
    """A COPY or UNLOAD, which the stand-in runs itself."""
    commits: bool = False
    """Whether it commits the transaction that it is in."""


def translate(sql: str) -> Statement:
    """A statement of Redshift. Raises Refused."""
    return Statement(sql)
