"""The verbs on executions; every door calls these and nothing below them."""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import anyio
from jupyter_server.utils import ensure_async

from jupyter_exec_ext.core.errors import (
    ConflictError,
    IdempotencyConflictError,
    InvalidArgumentError,
    NotFinalError,
    RunsElsewhereError,
    ServerStoppedError,
    ServerStoppingError,
    TooManyError,
    UnknownKernelError,
)
from jupyter_exec_ext.core.inputs import Environment, environment_of, size_of
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import (
    EventType,
    Execution,
    ExecutionError,
    NewExecution,
    Progress,
    Result,
)
from jupyter_exec_ext.core.states import State, advance
from jupyter_exec_ext.engine.kernels import ServerHost
from jupyter_exec_ext.engine.languages import language_of
from jupyter_exec_ext.services.checks import check_request
from jupyter_exec_ext.services.idempotency import Fingerprints
from jupyter_exec_ext.services.notebooks import (
    Notebooks,
    Snapshot,
    decode_result,
    decode_snapshot,
    encode_snapshot,
    executed_notebook,
    without_trust,
)
from jupyter_exec_ext.services.runs import Live, RunService
from jupyter_exec_ext.services.supervisor import Supervisor
from jupyter_exec_ext.store.listing import Filters, ListQuery, Page
from jupyter_exec_ext.store.store import Store

MAX_WAITING_INPUT_BYTES = 256_000_000
"""How much memory the inputs of all waiting executions may take: they are kept nowhere else."""

ELSEWHERE_POLL_SECONDS = 0.5
"""How often the store is asked for an execution that another server process runs."""


