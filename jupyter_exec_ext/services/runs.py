"""One run of an accepted execution, from its turn to its final record."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

import anyio
from jupyter_server.utils import ensure_async

from jupyter_exec_ext.core.errors import (
    ExecutionNotFoundError,
    InternalRunError,
    RunError,
    ServerStoppedError,
    StoreUnavailableError,
    UnreadableRowError,
)
from jupyter_exec_ext.core.inputs import Environment
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import (
    CodeSource,
    CommandSource,
    EventType,
    Execution,
    ExecutionError,
    InputRequest,
    NotebookSource,
    Progress,
    Result,
)
from jupyter_exec_ext.core.states import State, advance
from jupyter_exec_ext.engine.cells import Cell, CellsRun, error_of
from jupyter_exec_ext.engine.kernels import Kernel
from jupyter_exec_ext.engine.launching import ServerHost
from jupyter_exec_ext.engine.outputs import OutputFold
from jupyter_exec_ext.engine.sessions import KernelSession
from jupyter_exec_ext.engine.stdin import Stdin
from jupyter_exec_ext.engine.subshells import Subshell
from jupyter_exec_ext.services.commands import run_command
from jupyter_exec_ext.services.events import closing_events, encode_events, facts_of
from jupyter_exec_ext.services.journal import Entry, Journal, rows_of
from jupyter_exec_ext.services.launches import Launches
from jupyter_exec_ext.services.live import Live
from jupyter_exec_ext.services.notebooks import (
    EMPTY_SNAPSHOT,
    Notebooks,
    Snapshot,
    encode_result,
    encode_snapshot,
    executed_notebook,
    load_snapshot,
)
from jupyter_exec_ext.services.supervisor import log_defect
from jupyter_exec_ext.store.store import Store

T = TypeVar("T")

INSIST_ATTEMPTS = 60
"""How often, once a second, a failing store is tried before the first code of a run is sent."""

STORE_SECONDS = 0.5
"""How long a change of the record, as of its progress, waits to be stored with later ones."""


class RunService:
    """Runs accepted executions, each in the kernel of its session."""

    def __init__(
        self,
        *,
        host: ServerHost,
        notebooks: Notebooks,
        launches: Launches,
        store: Store,
        limits: Limits,
        is_stopping: Callable[[], bool],
        log: logging.Logger,
    ) -> None:
        self._host = host
        self._notebooks = notebooks
        self._launches = launches
        self._store = store
        self._limits = limits
        self._is_stopping = is_stopping
        self._log = log

    async def run(self, live: Live) -> None:
        """Run *live* to a final state.

        When this returns or raises the record is final and stored; when the store fails it is
        final in memory, and `store_final` has to be called again.
        """
        start = time.monotonic()
        error: ExecutionError | None = None
        kernels = live.session.kernels if live.session is not None else None
        try:
            with anyio.CancelScope() as live.scope:
                if live.execution.state is State.CANCELLING or live.stop_error is not None:
                    live.scope.cancel()
                if not live.execution.started:
                    if kernels is not None and await kernels.is_ready():
                        live.change(started=True)
                    await self._store_before_code(live)
                if live.snapshot is None:
                    live.snapshot = await self._insist(
                        lambda: load_snapshot(live.execution, self._store)
                    )
                live.journal = self._open_journal(live, live.snapshot)
                if kernels is None:
                    launch = live.beside.kernels.launch if live.beside is not None else None
                    kernels = await self._launches.for_execution(
                        live.execution, live.environment, launch
                    )
                kernel = await self._ready_kernel(live, kernels)
                error = await self._run_in_kernel(live, kernel)
        except RunError as failure:
            error = error_of(failure)
        except anyio.get_cancelled_exc_class():
            # Not ours, which its scope would have caught: the server stops, and ends all kernels.
            if kernels is not None:
                kernels.detach()
            error = error_of(ServerStoppedError("the server was stopped"))
            with anyio.CancelScope(shield=True):
                await self._end(live, State.FAILED, error, start)
            raise
        except Exception as defect:  # noqa: BLE001 - the record has to become final
            log_defect(self._log, defect)
            error = internal_error()
        finally:
            live.forget_secrets()
        with anyio.CancelScope(shield=True):
            await self._end_as_it_ended(live, error, start)
        if live.session is None and kernels is not None:
            await kernels.close()

    async def _end_as_it_ended(
        self, live: Live, error: ExecutionError | None, start: float
    ) -> None:
        state = State.SUCCEEDED if error is None else State.FAILED
        if live.execution.state is State.CANCELLING:
            state, error = State.CANCELLED, None
        elif live.stop_error is not None:
            state, error = State.FAILED, error_of(live.stop_error)
        try:
            await self._end(live, state, error, start)
        except Exception as defect:  # noqa: BLE001 - the record has to become final
            log_defect(self._log, defect)
            if not live.execution.state.is_final:
                if live.journal is not None:
                    live.journal.discard()
                await self.end_without_result(live, State.FAILED, internal_error())

    def _open_journal(self, live: Live, snapshot: Snapshot) -> Journal:
        """Begin the account of a run, before it has a kernel."""
        journal = Journal(
            live.execution.id,
            store=self._store,
            limits=self._limits,
            fold=OutputFold(snapshot.cell_count, max_stream_bytes=self._limits.max_stream_bytes),
        )
        journal.tell(EventType.STATE, {"state": State.RUNNING.value})
        live.changed.fire()
        return journal

    async def _store_before_code(self, live: Live) -> None:
        """Store the record, so that no other process of this server runs its code.

        Raises:
            InternalRunError: Another one has taken the execution over, or the store fails.
        """
        if not await self._insist(lambda: self._store.update(live.execution)):
            self._log.warning("execution %s: another process runs it", live.execution.id)
            raise InternalRunError("another process of this server has taken this execution over")

    async def _insist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what has to be done before code may run, once a second while the store fails.

        Code that runs without the store knowing of it could run again after a crash.
        """
        for _ in range(INSIST_ATTEMPTS):
            try:
                return await work()
            except UnreadableRowError as error:
                raise InternalRunError(error.message) from error
            except StoreUnavailableError:
                await anyio.sleep(1)
            except ExecutionNotFoundError as error:
                raise InternalRunError("somebody removed the record from the store") from error
        raise InternalRunError("the store failed for too long when the execution's turn came")

    async def _ready_kernel(self, live: Live, kernels: KernelSession) -> Kernel:
        session = live.session
        loss = await kernels.loss()
        if session is not None and loss is not None and not session.has_noticed(loss):
            session.lose_kernel(loss)
        kernel = await kernels.ready()
        live.metadata = {"language_info": kernel.language_info}
        if isinstance(live.execution.source, NotebookSource):
            live.metadata["kernelspec"] = await self._kernelspec_metadata(kernel.kernel_name)
        if live.execution.kernel_id != kernel.kernel_id:
            live.change(kernel_id=kernel.kernel_id)
        if session is not None and session.kernel_lost is not None:
            live.change(kernel_lost=session.kernel_lost)
            session.kernel_lost = None
        return kernel

    async def _kernelspec_metadata(self, kernel_name: str) -> dict[str, str]:
        spec = await ensure_async(self._host.kernel_spec_manager.get_kernel_spec(kernel_name))
        return {
            "name": kernel_name,
            "display_name": spec.display_name,
            "language": spec.language,
        }

    async def _run_in_kernel(self, live: Live, kernel: Kernel) -> ExecutionError | None:
        """Run the cells and gather what they left; return why they failed, if they did."""
        assert live.snapshot is not None
        assert live.journal is not None
        live.journal.connect(kernel.channels)
        live.stdin = Stdin(
            prepared=live.answers,
            timeout_seconds=self._limits.input_timeout_seconds,
            on_question=partial(_show_question, live),
        )
        cells = [*live.snapshot.cells]
        if cells:
            cells[-1] = replace(cells[-1], wants_value=True)
        subshell = await Subshell.create(kernel) if live.is_side else None
        run = CellsRun(
            kernel=kernel,
            sink=live.journal,
            stdin=live.stdin,
            subshell=subshell,
            interrupt_grace_seconds=self._limits.interrupt_grace_seconds,
            max_value_bytes=self._limits.max_variable_bytes,
            on_cell=partial(_show_progress, live, len(cells)),
            on_count=live.journal.set_execution_count,
            is_abandoned=self._is_stopping,
            max_text_bytes=self._limits.max_stream_bytes,
        )
        async with anyio.create_task_group() as group:
            group.start_soon(live.journal.keep_written)
            group.start_soon(self._keep_stored, live)
            try:
                await self._run_cells(live, run, cells)
            finally:
                if subshell is not None:
                    await subshell.close()
            group.cancel_scope.cancel()
        error, code_exit = run.error, run.code_exit
        if isinstance(live.execution.source, CodeSource):
            # Code does not belong to a cell of a notebook.
            error = error and replace(error, cell_index=None)
            code_exit = code_exit and replace(code_exit, cell_index=None)
        if code_exit is not None:
            live.change(code_exit=code_exit)
        return error

    async def _run_cells(self, live: Live, run: CellsRun, cells: Sequence[Cell]) -> None:
        """Run the cells with their inputs, read what they left, and restore the environment."""
        assert live.journal is not None
        limit = self._limits.max_execution_seconds
        inputs = await self._inputs_to_set(live)
        deadline = time.monotonic() + limit
        try:
            try:
                await run.wait_for_kernel(deadline=deadline)
                await run.set_inputs(inputs)
                if not live.execution.started:
                    live.change(started=True)
                    await self._store_before_code(live)
                deadline = time.monotonic() + min(live.execution.timeout_seconds or limit, limit)
                if isinstance(live.execution.source, CommandSource):
                    await run_command(
                        live, live.execution.source, run, limits=self._limits, deadline=deadline
                    )
                else:
                    await run.run(
                        cells,
                        on_error=live.execution.on_error,
                        deadline=deadline,
                        cell_timeout_seconds=live.execution.cell_timeout_seconds,
                    )
            except RunError as failure:
                run.error = run.error or error_of(failure)
            variables = await run.read_variables(
                live.execution.variable_names,
                max_total_bytes=self._limits.max_output_bytes,
                deadline=deadline,
            )
        finally:
            if inputs and live.session is not None and not self._is_stopping():
                with anyio.CancelScope(shield=True):
                    if not await run.restore_inputs() and run.kernel.fate is None:
                        await run.kernel.kill("its environment could not be restored")
            live.journal.has_uncounted = run.has_lost_output
            request_ids = run.close()
            if live.session is not None:
                live.session.log.expect(live.execution.id, request_ids)
        live.final_result = replace(live.result(), variables=variables, value_json=run.value_json)

    async def _inputs_to_set(self, live: Live) -> Environment:
        """Return the inputs that are not in the kernel's environment since its start.

        In a lasting session that is all of them; else those that the kernelspec's own environment
        overrules.
        """
        if live.session is not None or not live.environment:
            return dict(live.environment)
        spec = await ensure_async(
            self._host.kernel_spec_manager.get_kernel_spec(live.execution.kernel_name)
        )
        return {name: value for name, value in live.environment.items() if name in spec.env}

    async def _keep_stored(self, live: Live) -> None:
        """Store changes of the record soon after they come, until cancelled.

        Not at once: of a short run the final record is the next that is stored.
        """
        stored = live.execution
        while True:
            if live.execution is stored:
                await live.changed.wait(60)
            else:
                await anyio.sleep(STORE_SECONDS)
                stored = live.execution
                await self._store_change(live)

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
        """Make *live* final: save its notebook, store its record, and only then show it.

        The end of an execution that another process has taken over is not shown.
        """
        result = live.result()
        if live.journal is not None and live.snapshot is not None and live.execution.started:
            widgets = live.journal.widget_metadata()
            if widgets:
                result = replace(result, metadata={**result.metadata, "widgets": widgets})
            source = live.execution.source
            if isinstance(source, NotebookSource) and source.save_to and not self._is_stopping():
                notebook = executed_notebook(live.snapshot, result)
                saved = await self._notebooks.save(source, live.snapshot, notebook)
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
            if not live.is_taken_over:
                live.change_to(final)

    async def end_without_result(
        self, live: Live, state: State, error: ExecutionError | None
    ) -> None:
        """Make an execution final without a result: most often one that never had its turn."""
        live.forget_secrets()
        live.final_result = Result()
        final = final_record(live.execution, state, error, self._limits)
        live.change_to(final)
        await self.store_final(live, final)

    async def store_final(self, live: Live, final: Execution) -> None:
        """Store the final record with what is left of its events; sets ``live.is_stored``.

        A store that fails is logged; calling again is right. A record that somebody removed from
        the store, with the whole database perhaps, is stored again.
        """
        entries: list[Entry] = []
        drop: list[int] = []
        last_number = 0
        if live.journal is not None:
            await live.journal.finish_writing()
            entries, drop = live.journal.take()
            last_number = live.journal.last_number
        closing = closing_events(final, after=last_number)
        try:
            events = [*await rows_of(entries), *encode_events(closing)]
            result = await encode_result(live.result())
            try:
                is_taken = await self._store.finish(final, result=result, events=events, drop=drop)
                if not is_taken:
                    live.leave_to_other()
            except ExecutionNotFoundError:
                notebook = await encode_snapshot(live.snapshot or EMPTY_SNAPSHOT)
                await self._store.restore(final, notebook=notebook, result=result, events=events)
                self._log.warning("execution %s: its record had been removed", final.id)
            live.is_stored = True
        except StoreUnavailableError as error:
            if live.journal is not None:
                live.journal.put_back(entries, drop)
            self._log.warning("execution %s is final but not stored: %s", final.id, error.message)


