"""The design in `create table`: how rows are distributed, sorted and encoded. PostgreSQL has no words for it."""

from dataclasses import dataclass, replace

from sqlglot.tokenizer_core import Token, TokenType

from tests.redshift.grammar import tokens


@dataclass(frozen=True)
class Design:
    """What a statement says of it; None and () where it says nothing."""

    dist_style: str | None = None
    dist_key: str | None = None
    sort_keys: tuple[str, ...] = ()
    sort_style: str = "compound"


@dataclass(frozen=True)
class _Clause:
    """Tokens from one to before another that say `design`."""

    start: int
    end: int
    design: Design


def cut_design(sql: str) -> tuple[str, Design]:
    """`create table` without its design, and the design."""
    found = tokens(sql)
    words = [_word(token) for token in found] + ["", "", ""]
    design, depth, column, at = Design(), 0, "", 0
    cuts: list[tuple[int, int]] = []
    while at < len(found) and not (depth == 0 and words[at] == "as"):
        depth += (words[at] == "(") - (words[at] == ")")
        begins = depth == 1 and words[at - 1] in ("(", ",")
        column = found[at].text.lower() if begins else column
        clause = None if begins or depth > 1 else _clause(found, words, at, design, column if depth else None)
        if clause:
            cuts.append((found[clause.start].start, found[clause.end - 1].end + 1))
            design, at = clause.design, clause.end
        else:
            at += 1
    for start, end in reversed(cuts):
        sql = sql[:start] + sql[end:]
    return sql, design


def _clause(found: list[Token], words: list[str], at: int, design: Design, column: str | None) -> _Clause | None:
    """The clause that begins here: of the table, or of `column`."""
    word = words[at]
    if word in ("encode", "backup"):
        return _Clause(at, at + 2, design)
    if column is not None:
        if word == "distkey":
            return _Clause(at, at + 1, replace(design, dist_style="key", dist_key=column))
        return _Clause(at, at + 1, replace(design, sort_keys=(column,))) if word == "sortkey" else None
    if word == "diststyle":
        return _Clause(at, at + 2, replace(design, dist_style=words[at + 1]))
    if word == "distkey":
        (key,), end = _names(found, words, at + 1)
        return _Clause(at, end, replace(design, dist_style="key", dist_key=key))
    if word in ("sortkey", "compound", "interleaved"):
        first = at + 1 if word == "sortkey" else at + 2
        if words[first] == "auto":
            return _Clause(at, first + 1, design)
        keys, end = _names(found, words, first)
        style = "interleaved" if word == "interleaved" else "compound"
        return _Clause(at, end, replace(design, sort_keys=keys, sort_style=style))
    return None


def _names(found: list[Token], words: list[str], at: int) -> tuple[tuple[str, ...], int]:
    """The names in parentheses that begin at a token, and the token after them."""
    end = words.index(")", at)
    names = [
        token.text.lower() for token, word in zip(found[at + 1 : end], words[at + 1 :], strict=False) if word != ","
    ]
    return tuple(names), end + 1


def _word(token: Token) -> str:
    """A token in lower case; quoted names and strings are no words."""
    return "" if token.token_type in (TokenType.IDENTIFIER, TokenType.STRING) else token.text.lower()
