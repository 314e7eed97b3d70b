"""Answers of the API with an escape in one of their strings, made from its OpenAPI document."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jupyter_exec_ext.api.openapi import build_document
from jupyter_exec_ext.routes import ROUTES

SCHEMAS: Mapping[str, Any] = build_document(ROUTES)["components"]["schemas"]

HOSTILE = (
    "evil\x1b]52;c;eA==\x07\x1b[7A\x1b[2J\x1b[31m\x9b3J\x7f\x85\u2028\u202e\u2066\r"
    "[/x][y/n][bold][link=http://example.test]:smile:over"
)
"""Steers a terminal in several ways, and is markup for rich."""

SHOWN = (
    r"evil\x1b]52;c;eA==\x07\x1b[7A\x1b[2J\x1b[31m\x9b3J\x7f\x85\u2028\u202e\u2066\r"
    "[/x][y/n][bold][link=http://example.test]:smile:over"
)
"""What a person must see of it."""

SHOWN_IN_JSON = re.sub(r"\\x([01])", r"\\u00\1", SHOWN)
"""The same within a string of JSON."""


def hostile(name: str) -> Iterator[Any]:
    """Yield answers of the schema *name*: for each string in it, one in which that is hostile."""
    return _hostile({"$ref": f"/{name}"})


def plain(name: str) -> Any:
    """Return an answer of the schema *name* with what must be in it, and nothing hostile."""
    return _plain({"$ref": f"/{name}"})


def _hostile(schema: Mapping[str, Any]) -> Iterator[Any]:
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    for option in schema.get("anyOf", ()):
        yield from _hostile(option)
    match schema.get("type"):
        case "object":
            rest = _plain(schema)
            for name, inner in schema.get("properties", {}).items():
                yield from ({**rest, name: value} for value in _hostile(inner))
            others = schema.get("additionalProperties")
            if isinstance(others, dict):
                yield {HOSTILE: _plain(others)}
                yield from ({"name": value} for value in _hostile(others))
        case "array":
            yield from ([value] for value in _hostile(schema.get("items", {})))
        case "string":
            yield HOSTILE
        case None if "enum" in schema:
            yield HOSTILE
        case None if "anyOf" not in schema:  # any JSON
            yield from (HOSTILE, [HOSTILE], {HOSTILE: HOSTILE})


def _plain(schema: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return schema["enum"][-1]
    if "anyOf" in schema:
        return _plain(schema["anyOf"][0])
    match schema.get("type"):
        case "object":
            names = schema.get("required", ())
            return {name: _plain(schema["properties"][name]) for name in names}
        case "array":
            return []
        case "string":
            return "2026-07-01T12:00:00Z" if schema.get("format") == "date-time" else "plain"
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case _:
            return None


def merged(answers: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Return one answer with the strings of all *answers* that fit into one."""
    whole: dict[str, Any] = {}
    for answer in answers:
        _merge(whole, answer)
    return whole


def _merge(whole: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(whole.get(name), dict):
            _merge(whole[name], value)
        elif name not in whole or value == HOSTILE:
            whole[name] = value
