"""Handlers of runs, which are operations, and of what they left."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

import msgspec
from tornado.iostream import StreamClosedError
from tornado.web import authenticated

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    InvalidArgumentError,
    NotFoundError,
    UnknownKernelError,
)
from jupyter_exec_ext.core.models import Execution, NewExecution, NotebookSource, Output, Variable
from jupyter_exec_ext.core.states import FINAL_STATES
from jupyter_exec_ext.dialects.datasphere.base import DataSphereHandler
from jupyter_exec_ext.dialects.datasphere.errors import NotConfiguredError
from jupyter_exec_ext.dialects.datasphere.operations import (
    CELL_ID,
    MAX_DESCRIPTION_LENGTH,
    NOTEBOOK_ID,
    PROJECT_ID,
    VERSION,
    texts_of,
    values_of,
)
from jupyter_exec_ext.dialects.datasphere.options import Spec
from jupyter_exec_ext.dialects.datasphere.requests import (
    CellOutputsRequest,
    ExecuteRequest,
    StateVariablesRequest,
    check_length,
    inputs_of,
    path_of,
    source_of,
    split_cell_id,
)
from jupyter_exec_ext.web.reading import read_time
from jupyter_exec_ext.web.rights import authorized
from jupyter_exec_ext.web.views import encode

PIECE_BYTES = 1024 * 1024
"""How much of a long answer is sent at a time."""


class ExecuteHandler(DataSphereHandler):
    """A run of a notebook of a project, or of one of its cells."""

    _track_activity = True

    @authenticated
    @authorized(action="execute", resource="executions")
    async def post(self, version: str, project_id: str) -> None:
        """Accept it."""
        await self.require("execute", "kernels")
        await self.require("read", "contents")
        folder = self.folder_of(version, project_id)
        new = await self._new_execution(await self.read_request(ExecuteRequest), folder, version)
        annotations = {PROJECT_ID: project_id, **new.annotations}
        new = replace(
            new,
            annotations=annotations,
            idempotency_key=self.request.headers.get("Idempotency-Key"),
        )
        execution = await self.services.executions.create(new, owner=self.current_user.username)
        if await self.may_view(execution):
            await self.write_operation(execution.id)
        else:
            await self.write_done(execution.id)

    async def _new_execution(
        self, request: ExecuteRequest, folder: str, version: str
    ) -> NewExecution:
        kind, field = (
            (CELL_ID, "cellId") if request.notebook_id is None else (NOTEBOOK_ID, "notebookId")
        )
        target = self.checked(request.target, field)
        spec, environment = Spec(), {}
        if version == "v2":
            spec = await self._spec_of(request.spec)
            environment = self._spark_environment(request.spark_connector_id)
        inputs = inputs_of(request.input_variables or {})
        return NewExecution(
            source=source_of(request, folder),
            kernel_name=spec.kernel_name,
            inputs={**spec.environment, **environment, **inputs},
            variable_names=list(dict.fromkeys(request.output_variable_names or ())),
            stdin=[],
            labels={"dialect": "datasphere"},
            annotations={VERSION: version, kind: target},
            description=f"Execute {target}"[:MAX_DESCRIPTION_LENGTH],
        )

    async def _spec_of(self, name: str | None) -> Spec:
        if not name:
            return Spec()
        options = self.dialect_options
        known = options.spec_of(name)
        if known is not None:
            return known
        try:
            return Spec(kernel_name=await self.services.kernelspecs.choose(name, None))
        except UnknownKernelError as error:
            if not options.strict_spec:
                return Spec()
            names = ", ".join(dict.fromkeys((*options.specs, *error.known)))
            raise InvalidArgumentError(
                f"no spec is called {name[:64]!r}; this server has: {names}", target="spec"
            ) from error

    def _spark_environment(self, connector_id: str | None) -> dict[str, str]:
        if not connector_id:
            return {}
        field = "sparkConnectorId"
        check_length(connector_id, limit=self.dialect_options.max_id_length, field=field)
        environment: dict[str, str] | None = self.dialect_options.spark_connectors.get(connector_id)
        if environment is None:
            raise NotConfiguredError("this server has no such Spark connector", target=field)
        return environment


class OperationHandler(DataSphereHandler):
    """One operation, which is an execution."""

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, operation_id: str) -> None:
        """Show it."""
        await self.write_operation(operation_id)


class CancelHandler(DataSphereHandler):
    """The end of one operation, by a client's will; clients come with either verb."""

    @authenticated
    @authorized(action="execute", resource="executions")
    async def get(self, operation_id: str) -> None:
        """Cancel it, but not for a page of another origin, whose images are GETs with cookies."""
        self.check_xsrf_cookie()
        await self._cancel(operation_id)

    @authenticated
    @authorized(action="execute", resource="executions")
    async def post(self, operation_id: str) -> None:
        """Cancel it."""
        await self._cancel(operation_id)

    async def _cancel(self, operation_id: str) -> None:
        await self.services.executions.cancel(operation_id)
        if await self.may("read", "executions"):
            await self.write_operation(operation_id)
        else:
            await self.write_done(operation_id)