def internal_error() -> ExecutionError:
    """Return what the record says of a defect of ours."""
    return error_of(InternalRunError("an internal error; the server's log says where"))


def final_record(
    execution: Execution, state: State, error: ExecutionError | None, limits: Limits
) -> Execution:
    """Return *execution* ended now, with the time when its record expires."""
    final = replace(advance(execution, state), error=error, input_request=None)
    assert final.end_time is not None
    seconds = max(limits.retention_seconds, limits.min_retention_seconds)
    return replace(final, expire_time=final.end_time + timedelta(seconds=seconds))


def _show_question(live: Live, question: InputRequest | None) -> None:
    if question is not None and live.journal is not None:
        live.journal.tell(EventType.INPUT_REQUEST, facts_of(question))
        question = replace(question, event_id=live.journal.last_number)
    live.change(input_request=question)


def _show_progress(
    live: Live, total: int, cell: Cell | None, done: int, ended: Cell | None
) -> None:
    """Show how far *live* has come.

    Args:
        cell: The cell that runs now; ``None`` for none.
        done: How many cells have ended.
        ended: The cell that has just ended; ``None`` at the start.
    """
    is_notebook = isinstance(live.execution.source, NotebookSource)
    progress = Progress(
        done=done,
        total=total,
        current_cell_id=cell.cell_id if cell else None,
        current_cell_index=cell.index if cell and is_notebook else None,
    )
    live.change(progress=progress)
    if live.journal is None:
        return
    content = facts_of(progress)
    if ended is not None:
        count = live.journal.execution_count(ended.index)
        if is_notebook:
            content["ended_cell_index"] = ended.index
        if count is not None:
            content["execution_count"] = count
    live.journal.tell(EventType.PROGRESS, content)
