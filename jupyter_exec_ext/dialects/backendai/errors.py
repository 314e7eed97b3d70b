"""Errors in the words of the service."""

from http import HTTPStatus
from typing import Any

from jupyter_exec_ext.core.errors import (
    ConflictError,
    DiskFullError,
    ExecError,
    ExecutionNotFoundError,
    FileConflictError,
    FileForbiddenError,
    InvalidArgumentError,
    KernelBusyError,
    MalformedRequestError,
    NoInputRequestError,
    NoSuchFileError,
    NotFoundError,
    SessionDiffersError,
    SessionEndedError,
    SessionNameTakenError,
    SessionNotFoundError,
    StoreFullError,
    TooLargeError,
    TooManyError,
    UnknownKernelError,
)

PROBLEM = "application/problem+json"

_PROBLEMS = "https://api.backend.ai/probs/"


class RefusalError(MalformedRequestError):
    """A request is refused in the words of the service.

    Attributes:
        status: Of the answer.
        kind: The end of its ``type``.
        title: For people.
        data: More of it, for programs.
    """

    code = "Refused"

    def __init__(
        self,
        title: str,
        message: str = "",
        *,
        status: int = HTTPStatus.BAD_REQUEST,
        kind: str = "invalid-api-params",
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.title = title
        self.data = data or {}


def bad_params(message: str) -> RefusalError:
    """Return the refusal of a parameter that is missing or wrong."""
    return RefusalError(_BAD[2], message)


def already_exists(session_id: str, message: str = "") -> RefusalError:
    """Return the refusal of a name that another session has."""
    return RefusalError(
        "The session already exists but you requested not to reuse existing one.",
        message,
        kind="session-already-exists",
        data={"existingSessionId": session_id},
    )


def no_kernel(message: str) -> RefusalError:
    """Return the refusal of what needs a kernel, in a session where none starts."""
    return RefusalError("The session has no kernel.", message, kind="generic-bad-request")


def problem_of(status: int, error: ExecError | None) -> tuple[int, dict[str, Any]]:
    """Return the status and the body with which the service would say an error."""
    if isinstance(error, (SessionDiffersError, SessionNameTakenError)):
        error = already_exists(error.session_id, error.message)
    if isinstance(error, RefusalError):
        return error.status, _problem(error.kind, error.title, error.message, error.data)
    message = ""
    if error is not None:
        message = _IN_OTHER_WORDS.get(type(error), error.message)
        message = message.encode("utf-8", "replace").decode()
    for classes, answer, kind, title in _OF_ERRORS:
        if isinstance(error, classes):
            return answer, _problem(kind, title, message, {})
    if status not in _OF_STATUS:
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    kind, title = _OF_STATUS[HTTPStatus(status)]
    return status, _problem(kind, title, message, {})


def _problem(kind: str, title: str, message: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": _PROBLEMS + kind, "title": title, "msg": message or title, "data": data}


_IN_OTHER_WORDS: dict[type[ExecError], str] = {
    ExecutionNotFoundError: "no such run",
    NoInputRequestError: "the run asks for no input now",
}
"""What names things that clients of the service do not know."""

_NO_SESSION = (HTTPStatus.NOT_FOUND, "object-not-found", "No such session.")
_BAD = (HTTPStatus.BAD_REQUEST, "invalid-api-params", "Missing or invalid API parameters.")
_OF_ERRORS: tuple[tuple[type | tuple[type, ...], int, str, str], ...] = (
    ((SessionNotFoundError, SessionEndedError), *_NO_SESSION),
    (UnknownKernelError, HTTPStatus.NOT_FOUND, "object-not-found", "No such environment image."),
    (
        (
            ExecutionNotFoundError,
            FileConflictError,
            InvalidArgumentError,
            MalformedRequestError,
            NoInputRequestError,
            TooLargeError,
        ),
        *_BAD,
    ),
    (NoSuchFileError, HTTPStatus.NOT_FOUND, "object-not-found", "No such file or directory."),
    (NotFoundError, HTTPStatus.NOT_FOUND, "object-not-found", "No such object."),
    (FileForbiddenError, HTTPStatus.FORBIDDEN, "generic-forbidden", "Forbidden operation."),
    (TooManyError, HTTPStatus.TOO_MANY_REQUESTS, "rate-limit-exceeded", "Too many requests."),
    (KernelBusyError, HTTPStatus.BAD_REQUEST, "generic-bad-request", "The session is busy."),
    (
        ConflictError,
        HTTPStatus.BAD_REQUEST,
        "generic-bad-request",
        "The request is in conflict with the session.",
    ),
    (
        (StoreFullError, DiskFullError),
        HTTPStatus.PRECONDITION_FAILED,
        "quota-exceeded",
        "You have reached your resource limit.",
    ),
)
"""The first that fits is taken; what fits none is said by its status."""

_OF_STATUS: dict[HTTPStatus, tuple[str, str]] = {
    HTTPStatus.BAD_REQUEST: _BAD[1:],
    HTTPStatus.UNAUTHORIZED: ("auth-failed", "Credential/signature mismatch."),
    HTTPStatus.FORBIDDEN: ("generic-forbidden", "Forbidden operation."),
    HTTPStatus.NOT_FOUND: ("url-not-found", "Unknown URL path."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method-not-allowed", "HTTP Method Not Allowed."),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("internal-server-error", "Internal server error."),
    HTTPStatus.SERVICE_UNAVAILABLE: ("service-unavailable", "Service unavailable."),
}