class StateVariablesHandler(DataSphereHandler):
    """Variables of the last run of a notebook that left any of those asked for."""

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, version: str, project_id: str) -> None:
        """Show them."""
        folder = self.folder_of(version, project_id)
        request = await self.read_request(StateVariablesRequest)
        path = path_of(self.checked(request.notebook_id, "notebookId"), folder)
        runs = await self.runs_of(path, request.checkpoint_id, FINAL_STATES)
        asked = set(request.variable_names or ())
        limit = self.dialect_options.max_output_variables_bytes
        shown: bytes | None = None
        for run in runs:
            names = [name for name in run.variable_names if not asked or name in asked]
            if names:
                result = await self.services.executions.values(run.id)
                shown = await threads.run_if_large(_encode_values, result.variables, names, limit)
            if shown is not None:
                break
        self.finish(shown if shown is not None else encode({"variables": {}}))


class CellOutputsHandler(DataSphereHandler):
    """What a cell put out when it last ran."""

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, version: str, project_id: str) -> None:
        """Show it."""
        folder = self.folder_of(version, project_id)
        request = await self.read_request(CellOutputsRequest)
        notebook_id, own_id = split_cell_id(self.checked(request.cell_id, "cellId"))
        since = read_time("startAt", request.start_at)
        runs = await self.runs_of(path_of(notebook_id, folder), request.checkpoint_id)
        run = next((run for run in runs if _may_have_run(run, own_id)), None)
        if run is None or (since and run.end_time and run.end_time < since):
            self.write_value({"outputs": []})
            return
        notebook = await self.services.executions.notebook(run.id)
        cell = next((cell for cell in notebook["cells"] if cell.get("id") == own_id), None)
        if cell is None:
            raise NotFoundError("the notebook had no such cell", target="cellId")
        answer = await threads.run_if_large(_encode_outputs, cell.get("outputs", []))
        del notebook, cell
        await self._write_slowly(answer)

    async def _write_slowly(self, answer: bytes) -> None:
        """Answer with JSON that may be long, as fast as the client takes it, or cut it off."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Length", str(len(answer)))
        with suppress(StreamClosedError):
            for start in range(0, len(answer), PIECE_BYTES):
                self.write(answer[start : start + PIECE_BYTES])
                await self.flush_within(self.services.limits.transfer_timeout_seconds)
            self.finish()


def _encode_values(
    variables: Mapping[str, Variable], names: Iterable[str], max_bytes: int
) -> bytes | None:
    """Return the answer with the values of *names*; ``None`` when none of them has one."""
    values = values_of(variables, names, max_bytes=max_bytes)
    return encode({"variables": values}) if values else None


def _encode_outputs(outputs: list[Output]) -> bytes:
    return msgspec.json.encode({"outputs": texts_of(outputs)})


def _may_have_run(run: Execution, cell_id: str) -> bool:
    """Whether *run* was of all cells, of this one or of some that its request does not name."""
    assert isinstance(run.source, NotebookSource)
    return not isinstance(run.source.cells, list) or cell_id in run.source.cells
