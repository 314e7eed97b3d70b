"""The calls that run code and commands."""

import re
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote

from tornado.web import authenticated

from jupyter_exec_ext.core.errors import (
    ExecutionNotFoundError,
    MalformedRequestError,
    SessionEndedError,
)
from jupyter_exec_ext.core.models import (
    CodeSource,
    CommandSource,
    Execution,
    NewExecution,
    Result,
)
from jupyter_exec_ext.core.sessions import Session
from jupyter_exec_ext.dialects.azure import wire
from jupyter_exec_ext.dialects.azure.base import LABELS, NAME, Call
from jupyter_exec_ext.services.checks import check_request
from jupyter_exec_ext.store.listing import Filters, ListQuery
from jupyter_exec_ext.web.rights import authorized

_OPERATION_ID = re.compile(r"(?!\.\.?$)[\w.~:-]{1,200}", re.ASCII)


class _Execute(Call):
    """What runs something and waits for it."""

    _track_activity = True

    async def start(self, request: wire.Request) -> Execution:
        """Accept what *request* asks for, in the session that the call names.

        Raises:
            ExecError: It is refused.
        """
        await self.require("execute", "kernels")
        request.check()
        text = request.text()
        new = self._new_execution(request, text)
        # Before a session is made for it.
        check_request(new, self.services.limits)
        try:
            execution = await self._create(request, text, new)
        except SessionEndedError:
            # It was not used for too long at this very moment; the next has its name.
            execution = await self._create(request, text, new)
        if not await self.may_view(execution):
            # Another user's request had this operation-id.
            await self.require("read", "executions")
        return execution

    async def _create(self, request: wire.Request, text: str, new: NewExecution) -> Execution:
        session = await self.need_session()
        if self.dialect_options.translates_paths:
            text = wire.translated(text, self.services.files.place_of(session))
        operation_id = new.annotations.get(wire.OPERATION_ID)
        new = replace(
            new,
            source=self._source_of(request, text),
            session_id=session.id,
            fresh_kernel=bool(request.use_empty_kernel),
            idempotency_key=None if operation_id is None else _key(session, operation_id),
        )
        return await self.services.executions.create(new, owner=self.current_user.username)

    def _new_execution(self, request: wire.Request, text: str) -> NewExecution:
        """Return what is asked for, in no session yet."""
        identifier, operation_id = self.read_identifier(), self._read_operation_id()
        annotations, labels = {wire.IDENTIFIER: identifier}, dict(LABELS)
        if request.execution_type is not None:
            annotations[wire.EXECUTION_TYPE] = request.execution_type
        if operation_id is not None:
            annotations[wire.OPERATION_ID] = operation_id
            labels.update([wire.operation_label(identifier, operation_id)])
        length = request.output_streams_max_length
        if length is None and self.read_version() >= wire.FIRST_SHORT_VERSION:
            length = self.dialect_options.output_streams_max_length
        if length is not None:
            annotations[wire.STREAM_LENGTH] = str(length)
        is_command = request.shell_command is not None
        options = self.dialect_options
        limit = options.max_command_seconds if is_command else options.max_code_seconds
        return NewExecution(
            source=self._source_of(request, text),
            stdin=None if is_command else [],
            timeout_seconds=min(
                limit if request.timeout_in_seconds is None else request.timeout_in_seconds,
                limit,
                self.services.limits.max_execution_seconds,
            ),
            labels=labels,
            annotations=annotations,
        )

    def _source_of(self, request: wire.Request, text: str) -> CodeSource | CommandSource:
        """Return what runs *text*, which is code, or a command for a shell."""
        if request.shell_command is None:
            return CodeSource(code=text)
        return CommandSource(exec=[self.dialect_options.shell, "-c", text])

    def _read_operation_id(self) -> str | None:
        operation_id: str | None = self.request.headers.get("operation-id")
        if operation_id is not None and not _OPERATION_ID.fullmatch(operation_id):
            raise MalformedRequestError(
                "this has 1 to 200 letters, digits and . ~ : - _, and is not . or ..",
                target="operation-id",
            )
        return operation_id

    async def finish_run(
        self, execution: Execution, *, can_ask_again: bool
    ) -> tuple[Execution, Result]:
        """Return the record once it is final, or after the longest wait; and what it left.

        Args:
            can_ask_again: Whether the client understands that it runs on; else it is cancelled.
        """
        if "operation-id" not in self.request.headers:
            # Nobody knows by which name to ask for it later.
            self.when_gone(lambda: self.services.executions.cancel_soon(execution.id))
        executions = self.services.executions
        seconds = self.services.limits.max_wait_seconds
        final, result = await executions.wait(execution.id, seconds=seconds)
        if not final.state.is_final and not can_ask_again:
            executions.cancel_soon(execution.id)
            final = wire.given_up(final)
        return final, result or await executions.result(execution.id)


