"""What the service does without being asked: recovers after a crash, heartbeats, purges."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import anyio
import msgspec

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    ExecutionNotFoundError,
    ServerRestartedError,
    SessionNotFoundError,
    StoreUnavailableError,
)
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import (
    Event,
    Execution,
    Result,
    Truncation,
)
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.engine.cells import error_of
from jupyter_exec_ext.engine.outputs import OutputFold
from jupyter_exec_ext.services.events import (
    PUBLISHED_TYPES,
    closing_events,
    decode_event,
    encode_event,
    published_bytes_of,
)
from jupyter_exec_ext.services.files import FileService
from jupyter_exec_ext.services.live import Live
from jupyter_exec_ext.services.notebooks import Snapshot, decode_snapshot, snapshot_of_source
from jupyter_exec_ext.services.runs import final_record
from jupyter_exec_ext.services.sessions import SessionService
from jupyter_exec_ext.services.turns import Turns
from jupyter_exec_ext.store.store import Store

ROUND_SECONDS = 15.0
"""How often the heartbeat is renewed and lost executions are looked for."""

RETRY_SECONDS = 2.0
"""The same while the store fails, or holds less than it should."""

PURGE_SECONDS = 600.0

EVENTS_PAGE = 200
"""How many events of a lost execution are read at once."""

LOST_NUMBERS = 1_000_000
"""More events than a run can have had in memory when its server ended without a word.

Somebody may have read them there: their numbers are not used for others.
"""


class Upkeep:
    """Runs in the background from the start of the server to its end."""

    def __init__(
        self,
        *,
        store: Store,
        turns: Turns,
        sessions: SessionService,
        files: FileService,
        limits: Limits,
        on_activity: Callable[[], None],
        on_state: Callable[[Execution], None],
        log: logging.Logger,
    ) -> None:
        self._store = store
        self._turns = turns
        self._sessions = sessions
        self._files = files
        self._limits = limits
        self._on_activity = on_activity
        self._on_state = on_state
        self._log = log
        self._next_purge = 0.0
        self._had_trouble = False

    async def run(self) -> None:
        """Do one round after the other, until cancelled; a failing store is tried again."""
        while True:
            seconds = ROUND_SECONDS
            try:
                await self._do_round()
                self._had_trouble = False
            except StoreUnavailableError as error:
                if not self._had_trouble:
                    self._log.warning("the store of executions fails: %s", error.message)
                self._had_trouble = True
                seconds = RETRY_SECONDS
            if self._turns.active_count or self._files.transfer_count:
                self._on_activity()
            await anyio.sleep(seconds)

    async def _do_round(self) -> None:
        await self._store.open()
        await self._store.heartbeat()
        await self._turns.store_unstored()
        await self.recover()
        if time.monotonic() >= self._next_purge:
            self._next_purge = time.monotonic() + PURGE_SECONDS
            now = datetime.now(UTC)
            seconds = max(self._limits.retention_seconds, self._limits.min_retention_seconds)
            await self._store.sessions.purge(ended_before=now - timedelta(seconds=seconds))
            await self._store.purge(
                now=now,
                max_records=self._limits.max_records,
                min_age=timedelta(seconds=self._limits.min_retention_seconds),
            )

    async def recover(self) -> None:
        """Settle what a dead process of this server left behind: run it now or make it final."""
        for execution in await self._store.lost():
            try:
                if not await self._store.adopt(execution.id):
                    continue
                if await self._can_resume(execution):
                    await self._turns.enqueue(Live(execution=execution, on_state=self._on_state))
                else:
                    await self._settle(execution)
            except ExecutionNotFoundError:
                continue
        await self._sessions.recover()
        await self._store.drop_dead_leases()

    async def _can_resume(self, execution: Execution) -> bool:
        """Whether *execution* can still run as it was asked for.

        A lasting session lost its variables; inputs and answers are never stored.
        """
        age = (datetime.now(UTC) - execution.created_time).total_seconds()
        if (
            execution.state is not State.PENDING
            or execution.input_names
            or execution.stdin_count is not None
            or age > self._limits.resume_pending_seconds
        ):
            return False
        try:
            await self._store.sessions.get(execution.session_id)
        except SessionNotFoundError:
            return True
        return False

    async def _settle(self, execution: Execution) -> None:
        did_run = "while this execution ran" if execution.started else "before it ran"
        error = ServerRestartedError(f"the server ended without a word {did_run}")
        if execution.state is State.CANCELLING:
            final = final_record(execution, State.CANCELLED, None, self._limits)
        else:
            final = final_record(execution, State.FAILED, error_of(error), self._limits)
        result, last_number = Result(), 0
        if execution.state is not State.PENDING:
            result, last_number = await self._result_of(execution)
            last_number += LOST_NUMBERS
        closing = closing_events(final, after=last_number)
        if await self._store.finish(
            final, result=msgspec.json.encode(result), events=[*map(encode_event, closing)]
        ):
            self._on_state(final)

    async def _result_of(self, execution: Execution) -> tuple[Result, int]:
        """Fold the stored events of *execution* into what it left; return the last number too."""
        snapshot = await self._snapshot_of(execution)
        fold = OutputFold(snapshot.cell_count, max_stream_bytes=self._limits.max_stream_bytes)
        last = kept_bytes = published_bytes = 0
        while rows := await self._store.events(execution.id, after=last, limit=EVENTS_PAGE):
            events = [decode_event(payload) for _, payload in rows]
            last = rows[-1][0]
            kept_bytes += sum(map(published_bytes_of, events))
            published_bytes = max(published_bytes, *(event.published_bytes for event in events))
            await threads.run_sync(_fold_in, fold, events)
        if not execution.started:
            return Result(), last
        kept_bytes -= fold.lost_bytes
        widgets = fold.widget_metadata()
        result = Result(
            cells=fold.cells(snapshot.cell_indexes),
            metadata={"widgets": widgets} if widgets else {},
            truncated=Truncation(kept_bytes=kept_bytes, total_bytes=published_bytes)
            if kept_bytes < published_bytes
            else None,
        )
        return result, last

    async def _snapshot_of(self, execution: Execution) -> Snapshot:
        snapshot = snapshot_of_source(execution.source, execution.kernel_name)
        if snapshot is not None:
            return snapshot
        return decode_snapshot(await self._store.get_notebook(execution.id))


def _fold_in(fold: OutputFold, events: Iterable[Event]) -> None:
    for event in events:
        if event.type in PUBLISHED_TYPES:
            fold.apply(event)
