"""REST handlers of executions."""

import re
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Any, get_args

from tornado.web import authenticated

from jupyter_exec_ext import threads
from jupyter_exec_ext.api.lists import LIST_PARAMETERS, read_list_arguments
from jupyter_exec_ext.api.operations import RETRY_AFTER, Answer, Parameter, header, operation
from jupyter_exec_ext.api.requests import ExecutionBody, InputBody
from jupyter_exec_ext.api.responses import (
    DeletedCount,
    ExecutionPage,
    ExecutionRecord,
    ExecutionState,
)
from jupyter_exec_ext.core.errors import (
    ExecutionNotFoundError,
    MalformedRequestError,
    UnreadableRowError,
)
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import ExecutionType, NewExecution, NotebookSource
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.services.executions import ExecutionService, unknown_predecessor
from jupyter_exec_ext.store.listing import Filters, ListQuery
from jupyter_exec_ext.web.handler import ExecHandler
from jupyter_exec_ext.web.reading import (
    read_choice,
    read_flag,
    read_number,
    read_time,
)
from jupyter_exec_ext.web.rights import authorized
from jupyter_exec_ext.web.views import basic_view, encode_notebook, full_view

_STRING = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_SECONDS = {"type": "number", "minimum": 0}
_VIEWS = {"basic": "basic", "full": "full"}
_STATES = {state.value: state for state in State}
_TYPES = {kind: kind for kind in get_args(ExecutionType)}
_ANY_STATE = "|".join(_STATES)
_PREFER = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d+)")

_WAIT = Parameter(
    name="wait",
    description="Answer when the execution is final, or after so many seconds; more than"
    " `max_wait_seconds` is `max_wait_seconds`.",
    schema=_SECONDS,
)
_PREFER_WAIT = Parameter(
    name="Prefer",
    description="`wait=N`, the same as the parameter `wait` (RFC 7240).",
    schema=_STRING,
    place="header",
)
_IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    description="The client's own name for this request, 1 to 256 characters. Sent again with the"
    " same key, the request answers with the same execution; another request with it is refused"
    " with 409. It is kept as long as the record.",
    schema=_STRING,
    place="header",
)
_VIEW = Parameter(
    name="view",
    description="`basic` leaves out the result and the traceback.",
    schema={"type": "string", "enum": ["basic", "full"], "default": "full"},
)
_RECORD_OR_STATE = (ExecutionRecord, ExecutionState)
_FOR_THE_RECORD = ("read executions (to see more than `id` and `state`)",)
_LOCATION = header("Location", "The path of the execution.")
_RETRY_UNLESS_FINAL = replace(RETRY_AFTER, required=False)
_DISPOSITION = header("Content-Disposition", "It is an attachment, named after the execution.")
_FILTERS = (
    Parameter(
        name="state",
        description="Only these states, with commas between.",
        schema={"type": "string", "pattern": f"^({_ANY_STATE})(,({_ANY_STATE}))*$"},
        example="failed",
    ),
    Parameter(name="session_id", description="Only this session's.", schema=_STRING),
    Parameter(
        name="type",
        description="Only what runs this.",
        schema={"type": "string", "enum": list(get_args(ExecutionType))},
    ),
    Parameter(name="path", description="Only of the notebook at this path.", schema=_STRING),
    Parameter(
        name="label",
        description="`name` or `name=value`.",
        schema={"type": "string", "minLength": 1},
    ),
    Parameter(
        name="origin_path",
        description="Only code whose `origin` has this `path`.",
        schema=_STRING,
    ),
    Parameter(
        name="origin_cell_id",
        description="Only code whose `origin` has this `cell_id`.",
        schema=_STRING,
    ),
    Parameter(name="owner", description="Only this user's.", schema=_STRING),
    Parameter(name="created_after", description="Created then or later.", schema=_TIME),
    Parameter(name="created_before", description="Created earlier.", schema=_TIME),
)


