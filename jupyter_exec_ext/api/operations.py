"""Says of each verb of a handler what the contract says; see `api.openapi`."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of the query string or a header."""

    name: str
    description: str
    schema: dict[str, Any]
    place: Literal["query", "header"] = "query"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One verb on one path.

    Attributes:
        summary: What it does, in the imperative.
        description: More of it, Markdown; may be empty.
        body: The type of the request's body; ``None`` for none.
        answers: By status what comes back: a type for JSON, one or more media types, or ``None``
            for nothing.
        errors: Which error statuses it can answer besides those that every operation can.
        rights: What the user must be allowed to do, as ``read executions``.
    """

    summary: str
    description: str
    parameters: tuple[Parameter, ...]
    body: type | None
    answers: dict[HTTPStatus, Any]
    errors: tuple[HTTPStatus, ...]
    rights: tuple[str, ...]


def operation(
    summary: str,
    *,
    description: str = "",
    parameters: tuple[Parameter, ...] = (),
    body: type | None = None,
    answers: dict[HTTPStatus, Any],
    errors: tuple[HTTPStatus, ...] = (),
    more_rights: tuple[str, ...] = (),
) -> Callable[[F], F]:
    """Attach an `Operation` to a verb that `web.rights.authorized` decorates.

    Args:
        more_rights: What the verb asks for itself, besides the right of its decorator.
    """

    def attach(method: F) -> F:
        method.operation = Operation(  # type: ignore[attr-defined]
            summary=summary,
            description=description,
            parameters=parameters,
            body=body,
            answers=answers,
            errors=errors,
            rights=(method.right, *more_rights),  # type: ignore[attr-defined]
        )
        return method

    return attach


def operation_of(method: Callable[..., Any]) -> Operation | None:
    """Return what `operation` attached to *method* or to what it decorates."""
    return getattr(method, "operation", None)
