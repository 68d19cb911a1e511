from io import StringIO

import pytest
from rich.console import Console

from ingestion.catalogue import print_catalogue
from ingestion.events import EVENT_TYPES, Properties, fields


@pytest.fixture(scope="module")
def catalogue() -> str:
    out = StringIO()
    print_catalogue(Console(file=out, width=250))
    return out.getvalue()


@pytest.mark.parametrize(("name", "cls"), EVENT_TYPES.items())
def test_every_type_is_there_with_its_topic_its_tables_and_its_fields(
    catalogue: str, name: str, cls: type[Properties]
) -> None:
    (section,) = [part for part in catalogue.split("\n\n") if part.lstrip().startswith(f"{name}: ")]
    assert f"topic events.{name}, lake table {name}, warehouse table raw.{name}" in section
    for field in fields(cls):
        (line,) = [line for line in section.splitlines() if line.startswith(f"│ {field.name} ")]
        assert field.description in line
        assert ("│ yes " in line) == field.required
        assert not field.max_bytes or f"string, {field.max_bytes} bytes" in line


def test_a_list_of_products_is_called_so(catalogue: str) -> None:
    assert "list of products" in catalogue and "struct" not in catalogue
