"""Handlers of sessions and runs, and what all handlers of this wire format share."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from uuid import UUID

import msgspec
from jupyter_server.auth.decorator import allow_unauthenticated
from tornado.web import authenticated

from jupyter_exec_ext.core.errors import ExecError, SessionEndedError, TooManyError
from jupyter_exec_ext.core.sessions import NewSession, Session, SessionSettings, SessionState
from jupyter_exec_ext.dialects.backendai.console import text_of
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
    DIALECT_LABEL,
    IMAGE_ANNOTATION,
    NAME,
    PROBLEM,
    VERSION,
    CompleteBody,
    CreateBody,
    ExecuteBody,
    RefusalError,
    checked_name,
    created_view,
    kernel_of,
    match_view,
    problem_of,
    session_view,
    status_of,
)
from jupyter_exec_ext.dialects.base import DialectMixin, Failure
from jupyter_exec_ext.services.doors import Services
from jupyter_exec_ext.store.listing import Filters, ListQuery, SessionFilters, SessionQuery
from jupyter_exec_ext.web.handler import ExecHandler, RefusingMixin
from jupyter_exec_ext.web.rights import authorized

MAX_MATCHES = 1_000

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


class VersionHandler(Handler):
    """What is asked before anything else, and by everybody."""

    _track_activity = False

    def take_credentials(self) -> None:
        """Take none."""

    @allow_unauthenticated
    def get(self) -> None:
        """Tell the versions."""
        self.write_json(VERSION)


class SessionsHandler(Handler):
    """The creation of sessions."""

    @authenticated
    @authorized(action="write", resource="exec-sessions")
    async def post(self) -> None:
        """Create one, or find it by its name; answer when its kernel is there."""
        await self.require("execute", "kernels")
        body = self.read_body(CreateBody)
        session, is_new = await self._create(body)
        if body.waits:
            session = await self.services.sessions.wait_for_kernel(
                session.id, seconds=self.dialect_options.create_timeout_seconds
            )
        status = status_of(session)
        if session.state is SessionState.STARTING:
            status = "TIMEOUT" if body.waits else "PENDING"
        elif is_new and session.kernel_error is not None:
            status = "ERROR"
        self.write_json(
            created_view(session, status, is_new=is_new),
            HTTPStatus.CREATED,
        )

    async def _create(self, body: CreateBody) -> tuple[Session, bool]:
        if body.kernel_count != 1:
            raise RefusalError(
                "Missing or invalid API parameters.", "a session has one kernel here"
            )
        image = body.image or body.lang or ""
        specs = self.services.kernelspecs
        name, kernel_name = body.session, kernel_of(image, await specs.list(), specs.default_name)
        known = await self.services.sessions.named(name)
        if known is None:
            new = NewSession(
                name=name,
                kernel_name=kernel_name,
                keep_files=False,
                environment=dict((body.config and body.config.environ) or {}),
                idle_timeout_seconds=self.dialect_options.idle_timeout_seconds,
                labels=DIALECT_LABEL,
                annotations={IMAGE_ANNOTATION: image},
            )
            try:
                known, is_new = await self.services.sessions.create(
                    new, owner=self.current_user.username
                )
            except TooManyError as error:
                raise RefusalError(
                    "You have reached your resource limit.",
                    error.message,
                    status=HTTPStatus.PRECONDITION_FAILED,
                    kind="quota-exceeded",
                ) from error
            if is_new:
                return known, True
        if not body.may_reuse or known.kernel_name != kernel_name:
            raise RefusalError(
                "The session already exists but you requested not to reuse existing one.",
                kind="session-already-exists",
                data={"existingSessionId": known.id},
            )
        return known, False


class SessionHandler(Handler):
    """One session, and what runs in it."""

    @authenticated
    @authorized(action="read", resource="exec-sessions")
    async def get(self, key: str) -> None:
        """Show it."""
        session = await self.session_of(key, may_have_ended=True)
        count = await self.services.executions.count(Filters(session_id=session.id))
        self.write_json(session_view(session, count))

    @authenticated
    @authorized(action="write", resource="exec-sessions")
    async def delete(self, key: str) -> None:
        """End it."""
        session = await self.session_of(key, may_have_ended=True)
        await self.services.sessions.delete(session.id)
        self.write_json({"stats": {"status": "terminated"}})

    @authenticated
    @authorized(action="execute", resource="exec-sessions")
    async def patch(self, key: str) -> None:
        """Restart it."""
        await self.require("execute", "kernels")
        session = await self.session_of(key)
        restarted = await self.services.sessions.restart(session.id)
        error = restarted.kernel_error
        if error is not None and error.code == "KernelStartFailed":
            raise RefusalError(
                "Internal server error.",
                error.message,
                status=HTTPStatus.INTERNAL_SERVER_ERROR,
                kind="internal-server-error",
            )
        self.write_nothing()

    @authenticated
    @authorized(action="execute", resource="executions")
    async def post(self, key: str) -> None:
        """Run code or commands, hand out what they print, give them input."""
        await self.require("execute", "kernels")
        body = self.read_body(ExecuteBody)
        if body.mode not in ("query", "batch", "continue", "input", "complete"):
            raise RefusalError("Missing or invalid API parameters.", "no such mode")
        if body.mode in ("continue", "input"):
            await self.require("read", "executions")
        if body.mode == "complete":
            await self.require("execute", "exec-sessions")
        session = await self.session_of(key)
        if body.mode == "complete":
            completed = await complete(self.services, session, body.code, body.options)
            self.write_json({"result": {"runId": body.run, "console": [], **completed}})
            return
        if body.mode in ("query", "batch"):
            run = await self.runs.start(session, body, owner=self.current_user.username)
        else:
            run = await self.runs.find(session, body.run)
        async with run.lock:
            if body.mode == "input":
                await self.runs.send_input(run, body.code or "")
            elif run.has_ended:
                run.rewind()
            result = await self.runs.answer(run, seconds=self.dialect_options.reply_seconds)
            if self.is_client_gone:
                run.rewind()
        self.write_json({"result": result})


async def complete(
    services: Services, session: Session, code: str | None, options: dict[str, Any] | None
) -> dict[str, Any]:
    """Return what can stand after *code*, in the terms of the service."""
    before, after = code or "", (options or {}).get("post") or ""
    if not isinstance(after, str):
        raise RefusalError("Missing or invalid API parameters.", "post is a text")
    found = await services.sessions.complete(session.id, before + after, cursor_pos=len(before))
    return {"status": "finished", "completions": found.matches}


class InterruptHandler(Handler):
    """The interruption of what runs in a session."""

    @authenticated
    @authorized(action="execute", resource="exec-sessions")
    async def post(self, key: str) -> None:
        """Interrupt it."""
        await self.require("execute", "kernels")
        session = await self.session_of(key)
        await self.services.sessions.interrupt(session.id)
        self.write_nothing()


class CompleteHandler(Handler):
    """What can stand where somebody writes code."""

    @authenticated
    @authorized(action="execute", resource="exec-sessions")
    async def post(self, key: str) -> None:
        """Ask the kernel."""
        await self.require("execute", "kernels")
        body = self.read_body(CompleteBody)
        session = await self.session_of(key)
        found = await complete(self.services, session, body.code, body.options)
        self.write_json({"result": found})


class LogsHandler(Handler):
    """What all that ran in a session printed."""

    _track_activity = False

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, key: str) -> None:
        """Show the newest of it."""
        session = await self.session_of(key, may_have_ended=True)
        left, texts = self.dialect_options.max_log_chars, []
        query = ListQuery(filters=Filters(session_id=session.id))
        for execution in (await self.services.executions.list(query)).executions:
            text = (await self._log_of(execution.id))[-left:]
            texts.append(text)
            left -= len(text)
            if left <= 0:
                break
        self.write_json({"result": {"logs": "".join(reversed(texts))}})

    async def _log_of(self, execution_id: str) -> str:
        """Return the end of what one execution showed on the console."""
        follower, text = self.services.following.so_far(execution_id), ""
        while not follower.has_ended:
            text += text_of(await follower.read(seconds=0))
            text = text[-self.dialect_options.max_log_chars :]
        return text


class RenameHandler(Handler):
    """The name of a session."""

    @authenticated
    @authorized(action="write", resource="exec-sessions")
    async def post(self, key: str) -> None:
        """Give it another one."""
        names = self.read_texts("name")
        name = checked_name(names[0] if len(names) == 1 else "")
        session = await self.session_of(key)
        await self.services.sessions.update(session.id, SessionSettings(name=name))
        self.write_nothing()


class MatchHandler(Handler):
    """The search for sessions by the beginning of their names or ids."""

    _track_activity = False

    @authenticated
    @authorized(action="read", resource="exec-sessions")
    async def get(self) -> None:
        """List those that match."""
        texts = self.read_texts("id")
        start = texts[0] if texts else ""
        query = SessionQuery(filters=SessionFilters(has_ended=False), page_size=MAX_MATCHES)
        found = (await self.services.sessions.list(query)).sessions
        matches = [
            match_view(session)
            for session in found
            if start and (session.id.startswith(start) or (session.name or "").startswith(start))
        ]
        self.write_json({"matches": matches})


class AnnouncementHandler(Handler):
    """What an operator has to say, which is nothing."""

    _track_activity = False

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """Say so."""
        self.write_json({"enabled": False, "message": ""})


class UnknownHandler(RefusingMixin, Handler):  # type: ignore[misc]
    """Every path below ours that is not in the table."""