class ExecutionService:
    """Creates, shows, stops and deletes executions, and decides when each one's turn comes."""

    def __init__(
        self,
        *,
        host: ServerHost,
        notebooks: Notebooks,
        store: Store,
        runs: RunService,
        supervisor: Supervisor,
        limits: Limits,
        on_activity: Callable[[], None],
        log: logging.Logger,
    ) -> None:
        self._host = host
        self._notebooks = notebooks
        self._store = store
        self._runs = runs
        self._supervisor = supervisor
        self._limits = limits
        self._on_activity = on_activity
        self._log = log
        self._live: dict[str, Live] = {}
        self._queue: deque[Live] = deque()
        self._running_count = 0
        self._accepting_count = 0
        self._fingerprints = Fingerprints()

    @property
    def active_count(self) -> int:
        """How many executions wait or run."""
        return sum(not live.execution.state.is_final for live in self._live.values())

    async def create(self, new: NewExecution, *, owner: str) -> Execution:
        """Accept an execution: from when this returns its record is durable.

        A request with an idempotency key that was accepted before is not accepted again; its
        execution is returned.

        Raises:
            ExecError: The request is refused, and nothing is left of it.
        """
        if self._supervisor.is_stopping:
            raise ServerStoppingError("the server is stopping")
        check_request(new, self._limits)
        fingerprint = None
        if new.idempotency_key is not None:
            fingerprint = self._fingerprints.of(new)
            known = await self._find_same(new.idempotency_key, fingerprint)
            if known is not None:
                return known
        environment = environment_of(new.inputs, max_inputs=self._limits.max_inputs)
        self._check_room(environment)
        # From here to the queue there are waits, in which others could fill the last place.
        self._accepting_count += 1
        try:
            await self._notebooks.check_save_target(new.notebook.save_to)
            snapshot = await self._notebooks.read(
                new.notebook, max_bytes=self._limits.max_notebook_bytes
            )
            kernel_name = await self._choose_kernel(new, snapshot, environment)
            execution = Execution(
                id=str(uuid4()),
                type="notebook",
                state=State.PENDING,
                source=replace(new.notebook, path=new.notebook.path.strip("/")),
                session_id=str(uuid4()),
                kernel_name=kernel_name,
                owner=owner,
                idempotency_key=new.idempotency_key,
                description=new.description,
                labels=new.labels,
                input_names=sorted(new.inputs),
                variable_names=new.variable_names,
                timeout_seconds=new.timeout_seconds,
                cell_timeout_seconds=new.cell_timeout_seconds,
                on_error=new.on_error,
                created_time=datetime.now(UTC),
                progress=Progress(total=len(snapshot.cell_indexes)),
            )
            await self._store.insert(
                execution, notebook=encode_snapshot(snapshot), fingerprint=fingerprint
            )
        except ConflictError:
            # Somebody was faster with the same key.
            if new.idempotency_key is not None and fingerprint is not None:
                known = await self._find_same(new.idempotency_key, fingerprint)
                if known is not None:
                    return known
            raise
        finally:
            self._accepting_count -= 1
        await self.enqueue(Live(execution=execution, environment=environment, snapshot=snapshot))
        return await self.get(execution.id)

    async def _find_same(self, idempotency_key: str, fingerprint: str) -> Execution | None:
        """Return the execution that was accepted with this key; ``None`` when there is none.

        Raises:
            IdempotencyConflictError: It was another request.
        """
        found = await self._store.find_key(idempotency_key)
        if found is None:
            return None
        execution_id, its_fingerprint = found
        if not self._fingerprints.is_same(fingerprint, its_fingerprint):
            raise IdempotencyConflictError(execution_id)
        return await self.get(execution_id)

    def _check_room(self, environment: Environment) -> None:
        free_count = self._limits.max_sessions - self._running_count
        waiting_count = len(self._queue) + self._accepting_count - free_count
        if waiting_count < 0:
            return
        if waiting_count >= self._limits.max_pending:
            raise TooManyError(
                f"{self._limits.max_pending} executions are waiting already",
                retry_after_seconds=10,
            )
        size = size_of(environment)
        if size + sum(live.input_bytes for live in self._queue) > MAX_WAITING_INPUT_BYTES and size:
            raise TooManyError(
                "the inputs of the waiting executions take too much memory already",
                retry_after_seconds=10,
            )

    async def _choose_kernel(
        self, new: NewExecution, snapshot: Snapshot, environment: Environment
    ) -> str:
        specs = self._host.kernel_spec_manager
        default = self._host.kernel_manager.default_kernel_name
        name = new.kernel_name or snapshot.kernel_name or default
        known = await ensure_async(specs.find_kernel_specs())
        if name not in known:
            target = "kernel_name" if new.kernel_name else "notebook.path"
            raise UnknownKernelError(name[:64], tuple(sorted(known)), target=target)
        spec = await ensure_async(specs.get_kernel_spec(name))
        for input_name in sorted(environment.keys() & spec.env.keys()):
            if language_of(spec.language) is None or environment[input_name] is None:
                raise InvalidArgumentError(
                    f"the kernelspec {name!r} sets this name itself, and in its language"
                    " it cannot be overruled",
                    target=f"inputs.{input_name}",
                )
        return str(name)

    async def enqueue(self, live: Live) -> None:
        """Let *live*, which is stored as pending, wait for its turn."""
        await self._supervisor.start()
        self._live[live.execution.id] = live
        self._queue.append(live)
        self._on_activity()
        self._dispatch()
        if live.execution.state is State.PENDING:
            live.snapshot = None

    def _dispatch(self) -> None:
        while (
            self._queue
            and self._running_count < self._limits.max_sessions
            and not self._supervisor.is_stopping
        ):
            live = self._queue.popleft()
            self._running_count += 1
            live.change_to(advance(live.execution, State.RUNNING))
            self._supervisor.spawn(self._run, live)

    async def _run(self, live: Live) -> None:
        try:
            await self._runs.run(live)
        finally:
            self._running_count -= 1
            self._settle(live)
            self._dispatch()

    def _settle(self, live: Live) -> None:
        """Forget *live* if its final record is stored; else `store_unstored` tries again."""
        self._on_activity()
        if live.is_stored:
            self._live.pop(live.execution.id, None)

    async def store_unstored(self) -> None:
        """Try again to store the final records that a failing store did not take."""
        for live in list(self._live.values()):
            if live.execution.state.is_final and not live.is_stored:
                await self._runs.store_final(live, live.execution)
                self._settle(live)

    def live_of(self, execution_id: str) -> Live | None:
        """Return what this process knows better than the store.

        Once the end is stored that is nothing, though its kernel may still be ending: the record
        may be deleted already.
        """
        live = self._live.get(execution_id)
        return None if live is None or live.is_stored else live

    async def get(self, execution_id: str) -> Execution:
        """Return the record.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
        """
        live = self.live_of(execution_id)
        if live is None:
            return await self._store.get(execution_id)
        if live.execution.state is State.PENDING:
            return replace(live.execution, position=self._queue.index(live))
        return live.execution

    async def wait(self, execution_id: str, *, seconds: float) -> Execution:
        """Return the record once it is final, or as it is after *seconds*."""
        deadline = time.monotonic() + min(seconds, self._limits.max_wait_seconds)
        while True:
            execution = await self.get(execution_id)
            left = deadline - time.monotonic()
            if execution.state.is_final or left <= 0:
                return execution
            live = self.live_of(execution_id)
            if live is not None:
                await live.changed.wait(left)
            else:
                # It runs in another server process.
                await anyio.sleep(min(left, ELSEWHERE_POLL_SECONDS))

    async def result(self, execution_id: str) -> Result:
        """Return what the execution left, or has left so far."""
        live = self.live_of(execution_id)
        if live is not None:
            return live.result()
        data = await self._store.get_result(execution_id)
        return decode_result(data) if data is not None else Result()

    async def list(self, query: ListQuery) -> Page:
        """Return one page of records, as fresh as `get` would show them."""
        page = await self._store.list(query)
        positions = {live.execution.id: number for number, live in enumerate(self._queue)}
        fresh = [
            replace(live.execution, position=positions.get(execution.id))
            if (live := self._live.get(execution.id)) is not None
            else execution
            for execution in page.executions
        ]
        return replace(page, executions=fresh)

    async def cancel(self, execution_id: str) -> Execution:
        """Stop exactly this execution, and return its record at once; final ones stay as they are.

        One that waits is cancelled when this returns; one that runs is being interrupted.

        Raises:
            RunsElsewhereError: It is another server process's.
        """
        live = self._live.get(execution_id)
        if live is None:
            execution = await self._store.get(execution_id)
            if not execution.state.is_final:
                raise RunsElsewhereError(execution_id, execution.state)
            return execution
        if live.execution.state is State.PENDING:
            self._queue.remove(live)
            await self._runs.end_without_result(live, State.CANCELLED, None)
            self._settle(live)
        elif live.execution.state is State.RUNNING:
            live.change_to(advance(live.execution, State.CANCELLING))
            if live.journal is not None:
                live.journal.tell(EventType.STATE, {"state": State.CANCELLING.value})
            if live.scope is not None:
                live.scope.cancel()
        return live.execution

    async def delete(self, execution_id: str, *, force: bool = False) -> None:
        """Delete a record and all that belongs to it.

        Args:
            force: Cancel it first, if it is not final.

        Raises:
            NotFinalError: It is not final, or did not become so in time.
            RunsElsewhereError: It is another server process's to cancel.
        """
        execution = await self.get(execution_id)
        if not execution.state.is_final and force:
            await self.cancel(execution_id)
            execution = await self.wait(
                execution_id, seconds=self._limits.interrupt_grace_seconds + 20
            )
        if not execution.state.is_final:
            raise NotFinalError(execution_id, execution.state)
        live = self._live.get(execution_id)
        if live is not None:
            await self.store_unstored()
        await self._store.delete(execution_id)

    async def delete_where(self, filters: Filters) -> int:
        """Delete the final records that match; return how many."""
        return await self._store.delete_where(filters)

    async def notebook(self, execution_id: str) -> dict[str, Any]:
        """Return the notebook with the outputs so far, as it would be saved."""
        snapshot = decode_snapshot(await self._store.get_notebook(execution_id))
        notebook = executed_notebook(snapshot, await self.result(execution_id))
        notebook["cells"] = [without_trust(cell) for cell in notebook["cells"]]
        return notebook

    async def close(self, *, timeout_seconds: float) -> None:
        """Make what waits final, since the server stops; what runs, its own task makes final.

        What does not fit in the time is made final at the next start.
        """
        error = ServerStoppedError("the server was stopped before this execution's turn came")
        deadline = time.monotonic() + timeout_seconds
        while self._queue and time.monotonic() < deadline:
            live = self._queue.popleft()
            await self._runs.end_without_result(
                live, State.FAILED, ExecutionError(code=error.code, message=str(error))
            )
            self._settle(live)
