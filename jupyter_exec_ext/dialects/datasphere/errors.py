"""Errors as the service answers them: `google.rpc.Status` with the HTTP status of its code."""

from enum import IntEnum
from http import HTTPStatus
from typing import Any

from jupyter_exec_ext.core.errors import (
    ConflictError,
    ExecError,
    ExecutionNotFoundError,
    FileForbiddenError,
    IdempotencyConflictError,
    InvalidArgumentError,
    MalformedRequestError,
    NotFoundError,
    StoreFullError,
    TooLargeError,
    TooManyError,
    UnavailableError,
    UnknownCellError,
)
from jupyter_exec_ext.dialects.base import Failure
from jupyter_exec_ext.web.errors import body_of

TYPE_PREFIX = "type.googleapis.com/"


class Code(IntEnum):
    """The codes of `google.rpc.Code` that are answered."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class NotConfiguredError(InvalidArgumentError):
    """The request names something that the options of this server do not have."""

    code = "NotConfigured"


class ProjectNotFoundError(NotFoundError):
    """No project has this id, or its folder is not there."""

    code = "ProjectNotFound"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"no project {project_id[:64]!r}", target="projectId")


_STATUS = {
    Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    Code.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    Code.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    Code.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    Code.ABORTED: HTTPStatus.CONFLICT,
    Code.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    Code.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
}

_CODES: dict[type[ExecError], Code] = {
    NotConfiguredError: Code.FAILED_PRECONDITION,
    UnknownCellError: Code.NOT_FOUND,
    IdempotencyConflictError: Code.ALREADY_EXISTS,
    StoreFullError: Code.RESOURCE_EXHAUSTED,
    MalformedRequestError: Code.INVALID_ARGUMENT,
    InvalidArgumentError: Code.INVALID_ARGUMENT,
    TooLargeError: Code.INVALID_ARGUMENT,
    NotFoundError: Code.NOT_FOUND,
    FileForbiddenError: Code.PERMISSION_DENIED,
    ConflictError: Code.ABORTED,
    TooManyError: Code.RESOURCE_EXHAUSTED,
    UnavailableError: Code.UNAVAILABLE,
}

_CODES_OF_STATUS: dict[int, tuple[Code, str]] = {
    HTTPStatus.BAD_REQUEST: (Code.INVALID_ARGUMENT, "the request is malformed"),
    HTTPStatus.UNAUTHORIZED: (Code.UNAUTHENTICATED, "no valid token came with the request"),
    HTTPStatus.FORBIDDEN: (Code.PERMISSION_DENIED, "permission denied"),
    HTTPStatus.NOT_FOUND: (Code.NOT_FOUND, "there is nothing at this address"),
    HTTPStatus.METHOD_NOT_ALLOWED: (Code.UNIMPLEMENTED, "this server does not implement that"),
    HTTPStatus.TOO_MANY_REQUESTS: (Code.RESOURCE_EXHAUSTED, "too many requests"),
    HTTPStatus.NOT_IMPLEMENTED: (Code.UNIMPLEMENTED, "this server does not implement that"),
    HTTPStatus.SERVICE_UNAVAILABLE: (Code.UNAVAILABLE, "the server cannot do this now"),
}

_FIELDS = {
    "kernel_name": "spec",
    "notebook.path": "target",
    "notebook.cells": "cellId",
    "inputs": "inputVariables",
    "variable_names": "outputVariableNames",
}
"""What the service calls the fields of the native API."""


def failure_of(status: int, error: ExecError | None, *, request_id: str) -> Failure:
    """Return an error as the service answers it.

    Args:
        status: As the native API has it; counts only without an *error*.
    """
    details: list[dict[str, Any]] = []
    if error is None:
        is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        other = (Code.INTERNAL, "internal error") if is_ours else _CODES_OF_STATUS[400]
        code, message = _CODES_OF_STATUS.get(status, other)
    else:
        code = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), Code.INTERNAL)
        body = body_of(error)
        message = body.message
        if isinstance(error, ExecutionNotFoundError):
            message = f"no operation {error.execution_id[:64]!r}"
        if code is Code.INVALID_ARGUMENT and body.target:
            description = body.details[0] if body.details else message
            violation = {"field": _field_of(body.target), "description": description}
            kind = f"{TYPE_PREFIX}google.rpc.BadRequest"
            details.append({"@type": kind, "fieldViolations": [violation]})
    details.append({"@type": f"{TYPE_PREFIX}google.rpc.RequestInfo", "requestId": request_id})
    return Failure(
        status=_STATUS[code],
        body={"code": int(code), "message": message, "details": details},
        headers={"WWW-Authenticate": "Bearer"} if code is Code.UNAUTHENTICATED else {},
    )


def _field_of(target: str) -> str:
    """Return the service's name of the field that the native API calls *target*."""
    for native, foreign in _FIELDS.items():
        if target == native:
            return foreign
        if target.startswith(f"{native}."):
            return f"{foreign}{target[len(native) :]}"
    return target
