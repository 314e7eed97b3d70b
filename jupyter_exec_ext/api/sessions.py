"""REST handlers of sessions."""

from http import HTTPStatus

from tornado.web import authenticated

from jupyter_exec_ext.api.lists import LIST_PARAMETERS, read_list_arguments
from jupyter_exec_ext.api.operations import Answer, Parameter, header, operation
from jupyter_exec_ext.api.requests import CompletionBody, SessionBody, SettingsBody
from jupyter_exec_ext.api.responses import SessionList, SessionRecord
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.sessions import Completion
from jupyter_exec_ext.services.sessions import SessionService
from jupyter_exec_ext.store.listing import SessionFilters, SessionQuery
from jupyter_exec_ext.web.handler import ExecHandler
from jupyter_exec_ext.web.reading import read_choice
from jupyter_exec_ext.web.rights import authorized

_STRING = {"type": "string"}
_LOCATION = header("Location", "The path of the session.")
_STATES = {"alive": False, "ended": True, "all": None}


class _Handler(ExecHandler):
    """What the handlers of sessions share."""

    _track_activity = False

    def initialize(  # type: ignore[override]
        self, *, sessions: SessionService, limits: Limits
    ) -> None:
        """Take the service."""
        super().initialize(max_body_bytes=limits.max_body_bytes)
        self.sessions = sessions
        self.limits = limits


class SessionsHandler(_Handler):
    """All sessions."""

    @operation(
        "Create a session, or find it by its name",
        description="201 when it is new, and 200 when a session has the name: then nothing of it"
        " is changed. The kernel starts in the background.",
        body=SessionBody,
        example={"name": "mine", "kernel_name": "python3"},
        answers={
            HTTPStatus.OK: Answer(SessionRecord, (_LOCATION,)),
            HTTPStatus.CREATED: Answer(SessionRecord, (_LOCATION,)),
        },
        errors=(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.INSUFFICIENT_STORAGE,
        ),
        more_rights=("execute kernels",),
    )
    @authenticated
    @authorized(action="write", resource="exec-sessions")
    async def post(self) -> None:
        """Create or find one."""
        await self.require("execute", "kernels")
        new = (await self.read_body(SessionBody)).to_domain()
        session, is_new = await self.sessions.create(new, owner=self.current_user.username)
        self.set_header("Location", self.link("sessions", session.id))
        self.write_value(session, HTTPStatus.CREATED if is_new else HTTPStatus.OK)

    @operation(
        "List sessions",
        description="The newest first, a page at a time.",
        parameters=(
            Parameter(
                name="state",
                description="`alive`: those that have not ended.",
                schema={"type": "string", "enum": list(_STATES), "default": "alive"},
            ),
            Parameter(
                name="name",
                description="Only the one that has this name; one that ended has it no longer.",
                schema=_STRING,
            ),
            Parameter(name="owner", description="Only this user's.", schema=_STRING),
            *LIST_PARAMETERS,
        ),
        answers={HTTPStatus.OK: SessionList},
        errors=(HTTPStatus.UNPROCESSABLE_ENTITY,),
    )
    @authenticated
    @authorized(action="read", resource="exec-sessions")
    async def get(self) -> None:
        """List them."""
        filters = SessionFilters(
            name=self.get_query_argument("name", None),
            owner=self.get_query_argument("owner", None),
            has_ended=read_choice("state", self.get_query_argument("state", "alive"), _STATES),
        )
        arguments = read_list_arguments(self, max_page_size=self.limits.max_page_size)
        page = await self.sessions.list(SessionQuery(filters=filters, **arguments))
        self.write_value(page)


class SessionHandler(_Handler):
    """One session."""

    @operation(
        "Show a session",
        answers={HTTPStatus.OK: SessionRecord},
        errors=(HTTPStatus.NOT_FOUND,),
    )
    @authenticated
    @authorized(action="read", resource="exec-sessions")
    async def get(self, session_id: str) -> None:
        """Show it."""
        self.write_value(await self.sessions.get(session_id))

    @operation(
        "Change the settings of a session",
        description="Those that are given; the rest stays as it is.",
        body=SettingsBody,
        example={"idle_timeout_seconds": 3600},
        answers={HTTPStatus.OK: SessionRecord},
        errors=(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.INSUFFICIENT_STORAGE,
        ),
    )
    @authenticated
    @authorized(action="write", resource="exec-sessions")
    async def put(self, session_id: str) -> None:
        """Change them."""
        settings = (await self.read_body(SettingsBody)).to_domain()
        self.write_value(await self.sessions.update(session_id, settings))

    @operation(
        "End a session and forget it",
        description="What runs in it is interrupted, and it and what waits end as `failed` with"
        " `SessionLost`; their records stay. Its kernel is shut down, unless it is somebody"
        " else's.",
        answers={HTTPStatus.NO_CONTENT: None},
        errors=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.INSUFFICIENT_STORAGE),
    )
    @authenticated
    @authorized(action="write", resource="exec-sessions")
    async def delete(self, session_id: str) -> None:
        """End it."""
        await self.sessions.delete(session_id)
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


class InterruptHandler(_Handler):
    """The interruption of what runs in a session."""

    @operation(
        "Interrupt what runs in a session",
        description="As a person would in a notebook: the code gets its language's interrupt, and"
        " what becomes of its execution is up to it. To end one execution, cancel it.",
        answers={HTTPStatus.OK: SessionRecord},
        errors=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        more_rights=("execute kernels",),
    )
    @authenticated
    @authorized(action="execute", resource="exec-sessions")
    async def post(self, session_id: str) -> None:
        """Interrupt it."""
        await self.require("execute", "kernels")
        self.write_value(await self.sessions.interrupt(session_id))


class RestartHandler(_Handler):
    """A fresh kernel for a session."""

    @operation(
        "Restart the kernel of a session",
        description="Its variables are lost. What runs ends as `failed` with `KernelRestarted`,"
        " what waits with `SessionLost`, unless it has `on_kernel_death: continue`. 404"
        " `FolderNotFound`: the folder in which the kernel works is missing, and the kernel is left"
        " as it is. A folder that was made for the session is created again.",
        answers={HTTPStatus.OK: SessionRecord},
        errors=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        more_rights=("execute kernels",),
    )
    @authenticated
    @authorized(action="execute", resource="exec-sessions")
    async def post(self, session_id: str) -> None:
        """Restart it."""
        await self.require("execute", "kernels")
        self.write_value(await self.sessions.restart(session_id))


class CompleteHandler(_Handler):
    """What can stand where somebody writes code."""

    @operation(
        "Complete code in a session",
        description="What the kernel itself proposes, by the values that it has. A session that"
        " runs something refuses this, since its kernel answers nothing meanwhile.",
        body=CompletionBody,
        example={"code": "pri", "cursor_pos": 3},
        answers={HTTPStatus.OK: Completion},
        errors=(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        ),
        more_rights=("execute kernels",),
    )
    @authenticated
    @authorized(action="execute", resource="exec-sessions")
    async def post(self, session_id: str) -> None:
        """Ask the kernel."""
        await self.require("execute", "kernels")
        body = await self.read_body(CompletionBody)
        self.write_value(
            await self.sessions.complete(session_id, body.code, cursor_pos=body.cursor_pos)
        )
