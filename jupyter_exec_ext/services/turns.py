"""Whose turn it is: the queues of executions, of which each session has one."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from jupyter_exec_ext.core.errors import (
    ExecutionNotFoundError,
    PredecessorError,
    RunError,
    SessionLostError,
    TooManyError,
    UnreadableRowError,
)
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import EventType, ExecutionError, OnKernelDeath
from jupyter_exec_ext.core.states import State, advance
from jupyter_exec_ext.engine.cells import error_of
from jupyter_exec_ext.services.live import Live, LiveSession
from jupyter_exec_ext.services.runs import RunService
from jupyter_exec_ext.services.supervisor import Supervisor
from jupyter_exec_ext.store.store import Store

MAX_WAITING_BYTES = 256_000_000
"""How much memory the code, inputs and prepared answers of all waiting executions may take."""

RETRY_AFTER_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Predecessor:
    """The execution that another one runs after.

    Attributes:
        id: The id of the execution.
        live: The execution itself, if this process had it when it was looked up.
        stored_state: Otherwise the state in the store. A record that was deleted counts as
            failed.
    """

    id: str
    live: Live | None = None
    stored_state: State = State.FAILED

    @property
    def state(self) -> State:
        """The state now, as far as this process knows."""
        return self.stored_state if self.live is None else self.live.execution.state


class Turns:
    """The live executions, and the decision when each one runs.

    An execution with a session of its own waits for a place among those that run; in a lasting
    session each waits for the one before it. An execution that runs after another one keeps its
    place in the queue until that has succeeded, and those behind it may begin before it.
    """

    def __init__(
        self,
        *,
        runs: RunService,
        store: Store,
        supervisor: Supervisor,
        limits: Limits,
        on_activity: Callable[[], None],
    ) -> None:
        self._runs = runs
        self._store = store
        self._supervisor = supervisor
        self._limits = limits
        self._on_activity = on_activity
        self._live: dict[str, Live] = {}
        self._successors: dict[str, list[Live]] = {}
        self._queue: deque[Live] = deque()
        self._running_count = 0
        self._pending_count = 0
        self._waiting_bytes = 0
        self._accepting_count = 0

    @property
    def active_count(self) -> int:
        """How many executions wait or run."""
        return sum(not live.execution.state.is_final for live in self._live.values())

    def find(self, execution_id: str) -> Live | None:
        """Return the execution while its end is not safely stored."""
        return self._live.get(execution_id)

    def all(self) -> Iterator[Live]:
        """Yield every execution whose end is not safely stored."""
        yield from list(self._live.values())

    def position(self, live: Live) -> int | None:
        """Return the 0-based place of *live* in its queue; ``None`` when it does not wait."""
        if live.execution.state is not State.PENDING:
            return None
        return self._queue_of(live).index(live)

    def positions(self) -> dict[str, int]:
        """Return the same of all that wait, by the ids of the executions."""
        queues = {id(queue): queue for queue in map(self._queue_of, self._live.values())}
        return {
            live.execution.id: number
            for queue in queues.values()
            for number, live in enumerate(queue)
        }

    def _queue_of(self, live: Live) -> deque[Live]:
        return self._queue if live.session is None else live.session.queue

    def reserve(
        self, session: LiveSession | None, waiting_bytes: int, *, is_held: bool = False
    ) -> None:
        """Hold a place for an execution that is being accepted, until `release`.

        Args:
            is_held: Whether it waits for another execution in any case.

        Raises:
            TooManyError: As many wait already as may, or their inputs take too much memory.
        """
        if session is None:
            has_to_wait = self._running_count + self._accepting_count >= self._limits.max_running
        else:
            has_to_wait = session.is_busy
            if len(session.queue) >= self._limits.max_pending_per_session:
                raise _too_many(f"{len(session.queue)} executions wait in this session already")
        has_to_wait |= is_held
        if has_to_wait and self._pending_count + self._accepting_count >= self._limits.max_pending:
            raise _too_many(f"{self._pending_count} executions are waiting already")
        if waiting_bytes and self._waiting_bytes + waiting_bytes > MAX_WAITING_BYTES:
            raise _too_many("what waits takes too much memory already")
        self._accepting_count += 1

    def release(self) -> None:
        """Give back the place that `reserve` held."""
        self._accepting_count -= 1

    async def predecessor(self, execution_id: str) -> Predecessor:
        """Return the execution with this id, for another one that runs after it.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
            UnreadableRowError: The record is damaged.
        """
        live = self._live.get(execution_id)
        if live is not None:
            return Predecessor(id=execution_id, live=live)
        state = (await self._store.get(execution_id)).state
        # It may have been resumed here while the store was read.
        return Predecessor(id=execution_id, live=self._live.get(execution_id), stored_state=state)

    async def enqueue(self, live: Live, predecessor: Predecessor | None = None) -> None:
        """Let *live*, which is stored, wait for its turn; or run at once, if it runs already.

        Args:
            predecessor: The execution that *live* runs after; ``None`` for none.
        """
        await self._supervisor.start()
        self._live[live.execution.id] = live
        self._on_activity()
        session = live.session or live.beside
        if session is not None:
            for listener in session.listeners:
                listener(live.execution)
            session.touch()
            if session.is_ending:
                error = error_of(SessionLostError("the session ended meanwhile"))
                live.change(started=False)
                await self._runs.end_without_result(live, State.FAILED, error)
                self.settle(live)
                return
        if live.beside is not None:
            live.beside.side.add(live)
        if live.is_side or live.execution.state is State.RUNNING:
            self._begin(live)
            return
        self._queue_of(live).append(live)
        self._pending_count += 1
        self._waiting_bytes += live.waiting_bytes
        if predecessor is not None:
            live.is_held = True
            self._successors.setdefault(predecessor.id, []).append(live)
            if predecessor.state.is_final:
                await self._decide_successors(predecessor.id, predecessor.state)
        self._dispatch(live.session)
        if live.execution.state is State.PENDING:
            live.snapshot = None

    def _dispatch(self, session: LiveSession | None) -> None:
        """Begin what waits, as far as there is room: in *session*, or in sessions of their own."""
        if self._supervisor.is_stopping:
            return
        if session is not None:
            first = _first_ready(session.queue)
            if session.running is None and first is not None and not session.is_ending:
                self._begin(self._leave_queue(first))
            return
        while self._running_count < self._limits.max_running:
            first = _first_ready(self._queue)
            if first is None:
                return
            self._begin(self._leave_queue(first))

    def _leave_queue(self, live: Live) -> Live:
        self._queue_of(live).remove(live)
        self._pending_count -= 1
        self._waiting_bytes -= live.waiting_bytes
        return live

    def _begin(self, live: Live) -> None:
        if live.session is None:
            self._running_count += 1
        elif live.is_side:
            live.session.side.add(live)
        else:
            live.session.running = live
        if live.execution.state is State.PENDING:
            live.change_to(advance(live.execution, State.RUNNING))
        self._supervisor.spawn(self._run, live)

    async def _run(self, live: Live) -> None:
        session = live.session
        try:
            await self._runs.run(live)
            # First, since others in the session fail if the kernel is lost.
            await self._decide_successors(live.execution.id, live.execution.state)
            if session is not None:
                # Before the next one begins: it may not be meant for a fresh kernel.
                code_exit = live.execution.code_exit
                await self.notice_loss(
                    session, by_code=code_exit is not None and code_exit.kernel_ended
                )
        finally:
            if session is None:
                self._running_count -= 1
            else:
                if session.running is live:
                    session.running = None
                session.side.discard(live)
                session.touch()
            self.settle(live)
        self._dispatch(session)

    async def notice_loss(self, session: LiveSession, *, by_code: bool = False) -> None:
        """Note whether the session lost its kernel, and fail what must not run in a fresh one.

        Args:
            by_code: Whether code ended the kernel, as by ``exit()``.
        """
        kernel = session.kernels.kernel
        loss = await session.kernels.loss()
        if loss is None or session.kernels.kernel is not kernel or session.is_ending:
            return
        if not session.has_noticed(loss):
            session.lose_kernel(loss)
            choices = (OnKernelDeath.FAIL,) if by_code else (OnKernelDeath.FAIL, None)
            await self._fail(
                [live for live in session.queue if live.execution.on_kernel_death in choices],
                SessionLostError(f"the session lost its kernel: {loss}"),
            )

    async def fail_waiting(self, session: LiveSession, error: RunError) -> None:
        """Make final what waits in *session*, and what waits for a fresh kernel in its folder."""
        in_its_folder = [live for live in self._queue if live.beside is session]
        await self._fail([*session.queue, *in_its_folder], error)

    async def _fail(self, waiting: Iterable[Live], error: RunError) -> None:
        for live in waiting:
            # A client can cancel it while the one before it is stored.
            if live in self._queue_of(live):
                await self._end_waiting(live, State.FAILED, error_of(error))

    async def _end_waiting(self, live: Live, state: State, error: ExecutionError | None) -> None:
        self._leave_queue(live)
        await self._runs.end_without_result(live, state, error)
        self.settle(live)
        await self._decide_successors(live.execution.id, live.execution.state)

    async def _decide_successors(self, execution_id: str, state: State) -> None:
        """Let those that run after an execution begin if it succeeded, else cancel them.

        What runs after an execution that is cancelled here is cancelled with it.

        Args:
            state: The final state of the execution.
        """
        decided = deque([(execution_id, state)])
        while decided:
            execution_id, state = decided.popleft()
            for live in self._successors.pop(execution_id, ()):
                if live.execution.state is not State.PENDING:
                    continue
                if state is State.SUCCEEDED:
                    live.is_held = False
                    self._dispatch(live.session)
                    continue
                outcome = "was cancelled" if state is State.CANCELLED else "failed"
                error = PredecessorError(
                    f"execution {execution_id}, after which this one should run, {outcome}"
                )
                self._leave_queue(live)
                decided.append((live.execution.id, State.CANCELLED))
                await self._runs.end_without_result(live, State.CANCELLED, error_of(error))
                self.settle(live)

    async def decide_held(self) -> None:
        """Decide what runs after executions that this process does not have."""
        for execution_id in [key for key in self._successors if key not in self._live]:
            try:
                predecessor = await self.predecessor(execution_id)
            except (ExecutionNotFoundError, UnreadableRowError):
                predecessor = Predecessor(id=execution_id)
            if predecessor.state.is_final:
                await self._decide_successors(execution_id, predecessor.state)

    async def cancel(self, live: Live) -> None:
        """Stop exactly this execution: at once if it waits, else its run ends soon."""
        if live.execution.state is State.PENDING:
            await self._end_waiting(live, State.CANCELLED, None)
        elif live.execution.state is State.RUNNING:
            live.change_to(advance(live.execution, State.CANCELLING))
            if live.journal is not None:
                live.journal.tell(EventType.STATE, {"state": State.CANCELLING.value})
            live.stop()

    def settle(self, live: Live) -> None:
        """Forget *live* if its final record is stored; else `store_unstored` tries again."""
        self._on_activity()
        session = live.session or live.beside
        if session is not None:
            for listener in session.listeners:
                listener(live.execution)
        if live.beside is not None:
            live.beside.side.discard(live)
            live.beside.touch()
        if live.is_stored:
            self._live.pop(live.execution.id, None)

    async def store_unstored(self) -> None:
        """Try again to store the final records that a failing store did not take."""
        for live in self.all():
            if live.execution.state.is_final and not live.is_stored:
                await self._runs.store_final(live, live.execution)
                self.settle(live)

    async def close(self, error: RunError, *, timeout_seconds: float) -> None:
        """Make what waits final, since the server stops; what runs, its own task makes final.

        What does not fit in the time is made final at the next start.
        """
        deadline = time.monotonic() + timeout_seconds
        for live in self.all():
            if time.monotonic() >= deadline:
                return
            if live.execution.state is State.PENDING:
                await self._end_waiting(live, State.FAILED, error_of(error))


def _first_ready(queue: Iterable[Live]) -> Live | None:
    """Return the first execution of *queue* that waits for no other execution."""
    return next((live for live in queue if not live.is_held), None)


def _too_many(message: str) -> TooManyError:
    return TooManyError(message, retry_after_seconds=RETRY_AFTER_SECONDS)
