"""The page of analysts' questions: its queries, and what it says they return.

`python -m tests.dbt_project.questions WAREHOUSE` writes into the page what they return there.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb

PAGE = Path(__file__).parents[2] / "docs" / "questions.md"
QUESTION = re.compile(
    r"^### (?P<text>.+?)\n(?:(?!###).*\n)*?```sql\n(?P<sql>(?:.*\n)*?)```\n(?:\n```text\n(?P<answer>(?:.*\n)*?)```\n)?",
    re.MULTILINE,
)
Row = tuple[object, ...]


@dataclass(frozen=True)
class Question:
    """A question with its query and the answer that the page shows."""

    text: str
    sql: str
    answer: str


def read_questions() -> list[Question]:
    """The questions of the page, in its order."""
    return [Question(m["text"], m["sql"], m["answer"] or "") for m in QUESTION.finditer(PAGE.read_text())]


def ask(warehouse: Path, sql: str) -> list[Row]:
    """The rows that a query returns."""
    with duckdb.connect(str(warehouse)) as db:
        return db.execute(sql).fetchall()


def answer(warehouse: Path, sql: str) -> str:
    """What a query returns, as the page shows it."""
    with duckdb.connect(str(warehouse)) as db:
        result = db.execute(sql)
        lines = [[name for name, *_ in result.description], *([show(v) for v in row] for row in result.fetchall())]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
    return "".join(f"{line.rstrip()}\n" for line in padded)


def show(value: object) -> str:
    """A value as text; nothing for null."""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def write(warehouse: Path) -> None:
    """Put what the queries return on a warehouse into the page."""

    def answered(match: re.Match[str]) -> str:
        asked = match[0].split("\n```text\n")[0]
        return f"{asked}\n```text\n{answer(warehouse, match['sql'])}```\n"

    PAGE.write_text(QUESTION.sub(answered, PAGE.read_text()))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
