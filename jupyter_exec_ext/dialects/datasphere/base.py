"""The base of the handlers: reads a message, says a failure, shows an execution."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, partial
from http import HTTPStatus
from typing import Any, TypeVar, get_args
from uuid import uuid4

import msgspec

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    ExecError,
    ExecutionNotFoundError,
    InvalidArgumentError,
    NotebookNotFoundError,
    NotFoundError,
)
from jupyter_exec_ext.core.models import Execution, NotebookSource, Result
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.dialects.base import DialectMixin, Failure
from jupyter_exec_ext.dialects.datasphere.errors import ProjectNotFoundError, failure_of
from jupyter_exec_ext.dialects.datasphere.operations import operation_of
from jupyter_exec_ext.dialects.datasphere.options import DataSphere
from jupyter_exec_ext.dialects.datasphere.requests import (
    CHECKPOINT_MARK,
    Message,
    check_length,
    named_fields,
)
from jupyter_exec_ext.store.listing import Filters, ListQuery
from jupyter_exec_ext.web.handler import ExecHandler, RefusingMixin
from jupyter_exec_ext.web.reading import convert_value, decode_body

T = TypeVar("T", bound=Message)


class DataSphereHandler(DialectMixin[DataSphere], ExecHandler):  # type: ignore[misc]
    """What all handlers of the dialect share."""

    _track_activity = False

    @cached_property
    def request_id(self) -> str:
        """What this request is called in its answer."""
        return str(uuid4())

    def set_default_headers(self) -> None:
        """Name the request in every answer."""
        super().set_default_headers()
        self.set_header("x-request-id", self.request_id)

    def take_credentials(self) -> None:
        """Take ``Api-Key`` for a token; ``Bearer`` is Jupyter's own too."""
        scheme, _, key = self.request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "api-key":
            self.request.headers["Authorization"] = f"token {key.strip()}"

    def failure(self, status: int, error: ExecError | None) -> Failure:
        """Return the error as `google.rpc.Status`."""
        return failure_of(status, error, request_id=self.request_id)

    async def read_request(self, kind: type[T]) -> T:
        """Return what the client sent as a *kind*: the body, whatever its type is called.

        A GET has it in the query string, and with some clients in a body, which counts more.
        """
        given = self._query_of(kind) if self.request.method == "GET" else {}
        body = bytes(self._body or b"")
        if body.strip():
            fields = await threads.run_if_large(decode_body, body, dict[str, Any])
            given |= named_fields(kind, fields)
        return convert_value(given, kind)

    def _query_of(self, kind: type[Message]) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for field in msgspec.structs.fields(kind):
            texts = [
                text
                for name in (field.encode_name, field.name)
                for text in self.get_query_arguments(name, strip=False)
            ]
            if texts:
                is_list = list[str] in get_args(field.type)
                given[field.encode_name] = texts if is_list else texts[-1]
        return given

    def folder_of(self, version: str, project_id: str) -> str:
        """Return the API path of the folder of a project.

        Raises:
            InvalidArgumentError: The id is longer than it may be.
            ProjectNotFoundError: There is no such project.
        """
        options = self.dialect_options
        limit = options.max_id_length if version == "v1" else options.max_project_id_length
        folder = options.projects.get(check_length(project_id, limit=limit, field="projectId"))
        if folder is None:
            raise ProjectNotFoundError(project_id)
        return str(folder).strip("/")

    def checked(self, text: str | None, field: str) -> str:
        """Return what a client has to give, no longer than it may be."""
        if not text:
            raise InvalidArgumentError(f"{field} must be given", target=field)
        return check_length(text, limit=self.dialect_options.max_id_length, field=field)

    async def write_operation(self, execution_id: str) -> None:
        """Answer with an execution as it is now."""
        executions = self.services.executions
        execution, result = await executions.get(execution_id), Result()
        if execution.state.is_final and execution.variable_names:
            result = await executions.values(execution_id)
        limit = self.dialect_options.max_output_variables_bytes
        await self.write_result(partial(operation_of, max_bytes=limit), execution, result)

    async def write_done(self, execution_id: str) -> None:
        """Answer with the id and whether it is done, for a user who may not read executions."""
        execution = await self.services.executions.get(execution_id)
        self.write_value({"id": execution.id, "done": execution.state.is_final})

    async def runs_of(
        self, path: str, checkpoint_id: str | None, states: tuple[State, ...] = ()
    ) -> Sequence[Execution]:
        """Return runs of the notebook at *path*, the newest first, or the one of a checkpoint.

        Raises:
            NotFoundError: The notebook has no such checkpoint.
            NotebookNotFoundError: It has no runs, and is not there.
        """
        executions = self.services.executions
        if checkpoint_id:
            with suppress(ExecutionNotFoundError):
                run = await executions.get(checkpoint_id.rpartition(CHECKPOINT_MARK)[2])
                if isinstance(run.source, NotebookSource) and run.source.path == path:
                    return [run]
            raise NotFoundError("the notebook has no such checkpoint", target="checkpointId")
        filters = Filters(path=path, state=states)
        query = ListQuery(filters=filters, page_size=self.dialect_options.max_runs_read)
        runs = (await executions.list(query)).executions
        if not runs:
            await self._check_notebook(path)
        return runs

    async def _check_notebook(self, path: str) -> None:
        """Raise an error unless there is a file at *path* that the caller may see."""
        await self.require("read", "contents")
        entry = await self.services.notebooks.entry(path)
        if entry is None or entry.is_folder:
            raise NotebookNotFoundError


class UnknownHandler(RefusingMixin, DataSphereHandler):  # type: ignore[misc]
    """Every path that the service does not have."""


class UnservedHandler(RefusingMixin, DataSphereHandler):  # type: ignore[misc]
    """What the service has, and this server does not."""

    refusal = HTTPStatus.NOT_IMPLEMENTED
