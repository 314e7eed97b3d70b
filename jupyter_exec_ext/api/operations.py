"""Says of each verb of a handler what the contract says; see `api.openapi`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of the query string, or a header of a request or an answer.

    Attributes:
        required: Whether it has to come; an answer always has such a header.
        example: A value that the examples show; ``None`` leaves it out of them.
    """

    name: str
    description: str
    schema: dict[str, Any]
    place: Literal["query", "header"] = "query"
    required: bool = False
    example: str | None = None


def header(name: str, description: str, *, always: bool = True) -> Parameter:
    """Return a header of an answer; without *always* it is not there each time."""
    return Parameter(
        name=name,
        description=description,
        schema={"type": "string"},
        place="header",
        required=always,
    )


CONTENT_RANGE = header("Content-Range", "Which bytes these are, or how many there are.")
RETRY_AFTER = header("Retry-After", "After how many seconds it is worth asking again.")


@dataclass(frozen=True)
class Answer:
    """What comes with one status.

    Attributes:
        kind: A type for JSON, a media type (of which ``*`` can be a part), several types or media
            types of which one comes, or ``None`` for nothing.
        headers: Those of its own; see `header`.
    """

    kind: Any
    headers: tuple[Parameter, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One verb on one path.

    Attributes:
        summary: What it does, in the imperative.
        description: More of it, Markdown; may be empty.
        body: The type of the request's body, or a media type; ``None`` for none.
        example: A body that the server takes; ``None`` where there is no type.
        answers: What comes back, by status.
        errors: Which error statuses it can answer besides those that every operation can.
        rights: What the user must be allowed to do, as ``read executions``.
    """

    summary: str
    description: str
    parameters: tuple[Parameter, ...]
    body: type | str | None
    example: Any
    answers: dict[HTTPStatus, Answer]
    errors: tuple[HTTPStatus, ...]
    rights: tuple[str, ...]


def operation(
    summary: str,
    *,
    description: str = "",
    parameters: tuple[Parameter, ...] = (),
    body: type | str | None = None,
    example: Any = None,
    answers: Mapping[HTTPStatus, Any],
    errors: tuple[HTTPStatus, ...] = (),
    more_rights: tuple[str, ...] = (),
) -> Callable[[F], F]:
    """Attach an `Operation` to a verb that `web.rights.authorized` decorates.

    Args:
        answers: By status an `Answer`, or its kind alone where it has no headers of its own.
        more_rights: What the verb asks for itself, besides the right of its decorator.
    """

    def attach(method: F) -> F:
        method.query_names = frozenset(  # type: ignore[attr-defined]
            parameter.name for parameter in parameters if parameter.place == "query"
        )
        method.query_lists = frozenset(  # type: ignore[attr-defined]
            parameter.name for parameter in parameters if parameter.schema.get("type") == "array"
        )
        method.operation = Operation(  # type: ignore[attr-defined]
            summary=summary,
            description=description,
            parameters=parameters,
            body=body,
            example=example,
            answers={
                status: answer if isinstance(answer, Answer) else Answer(answer)
                for status, answer in answers.items()
            },
            errors=errors,
            rights=(method.right, *more_rights),  # type: ignore[attr-defined]
        )
        return method

    return attach


def operation_of(method: Callable[..., Any]) -> Operation | None:
    """Return what `operation` attached to *method* or to what it decorates."""
    return getattr(method, "operation", None)
