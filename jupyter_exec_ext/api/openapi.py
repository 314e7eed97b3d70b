"""Makes the contract, in OpenAPI 3.1, from the routes, their handlers and the types they use."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from http import HTTPStatus
from types import NoneType
from typing import Any, get_args, get_type_hints

import msgspec

from jupyter_exec_ext._version import __version__
from jupyter_exec_ext.api.docstrings import description_of, fields_described
from jupyter_exec_ext.api.operations import (
    CONTENT_RANGE,
    RETRY_AFTER,
    Answer,
    Operation,
    Parameter,
    operation_of,
)
from jupyter_exec_ext.web.errors import ErrorBody
from jupyter_exec_ext.web.handler import ExecHandler

JSON = "application/json"
VERBS = ("get", "head", "post", "put", "patch", "delete")

ERRORS_OF_ALL = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""What every operation can answer: bad input, no right, too large a body, no store or server."""

_HEADERS_OF_ERRORS = {
    HTTPStatus.TOO_MANY_REQUESTS: (RETRY_AFTER,),
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: (CONTENT_RANGE,),
}


@dataclass(frozen=True)
class PathParameter:
    """A part of a path that a client fills in.

    Attributes:
        pattern: What it matches, as a regular expression.
    """

    description: str
    example: str
    pattern: str = "[^/]+"


PATH_PARAMETERS = {
    "execution_id": PathParameter("The execution's id.", "9a6c2f4e-5b1d-4c3a-8e7f-0d1b2c3a4e5f"),
    "session_id": PathParameter("The session's id.", "1f3d5b7a-9c2e-4a6b-8d0f-2e4c6a8b0d1f"),
    "path": PathParameter("A path with slashes, which stay as they are.", "data/in.csv", ".+"),
}

_PARAMETER = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{name}"


@dataclass(frozen=True)
class Route:
    """A path template below the base URL, and the handler that serves it."""

    path: str
    handler: type[ExecHandler]

    @property
    def pattern(self) -> str:
        """The path as Tornado matches it."""
        pattern = _PARAMETER.sub(
            lambda found: f"({PATH_PARAMETERS[found[1]].pattern})", self.path.replace(".", r"\.")
        )
        return f"{pattern}?" if pattern.endswith("/") else pattern

    @property
    def operations(self) -> dict[str, Operation]:
        """What each verb says of itself."""
        found = {verb: operation_of(getattr(self.handler, verb)) for verb in VERBS}
        return {verb: described for verb, described in found.items() if described is not None}