class _Handler(ExecHandler):
    """What the handlers of executions share."""

    def initialize(  # type: ignore[override]
        self, *, executions: ExecutionService, limits: Limits
    ) -> None:
        """Take the service."""
        super().initialize(max_body_bytes=limits.max_body_bytes)
        self.executions = executions
        self.limits = limits

    def read_wait(self) -> float:
        """Return for how many seconds the client wants to wait."""
        text = self.get_query_argument("wait", None)
        if text is None:
            found = _PREFER.search(self.request.headers.get("Prefer", ""))
            text = found[1] if found else None
        return read_number("wait", text, default=0, minimum=0, maximum=self.limits.max_wait_seconds)

    def read_view(self) -> str:
        """Return the view that the client wants."""
        return read_choice("view", self.get_query_argument("view", "full"), _VIEWS)

    async def write_execution(
        self,
        execution_id: str,
        *,
        view: str,
        wait_seconds: float = 0,
        unfinished: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        """Answer with the record in *view*, once it is final or after the wait.

        Args:
            unfinished: The status of the answer for a record that is not final.
        """
        execution, result = await self.executions.wait(
            execution_id, seconds=wait_seconds, user=self.share_key
        )
        status = HTTPStatus.OK
        if not execution.state.is_final:
            self.set_header("Retry-After", "1")
            status = unfinished
        if view == "basic":
            self.write_value(basic_view(execution), status)
        else:
            result = result or await self.executions.result(execution_id)
            await self.write_result(full_view, execution, result, status)

    async def write_state(
        self,
        execution_id: str,
        *,
        wait_seconds: float = 0,
        unfinished: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        """Answer with the id and the state alone, for a user who may not read executions."""
        execution, _ = await self.executions.wait(
            execution_id, seconds=wait_seconds, user=self.share_key
        )
        status = HTTPStatus.OK
        if not execution.state.is_final:
            self.set_header("Retry-After", "1")
            status = unfinished
        self.write_value(ExecutionState(id=execution.id, state=execution.state), status)

    def read_filters(self) -> Filters:
        """Return the filters of the query string."""
        given = {
            parameter.name: self.get_query_argument(parameter.name, None, strip=False)
            for parameter in _FILTERS
        }
        label, states = given["label"], given["state"]
        if label == "":
            raise MalformedRequestError("label is a name, or name=value", target="label")
        name, equals, value = (label or "").partition("=")
        kind = given["type"]
        return Filters(
            state=tuple(read_choice("state", text, _STATES) for text in states.split(","))
            if states is not None
            else (),
            session_id=given["session_id"],
            type=read_choice("type", kind, _TYPES) if kind is not None else None,
            path=given["path"],
            label=(name, value if equals else None) if label else None,
            origin_path=given["origin_path"],
            origin_cell_id=given["origin_cell_id"],
            owner=given["owner"],
            created_after=read_time("created_after", given["created_after"]),
            created_before=read_time("created_before", given["created_before"]),
        )


class ExecutionsHandler(_Handler):
    """All executions."""

    _track_activity = False

    @operation(
        "Execute code, a notebook or a command",
        description="The record is durable when this answers. Without `wait` that is at once, with"
        " 202; with it, 200 when the execution is final and 202 when it is not. A repeated"
        " `Idempotency-Key` can find another user's execution: a user who may not read executions"
        " sees only its `id` and its `state`.",
        parameters=(_WAIT, _PREFER_WAIT, _VIEW, _IDEMPOTENCY_KEY),
        body=ExecutionBody,
        example={"code": "1 + 1", "session_name": "mine"},
        answers={
            HTTPStatus.OK: Answer(_RECORD_OR_STATE, (_LOCATION,)),
            HTTPStatus.ACCEPTED: Answer(_RECORD_OR_STATE, (_LOCATION, RETRY_AFTER)),
        },
        errors=(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.INSUFFICIENT_STORAGE,
        ),
        more_rights=(
            "execute kernels",
            "read contents (a notebook)",
            "write contents (with `save_to`)",
            "write exec-sessions (with `session_name`)",
            "read executions (to see more than `id` and `state` of another user's execution)",
            "read executions (to run `after` another user's execution)",
        ),
    )
    @authenticated
    @authorized(action="execute", resource="executions")
    async def post(self) -> None:
        """Create an execution."""
        body = await self.read_body(ExecutionBody)
        new = replace(body.to_domain(), idempotency_key=self.request.headers.get("Idempotency-Key"))
        await self._require_rights(new)
        seconds, view = self.read_wait(), self.read_view()
        execution = await self.executions.create(new, owner=self.current_user.username)
        is_cancelled_when_gone = body.cancel_on_disconnect and seconds > 0
        del body, new  # A notebook in the request is large, and the request may wait for minutes.
        if is_cancelled_when_gone:
            self.when_gone(lambda: self.executions.cancel_soon(execution.id))
        self.set_header("Location", self.link("executions", execution.id))
        unfinished = HTTPStatus.ACCEPTED
        if await self.may_view(execution):
            await self.write_execution(
                execution.id, view=view, wait_seconds=seconds, unfinished=unfinished
            )
        else:
            await self.write_state(execution.id, wait_seconds=seconds, unfinished=unfinished)

    async def _require_rights(self, new: NewExecution) -> None:
        await self.require("execute", "kernels")
        if new.session_name is not None:
            await self.require("write", "exec-sessions")
        if isinstance(new.source, NotebookSource):
            await self.require("read", "contents")
            if new.source.save_to is not None:
                await self.require("write", "contents")
        if new.after is not None:
            with suppress(ExecutionNotFoundError, UnreadableRowError):
                if not await self.may_view(await self.executions.get(new.after)):
                    raise unknown_predecessor()

    @operation(
        "List executions",
        description="The newest first, a page at a time, without results.",
        parameters=(
            *_FILTERS,
            *LIST_PARAMETERS,
        ),
        answers={HTTPStatus.OK: ExecutionPage},
        errors=(HTTPStatus.UNPROCESSABLE_ENTITY,),
    )
    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """List executions."""
        arguments = read_list_arguments(self, max_page_size=self.limits.max_page_size)
        page = await self.executions.list(ListQuery(filters=self.read_filters(), **arguments))
        shown: dict[str, Any] = {"executions": [basic_view(item) for item in page.executions]}
        if page.next_page_token is not None:
            shown["next_page_token"] = page.next_page_token
        self.write_value(shown)

    @operation(
        "Delete the final executions that match",
        description="At least one filter has to be given.",
        parameters=_FILTERS,
        answers={HTTPStatus.OK: DeletedCount},
        errors=(HTTPStatus.INSUFFICIENT_STORAGE,),
    )
    @authenticated
    @authorized(action="write", resource="executions")
    async def delete(self) -> None:
        """Delete many."""
        filters = self.read_filters()
        if filters == Filters():
            raise MalformedRequestError("a bulk delete needs a filter")
        count = await self.executions.delete_where(filters)
        self.write_value(DeletedCount(deleted=count))


class ExecutionHandler(_Handler):
    """One execution."""

    _track_activity = False

    @operation(
        "Show an execution",
        description="While it runs, `result` has what there is so far.",
        parameters=(_WAIT, _PREFER_WAIT, _VIEW),
        answers={HTTPStatus.OK: Answer(ExecutionRecord, (_RETRY_UNLESS_FINAL,))},
        errors=(HTTPStatus.NOT_FOUND,),
    )
    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, execution_id: str) -> None:
        """Show it."""
        seconds, view = self.read_wait(), self.read_view()
        await self.write_execution(execution_id, view=view, wait_seconds=seconds)

    @operation(
        "Delete an execution",
        description="With all that belongs to it, but not a notebook that it saved.",
        parameters=(
            Parameter(
                name="force",
                description="Cancel it first, if it is not final.",
                schema={"type": "boolean", "default": False},
            ),
        ),
        answers={HTTPStatus.NO_CONTENT: None},
        errors=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.INSUFFICIENT_STORAGE),
        more_rights=("execute executions (with `force`)",),
    )
    @authenticated
    @authorized(action="write", resource="executions")
    async def delete(self, execution_id: str) -> None:
        """Delete it."""
        force = read_flag("force", self.get_query_argument("force", None))
        if force:
            await self.require("execute", "executions")
        await self.executions.delete(execution_id, force=force)
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


