"""COPY and UNLOAD as they are written: what goes from where to where, and with which options."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlglot.tokenizer_core import Token, TokenType

from tests.redshift.errors import Refused
from tests.redshift.grammar import tokens

WITH_VALUE = {"iam_role", "credentials", "region", "format", "maxerror", "maxfilesize", "parallel", "statupdate"}
COLUMNAR = {
    "iam_role",
    "credentials",
    "format",
    "fillrecord",
    "manifest",
    "serializetojson",
    "statupdate",
    "acceptinvchars",
}
"""What COPY takes with Parquet: docs.aws.amazon.com/redshift/latest/dg/copy-usage_notes-copy-from-columnar.html"""
UNLOADED = {"iam_role", "credentials", "format", "allowoverwrite", "parallel", "maxfilesize"}


@dataclass(frozen=True)
class Transfer:
    """Rows from S3 into a table (COPY), or of a query to S3 (UNLOAD)."""

    command: str
    subject: str
    """The table or the query."""
    url: str
    columns: tuple[str, ...]
    """The columns that COPY names; none for all."""
    options: Mapping[str, str]
    """By their names in lower case."""


def parse_transfer(sql: str) -> Transfer:
    """A COPY or UNLOAD. Raises Refused where it has another form than Redshift's, or than the stand-in's."""
    command = "COPY" if sql[:4].upper() == "COPY" else "UNLOAD"
    found = iter(tokens(sql[len(command) :]))
    try:
        subject, columns = _copied(found) if command == "COPY" else _unloaded(found)
        url, options = next(found).text, _options(found)
    except StopIteration as end:
        raise Refused(f"syntax error at end of {command}: {sql[:80]}", "42601") from end
    _check(command, options)
    if not url.startswith("s3://"):
        raise Refused(f"{command}: the stand-in reads and writes s3:// only, not {url!r}")
    return Transfer(command, subject, url, columns, options)


def _copied(found: Iterator[Token]) -> tuple[str, tuple[str, ...]]:
    """`table (columns) from`."""
    table, columns, inside = "", [], False
    for token in found:
        word = token.text.lower()
        if token.token_type in (TokenType.L_PAREN, TokenType.R_PAREN):
            inside = token.token_type == TokenType.L_PAREN
        elif word == "from" and token.token_type != TokenType.IDENTIFIER:
            break
        elif inside:
            columns += [] if token.token_type == TokenType.COMMA else [word]
        else:
            table += "." if token.token_type == TokenType.DOT else f'"{word}"'
    return table, tuple(columns)


def _unloaded(found: Iterator[Token]) -> tuple[str, tuple[str, ...]]:
    """`('query') to`."""
    _, query, _, to = next(found), next(found), next(found), next(found)
    if to.text.lower() != "to":
        raise Refused(f"syntax error at or near {to.text!r}", "42601")
    return query.text, ()


def _options(found: Iterator[Token]) -> dict[str, str]:
    options: dict[str, str] = {}
    for token in found:
        name = token.text.lower()
        if name in ("parquet", "csv", "json", "orc", "avro"):
            options["format"] = name
            continue
        options[name] = ""
        if name in WITH_VALUE:
            value = next(found)
            options[name] = (next(found) if value.text.lower() == "as" else value).text.lower()
            if name in ("iam_role", "credentials"):
                continue
    return options


def _check(command: str, options: Mapping[str, str]) -> None:
    if not (options.get("iam_role") or options.get("credentials")):
        raise Refused(f"{command} has no authorization: name an IAM_ROLE", "42601")
    if options.get("format") != "parquet":
        raise Refused(f"the stand-in knows {command} with FORMAT AS PARQUET only")
    if unknown := options.keys() - (COLUMNAR if command == "COPY" else UNLOADED):
        raise Refused(f"{', '.join(sorted(unknown)).upper()} is not supported for {command} with PARQUET")
