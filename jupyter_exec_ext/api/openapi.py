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
from jupyter_exec_ext.api.operations import Operation, operation_of
from jupyter_exec_ext.web.errors import ErrorBody
from jupyter_exec_ext.web.handler import ExecHandler

VERBS = ("get", "head", "post", "put", "patch", "delete")

ERRORS_OF_ALL = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""What every operation can answer: bad input, no right, a store or server that is not there."""

PATH_PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "execution_id": ("The execution's id.", {"type": "string"}),
}

_LOCATION = {"Location": "The path of the execution."}
_RETRY_AFTER = {"Retry-After": "After how many seconds it is worth asking again."}
_CONTENT_RANGE = {"Content-Range": "Which bytes these are, or how many there are."}
HEADERS: dict[HTTPStatus, dict[str, str]] = {
    HTTPStatus.PARTIAL_CONTENT: _CONTENT_RANGE,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: _CONTENT_RANGE,
    HTTPStatus.ACCEPTED: _LOCATION | _RETRY_AFTER,
    HTTPStatus.TOO_MANY_REQUESTS: _RETRY_AFTER,
}
"""Headers of the answers with a status."""

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
        pattern = _PARAMETER.sub(r"([^/]+)", self.path.replace(".", r"\."))
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
            "description": "Runs notebooks as durable executions on a Jupyter Server.",
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
            "schemas": _without_nulls(components),
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
            for kind in (described.body, *described.answers.values()):
                if not isinstance(kind, (str, tuple, NoneType)) and kind not in types:
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
    if issubclass(kind, Enum):
        schema["enum"] = [member.value for member in kind]
    if not is_dataclass(kind):
        return
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
            *(
                {
                    "name": p.name,
                    "in": p.place,
                    "description": p.description,
                    "schema": p.schema,
                }
                for p in described.parameters
            ),
        ],
        "responses": {
            **{
                str(int(status)): _answer(status, kind, schemas)
                for status, kind in described.answers.items()
            },
            **{
                str(int(status)): _answer(status, None if verb == "head" else ErrorBody, schemas)
                for status in sorted({*ERRORS_OF_ALL, *described.errors})
            },
        },
    }
    if described.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[id(described.body)]}},
        }
    return operation


def _path_parameter(name: str) -> dict[str, Any]:
    description, schema = PATH_PARAMETERS[name]
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
    }


def _answer(status: HTTPStatus, kind: Any, schemas: dict[int, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": status.phrase}
    if isinstance(kind, (str, tuple)):
        media_types = (kind,) if isinstance(kind, str) else kind
        answer["content"] = {name: {"schema": {"type": "string"}} for name in media_types}
    elif kind is not None:
        answer["content"] = {"application/json": {"schema": schemas[id(kind)]}}
    if status in HEADERS:
        answer["headers"] = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in HEADERS[status].items()
        }
    return answer


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