class CancelHandler(_Handler):
    """The end of one execution, by a client's will."""

    @operation(
        "Cancel an execution",
        description="Exactly this one. What waits leaves the queue; what runs is interrupted, and"
        " killed when it does not react. A final execution stays as it is.",
        parameters=(_WAIT, _PREFER_WAIT, _VIEW),
        answers={HTTPStatus.OK: Answer(_RECORD_OR_STATE, (_RETRY_UNLESS_FINAL,))},
        errors=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        more_rights=_FOR_THE_RECORD,
    )
    @authenticated
    @authorized(action="execute", resource="executions")
    async def post(self, execution_id: str) -> None:
        """Cancel it."""
        seconds, view = self.read_wait(), self.read_view()
        await self.executions.cancel(execution_id)
        if await self.may("read", "executions"):
            await self.write_execution(execution_id, view=view, wait_seconds=seconds)
        else:
            await self.write_state(execution_id, wait_seconds=seconds)


class InputHandler(_Handler):
    """The answer to what the code of one execution asks for."""

    @operation(
        "Answer the input that running code asks for",
        description="`input_request` in the record tells that it asks, and what.",
        parameters=(_VIEW,),
        body=InputBody,
        example={"value": "Ada"},
        answers={HTTPStatus.OK: Answer(_RECORD_OR_STATE, (_RETRY_UNLESS_FINAL,))},
        errors=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        more_rights=_FOR_THE_RECORD,
    )
    @authenticated
    @authorized(action="execute", resource="executions")
    async def post(self, execution_id: str) -> None:
        """Answer it."""
        view = self.read_view()
        await self.executions.answer(execution_id, (await self.read_body(InputBody)).value)
        if await self.may("read", "executions"):
            await self.write_execution(execution_id, view=view)
        else:
            await self.write_state(execution_id)


class NotebookHandler(_Handler):
    """The executed notebook of one execution."""

    _track_activity = False

    @operation(
        "Download the executed notebook",
        description="With the outputs so far, while it runs. A command has none.",
        answers={HTTPStatus.OK: Answer("application/x-ipynb+json", (_DISPOSITION,))},
        errors=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    )
    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, execution_id: str) -> None:
        """Write it as an attachment."""
        notebook = await self.executions.notebook(execution_id)
        text = await threads.run_sync(encode_notebook, notebook)
        self.set_header("Content-Disposition", f'attachment; filename="{execution_id}.ipynb"')
        self.finish(text, set_content_type="application/x-ipynb+json")
