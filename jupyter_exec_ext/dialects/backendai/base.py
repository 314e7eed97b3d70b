"""What all handlers of this wire format share."""

import re
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import msgspec

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import ExecError, SessionEndedError, SessionNotFoundError
from jupyter_exec_ext.core.sessions import Session, SessionState
from jupyter_exec_ext.dialects.backendai.errors import (
    PROBLEM,
    RefusalError,
    bad_params,
    problem_of,
)
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
from jupyter_exec_ext.dialects.backendai.wire import NAME, is_session_id
from jupyter_exec_ext.dialects.base import DialectMixin, Failure
from jupyter_exec_ext.store.listing import SessionFilters, SessionQuery
from jupyter_exec_ext.web.handler import ExecHandler
from jupyter_exec_ext.web.reading import decode_body

MAX_ENDED = 100
"""Among how many sessions that have ended one is looked for by its name."""

_PREFIX = re.compile(rf".*?/exec/{NAME}(?=[/?]|\Z)")


class BackendAIMixin(DialectMixin[BackendAI]):
    """Authenticates signed requests, finds sessions, and says errors as the service does."""

    request: Any
    settings: Any
    identity_provider: Any
    serverapp: Any
    read_body: Any
    share_key: str
    query_texts: Any
    runs: Runs
    _body: bytearray | None
    _refusal: ExecError | None = None
    _is_signed = False

    def take_credentials(self) -> None:
        """Replace a signature by the token that it proves to be known.

        Raises:
            RefusalError: It proves nothing.
        """
        header = self.request.headers.get("Authorization", "")
        if header.strip().partition(" ")[0].lower() not in SCHEMES:
            return
        self._is_signed = True
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
        """Return the session with the id or the name *key*.

        An id comes before a name, whatever sessions were called elsewhere. Where no other has
        the name, it is the newest of the last `MAX_ENDED` that have ended.

        Raises:
            SessionNotFoundError: There is none.
            SessionEndedError: It has ended, unless it *may_have_ended*.
        """
        session = await self._with_id(key) or await self.services.sessions.named(key)
        if session is None and may_have_ended:
            query = SessionQuery(filters=SessionFilters(has_ended=True), page_size=MAX_ENDED)
            ended = (await self.services.sessions.list(query)).sessions
            session = next((one for one in ended if one.name == key), None)
        if session is None:
            raise SessionNotFoundError(key)
        if session.state is SessionState.ENDED and not may_have_ended:
            raise SessionEndedError(session.id)
        return session

    async def _with_id(self, key: str) -> Session | None:
        if is_session_id(key):
            with suppress(SessionNotFoundError):
                return await self.services.sessions.get(key.lower())
        return None

    async def read_texts(self, name: str) -> Sequence[str]:
        """Return the values of a parameter, of which there can be one, many or none.

        It is in the body, whatever the method; else in the query.

        Raises:
            MalformedRequestError: The body is no object, or the query no text.
            RefusalError: They are no texts.
        """
        sent = bytes(self._body or b"").strip()
        body = await threads.run_if_large(decode_body, sent, dict[str, Any]) if sent else {}
        if name not in body:
            found: list[str] = self.query_texts(name)
            return found
        value = body[name]
        values = [value] if isinstance(value, str) else value or []
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            raise bad_params(f"{name} is a text or a list")
        return values

    async def read_text(self, name: str, *, default: str) -> str:
        """Return the value of a parameter; *default* without one.

        Raises:
            MalformedRequestError: As `read_texts`.
            RefusalError: It is no text, or there are several.
        """
        values = await self.read_texts(name)
        if len(values) > 1:
            raise bad_params(f"{name} is given more than once")
        return values[0] if values else default

    def set_cookie(self, *args: Any, **kwargs: Any) -> None:
        """Set a cookie, but none for who signs.

        Jupyter gives one to whoever has its token, and it is worth as much for a month: who
        sees the answer to a signed request must get no more than that.
        """
        if not self._is_signed:
            base: Any = super()
            base.set_cookie(*args, **kwargs)


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


class Handler(BackendAIMixin, ExecHandler):  # type: ignore[misc]
    """A handler that moves no files."""

    async def write_json(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Answer with *value*; what is ``None`` stays."""
        data = await threads.run_if_large(msgspec.json.encode, value)
        self.set_status(status)
        self.finish(data)

    def write_nothing(self) -> None:
        """Answer that it is done."""
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()
