"""One run of an accepted execution, from the first move out of the queue to its final record."""

import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import anyio
import msgspec
from anyio import to_thread
from jupyter_server.utils import ensure_async

from jupyter_exec_ext.core.errors import (
    ExecutionNotFoundError,
    InternalRunError,
    KernelStartFailedError,
    RunError,
    ServerStoppedError,
    StoreUnavailableError,
)
from jupyter_exec_ext.core.inputs import Environment, size_of
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import Execution, ExecutionError, Progress, Result
from jupyter_exec_ext.core.states import State, advance
from jupyter_exec_ext.engine.kernels import Kernel, ServerHost, Signal
from jupyter_exec_ext.engine.notebooks import Cell, NotebookRun, error_of
from jupyter_exec_ext.engine.outputs import OutputFold
from jupyter_exec_ext.services.journal import Journal
from jupyter_exec_ext.services.notebooks import (
    EMPTY_SNAPSHOT,
    Notebooks,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
    executed_notebook,
)
from jupyter_exec_ext.services.supervisor import log_defect
from jupyter_exec_ext.store.store import Store

T = TypeVar("T")

INSIST_ATTEMPTS = 60
"""How often, once a second, a failing store is tried before the first code of a run is sent."""


START_ATTEMPTS = 3
"""How often a kernel is started whose process ends while it starts."""

MIN_STARTS = 4
"""How many kernels may start at the same time on a small machine."""


@dataclass(kw_only=True, eq=False)
class Live:
    """An execution of this process that is not safely stored in its final state yet.

    Attributes:
        environment: Its inputs; they are kept nowhere else.
        changed: Fires at each change of ``execution``.
        scope: Cancelling it stops the run; ``None`` while it waits.
        snapshot: ``None`` while it waits, since thousands may.
        is_stored: Whether the final record is in the store.
    """

    execution: Execution
    environment: Environment = field(default_factory=dict)
    changed: Signal = field(default_factory=Signal)
    scope: anyio.CancelScope | None = None
    snapshot: Snapshot | None = None
    journal: Journal | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    final_result: Result | None = None
    is_stored: bool = False

    @property
    def input_bytes(self) -> int:
        """How much memory the inputs take."""
        return size_of(self.environment)

    def change(self, **fields: Any) -> None:
        """Change fields of the record, but its state; that is for `advance`."""
        self.execution = replace(self.execution, **fields)
        self.changed.fire()

    def change_to(self, execution: Execution) -> None:
        """Show *execution*, which `advance` made, from now on."""
        self.execution = execution
        self.changed.fire()

    def result(self) -> Result:
        """Return what the run left so far."""
        if self.final_result is not None:
            return self.final_result
        if self.journal is None or self.snapshot is None:
            return Result()
        return Result(
            cells=self.journal.cells(self.snapshot.cell_indexes),
            metadata=self.metadata,
            truncated=self.journal.truncated,
        )


