"""How a request can fail to get what it asked for."""

from collections.abc import Sequence
from typing import Any


class ClientError(Exception):
    """A request did not get what it asked for.

    Attributes:
        code: A stable name for programs.
        message: One sentence for people.
        target: The field of the request that is at fault, dotted, or ``None``.
        details: More findings, one sentence each.
        status: The HTTP status; ``None`` when there was no answer.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        target: str | None = None,
        details: Sequence[str] = (),
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.target = target
        self.details = tuple(details)
        self.status = status


class RefusedError(ClientError):
    """The request cannot be carried out as it stands (400, 404, 409, 412, 413, 422)."""


class NotAllowedError(ClientError):
    """The server wants another token, or its user may not do this (401, 403, a login page)."""


class BusyError(ClientError):
    """A limit of the server is reached for now (429).

    Attributes:
        retry_after_seconds: When it is worth trying again; ``None`` when not told.
    """

    def __init__(
        self, message: str, *, code: str, retry_after_seconds: int | None, **facts: Any
    ) -> None:
        super().__init__(message, code=code, **facts)
        self.retry_after_seconds = retry_after_seconds


class ServiceFailedError(ClientError):
    """The service cannot do this (5xx)."""


class NoServiceError(ClientError):
    """Something answered, but not this API: the server has no jupyter_exec_ext."""


class NoAnswerError(ClientError):
    """The server could not be reached, or did not answer in time."""
