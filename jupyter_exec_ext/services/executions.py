"""The verbs on executions; every door calls these and nothing below them."""

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import anyio

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    ConflictError,
    ExecError,
    ExecutionNotFoundError,
    IdempotencyConflictError,
    InvalidArgumentError,
    NoInputRequestError,
    NoNotebookError,
    NoSubshellsError,
    NotFinalError,
    RunsElsewhereError,
    ServerStoppingError,
    SessionBusyError,
    SessionDiffersError,
    TooManyError,
    UnreadableRowError,
)
from jupyter_exec_ext.core.inputs import Environment, environment_of
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import (
    CommandSource,
    Execution,
    NewExecution,
    NotebookSource,
    OnBusy,
    Progress,
    Result,
    Source,
)
from jupyter_exec_ext.core.sessions import NewSession
from jupyter_exec_ext.core.states import State, advance
from jupyter_exec_ext.services.checks import check_request
from jupyter_exec_ext.services.following import ELSEWHERE_POLL_SECONDS
from jupyter_exec_ext.services.idempotency import Fingerprints
from jupyter_exec_ext.services.kernelspecs import Kernelspecs
from jupyter_exec_ext.services.live import Live, LiveSession, waiting_bytes_of
from jupyter_exec_ext.services.notebooks import (
    Notebooks,
    Snapshot,
    decode_result,
    decode_values,
    encode_snapshot,
    executed_notebook,
    load_snapshot,
    snapshot_of_source,
    without_trust,
)
from jupyter_exec_ext.services.sessions import SessionService
from jupyter_exec_ext.services.shares import Shares
from jupyter_exec_ext.services.supervisor import Supervisor
from jupyter_exec_ext.services.turns import Predecessor, Turns
from jupyter_exec_ext.store.listing import Filters, ListQuery, Page
from jupyter_exec_ext.store.records import clean_text
from jupyter_exec_ext.store.store import Store


