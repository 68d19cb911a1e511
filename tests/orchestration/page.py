"""A page of HTML as a test reads it: its tables and texts, and what is wrong with it."""

from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "hr", "input"}
Rows = list[list[str]]


class Page(HTMLParser):
    """Reads a page and fails where a tag is not closed, closed twice, or where two elements have one id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, Rows] = {}
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: set[str] = set()
        self._open: list[str] = []
        self._rows: Rows = []
        self._caption = ""
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"
        assert len(set(self.ids)) == len(self.ids), "an id stands twice"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.references += [value or "" for name, value in attrs if name.split(":")[-1] in ("href", "src", "action")]

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        opened = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if not data.strip():
            return
        if "style" not in self._open:
            self.texts.append(" ".join(data.split()))
        if "caption" in self._open:
            self._caption += data
        elif self._open and {"td", "th"} & set(self._open):
            self._rows[-1][-1] += data

    def table(self, caption: str) -> dict[str, list[str]]:
        """The rows of a table under their first cell, without the head."""
        return {row[0]: row[1:] for row in self.tables[caption][1:]}

    def after(self, text: str, count: int = 1) -> list[str]:
        """The texts that follow one."""
        place = self.texts.index(text) + 1
        return self.texts[place : place + count]
