"""What all calls of the service have in common: parameters, the session they mean, errors."""

import re
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import unquote, urlencode

from jupyter_exec_ext.core.errors import (
    ExecError,
    MalformedRequestError,
    NotFoundError,
    SessionDiffersError,
    SessionNotFoundError,
    TooManyError,
)
from jupyter_exec_ext.core.sessions import NewSession, Session
from jupyter_exec_ext.dialects.azure import wire
from jupyter_exec_ext.dialects.azure.options import AzureDialect
from jupyter_exec_ext.dialects.base import DialectMixin, Failure
from jupyter_exec_ext.web.errors import body_of, body_of_status
from jupyter_exec_ext.web.handler import ExecHandler, RefusingMixin
from jupyter_exec_ext.web.transfers import FileHandler

NAME = "azure"
LABELS = {"dialect": NAME}

SUPPORTED_VERSIONS = (
    "2024-02-02-preview",
    "2024-08-02-preview",
    "2024-10-02-preview",
    "2025-02-02-preview",
    "2025-10-02-preview",
)

IDENTIFIER_PATTERN = re.compile(r"[!-~]{1,256}")
"""What a session can be called so that calls can name it."""

_VERSION = re.compile(r"20\d\d-\d\d-\d\d(-preview)?", re.ASCII)
_CODES = {
    "MalformedRequest": "InvalidRequest",
    "InvalidArgument": "InvalidRequest",
    "TooLarge": "PayloadTooLarge",
}
_TARGETS = {
    "Idempotency-Key": "operation-id",
    "command": "shellCommand",
    "command.exec": "shellCommand",
    "page_token": "pageToken",
}
_MESSAGES = {"IdempotencyConflict": "another request had this operation-id"}


class InvalidVersionError(MalformedRequestError):
    """The api-version is missing, or is none."""

    code = "InvalidApiVersion"


class InvalidIdentifierError(MalformedRequestError):
    """The identifier of the session is missing, or none can be called so."""

    code = "InvalidIdentifier"


class NoMoreSessionsError(NotFoundError):
    """There are as many sessions as may be; of the service too that is a 404."""

    code = "NoMoreSessions"