class ExecutionService:
    """Creates, shows, stops and deletes executions.

    Attributes:
        waits: The places of requests that wait for the end of an execution.
    """

    def __init__(
        self,
        *,
        kernelspecs: Kernelspecs,
        notebooks: Notebooks,
        sessions: SessionService,
        turns: Turns,
        store: Store,
        supervisor: Supervisor,
        limits: Limits,
        on_state: Callable[[Execution], None],
    ) -> None:
        self._kernelspecs = kernelspecs
        self._notebooks = notebooks
        self._sessions = sessions
        self._turns = turns
        self._store = store
        self._supervisor = supervisor
        self._limits = limits
        self._on_state = on_state
        self._fingerprints = Fingerprints()
        self.waits = Shares(limits.max_waits, "waiting requests", retry_after_seconds=10)

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
        known = await self._find_same(new)
        if known is not None:
            return known
        environment = environment_of(new.inputs, max_inputs=self._limits.max_inputs)
        predecessor = await self._predecessor_of(new)
        if isinstance(new.source, NotebookSource):
            await self._notebooks.check_save_target(new.source.save_to)
        session, is_new = await self._session_of(new, owner)
        if new.fresh_kernel and session is not None and session.kernels.launch is None:
            raise InvalidArgumentError(
                "the session has somebody else's kernel, and starts none", target="fresh_kernel"
            )
        try:
            if session is None:
                return await self._accept(new, owner, environment, None, predecessor)
            async with session.lock:
                return await self._accept(
                    new, owner, environment, session, predecessor, is_new=is_new
                )
        except (SessionBusyError, TooManyError):
            # It may be this very request, sent twice at once, that leaves no room for itself.
            known = await self._find_same(new)
            if known is None:
                raise
            return known

    async def _predecessor_of(self, new: NewExecution) -> Predecessor | None:
        """Return the execution that *new* runs after; ``None`` without one.

        Raises:
            InvalidArgumentError: No execution has this id.
        """
        if new.after is None:
            return None
        try:
            return await self._turns.predecessor(new.after)
        except (ExecutionNotFoundError, UnreadableRowError):
            raise unknown_predecessor() from None

    async def _session_of(self, new: NewExecution, owner: str) -> tuple[LiveSession | None, bool]:
        """Return the lasting session that *new* asks for, ``None`` for one of its own.

        And whether it was created for this request.
        """
        if new.session_name is not None:
            asked = NewSession(
                name=new.session_name, kernel_name=new.kernel_name, path=new.session_path
            )
            complete = partial(self._complete, new=new)
            try:
                return await self._sessions.of_name(asked, owner=owner, complete=complete)
            except (InvalidArgumentError, SessionDiffersError) as error:
                if error.target == "path":  # The name of the field in a request for a session.
                    error.target = "session_path"
                raise
        if new.session_id is None:
            return None, False
        session = await self._sessions.find(new.session_id, target="session_id")
        if new.kernel_name not in (None, session.record.kernel_name):
            raise InvalidArgumentError(
                f"the session has the kernel {session.record.kernel_name!r}", target="kernel_name"
            )
        return session, False

    async def _complete(self, asked: NewSession, *, new: NewExecution) -> NewSession:
        """Return *asked* with the folder and the kernel that *new* has without a session.

        A notebook that cannot be run is refused here, before a session is created for it.
        """
        if not isinstance(new.source, NotebookSource):
            return asked
        snapshot = await self._read(new.source, new.notebook_content)
        kernel_name = await self._kernelspecs.choose(asked.kernel_name, snapshot.kernel_name)
        folder = new.source.path.strip("/").rpartition("/")[0]
        path = folder if asked.path is None else asked.path
        return replace(asked, kernel_name=kernel_name, path=path)

    async def _accept(
        self,
        new: NewExecution,
        owner: str,
        environment: Environment,
        session: LiveSession | None,
        predecessor: Predecessor | None,
        *,
        is_new: bool = False,
    ) -> Execution:
        """Store an execution and queue it; its session accepts no other meanwhile."""
        used = None if new.fresh_kernel else session
        is_side = used is not None and _is_for_subshell(new, used)
        may_begin = predecessor is None or predecessor.state is State.SUCCEEDED
        waiting_bytes = waiting_bytes_of(new.source, environment, new.stdin)
        self._turns.reserve(used, waiting_bytes, is_held=not may_begin)
        try:
            snapshot, kernel_name = await self._prepare(new, session, environment)
            execution = _execution_of(new, owner, kernel_name, snapshot, session)
            if is_new:
                execution = replace(execution, session_created=True)
            if is_side or (
                used and may_begin and not used.is_busy and await used.kernels.is_ready()
            ):
                # It begins at once: one write instead of two.
                execution = replace(advance(execution, State.RUNNING), started=True)
            try:
                await self._store.insert(
                    execution,
                    notebook=await _stored_snapshot(new.source, snapshot),
                    fingerprint=await self._fingerprint_of(new),
                )
            except ConflictError:
                # Somebody was faster with the same key.
                known = await self._find_same(new)
                if known is None:
                    raise
                return known
        finally:
            self._turns.release()
        live = Live(
            execution=execution,
            environment=environment,
            answers=new.stdin,
            session=used,
            beside=session if new.fresh_kernel else None,
            is_side=is_side,
            snapshot=snapshot,
            on_state=self._on_state,
        )
        self._on_state(execution)
        await self._turns.enqueue(live, predecessor)
        return self._shown(live)

    async def _prepare(
        self, new: NewExecution, session: LiveSession | None, environment: Environment
    ) -> tuple[Snapshot, str]:
        """Return what will run, and in a kernel of which name."""
        snapshot = None
        if isinstance(new.source, NotebookSource):
            snapshot = await self._read(new.source, new.notebook_content)
        if session is not None:
            kernel_name = session.record.kernel_name
        else:
            of_notebook = snapshot.kernel_name if snapshot is not None else None
            kernel_name = await self._kernelspecs.choose(new.kernel_name, of_notebook)
        if session is None or new.fresh_kernel:
            await self._kernelspecs.check_inputs(kernel_name, environment)
        else:
            await self._kernelspecs.check_live_inputs(kernel_name, environment)
        if isinstance(new.source, CommandSource):
            await self._kernelspecs.check_commands(kernel_name)
        snapshot = snapshot or snapshot_of_source(new.source, kernel_name)
        assert snapshot is not None
        return snapshot, kernel_name

    async def _read(self, source: NotebookSource, content: bytes | None) -> Snapshot:
        """Return the notebook that runs: *content*, or the file at the path for ``None``."""
        max_bytes = self._limits.max_notebook_bytes
        if content is None:
            return await self._notebooks.read(source, max_bytes=max_bytes)
        return await self._notebooks.read_content(source, content, max_bytes=max_bytes)

    async def _fingerprint_of(self, new: NewExecution) -> str | None:
        if new.idempotency_key is None:
            return None
        return await threads.run_if_large(self._fingerprints.of, new)

    async def _find_same(self, new: NewExecution) -> Execution | None:
        """Return the execution that was accepted with the key of *new*; ``None`` without one.

        Raises:
            IdempotencyConflictError: It was another request.
        """
        fingerprint = await self._fingerprint_of(new)
        if new.idempotency_key is None or fingerprint is None:
            return None
        found = await self._store.find_key(new.idempotency_key)
        if found is None:
            return None
        execution_id, its_fingerprint = found
        if not self._fingerprints.is_same(fingerprint, its_fingerprint):
            raise IdempotencyConflictError(execution_id)
        return await self.get(execution_id)

    def live_of(self, execution_id: str) -> Live | None:
        """Return what this process knows better than the store.

        Once the end is stored that is nothing, though its kernel may still be ending: the record
        may be deleted already.
        """
        live = self._turns.find(execution_id)
        return None if live is None or live.is_stored else live

    def _shown(self, live: Live) -> Execution:
        return replace(live.execution, position=self._turns.position(live))

    async def get(self, execution_id: str) -> Execution:
        """Return the record.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
        """
        live = self.live_of(execution_id)
        return await self._store.get(execution_id) if live is None else self._shown(live)

    async def of_key(self, key: str) -> Execution | None:
        """Return the execution that was accepted with an idempotency key; ``None`` without one."""
        found = await self._store.find_key(key)
        return None if found is None else await self.get(found[0])

    async def wait(
        self, execution_id: str, *, seconds: float, user: str | None = None
    ) -> tuple[Execution, Result | None]:
        """Return the record once it is final, or as it is after *seconds*.

        With it comes what the run left, where that is at hand; else `result` has it.

        Args:
            user: Whose share of the waiting requests it counts in: a user who has a share of
                them already does not wait. ``None`` counts nowhere.
        """
        if user is not None and seconds > 0:
            if self.waits.has_room(user):
                with self.waits.hold(user):
                    return await self.wait(execution_id, seconds=seconds)
            seconds = 0
        deadline = time.monotonic() + min(seconds, self._limits.max_wait_seconds)
        while True:
            left = deadline - time.monotonic()
            live = self.live_of(execution_id)
            if live is not None:
                while not live.execution.state.is_final and not live.is_taken_over and left > 0:
                    await live.changed.wait(left)
                    left = deadline - time.monotonic()
                if not live.is_taken_over:
                    return self._shown(live), live.final_result
            execution = await self._store.get(execution_id)
            if execution.state.is_final or left <= 0:
                return execution, None
            # It runs in another server process.
            await anyio.sleep(min(left, ELSEWHERE_POLL_SECONDS))

    async def result(self, execution_id: str) -> Result:
        """Return what the execution left, or has left so far."""
        live = self.live_of(execution_id)
        if live is not None:
            return live.result()
        data = await self._store.get_result(execution_id)
        return await decode_result(data) if data is not None else Result()

    async def values(self, execution_id: str) -> Result:
        """Return what `result` does without the outputs, which can be much to read."""
        live = self.live_of(execution_id)
        if live is not None:
            return live.result()
        data = await self._store.get_result(execution_id)
        return await decode_values(data) if data is not None else Result()

    async def list(self, query: ListQuery) -> Page:
        """Return one page of records, as fresh as `get` would show them."""
        page = await self._store.list(query)
        positions = self._turns.positions()
        fresh = [
            replace(live.execution, position=positions.get(execution.id))
            if (live := self._turns.find(execution.id)) is not None
            else execution
            for execution in page.executions
        ]
        return replace(page, executions=fresh)

    async def count(self, filters: Filters) -> int:
        """Return how many records match."""
        return sum((await self._store.counts(filters)).values())

    async def counts(self, paths: Iterable[str]) -> dict[str, int]:
        """Return how many executions there are of the notebooks at *paths*, by path."""
        wanted = list(paths)
        filters = Filters(path=wanted[0]) if len(wanted) == 1 else Filters(type="notebook")
        counts = await self._store.counts(filters) if wanted else {}
        return {path: counts.get(clean_text(path), 0) for path in wanted}

    async def cancel(self, execution_id: str) -> Execution:
        """Stop exactly this execution, and return its record at once; final ones stay as they are.

        One that waits is cancelled when this returns; one that runs is being interrupted.

        Raises:
            RunsElsewhereError: It is another server process's.
        """
        live = self._turns.find(execution_id)
        if live is not None:
            await self._turns.cancel(live)
            if not live.is_taken_over:
                return live.execution
        execution = await self._store.get(execution_id)
        if not execution.state.is_final:
            raise RunsElsewhereError(f"execution {execution_id}", execution.state)
        return execution

    def cancel_soon(self, execution_id: str) -> None:
        """Cancel an execution in the background, if it is not final by then."""
        self._supervisor.spawn(self._cancel_quietly, execution_id)

    async def _cancel_quietly(self, execution_id: str) -> None:
        with contextlib.suppress(ExecError):
            await self.cancel(execution_id)

    async def answer(self, execution_id: str, text: str | None) -> Execution:
        """Give running code the input that it asks for, and return its record.

        Args:
            text: ``None`` ends its input.

        Raises:
            NoInputRequestError: It does not ask for any now.
        """
        live = self.live_of(execution_id)
        execution = await self.get(execution_id)
        if live is None and not execution.state.is_final:
            raise RunsElsewhereError(f"execution {execution_id}", execution.state)
        if live is None or live.stdin is None or not live.stdin.answer(text):
            raise NoInputRequestError(execution_id)
        return self._shown(live)

    async def delete(self, execution_id: str, *, force: bool = False) -> None:
        """Delete a record and all that belongs to it.

        Args:
            force: Cancel it first, if it is not final.

        Raises:
            NotFinalError: It is not final, or did not become so in time.
            RunsElsewhereError: It is another server process's to cancel.
        """
        try:
            execution = await self.get(execution_id)
        except UnreadableRowError:
            await self._store.delete(execution_id)
            return
        if not execution.state.is_final and force:
            await self.cancel(execution_id)
            execution, _ = await self.wait(
                execution_id, seconds=self._limits.interrupt_grace_seconds + 20
            )
        if not execution.state.is_final:
            raise NotFinalError(execution_id, execution.state)
        if self._turns.find(execution_id) is not None:
            await self._turns.store_unstored()
        await self._store.delete(execution_id)

    async def delete_where(self, filters: Filters) -> int:
        """Delete the final records that match; return how many."""
        return await self._store.delete_where(filters)

    async def notebook(self, execution_id: str) -> dict[str, Any]:
        """Return the notebook with the outputs so far, as it would be saved.

        Raises:
            NoNotebookError: It is of a command.
        """
        execution = await self.get(execution_id)
        if isinstance(execution.source, CommandSource):
            raise NoNotebookError(execution_id)
        snapshot = await load_snapshot(execution, self._store)
        notebook = executed_notebook(snapshot, await self.result(execution_id))
        notebook["cells"] = [without_trust(cell) for cell in notebook["cells"]]
        return notebook