class RunService:
    """Runs accepted executions, each in a kernel of its own."""

    def __init__(
        self,
        *,
        host: ServerHost,
        notebooks: Notebooks,
        store: Store,
        limits: Limits,
        is_stopping: Callable[[], bool],
        log: logging.Logger,
    ) -> None:
        self._host = host
        self._notebooks = notebooks
        self._store = store
        self._limits = limits
        self._is_stopping = is_stopping
        self._log = log
        # A start takes a processor for a second; more at once only get into each other's way.
        self._start_limiter = anyio.CapacityLimiter(max(MIN_STARTS, os.cpu_count() or 1))

    async def run(self, live: Live) -> None:
        """Run *live* to a final state.

        When this returns or raises the record is final and stored; when the store fails it is
        final in memory, and `store_final` has to be called again.
        """
        start = time.monotonic()
        error: ExecutionError | None = None
        kernel: Kernel | None = None
        try:
            with anyio.CancelScope() as live.scope:
                if live.execution.state is State.CANCELLING:
                    live.scope.cancel()
                await self._insist(lambda: self._store.update(live.execution))
                live.snapshot = live.snapshot or await self._load_snapshot(live)
                kernel = await self._start_kernel(live)
                error = await self._run_notebook(live, kernel)
        except RunError as failure:
            error = error_of(failure)
        except anyio.get_cancelled_exc_class():
            # Not ours, which its scope would have caught: the server stops, and ends all kernels.
            if kernel is not None:
                kernel.abandon()
            error = error_of(ServerStoppedError("the server was stopped"))
            with anyio.CancelScope(shield=True):
                await self._end(live, State.FAILED, error, start)
            raise
        except Exception as defect:  # noqa: BLE001 - the record has to become final
            log_defect(self._log, defect)
            error = internal_error()
        finally:
            live.environment.clear()
        with anyio.CancelScope(shield=True):
            state = State.SUCCEEDED if error is None else State.FAILED
            if live.execution.state is State.CANCELLING:
                state, error = State.CANCELLED, None
            try:
                await self._end(live, state, error, start)
            except Exception as defect:  # noqa: BLE001 - the record has to become final
                log_defect(self._log, defect)
                if not live.execution.state.is_final:
                    live.journal = None
                    await self.end_without_result(live, State.FAILED, internal_error())
        if kernel is not None:
            await kernel.close()

    async def _load_snapshot(self, live: Live) -> Snapshot:
        """Read the snapshot of an execution that waited."""
        return decode_snapshot(
            await self._insist(lambda: self._store.get_notebook(live.execution.id))
        )

    async def _insist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what has to be done before code may run, once a second while the store fails.

        Code that runs without the store knowing of it could run again after a crash.
        """
        for _ in range(INSIST_ATTEMPTS):
            try:
                return await work()
            except StoreUnavailableError:
                await anyio.sleep(1)
            except ExecutionNotFoundError as error:
                raise InternalRunError("somebody removed the record from the store") from error
        raise InternalRunError("the store failed for too long when the execution's turn came")

    async def _start_kernel(self, live: Live) -> Kernel:
        execution = live.execution
        path = execution.source.path.strip("/")
        kernel_path = await self._notebooks.kernel_path(path)
        start = partial(
            Kernel.start,
            self._host,
            kernel_name=execution.kernel_name,
            path=path,
            kernel_path=kernel_path,
            environment=live.environment,
            session_path=f"exec-{execution.session_id}",
            display_name=f"exec: {path.rpartition('/')[2]}",
            timeout_seconds=self._limits.kernel_start_timeout_seconds,
        )
        async with self._start_limiter:
            kernel = await _start_again(start)
        live.metadata = {
            "language_info": kernel.language_info,
            "kernelspec": await self._kernelspec_metadata(execution.kernel_name),
        }
        live.change(kernel_id=kernel.kernel_id)
        return kernel

    async def _kernelspec_metadata(self, kernel_name: str) -> dict[str, str]:
        spec = await ensure_async(self._host.kernel_spec_manager.get_kernel_spec(kernel_name))
        return {
            "name": kernel_name,
            "display_name": spec.display_name,
            "language": spec.language,
        }

    async def _run_notebook(self, live: Live, kernel: Kernel) -> ExecutionError | None:
        """Run the cells and gather what they left; return why they failed, if they did."""
        execution = live.execution
        assert live.snapshot is not None
        cells = live.snapshot.cells
        live.journal = journal = Journal(
            execution.id,
            store=self._store,
            limits=self._limits,
            fold=OutputFold(
                live.snapshot.cell_count,
                max_stream_bytes=self._limits.max_stream_bytes,
                msg_session=kernel.channels.msg_session,
                send_comm=kernel.channels.send_comm,
            ),
        )

        def show_progress(cell: Cell | None, done: int) -> None:
            live.change(
                progress=Progress(
                    done=done,
                    total=len(cells),
                    current_cell_id=cell.cell_id if cell else None,
                    current_cell_index=cell.index if cell else None,
                )
            )

        run = NotebookRun(
            kernel=kernel,
            sink=journal,
            interrupt_grace_seconds=self._limits.interrupt_grace_seconds,
            on_cell=show_progress,
            on_count=journal.set_execution_count,
            is_abandoned=self._is_stopping,
            max_text_bytes=self._limits.max_stream_bytes,
        )
        limit = self._limits.max_execution_seconds
        async with anyio.create_task_group() as group:
            group.start_soon(journal.keep_written)
            group.start_soon(self._keep_stored, live)
            try:
                await run.set_inputs(await self._overruled(live))
                live.change(started=True)
                await self._insist(lambda: self._store.update(live.execution))
                await run.run(
                    cells,
                    on_error=execution.on_error,
                    deadline=time.monotonic() + min(execution.timeout_seconds or limit, limit),
                    cell_timeout_seconds=execution.cell_timeout_seconds,
                )
            except RunError as failure:
                run.error = run.error or error_of(failure)
            variables = await run.read_variables(
                execution.variable_names,
                max_variable_bytes=self._limits.max_variable_bytes,
                max_total_bytes=self._limits.max_output_bytes,
            )
            journal.has_uncounted = run.has_lost_output
            run.close()
            group.cancel_scope.cancel()
        live.final_result = replace(live.result(), variables=variables)
        return run.error

    async def _overruled(self, live: Live) -> dict[str, str]:
        """Return the inputs that the kernelspec's own environment overrules at the start."""
        spec = await ensure_async(
            self._host.kernel_spec_manager.get_kernel_spec(live.execution.kernel_name)
        )
        return {
            name: value
            for name, value in live.environment.items()
            if name in spec.env and value is not None
        }

    async def _keep_stored(self, live: Live) -> None:
        """Store changes of the record soon after they come, until cancelled."""
        stored = live.execution
        while True:
            if live.execution is stored:
                await live.changed.wait(60)
            else:
                stored = live.execution
                await self._store_change(live)
                await anyio.sleep(0.5)

    async def _store_change(self, live: Live) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._store.update(live.execution)
        except (StoreUnavailableError, ExecutionNotFoundError) as error:
            # It goes on in memory; the final record is what has to be stored.
            self._log.warning("execution %s: %s", live.execution.id, error.message)

    async def _end(
        self, live: Live, state: State, error: ExecutionError | None, start: float
    ) -> None:
        """Make *live* final: save its notebook, store its record, and only then show it."""
        result = live.result()
        if live.journal is not None and live.snapshot is not None and live.execution.started:
            widgets = live.journal.widget_metadata()
            if widgets:
                result = replace(result, metadata={**result.metadata, "widgets": widgets})
            if live.execution.source.save_to is not None and not self._is_stopping():
                notebook = executed_notebook(live.snapshot, result)
                saved = await self._notebooks.save(live.execution.source, live.snapshot, notebook)
                result = replace(
                    result,
                    notebook_path=saved.notebook_path,
                    save_conflict=saved.save_conflict,
                    save_error=saved.save_error,
                )
        final = replace(
            final_record(live.execution, state, error, self._limits),
            duration_seconds=round(time.monotonic() - start, 6),
        )
        live.final_result = result
        try:
            await self.store_final(live, final)
        finally:
            live.change_to(final)

    async def end_without_result(
        self, live: Live, state: State, error: ExecutionError | None
    ) -> None:
        """Make an execution final without a result: most often one that never had its turn."""
        live.environment.clear()
        live.final_result = Result()
        final = final_record(live.execution, state, error, self._limits)
        live.change_to(final)
        await self.store_final(live, final)

    async def store_final(self, live: Live, final: Execution) -> None:
        """Store the final record with what is left of its events; sets ``live.is_stored``.

        A store that fails is logged; calling again is right. A record that somebody removed from
        the store, with the whole database perhaps, is stored anew.
        """
        rows, drop = live.journal.take() if live.journal is not None else ([], [])
        try:
            result = await to_thread.run_sync(msgspec.json.encode, live.final_result)
            try:
                await self._store.finish(final, result=result, events=rows, drop=drop)
            except ExecutionNotFoundError:
                snapshot = live.snapshot or EMPTY_SNAPSHOT
                pending = replace(final, state=State.PENDING)
                await self._store.insert(pending, notebook=encode_snapshot(snapshot))
                await self._store.finish(final, result=result, events=rows)
                self._log.warning("execution %s: its record had been removed", final.id)
            live.is_stored = True
        except StoreUnavailableError as error:
            if live.journal is not None:
                live.journal.put_back(rows, drop)
            self._log.warning("execution %s is final but not stored: %s", final.id, error.message)


def internal_error() -> ExecutionError:
    """Return what the record says of a defect of ours."""
    return error_of(InternalRunError("an internal error; the server's log says where"))


def final_record(
    execution: Execution, state: State, error: ExecutionError | None, limits: Limits
) -> Execution:
    """Return *execution* ended now, with the time when its record expires."""
    final = replace(advance(execution, state), error=error)
    assert final.end_time is not None
    seconds = max(limits.retention_seconds, limits.min_retention_seconds)
    return replace(final, expire_time=final.end_time + timedelta(seconds=seconds))


async def _start_again(start: Callable[[], Awaitable[Kernel]]) -> Kernel:
    """Start a kernel, once more and again if its process ends at once.

    Jupyter chooses a kernel's ports some time before the kernel binds them. On a busy machine
    somebody else has one of them by then, and the kernel ends.
    """
    for _ in range(START_ATTEMPTS - 1):
        try:
            return await start()
        except KernelStartFailedError as error:
            if error.exit_code is None:
                raise
    return await start()
