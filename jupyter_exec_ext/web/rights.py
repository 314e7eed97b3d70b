"""What a caller may do: Jupyter Server's own check, with its arguments always spelled out."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from jupyter_server.auth import decorator

F = TypeVar("F", bound=Callable[..., Any])

Action = Literal["read", "write", "execute"]
Resource = Literal["executions", "exec-sessions", "exec-files", "kernels", "contents"]


def authorized(*, action: Action, resource: Resource) -> Callable[[F], F]:
    """Return a decorator that lets a verb run only for users who may do *action* on *resource*.

    Jupyter's decorator takes both as optional, and then remembers those of the first request for
    all later ones, whatever handler they meet. Here they are not optional.

    The verb tells them as ``right``, for the contract.
    """
    decorate = cast("Callable[[F], F]", decorator.authorized(action=action, resource=resource))

    def attach(method: F) -> F:
        decorated = decorate(method)
        decorated.right = f"{action} {resource}"  # type: ignore[attr-defined]
        return decorated

    return attach
