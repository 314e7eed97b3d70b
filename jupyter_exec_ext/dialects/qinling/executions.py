"""Handlers of executions: create, list, show, log, delete."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from http import HTTPStatus

import msgspec
from tornado.iostream import StreamClosedError
from tornado.web import authenticated

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    ConflictError,
    ExecutionNotFoundError,
    IdempotencyConflictError,
    InvalidArgumentError,
    MalformedRequestError,
    UnknownKernelError,
)
from jupyter_exec_ext.core.models import Execution, NewExecution, NotebookSource
from jupyter_exec_ext.dialects.qinling.base import FILTERS, QinlingHandler, check_version
from jupyter_exec_ext.dialects.qinling.errors import bad_field, not_found, sentence
from jupyter_exec_ext.dialects.qinling.filters import Filter, take
from jupyter_exec_ext.dialects.qinling.requests import ExecutionRequest, read_execution
from jupyter_exec_ext.dialects.qinling.wire import (
    ANNOTATED_ALIAS,
    ANNOTATED_INPUT,
    ANNOTATED_REQUEST,
    ANNOTATED_SYNC,
    KEY_PREFIX,
    NAME,
    ExecutionView,
    canonical_id,
    fields_of,
    function_id_of,
    id_of,
    is_uuid,
    notebook_path,
    shown_input,
    states_of,
    variables_of,
)
from jupyter_exec_ext.services.following import LogFold
from jupyter_exec_ext.store.listing import Filters, ListQuery
from jupyter_exec_ext.web.rights import authorized

LOG_TYPE = "text/plain; charset=UTF-8"
PAGE_SIZE = 200
FLUSH_BYTES = 1024 * 1024


class ExecutionsHandler(QinlingHandler):
    """All executions."""

    query_names = ("function_id", "status", "description", *FILTERS)

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """List them, the oldest first, as they are read: there are no pages."""
        filters = self.read_filters()
        function = filters.get("function_id")
        if function is not None and function.operator in ("eq", "neq", "in", "nin"):
            filters["function_id"] = function.map(
                lambda text: (
                    canonical_id(text) if is_uuid(text) else function_id_of(notebook_path(text))
                )
            )
        self.set_header("Content-Type", "application/json")
        separator, size = b'{"executions":[', 0
        with contextlib.suppress(StreamClosedError):
            async for view in self._views(filters):
                data = separator + await threads.run_if_large(msgspec.json.encode, view)
                separator, size = b",", size + len(data)
                self.write(data)
                if size > FLUSH_BYTES:
                    size = 0
                    await self.flush_within(self.services.limits.transfer_timeout_seconds)
            self.finish(b"]}" if separator == b"," else separator + b"]}")

    async def _views(self, filters: Mapping[str, Filter]) -> AsyncIterator[ExecutionView]:
        project_id = self.project_id
        status = filters.get("status")
        states = states_of(status.wanted) if status and status.operator == "eq" else ()
        query = ListQuery(
            filters=Filters(state=states), order_by="created_time", page_size=PAGE_SIZE
        )
        while True:
            page = await self.services.executions.list(query)
            for execution in page.executions:
                if not take(filters, fields_of(execution, project_id=project_id)):
                    continue
                with contextlib.suppress(ExecutionNotFoundError):
                    yield await self.shown(execution, has_input=False)
            if page.next_page_token is None:
                return
            query = replace(query, page_token=page.next_page_token)

    @authenticated
    @authorized(action="execute", resource="executions")
    async def post(self) -> None:
        """Execute a function, and unless the client says otherwise wait for its end."""
        await self.require("execute", "kernels")
        await self.require("read", "contents")
        content_type = self.request.headers.get("Content-Type", "")
        body = bytes(self._body or b"")
        asked = await threads.run_if_large(read_execution, body, content_type)
        execution = await self._create(asked)
        executions, result = self.services.executions, None
        if asked.sync:
            seconds = self.dialect_options.sync_wait_seconds
            execution, result = await executions.wait(
                execution.id, seconds=seconds, user=self.share_key
            )
            if execution.state.is_final and result is None:
                result = await executions.result(execution.id)
        view = await self.view_of(execution, result, has_input=True)
        await self.answer(view, HTTPStatus.CREATED)

    @authenticated
    @authorized(action="write", resource="executions")
    async def delete(self) -> None:
        """Refuse to delete all at once."""
        raise MalformedRequestError('Missing argument: "id"')

    async def _create(self, asked: ExecutionRequest) -> Execution:
        function = asked.function or ""
        if asked.alias is not None:
            function = function_id_of((await self.aliases.find(asked.alias)).file.path)
        file = await self.find_function(function)
        check_version(file, asked.version)
        details = await self.functions.details(file)
        new = NewExecution(
            source=NotebookSource(path=file.path),
            inputs=await threads.run_if_large(
                partial(variables_of, is_whole=details.module is not None), asked.input
            ),
            variable_names=details.outputs[: self.services.limits.max_variables],
            # No client of Qinling's can answer what code asks.
            stdin=[],
            timeout_seconds=min(
                self.functions.timeout_of(details), self.services.limits.max_execution_seconds
            ),
            labels={"dialect": NAME},
            annotations=await self._annotations_of(asked),
            description=asked.description or "",
            idempotency_key=None if asked.id is None else f"{KEY_PREFIX}{asked.id}",
        )
        duplicate = MalformedRequestError("Duplicate entry for Execution: ['id']")
        if asked.id is not None and await self._is_taken(asked.id):
            raise duplicate
        try:
            return await self.services.executions.create(new, owner=self.current_user.username)
        except IdempotencyConflictError:
            raise duplicate from None
        except UnknownKernelError:
            name = details.kernel_name or self.services.kernelspecs.default_name
            raise ConflictError(f"Runtime {name} is not available.") from None
        except InvalidArgumentError as error:
            if (error.target or "").partition(".")[0] != "inputs":
                raise
            raise bad_field("input", "...", sentence(error)) from None

    async def _annotations_of(self, asked: ExecutionRequest) -> dict[str, str]:
        """Return what `execution_view` reads again; a very long input is not kept."""
        told = {ANNOTATED_SYNC: "true" if asked.sync else "false"}
        if asked.id is not None:
            # Makes two requests with one id two requests.
            told[ANNOTATED_REQUEST] = uuid.uuid4().hex
        if asked.alias is not None:
            told[ANNOTATED_ALIAS] = asked.alias
        if asked.input is not None:
            shown = partial(shown_input, is_masked=self.dialect_options.mask_inputs)
            text = await threads.run_if_large(shown, asked.input)
            if (
                text is not None
                and len(text.encode()) <= self.services.limits.max_annotation_bytes // 2
            ):
                told[ANNOTATED_INPUT] = text
        return told

    async def _is_taken(self, execution_id: str) -> bool:
        try:
            await self.services.executions.get(execution_id)
        except ExecutionNotFoundError:
            return False
        return True


class _OneExecution(QinlingHandler):
    """What the handlers of one execution share."""

    async def find(self, execution_id: str) -> Execution:
        """Return the record of the execution that a client knows by an id."""
        executions, wanted = self.services.executions, canonical_id(execution_id)
        try:
            return await executions.get(wanted)
        except ExecutionNotFoundError:
            found = await executions.of_key(f"{KEY_PREFIX}{wanted}")
            if found is None or id_of(found) != wanted:
                raise not_found("Execution", id=execution_id) from None
            return found


class ExecutionHandler(_OneExecution):
    """One execution."""

    def check_id(self, execution_id: str) -> None:
        """Raise `MalformedRequestError` for what is no id."""
        if not is_uuid(execution_id):
            why = f"Expected a uuid but received {execution_id[:200]}."
            raise bad_field("id", execution_id, why)

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, execution_id: str) -> None:
        """Show it."""
        self.check_id(execution_id)
        await self.answer(await self.shown(await self.find(execution_id), has_input=True))

    @authenticated
    @authorized(action="write", resource="executions")
    async def delete(self, execution_id: str) -> None:
        """Delete it, and stop it if it runs."""
        self.check_id(execution_id)
        execution = await self.find(execution_id)
        force = not execution.state.is_final
        if force:
            await self.require("execute", "executions")
        with contextlib.suppress(ExecutionNotFoundError):
            await self.services.executions.delete(execution.id, force=force)
        self.answer_empty()


class LogHandler(_OneExecution):
    """What one execution printed."""

    plain_methods = ("GET",)

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, execution_id: str) -> None:
        """Write it as Qinling's runtimes do; there is none until the execution is final."""
        execution = await self.find(execution_id)
        if not execution.state.is_final:
            self.answer_empty()
            return
        self.set_header("Content-Type", LOG_TYPE)
        name = id_of(execution)
        with contextlib.suppress(StreamClosedError):
            self.write(f"Start execution: {name}\n")
            last = await self._write_printed(execution.id)
            self.write(b"" if last == b"\n" else b"\n")
            error = execution.error
            if error is not None:
                self.write(f"{error.explanation.rstrip()}\n".encode("utf-8", "replace"))
            self.write(f"Finished execution: {name}\n")
            self.finish(set_content_type=LOG_TYPE)

    async def _write_printed(self, execution_id: str) -> bytes:
        """Write the text of both streams, and return its last byte; a line's end without any."""
        follower, log, last = self.services.following.so_far(execution_id), LogFold(), b"\n"
        while not follower.has_ended:
            data = log.add(await follower.read(seconds=0))
            last = data[-1:] or last
            self.write(data)
            # While a slow client takes it only the connection holds it.
            if len(data) > FLUSH_BYTES // 4:
                del data
                await self.flush_within(self.services.limits.transfer_timeout_seconds)
        return last
