"""Which HTTP status each error has, and the one shape of an error body."""

from dataclasses import dataclass, field
from http import HTTPStatus

from jupyter_exec_ext.core.errors import (
    ConflictError,
    DiskFullError,
    ExecError,
    FileForbiddenError,
    InvalidArgumentError,
    MalformedRequestError,
    NotFoundError,
    PreconditionFailedError,
    RangeNotSatisfiableError,
    StoreFullError,
    TooLargeError,
    TooManyError,
    UnavailableError,
)

STATUS: dict[type[ExecError], HTTPStatus] = {
    MalformedRequestError: HTTPStatus.BAD_REQUEST,
    InvalidArgumentError: HTTPStatus.UNPROCESSABLE_ENTITY,
    FileForbiddenError: HTTPStatus.FORBIDDEN,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    PreconditionFailedError: HTTPStatus.PRECONDITION_FAILED,
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RangeNotSatisfiableError: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    TooManyError: HTTPStatus.TOO_MANY_REQUESTS,
    UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreFullError: HTTPStatus.INSUFFICIENT_STORAGE,
    DiskFullError: HTTPStatus.INSUFFICIENT_STORAGE,
}

CODE_OF_STATUS = {
    HTTPStatus.BAD_REQUEST: "MalformedRequest",
    HTTPStatus.UNAUTHORIZED: "Unauthorized",
    HTTPStatus.FORBIDDEN: "Forbidden",
    HTTPStatus.NOT_FOUND: "NotFound",
    HTTPStatus.METHOD_NOT_ALLOWED: "MethodNotAllowed",
    HTTPStatus.INTERNAL_SERVER_ERROR: "InternalError",
}
"""Codes of errors that Jupyter Server and Tornado raise themselves."""


@dataclass(frozen=True, kw_only=True)
class ErrorBody:
    """The body of every answer with a status of 400 or more.

    Attributes:
        code: A stable name for programs.
        message: A sentence for people.
        target: The field of the request that is at fault, dotted.
        details: More findings.
    """

    code: str
    message: str
    target: str | None = None
    details: list[str] = field(default_factory=list)


def status_of(error: type[ExecError]) -> HTTPStatus:
    """Return the HTTP status of errors of a class: that of its nearest listed base class."""
    return next(STATUS[kind] for kind in error.__mro__ if kind in STATUS)


def body_of(error: ExecError) -> ErrorBody:
    """Return *error* as an answer shows it."""
    return ErrorBody(
        code=error.code,
        message=error.message.encode("utf-8", "replace").decode(),
        target=error.target and error.target.encode("utf-8", "replace").decode(),
        details=list(error.details),
    )


def body_of_status(status_code: int) -> ErrorBody:
    """Return what an answer shows of an error that is none of ours: nothing but its status."""
    try:
        status = HTTPStatus(status_code)
    except ValueError:
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    return ErrorBody(code=CODE_OF_STATUS.get(status, "RefusedByServer"), message=status.phrase)
