"""What this process knows better than the store: its executions and sessions that still live."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from jupyter_exec_ext.core.errors import RunError
from jupyter_exec_ext.core.inputs import Environment, size_of
from jupyter_exec_ext.core.models import (
    CodeSource,
    CommandSource,
    CommandStep,
    Execution,
    ExecutionError,
    Result,
    Source,
)
from jupyter_exec_ext.core.sessions import Session, SessionState
from jupyter_exec_ext.engine.cells import error_of
from jupyter_exec_ext.engine.sessions import KernelSession
from jupyter_exec_ext.engine.signals import Signal
from jupyter_exec_ext.engine.stdin import Stdin
from jupyter_exec_ext.services.journal import Journal
from jupyter_exec_ext.services.notebooks import Snapshot
from jupyter_exec_ext.services.session_log import SessionLog


@dataclass(kw_only=True, eq=False)
class Live:
    """An execution of this process that is not safely stored in its final state yet.

    Attributes:
        environment: Its inputs; they are kept nowhere else.
        answers: What was prepared for it to read, which is kept nowhere else either.
        session: The lasting session it runs in; ``None`` for one of its own.
        beside: The lasting session in whose folder it runs, with a kernel of its own.
        is_side: Whether it runs in a subshell, beside what its session runs.
        is_held: Whether it waits for the execution that it runs after.
        on_state: Called with the record at each change of its state.
        changed: Fires at each change of ``execution``.
        scope: Cancelling it stops the run; ``None`` while it waits.
        stop_error: Why it is being stopped by something else than a client's cancel.
        snapshot: ``None`` while it waits, since thousands may.
        stdin: Who answers what its code asks; ``None`` until it runs.
        exit_codes: Of the steps of a command that ended so far; ``None`` for what is none.
        is_stored: Whether the final record is in the store, or another process's to store.
        is_taken_over: Whether another process of this server runs or ended it, so that only the
            store has its record.
    """

    execution: Execution
    environment: Environment = field(default_factory=dict)
    answers: list[str] | None = None
    session: "LiveSession | None" = None
    beside: "LiveSession | None" = None
    is_side: bool = False
    is_held: bool = False
    on_state: Callable[[Execution], None]
    changed: Signal = field(default_factory=Signal)
    scope: anyio.CancelScope | None = None
    stop_error: RunError | None = None
    snapshot: Snapshot | None = None
    journal: Journal | None = None
    stdin: Stdin | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    exit_codes: dict[CommandStep, int] | None = None
    final_result: Result | None = None
    is_stored: bool = False
    is_taken_over: bool = False

    @property
    def waiting_bytes(self) -> int:
        """How much memory it takes while it waits."""
        return waiting_bytes_of(self.execution.source, self.environment, self.answers)

    def forget_secrets(self) -> None:
        """Drop its inputs and prepared answers."""
        self.environment.clear()
        self.answers = None

    def change(self, **fields: Any) -> None:
        """Change fields of the record, but its state; that is for `advance`."""
        self.execution = replace(self.execution, **fields)
        self.changed.fire()

    def change_to(self, execution: Execution) -> None:
        """Show *execution*, which `advance` made, from now on."""
        self.execution = execution
        self.changed.fire()
        if self.journal is not None:
            self.journal.has_news.fire()
        self.on_state(execution)

    def leave_to_other(self) -> None:
        """Show only the stored record from now on: another process of this server writes it."""
        self.is_taken_over = self.is_stored = True
        self.changed.fire()
        if self.journal is not None:
            self.journal.has_news.fire()

    def stop(self, error: RunError | None = None) -> None:
        """Let its run end: with *error*, or because a client cancelled it."""
        self.stop_error = self.stop_error or error
        if self.scope is not None:
            self.scope.cancel()

    def result(self) -> Result:
        """Return what the run left so far."""
        if self.final_result is not None:
            return self.final_result
        if self.journal is None or self.snapshot is None or not self.execution.started:
            return Result()
        return Result(
            cells=self.journal.cells(self.snapshot.cell_indexes),
            exit_codes=None if self.exit_codes is None else dict(self.exit_codes),
            metadata=self.metadata,
            truncated=self.journal.truncated,
        )


def waiting_bytes_of(
    source: Source, environment: Environment, answers: Sequence[str] | None
) -> int:
    """Return about how much memory an execution takes while it waits."""
    code_bytes = 0
    if isinstance(source, CodeSource):
        code_bytes = len(source.code)
    elif isinstance(source, CommandSource):
        code_bytes = sum(sum(map(len, command)) for command in source.steps.values())
    return code_bytes + size_of(environment) + sum(map(len, answers or ()))


class LiveSession:
    """A session of this process that has not ended.

    Attributes:
        record: What is stored; `view` adds what changes from moment to moment.
        log: What its kernel prints after the executions that started it have ended.
        queue: The executions that wait, in the order in which they were accepted.
        running: The execution that has its turn.
        side: Those that run in subshells beside it, and those with fresh kernels in its folder.
        lock: Held from the decision that an execution is accepted until it is in the queue.
        kernel_lost: What the next execution is told of the kernel that it does not have any more.
        is_starting: Whether its first kernel is being started for nobody yet.
        is_ending: Whether it takes no more executions.
        transfer_count: How many uploads to its folder and downloads from there go on.
        used_at: When it was last used, by `time.monotonic`.
        changed: Fires when something of it changed.
        listeners: Called with the record of each execution that is accepted for it, and again when
            the execution is final.
    """

    def __init__(self, record: Session, kernels: KernelSession, log: SessionLog) -> None:
        self.record = record
        self.kernels = kernels
        self.log = log
        kernels.late_handler, kernels.max_late_bytes = log.take, log.max_bytes
        self.queue: deque[Live] = deque()
        self.running: Live | None = None
        self.side: set[Live] = set()
        self.lock = anyio.Lock(fast_acquire=True)
        self.kernel_lost: ExecutionError | None = None
        self.is_starting = False
        self.is_ending = False
        self.transfer_count = 0
        self.used_at = time.monotonic()
        self.changed = Signal()
        self.listeners: set[Callable[[Execution], None]] = set()
        self._noticed: RunError | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an execution accepted now would have to wait for another one in the session."""
        return self.running is not None or any(not live.is_held for live in self.queue)

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it waits or runs, and nobody moves its files."""
        is_accepting = self.lock.locked()
        is_used = self.running or self.queue or self.side or self.transfer_count
        return not (is_used or is_accepting or self.kernels.is_changing)

    def touch(self) -> None:
        """Note that it is used."""
        self.used_at = time.monotonic()
        self.record = replace(self.record, last_activity_time=datetime.now(UTC))
        self.changed.fire()

    def has_noticed(self, error: RunError) -> bool:
        """Whether `lose_kernel` was called with this very error."""
        return self._noticed is error

    def lose_kernel(self, error: RunError) -> None:
        """Note what became of its kernel: the next execution has a fresh one."""
        self._noticed = error
        lost = error_of(error)
        self.kernel_lost = lost
        self.record = replace(self.record, kernel_error=lost)
        self.changed.fire()

    def view(self) -> Session:
        """Return the record as it is at this moment."""
        timeout = self.record.idle_timeout_seconds
        expire_time = None
        if timeout is not None and self.is_idle:
            expire_time = self.record.last_activity_time + timedelta(seconds=timeout)
        state = SessionState.IDLE
        if self.is_busy or self.side:
            state = SessionState.BUSY
        elif self.is_starting:
            state = SessionState.STARTING
        kernel = self.kernels.kernel
        has_kernel = kernel is not None and kernel.fate is None
        return replace(
            self.record,
            state=state,
            kernel_id=kernel.kernel_id if has_kernel and kernel else self.record.kernel_id,
            pending_count=len(self.queue),
            expire_time=expire_time,
        )