def unknown_predecessor() -> InvalidArgumentError:
    """Return the error for an ``after`` that names no execution that the user may see."""
    return InvalidArgumentError("after must be the id of an execution", target="after")


def _is_for_subshell(new: NewExecution, session: LiveSession) -> bool:
    """Whether *new* runs beside what *session* runs.

    Raises:
        SessionBusyError: The session is busy, and *new* does not wait for it.
        NoSubshellsError: It would run beside, but the kernel cannot do that.
    """
    if not session.is_busy or new.on_busy is OnBusy.QUEUE:
        return False
    if new.on_busy is OnBusy.REJECT:
        raise SessionBusyError(session.record.id)
    kernel = session.kernels.kernel
    if kernel is None or kernel.fate is not None or not kernel.has_subshells:
        raise NoSubshellsError(session.record.kernel_name)
    return True


def _execution_of(
    new: NewExecution,
    owner: str,
    kernel_name: str,
    snapshot: Snapshot,
    session: LiveSession | None,
) -> Execution:
    source = new.source
    if isinstance(source, NotebookSource):
        source = replace(source, path=source.path.strip("/"))
    return Execution(
        id=str(uuid4()),
        type=source.type,
        state=State.PENDING,
        source=source,
        session_id=str(uuid4()) if session is None else session.record.id,
        session_name=None if session is None else session.record.name,
        kernel_name=kernel_name,
        owner=owner,
        idempotency_key=new.idempotency_key,
        description=new.description,
        labels=new.labels,
        annotations=new.annotations,
        origin=new.origin,
        after=new.after,
        input_names=sorted(new.inputs),
        variable_names=new.variable_names,
        stdin_count=None if new.stdin is None else len(new.stdin),
        timeout_seconds=new.timeout_seconds,
        cell_timeout_seconds=new.cell_timeout_seconds,
        fresh_kernel=new.fresh_kernel,
        on_error=new.on_error,
        on_kernel_death=new.on_kernel_death,
        created_time=datetime.now(UTC),
        progress=Progress(total=len(snapshot.cell_indexes)),
        warnings=snapshot.warnings,
    )


async def _stored_snapshot(source: Source, snapshot: Snapshot) -> bytes | None:
    """Return what is stored beside the record: nothing for code, which is in the record."""
    return await encode_snapshot(snapshot) if isinstance(source, NotebookSource) else None
