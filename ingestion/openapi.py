"""The collector's OpenAPI document, derived from the native contract."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from ingestion.contracts.native import VERSION, native_type
from ingestion.events import EVENT_TYPES

REF = "#/components/schemas/{name}"
REFUSALS: Mapping[int, str] = {
    400: "the body is no JSON and is kept as rejected; or it is broken gzip, or was cut short, and is not kept",
    401: "no write key, or one that is not known",
    408: "the body did not come in time",
    413: "more bytes or more events than one request may hold: send less at once",
    415: "a Content-Encoding or Content-Type that is not known",
    422: "JSON, but no event and no batch; it is kept as rejected",
    429: "this source has too much in flight: send slower",
    500: "a fault of the collector: send the same events again after Retry-After seconds",
    503: "nothing is known to be stored: send the same events again after Retry-After seconds",
}
RESULT = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"enum": ["accepted", "rejected"]},
        "code": {"type": "string", "description": "what was wrong"},
        "field": {"type": ["string", "null"], "description": "where"},
        "message": {"type": "string", "description": "the same in words"},
        "retry": {"type": "boolean", "description": "whether sending it again unchanged can help"},
    },
}
ANSWER = {
    "type": "object",
    "required": ["accepted", "rejected", "results"],
    "properties": {
        "accepted": {"type": "integer"},
        "rejected": {"type": "integer"},
        "results": {"type": "array", "items": RESULT, "description": "one per event, in the order of the request"},
    },
}


def json_schema(event_type: str) -> dict[str, Any]:
    """The JSON Schema of an event of one type, as an app sends it."""
    schema = msgspec.json.schema(native_type(event_type), ref_template="#/$defs/{name}")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": event_type, **schema}


@cache
def describe() -> dict[str, Any]:
    """The OpenAPI document."""
    types = [native_type(name) for name in EVENT_TYPES]
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    batch = {
        "type": "object",
        "required": ["batch"],
        "properties": {
            "sent_at": {"type": ["string", "null"], "format": "date-time"},
            "batch": {"type": "array", "items": {"$ref": REF.format(name="Event")}},
        },
    }
    event = {"$ref": REF.format(name="Event")}
    body = {"oneOf": [event, {"type": "array", "items": event}, batch]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headrace collector", "version": str(VERSION)},
        "paths": {
            "/v1/events": {
                "post": {
                    "summary": "Send one event or a batch",
                    "security": [{"basic": []}, {"header": []}, {"query": []}],
                    "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
                    "responses": {
                        "200": _content("one result per event; accepted means durable", ANSWER),
                        **_refusals(),
                    },
                }
            }
        },
        "components": {
            "schemas": {**components, "Event": {"anyOf": list(schemas)}},
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "the write key as user name"},
                "header": {"type": "apiKey", "in": "header", "name": "X-Write-Key"},
                "query": {"type": "apiKey", "in": "query", "name": "write_key"},
            },
        },
    }


def _refusals() -> dict[str, Any]:
    schema = {"type": "object", "properties": {"code": {"type": "string"}, "message": {"type": "string"}}}
    return {str(status): _content(text, schema) for status, text in REFUSALS.items()}


def _content(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