class _Calls(DialectMixin[AzureDialect]):
    """What stands before a base of handlers.

    Attributes:
        place_of_members: What stands before the names of members of the body in errors.
    """

    request: Any
    current_user: Any
    place_of_members: ClassVar[str] = ""
    _track_activity = False
    _right: str | None = None

    def set_default_headers(self) -> None:
        """Tell the versions of the service, as it does."""
        base: Any = super()
        base.set_default_headers()
        handler: Any = self
        handler.set_header("api-supported-versions", ", ".join(SUPPORTED_VERSIONS))

    def failure(self, status: int, error: ExecError | None) -> Failure:
        """Return how the service says an error; what is wrong in a request is 400."""
        found = body_of_status(status) if error is None else body_of(error)
        if status == HTTPStatus.UNPROCESSABLE_ENTITY:
            status = HTTPStatus.BAD_REQUEST
        code = _CODES.get(found.code, found.code)
        told: dict[str, Any] = {
            "code": code,
            "message": _MESSAGES.get(found.code, found.message),
        }
        if status == HTTPStatus.FORBIDDEN and error is None:
            told["message"] = f"this call needs the right: {self._needed_right()}"
        target = _TARGETS.get(found.target or "", found.target)
        if target in wire.Request.__struct_encode_fields__:
            target = self.place_of_members + target
        if target:
            told["target"] = target
        if found.details:
            told["details"] = [{"code": code, "message": detail} for detail in found.details]
        headers = {"x-ms-error-code": code}
        if status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return Failure(status=status, body={"error": told}, headers=headers)

    def _needed_right(self) -> str:
        """Return the right that was asked for last; else that of the verb."""
        verb = getattr(type(self), str(self.request.method).lower(), None)
        return self._right or str(getattr(verb, "right", ""))

    async def require(self, action: str, resource: str) -> None:
        """Ask for one more right than the verb needs, and remember which."""
        self._right = f"{action} {resource}"
        base: Any = super()
        await base.require(action, resource)

    def parameter(self, name: str) -> str | None:
        """Return a parameter of the query as it was sent: a plus in it is a plus.

        Raises:
            MalformedRequestError: It is no Unicode text.
        """
        for part in self.request.query.split("&"):
            key, _, value = part.partition("=")
            if key == name:
                try:
                    return unquote(value, errors="strict")
                except UnicodeDecodeError as error:
                    raise MalformedRequestError("this is not UTF-8", target=name) from error
        return None

    def read_version(self) -> str:
        """Return the api-version; it need not be one that is supported.

        Raises:
            InvalidVersionError: There is none.
        """
        version = self.parameter("api-version") or ""
        if not _VERSION.fullmatch(version):
            raise InvalidVersionError(
                f"the query has to have one of {', '.join(SUPPORTED_VERSIONS)}",
                target="api-version",
            )
        return version

    @property
    def is_old(self) -> bool:
        """Whether the client wants the older shape."""
        return self.read_version() < wire.FIRST_FLAT_VERSION

    def read_identifier(self) -> str:
        """Return the name of the session that the call is about, after a look at the version.

        Raises:
            InvalidIdentifierError: There is none.
        """
        self.read_version()
        identifier = self.parameter("identifier") or ""
        if not IDENTIFIER_PATTERN.fullmatch(identifier):
            raise InvalidIdentifierError(
                "the query has to have an identifier of 1 to 256 visible ASCII characters",
                target="identifier",
            )
        return identifier

    async def find_session(self) -> Session:
        """Return the session that the call names.

        Raises:
            SessionNotFoundError: There is none.
        """
        identifier = self.read_identifier()
        session = await self.services.sessions.named(identifier)
        if session is None:
            raise SessionNotFoundError(identifier, target="identifier")
        return session

    async def need_session(self) -> Session:
        """Return the session that the call names; a new one, for users who may, if there is none.

        Raises:
            HTTPError: There is none, and the user may not make one.
            ExecError: There is none, and none can be made.
        """
        identifier = self.read_identifier()
        session = await self.services.sessions.named(identifier)
        if session is not None:
            return session
        handler: Any = self
        await handler.require("write", "exec-sessions")
        await handler.require("execute", "kernels")
        new = NewSession(
            name=identifier,
            kernel_name=self.dialect_options.kernel_name or None,
            keep_files=False,
            idle_timeout_seconds=self.dialect_options.session_idle_seconds,
            labels=LABELS,
        )
        try:
            session, _ = await self.services.sessions.create(new, owner=self.current_user.username)
        except SessionDiffersError as error:
            # Another door was faster, and chose another kernel.
            return await self.services.sessions.get(error.session_id)
        except TooManyError as error:
            raise NoMoreSessionsError(f"no more sessions: {error.message}") from error
        return session

    async def place_of_session(self) -> str | None:
        """Return the path of the session's folder as code prints it; ``None`` where none does."""
        session = await self.services.sessions.named(self.read_identifier())
        return None if session is None else self.services.files.place_of(session)

    def call_url(self, *parts: str, **query: str) -> str:
        """Return the absolute URL of a call, with the version and the session of this one."""
        named = {"api-version": self.read_version(), "identifier": self.parameter("identifier")}
        named = {name: value for name, value in (named | query).items() if value is not None}
        return f"{self.public_url(NAME, *parts)}?{urlencode(named)}"


class Call(_Calls, ExecHandler):  # type: ignore[misc]
    """A call of the service."""


class FileCall(_Calls, FileHandler):  # type: ignore[misc]
    """A call of the service about files."""


class UnknownCall(RefusingMixin, Call):  # type: ignore[misc]
    """Every path of the dialect that the service has not."""
