"""What the service does without being asked: recovers after a crash, heartbeats, purges."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import anyio

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    ExecutionNotFoundError,
    ServerRestartedError,
    StoreUnavailableError,
    UnreadableRowError,
)
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import (
    Event,
    EventType,
    Execution,
    Result,
    Truncation,
)
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.engine.cells import error_of
from jupyter_exec_ext.engine.outputs import OutputFold
from jupyter_exec_ext.services.events import (
    FOLDED_TYPES,
    closing_events,
    decode_event,
    encode_events,
    published_bytes_of,
)
from jupyter_exec_ext.services.files import FileService
from jupyter_exec_ext.services.live import Live
from jupyter_exec_ext.services.notebooks import (
    EMPTY_SNAPSHOT,
    Snapshot,
    encode_result,
    load_snapshot,
)
from jupyter_exec_ext.services.runs import final_record
from jupyter_exec_ext.services.sessions import SessionService
from jupyter_exec_ext.services.supervisor import log_defect
from jupyter_exec_ext.services.turns import Predecessor, Turns
from jupyter_exec_ext.store.records import MAX_REPORTED_ROWS
from jupyter_exec_ext.store.store import EventRow, Store

ROUND_SECONDS = 15.0
"""How often the heartbeat is renewed and lost executions are looked for."""

RETRY_SECONDS = 2.0
"""The same while the store fails, or holds less than it should."""

PURGE_SECONDS = 600.0

EVENTS_PAGE = 200
"""How many events of a lost execution are read at once."""

LOST_NUMBERS = 1_000_000
"""More events than a run can have had in memory when its server process ended.

Clients may have read those events; their numbers are not used again.
"""


_NOT_SIGNED = (
    ", and it was not resumed, because its stored record does not have this server's signature:"
    " the signing key has changed, or another user of the database has written the record"
)


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
        on_round: Callable[[], None],
        log: logging.Logger,
    ) -> None:
        self._store = store
        self._turns = turns
        self._sessions = sessions
        self._files = files
        self._limits = limits
        self._on_activity = on_activity
        self._on_state = on_state
        self._on_round = on_round
        self._log = log
        self._next_purge = 0.0
        self._had_trouble = False
        self._reported: set[str] = set()

    async def run(self) -> None:
        """Do one round after the other, until cancelled; a failing store is tried again."""
        while True:
            seconds = ROUND_SECONDS
            self._on_round()
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
        steps = (
            self._turns.store_unstored,
            self.recover,
            self._turns.decide_held,
            self._purge,
        )
        for step in steps:
            with self._reporting(f"the round, {step.__name__}"):
                await step()

    @contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        """Report a failure of *what* once and go on, unless the whole store fails."""
        try:
            yield
        except UnreadableRowError as error:
            if self._is_news(what):
                self._log.error("%s: %s", what, error.message)
        except StoreUnavailableError:
            raise
        except Exception as defect:  # noqa: BLE001 - the rest of the round has to be done
            if self._is_news(what):
                log_defect(self._log, defect)

    def _is_news(self, what: str) -> bool:
        """Return whether *what* has not failed before, and there is room to remember it."""
        if what in self._reported or len(self._reported) >= MAX_REPORTED_ROWS:
            return False
        self._reported.add(what)
        return True

    async def _purge(self) -> None:
        if time.monotonic() < self._next_purge:
            return
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
        for execution_id in await self._store.lost():
            with self._reporting(f"execution {execution_id}"), suppress(ExecutionNotFoundError):
                await self._recover_one(execution_id)
        await self._sessions.recover()
        await self._store.drop_dead_leases()

    async def _recover_one(self, execution_id: str) -> None:
        adopted = await self._store.adopt(execution_id)
        if adopted is None:
            return
        execution = adopted.execution
        if adopted.is_damaged:
            self._log.error("execution %s: its stored record is damaged", execution_id)
            await self._settle(execution, ", and its stored record is damaged")
        elif not await self._can_resume(execution):
            await self._settle(execution)
        elif adopted.is_signed:
            live = Live(execution=execution, on_state=self._on_state)
            await self._turns.enqueue(live, await self._predecessor_of(execution))
        else:
            self._log.warning(
                "execution %s is not resumed: this server has not signed it", execution.id
            )
            await self._settle(execution, _NOT_SIGNED)

    async def _predecessor_of(self, execution: Execution) -> Predecessor | None:
        if execution.after is None:
            return None
        try:
            return await self._turns.predecessor(execution.after)
        except (ExecutionNotFoundError, UnreadableRowError):
            return Predecessor(id=execution.after)

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
        return not await self._store.sessions.exists(execution.session_id)

    async def _settle(self, execution: Execution, reason: str = "") -> None:
        did_run = "while this execution ran" if execution.started else "before it ran"
        error = ServerRestartedError(f"the server process ended unexpectedly {did_run}{reason}")
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
            final, result=await encode_result(result), events=encode_events(closing)
        ):
            self._on_state(final)

    async def _result_of(self, execution: Execution) -> tuple[Result, int]:
        """Fold the stored events of *execution* into what it left; return the last number too.

        Damaged rows are left out, and reported.
        """
        snapshot, cell_count = EMPTY_SNAPSHOT, 0
        with self._reporting(f"execution {execution.id}, its notebook"):
            snapshot = await load_snapshot(execution, self._store)
            cell_count = snapshot.cell_count
        fold = OutputFold(cell_count, max_stream_bytes=self._limits.max_stream_bytes)
        last = kept_bytes = published_bytes = damaged_count = 0
        while rows := await self._store.events(execution.id, after=last, limit=EVENTS_PAGE):
            last = rows[-1][0]
            whole = await threads.run_sync(_fold_in, fold, rows)
            damaged_count += len(rows) - len(whole)
            kept_bytes += sum(map(published_bytes_of, whole))
            published_bytes = max([published_bytes, *(event.published_bytes for event in whole)])
        if damaged_count:
            self._log.error(
                "execution %s: %d of its events cannot be read", execution.id, damaged_count
            )
        result = Result()
        if execution.started:
            with self._reporting(f"execution {execution.id}, its outputs"):
                result = _result_of(fold, snapshot, kept_bytes, published_bytes)
        return result, last


def _fold_in(fold: OutputFold, rows: Iterable[EventRow]) -> list[Event]:
    """Fold the events of *rows*, and return those that are not damaged."""
    whole = []
    for event in map(decode_event, rows):
        if event.type is EventType.GAP:
            continue
        if event.type in FOLDED_TYPES:
            try:
                fold.apply(event)
            except Exception:  # noqa: BLE001, S112 - the caller reports how many there were
                continue
        whole.append(event)
    return whole


def _result_of(
    fold: OutputFold, snapshot: Snapshot, kept_bytes: int, published_bytes: int
) -> Result:
    kept_bytes -= fold.lost_bytes
    widgets = fold.widget_metadata()
    return Result(
        cells=fold.cells(snapshot.cell_indexes),
        metadata={"widgets": widgets} if widgets else {},
        truncated=Truncation(kept_bytes=kept_bytes, total_bytes=published_bytes)
        if kept_bytes < published_bytes
        else None,
    )