def build_document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of *routes*."""
    routes = tuple(routes)
    types = [ErrorBody, *_types_in(routes)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = dict(zip(map(id, types), schemas, strict=True))
    for kind in _classes_in(types):
        _complete(components[kind.__name__], kind)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jupyter_exec_ext",
            "version": __version__,
            "description": "Runs notebooks, code and programs as durable executions on a Jupyter"
            " Server, and moves their files.",
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
        },
        "security": [{"token": []}],
        "paths": {
            f"/{route.path}": {
                verb: _operation(route, verb, described, by_type)
                for verb, described in route.operations.items()
            }
            for route in routes
        },
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`token` and the server's or the hub's token.",
                }
            },
        },
    }


def _types_in(routes: Iterable[Route]) -> list[Any]:
    types: list[Any] = []
    for route in routes:
        for described in route.operations.values():
            answers = (answer.kind for answer in described.answers.values())
            for kinds in (described.body, *answers):
                for kind in kinds if isinstance(kinds, tuple) else (kinds,):
                    if not isinstance(kind, (str, NoneType)) and kind not in types:
                        types.append(kind)
    return types


def _classes_in(types: Iterable[Any]) -> list[type]:
    """Return the classes that become components: those of *types* and of their fields."""
    found: list[type] = []
    left = list(types)
    while left:
        kind = left.pop()
        left.extend(get_args(kind))
        if not isinstance(kind, type) or kind in found:
            continue
        if is_dataclass(kind) or issubclass(kind, msgspec.Struct):
            left.extend(get_type_hints(kind).values())
        elif not issubclass(kind, Enum):
            continue
        found.append(kind)
    return found


def _complete(schema: dict[str, Any], kind: type) -> None:
    """Say in *schema* what msgspec does not take from *kind*.

    That is the docstring, the order of words, and what is always there: a dataclass is an answer,
    in which only what is ``None`` is left out.
    """
    schema["description"] = description_of(kind)
    schema.update(getattr(kind, "more_schema", {}))
    if issubclass(kind, Enum):
        schema["enum"] = [member.value for member in kind]
    if not is_dataclass(kind):
        return
    schema.update(_without_nulls(schema))
    described = fields_described(kind)
    hints = get_type_hints(kind)
    for field in fields(kind):
        shown = schema["properties"][field.name]
        shown.pop("default", None)
        text = described.get(field.name) or field.metadata.get("help")
        if text:
            shown["description"] = text
        if datetime in (hints[field.name], *get_args(hints[field.name])):
            options = [shown, *shown.get("anyOf", ())]
            next(item for item in options if item.get("type") == "string")["format"] = "date-time"
    schema["required"] = [
        field.name for field in fields(kind) if not _can_be_none(hints[field.name])
    ]


def _can_be_none(hint: Any) -> bool:
    return hint is Any or type(None) in get_args(hint)


def _operation(
    route: Route, verb: str, described: Operation, schemas: dict[int, Any]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{verb}_{'_'.join(re.findall('[a-z]+', route.path))}",
        "summary": described.summary,
        "description": described.description,
        "x-rights": list(described.rights),
        "parameters": [
            *map(_path_parameter, _PARAMETER.findall(route.path)),
            *({"name": p.name, "in": p.place, **_described(p)} for p in described.parameters),
        ],
        "responses": {
            str(int(status)): _response(status, answer, schemas)
            for status, answer in (described.answers | _errors_of(described)).items()
        },
    }
    if verb == "head":
        for response in operation["responses"].values():
            response.pop("content", None)
    if described.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(described.body, schemas)}
        if described.example is not None:
            operation["requestBody"]["content"][JSON]["example"] = described.example
    return operation


def _errors_of(described: Operation) -> dict[HTTPStatus, Answer]:
    return {
        status: Answer(ErrorBody, _HEADERS_OF_ERRORS.get(status, ()))
        for status in sorted({*ERRORS_OF_ALL, *described.errors})
    }


def _path_parameter(name: str) -> dict[str, Any]:
    parameter = PATH_PARAMETERS[name]
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": parameter.description,
        "schema": {"type": "string", "minLength": 1},
        "example": parameter.example,
    }


def _described(parameter: Parameter) -> dict[str, Any]:
    shown: dict[str, Any] = {"description": parameter.description, "schema": parameter.schema}
    if parameter.required:
        shown["required"] = True
    if parameter.example is not None:
        shown["example"] = parameter.example
    return shown


def _response(status: HTTPStatus, answer: Answer, schemas: dict[int, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": status.phrase}
    if answer.kind is not None:
        response["content"] = _content(answer.kind, schemas)
    if answer.headers:
        response["headers"] = {header.name: _described(header) for header in answer.headers}
    return response


def _content(kind: Any, schemas: dict[int, Any]) -> dict[str, Any]:
    if isinstance(kind, tuple):
        if all(isinstance(item, type) for item in kind):
            return {JSON: {"schema": {"anyOf": [schemas[id(item)] for item in kind]}}}
        return {name: shown for item in kind for name, shown in _content(item, schemas).items()}
    if not isinstance(kind, str):
        return {JSON: {"schema": schemas[id(kind)]}}
    if kind == "text/event-stream":
        fields = {key: {"type": "string"} for key in ("id", "event", "data")}
        return {kind: {"schema": {"type": "object", "properties": fields}}}
    if kind == "multipart/form-data":
        return {
            kind: {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                    "additionalProperties": False,
                }
            }
        }
    return {kind: {"schema": {"type": "object" if kind.endswith("json") else "string"}}}


def _without_nulls(value: Any) -> Any:
    """Return schemas that say what is sent: an absent field, never ``null`` instead of it."""
    if isinstance(value, dict):
        shown = {key: _without_nulls(item) for key, item in value.items()}
        options = shown.get("anyOf")
        if isinstance(options, list) and {"type": "null"} in options:
            options.remove({"type": "null"})
            if shown.get("default", 0) is None:
                del shown["default"]
            if len(options) == 1:
                del shown["anyOf"]
                shown.update(options[0])
        return shown
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
