"""Failures as Qinling says them: each with a ``faultstring``, and never a 500."""

from http import HTTPStatus
from typing import Any

from jupyter_exec_ext.core.errors import (
    ExecError,
    FileForbiddenError,
    MalformedRequestError,
    NotFoundError,
)
from jupyter_exec_ext.dialects.base import Failure

UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE
MAX_SHOWN_LENGTH = 200

_STATUS = {
    HTTPStatus.UNPROCESSABLE_ENTITY: HTTPStatus.BAD_REQUEST,
    HTTPStatus.PRECONDITION_FAILED: HTTPStatus.CONFLICT,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: HTTPStatus.BAD_REQUEST,
    # Clients have a class for 503, but fail over a 500, and name a 429 not at all.
    HTTPStatus.TOO_MANY_REQUESTS: UNAVAILABLE,
    HTTPStatus.INTERNAL_SERVER_ERROR: UNAVAILABLE,
    HTTPStatus.INSUFFICIENT_STORAGE: UNAVAILABLE,
}
_TEXTS = {
    HTTPStatus.UNAUTHORIZED: "The request you have made requires authentication.",
    HTTPStatus.FORBIDDEN: "Operation not allowed",
    HTTPStatus.NOT_FOUND: "The resource could not be found.",
    HTTPStatus.NOT_IMPLEMENTED: "This server has no such resource.",
}


class NotAllowedError(FileForbiddenError):
    """Something else needs it as it is."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message


def failure_of(status: int, error: ExecError | None, *, is_plain: bool) -> Failure:
    """Return an error as Qinling answers it.

    Args:
        is_plain: Whether the body has the ``faultstring`` only, as that of some endpoints.
    """
    try:
        status = _STATUS.get(HTTPStatus(status), HTTPStatus(status))
    except ValueError:
        status = HTTPStatus.BAD_REQUEST if status < UNAVAILABLE else UNAVAILABLE
    if error is not None:
        text = sentence(error)
    else:
        text = _TEXTS.get(HTTPStatus(status), HTTPStatus(status).phrase)
    body: dict[str, Any] = {"faultstring": text}
    if status == HTTPStatus.UNAUTHORIZED:
        body = {"code": 401, "title": "Unauthorized", "description": text, **body}
    elif not is_plain:
        code = "Client" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "Server"
        body = {"faultcode": code, **body, "debuginfo": None}
    return Failure(status=int(status), body=body)


def not_found(kind: str, **names: object) -> NotFoundError:
    """Return the error for a resource that is not there."""
    shown = ", ".join(f"{name}={_shown(value)}" for name, value in names.items())
    return NotFoundError(f"{kind} not found [{shown}]")


def bad_field(name: str, value: object, why: str) -> MalformedRequestError:
    """Return the error for a field of a body that cannot be as it is.

    Of a value only what is short and can be no secret is repeated.
    """
    shown = _shown(value) if isinstance(value, (str, int, float)) else "..."
    return MalformedRequestError(
        f"Invalid input for field/attribute {_shown(name)}. Value: '{shown}'. {why}"
    )


def wrong_type(name: str, value: object, expected: type) -> MalformedRequestError:
    """Return the error for a field of another type."""
    why = f"Wrong type. Expected '{expected}', got '{type(value)}'"
    return bad_field(name, value, why)


def not_a_uuid(text: object) -> MalformedRequestError:
    """Return the error for what should be an identifier."""
    return MalformedRequestError(f"Expected a uuid but received {_shown(text)}.")


def unknown_argument(name: str) -> MalformedRequestError:
    """Return the error for a parameter that there is not."""
    return MalformedRequestError(f'Unknown argument: "{_shown(name)}"')


def _shown(value: object) -> str:
    return str(value)[:MAX_SHOWN_LENGTH]


def sentence(error: ExecError) -> str:
    """Return what *error* says; what is not said in Qinling's words is at least a sentence."""
    text = error.message.encode("utf-8", "replace").decode()
    if type(error) in (MalformedRequestError, NotFoundError) or not text[-1:].isalnum():
        return text
    return f"{text[0].upper()}{text[1:]}."
