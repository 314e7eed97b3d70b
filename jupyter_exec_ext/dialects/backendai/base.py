"""What all handlers of this wire format share."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from uuid import UUID

import msgspec

from jupyter_exec_ext.core.errors import ExecError, SessionEndedError
from jupyter_exec_ext.core.sessions import Session, SessionState
from jupyter_exec_ext.dialects.backendai.options import BackendAI
from jupyter_exec_ext.dialects.backendai.runs import Runs
from jupyter_exec_ext.dialects.backendai.signing import (
    SCHEMES,
    UNSENT_TYPE,
    SignedRequest,
    is_recent,
    is_signed,
    is_version,
    read_credential,
    read_date,
)
from jupyter_exec_ext.dialects.backendai.wire import (
    NAME,
    PROBLEM,
    RefusalError,
    problem_of,
)
from jupyter_exec_ext.dialects.base import DialectMixin, Failure
from jupyter_exec_ext.web.handler import ExecHandler

_PREFIX = re.compile(rf".*?/exec/{NAME}(?=[/?]|\Z)")


class BackendAIMixin(DialectMixin[BackendAI]):
    """Authenticates signed requests, finds sessions, and says errors as the service does."""

    request: Any
    settings: Any
    identity_provider: Any
    serverapp: Any
    read_body: Any
    runs: Runs
    _body: bytearray | None
    _refusal: ExecError | None = None

    def take_credentials(self) -> None:
        """Replace a signature by the token that it proves to be known.

        Raises:
            RefusalError: It proves nothing.
        """
        header = self.request.headers.get("Authorization", "")
        if header.strip().partition(" ")[0].lower() not in SCHEMES:
            return
        del self.request.headers["Authorization"]
        try:
            self.request.headers["Authorization"] = f"token {self._proven_token(header)}"
        except RefusalError as refusal:
            self._refusal = refusal
            raise

    def _proven_token(self, header: str) -> str:
        headers = self.request.headers
        credential = read_credential(header)
        if credential is None:
            raise _auth_params("the header Authorization is malformed")
        date_text = headers.get("X-BackendAI-Date") or headers.get("Date") or ""
        date = read_date(date_text)
        if date is None or not is_recent(date, seconds=self.dialect_options.clock_skew_seconds):
            raise _auth_params("Date/time sync error")
        version = headers.get("X-BackendAI-Version")
        if not version:
            raise _auth_params("the header X-BackendAI-Version is missing")
        if not is_version(version):
            raise RefusalError("Unsupported API version.", kind="generic-bad-request")
        token = self._secret_of(credential.access_key)
        request = SignedRequest(
            method=self.request.method,
            uri=self.request.uri,
            host=headers.get("Host", ""),
            date_text=date_text,
            version=version,
            content_type=headers.get("Content-Type", UNSENT_TYPE).partition(";")[0].strip().lower(),
        )
        found = _PREFIX.match(self.request.uri)
        spellings = request.spellings(found[0] if found else "", self._forwarded_host())
        if not is_signed(spellings, credential, date, token):
            raise _auth_failed("Credential/signature mismatch.")
        return token

    def _secret_of(self, access_key: str) -> str:
        """Return the token that is the secret key here, and that Jupyter Server takes.

        Behind a hub the server knows none of its user's tokens: the access key is one, and what it
        is worth the hub says.
        """
        if hasattr(self.identity_provider, "hub_auth") or "hub_auth" in self.settings:
            return access_key
        token = str(getattr(self.identity_provider, "token", "") or "")
        if not token:
            raise _auth_failed("this server has no token, which would be the secret key")
        return token

    def _forwarded_host(self) -> str | None:
        if not getattr(self.serverapp, "trust_xheaders", False):
            return None
        host: str | None = self.request.headers.get("X-Forwarded-Host")
        return host

    def failure(self, status: int, error: ExecError | None) -> Failure:
        """Return a problem, with the service's own type and title."""
        if error is None and status == HTTPStatus.UNAUTHORIZED:
            error = self._refusal
        status, body = problem_of(status, error)
        return Failure(status=status, body=body, content_type=PROBLEM)

    async def session_of(self, key: str, *, may_have_ended: bool = False) -> Session:
        """Return the session with the name or the id *key*.

        Raises:
            SessionNotFoundError: There is none.
            SessionEndedError: It has ended.
        """
        session = None
        if not _is_uuid(key):
            session = await self.services.sessions.named(key)
        if session is None:
            session = await self.services.sessions.get(key)
        if session.state is SessionState.ENDED and not may_have_ended:
            raise SessionEndedError(session.id)
        return session

    def read_parameters(self) -> dict[str, Any]:
        """Return the object in the body, whatever the method; else the query, in lists.

        Raises:
            MalformedRequestError: The body is something else.
        """
        if bytes(self._body or b"").strip():
            found: dict[str, Any] = self.read_body(dict[str, Any])
            return found
        handler: Any = self
        return {name: handler.get_query_arguments(name) for name in self.request.query_arguments}

    def read_texts(self, name: str) -> Sequence[str]:
        """Return the values of a parameter, of which there can be one, many or none.

        Raises:
            RefusalError: They are no texts.
        """
        value = self.read_parameters().get(name)
        values = [value] if isinstance(value, str) else value or []
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            raise RefusalError("Missing or invalid API parameters.", f"{name} is a text or a list")
        return values


def _auth_params(message: str) -> RefusalError:
    return RefusalError(
        "Missing or invalid authorization parameters.", message, kind="invalid-auth-params"
    )


def _auth_failed(message: str) -> RefusalError:
    return RefusalError(
        "Credential/signature mismatch.",
        message,
        status=HTTPStatus.UNAUTHORIZED,
        kind="auth-failed",
    )


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


class Handler(BackendAIMixin, ExecHandler):  # type: ignore[misc]
    """A handler that moves no files."""

    def write_json(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Answer with *value*; what is ``None`` stays."""
        self.set_status(status)
        self.finish(msgspec.json.encode(value))

    def write_nothing(self) -> None:
        """Answer that it is done."""
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()
