from collections.abc import Iterator
from typing import Any

import pytest

from ingestion.events import EVENT_TYPES
from ingestion.openapi import describe, json_schema

POST = describe()["paths"]["/v1/events"]["post"]


def parts(value: Any) -> Iterator[Any]:
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(inner)


def resolve(document: Any, ref: str) -> Any:
    root, *path = ref.split("/")
    assert root == "#"
    for name in path:
        document = document[name]
    return document


def references(document: Any) -> list[str]:
    return [part["$ref"] for part in parts(document) if isinstance(part, dict) and "$ref" in part]


def test_every_reference_of_the_document_resolves() -> None:
    assert len(references(describe())) > len(EVENT_TYPES)
    for ref in references(describe()):
        assert "type" in resolve(describe(), ref) or "anyOf" in resolve(describe(), ref)


def test_every_status_of_the_collector_is_documented_with_its_body() -> None:
    statuses = ["200", "400", "401", "408", "413", "415", "422", "429", "500", "503"]
    assert sorted(POST["responses"]) == statuses
    for status in statuses:
        schema = POST["responses"][status]["content"]["application/json"]["schema"]
        assert schema["properties"].keys() >= ({"results"} if status == "200" else {"code", "message"})
        assert POST["responses"][status]["description"]


def test_each_way_to_give_the_key_is_documented() -> None:
    schemes = describe()["components"]["securitySchemes"]
    assert POST["security"] == [{name: []} for name in schemes]
    assert [(scheme["type"], scheme.get("name")) for scheme in schemes.values()] == [
        ("http", None),
        ("apiKey", "X-Write-Key"),
        ("apiKey", "write_key"),
    ]


def test_a_body_is_an_event_an_array_or_a_batch() -> None:
    event, array, batch = POST["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert event == array["items"] == batch["properties"]["batch"]["items"] == {"$ref": "#/components/schemas/Event"}
    assert batch["required"] == ["batch"]


def test_an_event_is_of_one_of_the_types_of_the_catalogue() -> None:
    references = describe()["components"]["schemas"]["Event"]["anyOf"]
    types = [resolve(describe(), one["$ref"]) for one in references]
    assert len(types) == len(EVENT_TYPES)
    for schema in types:
        assert {"event_id", "event_type"} <= set(schema["required"])
        assert {"occurred_at", "sent_at", "user_id", "app", "device", "context"} <= schema["properties"].keys()


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_each_type_has_a_schema_that_stands_alone(name: str) -> None:
    schema = json_schema(name)
    assert (schema["title"], schema["$schema"]) == (name, "https://json-schema.org/draft/2020-12/schema")
    for ref in references(schema):
        assert resolve(schema, ref)
    event = resolve(schema, schema["$ref"])
    properties = resolve(schema, event["properties"]["properties"]["$ref"])
    assert list(properties["properties"]) == list(EVENT_TYPES[name].__struct_fields__)
    assert all("description" in str(field) or "$ref" in str(field) for field in properties["properties"].values())