class CodeExecute(_Execute):
    """The older shape."""

    place_of_members: ClassVar[str] = "properties."

    @authenticated
    @authorized(action="execute", resource="executions")
    async def post(self) -> None:
        """Run code and wait for it."""
        self.read_identifier()
        execution, result = await self.run((await self.read_body(wire.Envelope)).properties)
        await self.write_result(_enveloped, execution, result)

    async def run(self, request: wire.Request) -> tuple[Execution, Result]:
        """Run code, and return the record and what the run left."""
        if request.shell_command is not None:
            raise MalformedRequestError("only code runs here", target="shellCommand")
        if request.is_asynchronous:
            raise MalformedRequestError("this is Synchronous here", target="executionType")
        with self.services.executions.waits.hold(self.share_key):
            return await self.finish_run(await self.start(request), can_ask_again=False)


def _enveloped(execution: Execution, result: Result) -> dict[str, Any]:
    return {"properties": wire.properties_view(execution, result)}


class PythonExecute(CodeExecute):
    """The oldest shape, whose endpoint some clients still have in their settings."""

    @authenticated
    @authorized(action="execute", resource="executions")
    async def post(self) -> None:
        """Run code and wait for it."""
        self.read_identifier()
        asked = (await self.read_body(wire.Envelope)).properties
        execution, result = await self.run(
            wire.Request(
                code=asked.code if asked.python_code is None else asked.python_code,
                code_input_type=asked.code_input_type or "inline",
                execution_type=asked.execution_type or "synchronous",
                timeout_in_seconds=asked.timeout_in_seconds,
            )
        )
        await self.write_result(wire.properties_view, execution, result)


class _Shown(Call):
    """What answers with an execution in the newer shape."""

    async def write_execution(
        self, execution: Execution, result: Result, status: HTTPStatus
    ) -> None:
        """Answer with it, and say where it can be seen."""
        view = partial(wire.execution_view, identifier=str(self.parameter("identifier")))
        operation_id = wire.operation_id_of(execution)
        self.set_header("operation-id", operation_id)
        url = self.call_url("executions", quote(operation_id, safe=""))
        self.set_header("Operation-Location", url)
        if not execution.state.is_final:
            self.set_header("Retry-After", "1")
        await self.write_result(view, execution, result, status)


class Executions(_Shown, _Execute):  # type: ignore[misc]
    """The newer shape."""

    @authenticated
    @authorized(action="execute", resource="executions")
    async def post(self) -> None:
        """Run code or a command, and wait for it unless the client does not want that."""
        self.read_identifier()
        request = await self.read_body(wire.Request)
        if request.is_asynchronous:
            execution, result = await self.start(request), Result()
        else:
            # Clients read the status of a command as its exit code.
            is_code = request.shell_command is None
            with self.services.executions.waits.hold(self.share_key):
                execution, result = await self.finish_run(
                    await self.start(request), can_ask_again=is_code
                )
        is_accepted = self.read_version() < wire.FIRST_OK_VERSION
        await self.write_execution(
            execution, result, HTTPStatus.ACCEPTED if is_accepted else HTTPStatus.OK
        )


class OneExecution(_Shown):
    """One execution of a session."""

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, execution_id: str) -> None:
        """Show it."""
        identifier = self.read_identifier()
        executions = self.services.executions
        found = await self._find_operation(identifier, execution_id)
        if found is None:
            found = await executions.get(execution_id)
        if identifier not in (found.session_name, found.annotations.get(wire.IDENTIFIER)):
            raise ExecutionNotFoundError(execution_id)
        result = Result()
        if found.state.is_final:
            result = await executions.result(found.id)
        await self.write_execution(found, result, HTTPStatus.OK)

    async def _find_operation(self, identifier: str, operation_id: str) -> Execution | None:
        """Return the newest execution that a client named so; its session may have ended."""
        if not _OPERATION_ID.fullmatch(operation_id):
            return None
        label = wire.operation_label(identifier, operation_id)
        query = ListQuery(filters=Filters(label=label), page_size=1)
        return next(iter((await self.services.executions.list(query)).executions), None)


def _key(session: Session, operation_id: str) -> str:
    """Return the key of an execution: a session that comes after has ids of its own."""
    return f"{NAME}:{session.id}:{operation_id}"
