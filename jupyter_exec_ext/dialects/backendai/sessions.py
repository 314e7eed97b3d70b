"""Handlers of sessions."""

from http import HTTPStatus

from tornado.web import authenticated

from jupyter_exec_ext.core.errors import TooManyError
from jupyter_exec_ext.core.sessions import NewSession, Session, SessionSettings, SessionState
from jupyter_exec_ext.dialects.backendai.base import Handler
from jupyter_exec_ext.dialects.backendai.errors import RefusalError, already_exists, no_kernel
from jupyter_exec_ext.dialects.backendai.executions import RunHandler
from jupyter_exec_ext.dialects.backendai.wire import (
    DIALECT_LABEL,
    IMAGE_ANNOTATION,
    CreateBody,
    checked_name,
    created_view,
    history_view,
    image_of,
    is_of_image,
    kernel_of,
    match_view,
    session_view,
    status_of,
)
from jupyter_exec_ext.store.listing import Filters, SessionFilters, SessionQuery
from jupyter_exec_ext.web.rights import authorized

MAX_MATCHES = 1_000
"""Among how many sessions those are looked for that match."""


class SessionsHandler(Handler):
    """The creation of sessions."""

    @authenticated
    @authorized(action="write", resource="exec-sessions")
    async def post(self) -> None:
        """Create one, or find it by its name; answer when its kernel is there."""
        await self.require("execute", "kernels")
        body = await self.read_body(CreateBody)
        session, is_new = await self._create(body)
        if body.waits:
            session = await self.services.sessions.wait_for_kernel(
                session.id, seconds=self.dialect_options.create_timeout_seconds
            )
        status = status_of(session)
        if session.state is SessionState.STARTING:
            status = "TIMEOUT" if body.waits else "PENDING"
        await self.write_json(created_view(session, status, is_new=is_new), HTTPStatus.CREATED)

    async def _create(self, body: CreateBody) -> tuple[Session, bool]:
        body.check()
        name, image = body.session, body.image or body.lang or ""
        specs = self.services.kernelspecs
        kernel_name = kernel_of(image, await specs.list(), specs.default_name)
        known = await self.services.sessions.named(name)
        if known is None:
            new = NewSession(
                name=name,
                kernel_name=kernel_name,
                keep_files=False,
                environment=dict(body.environment),
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
                    f"{error.message}; `run --rm` deletes its own",
                    status=HTTPStatus.PRECONDITION_FAILED,
                    kind="quota-exceeded",
                ) from error
            if is_new:
                return known, True
        if not body.may_reuse:
            raise already_exists(known.id)
        if not is_of_image(known, image, kernel_name):
            raise already_exists(
                known.id, f"session {name!r} has the image {image_of(known)}, not {image[:64]}"
            )
        return known, False


class SessionHandler(RunHandler):
    """One session, and what runs in it."""

    @authenticated
    @authorized(action="read", resource="exec-sessions")
    async def get(self, key: str) -> None:
        """Show it."""
        session = await self.session_of(key, may_have_ended=True)
        count = await self.services.executions.count(Filters(session_id=session.id))
        await self.write_json(session_view(session, count))

    @authenticated
    @authorized(action="write", resource="exec-sessions")
    async def delete(self, key: str) -> None:
        """End it."""
        session = await self.session_of(key, may_have_ended=True)
        await self.services.sessions.delete(session.id)
        await self.write_json({"stats": {"status": "terminated"}})

    @authenticated
    @authorized(action="execute", resource="exec-sessions")
    async def patch(self, key: str) -> None:
        """Restart it."""
        await self.require("execute", "kernels")
        session = await self.session_of(key)
        restarted = await self.services.sessions.restart(session.id)
        error = restarted.kernel_error
        if error is not None and status_of(restarted) == "ERROR":
            raise no_kernel(error.explanation)
        self.write_nothing()


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


class RenameHandler(Handler):
    """The name of a session."""

    @authenticated
    @authorized(action="write", resource="exec-sessions")
    async def post(self, key: str) -> None:
        """Give it another one."""
        name = checked_name(await self.read_text("name", default=""))
        session = await self.session_of(key)
        await self.services.sessions.update(session.id, SessionSettings(name=name))
        self.write_nothing()


class StatusHistoryHandler(Handler):
    """What became of a session."""

    _track_activity = False

    @authenticated
    @authorized(action="read", resource="exec-sessions")
    async def get(self, key: str) -> None:
        """Tell when."""
        session = await self.session_of(key, may_have_ended=True)
        await self.write_json({"result": history_view(session)})


class MatchHandler(Handler):
    """The search for sessions by the beginning of their names or ids."""

    _track_activity = False

    @authenticated
    @authorized(action="read", resource="exec-sessions")
    async def get(self) -> None:
        """List those that match."""
        start = await self.read_text("id", default="")
        query = SessionQuery(filters=SessionFilters(has_ended=False), page_size=MAX_MATCHES)
        found = (await self.services.sessions.list(query)).sessions
        matches = [
            match_view(session)
            for session in found
            if start and (session.id.startswith(start) or (session.name or "").startswith(start))
        ]
        await self.write_json({"matches": matches})
