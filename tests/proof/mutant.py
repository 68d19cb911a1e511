"""A known bug as a plausible edit of one file."""

from pathlib import Path
from typing import NamedTuple


class Mutant(NamedTuple):
    """A bug: in `file`, `old` becomes `new`; `tests` have to notice."""

    name: str
    file: str
    old: str
    new: str
    tests: str

    def plant(self, tree: Path) -> None:
        """Write the bug into a copy of the tree. ValueError where `old` does not stand there exactly once."""
        file = tree / self.file
        text = file.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"mutant {self.name!r}: its text stands {text.count(self.old)} times in {self.file}")
        file.write_text(text.replace(self.old, self.new))
