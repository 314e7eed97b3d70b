"""Runs: executions whose output is handed out piece by piece, to who asks for the next."""

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import anyio

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    ExecutionNotFoundError,
    NoInputRequestError,
    ServerStoppingError,
)
from jupyter_exec_ext.core.models import CommandSource, NewExecution, Source
from jupyter_exec_ext.core.sessions import Session
from jupyter_exec_ext.dialects.backendai.answers import (
    CONTINUED,
    FINISHED,
    STEP_STATUSES,
    WAITING,
    Answer,
    Place,
    answer_view,
    exit_code_of,
    note_of,
)
from jupyter_exec_ext.dialects.backendai.errors import bad_params
from jupyter_exec_ext.dialects.backendai.options import BackendAI
from jupyter_exec_ext.dialects.backendai.wire import DIALECT_LABEL, RUN_LABEL, ExecuteBody
from jupyter_exec_ext.services.doors import Services
from jupyter_exec_ext.store.listing import Filters, ListQuery


@dataclass(eq=False)
class Run:
    """One run, as its client knows it.

    Attributes:
        owner: The user who began it.
        before: Where it stood before the last answer.
        is_password: What its question asks for; ``None`` while it asks nothing.
        has_ended: Whether its end was handed out, or may have been before it was forgotten.
        lock: Held while an answer is put together.
    """

    run_id: str
    session_id: str
    execution_id: str
    owner: str
    source: Source
    place: Place = field(default_factory=Place)
    before: Place = field(default_factory=Place)
    is_password: bool | None = None
    has_ended: bool = False
    lock: anyio.Lock = field(default_factory=anyio.Lock)

    def rewind(self) -> None:
        """Let the last answer be given once more: it was lost on its way."""
        self.place = self.before
        self.has_ended = False


class Runs:
    """The runs of one server of which is remembered how far they were handed out.

    That is no more than a few numbers each; all else is read from the record of the execution.
    A run that was forgotten is the newest execution of its session that has its id as a label.
    """

    def __init__(self, services: Services, options: BackendAI) -> None:
        self._services = services
        self._options = options
        self._known: OrderedDict[tuple[str, str], Run] = OrderedDict()
        self._locks: WeakValueDictionary[tuple[str, str], anyio.Lock] = WeakValueDictionary()

    async def start(
        self, session: Session, body: ExecuteBody, *, owner: str, is_remembered: bool = True
    ) -> Run:
        """Begin a run; a request that came twice begins one.

        It did when a run with its id and its source goes on, or when nobody was told its end.

        Raises:
            RefusalError: A run with its id goes on that runs something else.
            ExecError: It is refused.
        """
        source, run_id = body.source, body.run or secrets.token_hex(8)
        async with self._locks.setdefault((session.id, run_id), anyio.Lock()):
            known = None if body.run is None else await self._same(session.id, run_id, source)
            if known is not None:
                return known
            new = NewExecution(
                source=source,
                session_id=session.id,
                timeout_seconds=self._timeout_seconds,
                labels={**DIALECT_LABEL, RUN_LABEL: run_id},
            )
            execution = await self._services.executions.create(new, owner=owner)
            run = Run(run_id, session.id, execution.id, owner, source)
            if is_remembered:
                self._remember(run)
            return run

    @property
    def _timeout_seconds(self) -> float | None:
        longest = self._services.limits.max_execution_seconds
        return min(self._options.run_timeout_seconds, longest) or None

    async def _same(self, session_id: str, run_id: str, source: Source) -> Run | None:
        """Return the run that a request for *source* began before; ``None`` when it is new."""
        known = await self._find(session_id, run_id)
        if known is None or known.has_ended:
            return None
        if known.source == source:
            return known
        try:
            execution = await self._services.executions.get(known.execution_id)
        except ExecutionNotFoundError:
            return None
        if not execution.state.is_final:
            raise bad_params("a run with this runId goes on, and runs something else")
        return None

    async def find(self, session: Session, run_id: str | None) -> Run:
        """Return a run that goes on or is over, also one that was forgotten.

        Raises:
            RefusalError: There is none.
        """
        if run_id is None:
            raise bad_params("runId is missing")
        run = await self._find(session.id, run_id)
        if run is None:
            raise bad_params("no such run")
        return run

    async def _find(self, session_id: str, run_id: str) -> Run | None:
        key = (session_id, run_id)
        if key not in self._known:
            filters = Filters(session_id=session_id, label=(RUN_LABEL, run_id))
            page = await self._services.executions.list(ListQuery(filters=filters, page_size=1))
            # Somebody else may have found it meanwhile, or begun another one.
            for newest in page.executions if key not in self._known else ():
                run = Run(run_id, session_id, newest.id, newest.owner, newest.source)
                run.has_ended = newest.state.is_final
                self._remember(run)
        if key in self._known:
            self._known.move_to_end(key)
        return self._known.get(key)

    def _remember(self, run: Run) -> None:
        self._known[run.session_id, run.run_id] = run
        while len(self._known) > self._options.max_runs:
            self._known.popitem(last=False)

    async def answer(
        self, run: Run, *, user: str, seconds: float, idle_seconds: float | None = None
    ) -> dict[str, Any]:
        """Return the next answer: at the end, at a question or the end of a step, or in time.

        Args:
            user: Whose share of the streams it counts in.
            seconds: After how long it says that the run goes on.
            idle_seconds: How long to wait for the first news before these seconds begin; then a
                question that is told already is waited for. ``None``: not at all.

        Raises:
            ServerStoppingError: The server stops.
            ExecError: The run cannot be followed.
        """
        run.before = run.place
        answer = Answer(
            run.place,
            is_command=isinstance(run.source, CommandSource),
            max_chars=self._options.max_console_chars,
        )
        is_told = run.is_password is not None and idle_seconds is None
        if is_told and await self._is_asking(run):
            seconds = 0
        deadline = time.monotonic() + seconds
        wait = seconds if idle_seconds is None else idle_seconds
        with self._services.following.follow(
            run.execution_id, after=run.place.number, user=user
        ) as follower:
            while True:
                events = await follower.read(seconds=max(0.0, wait))
                for event in events:
                    status = await threads.run_if_large(answer.take, event)
                    if status == WAITING:
                        run.is_password = answer.is_password
                        if not await self._is_asking(run):
                            continue
                    if status is not None:
                        return await self._view(run, answer, status)
                if idle_seconds is not None and events:
                    deadline, idle_seconds = time.monotonic() + seconds, None
                wait = deadline - time.monotonic()
                if not events or wait <= 0:
                    is_waiting = is_told and await self._is_asking(run)
                    return await self._view(run, answer, WAITING if is_waiting else CONTINUED)
        raise ServerStoppingError("the server is stopping")

    async def _is_asking(self, run: Run) -> bool:
        execution = await self._services.executions.get(run.execution_id)
        if execution.input_request is None:
            run.is_password = None
        return execution.input_request is not None

    async def _view(self, run: Run, answer: Answer, status: str) -> dict[str, Any]:
        """Return *answer* as it is handed out, and note that it is."""
        exit_code = None
        if status in STEP_STATUSES:
            executions = self._services.executions
            execution = await executions.get(run.execution_id)
            codes = None
            if isinstance(run.source, CommandSource):
                codes = (await executions.values(run.execution_id)).exit_codes
            exit_code = exit_code_of(execution, status, codes or {})
            if status == FINISHED:
                answer.console.add("stderr", note_of(execution))
                run.has_ended, run.is_password = True, None
        run.place = answer.place
        return answer_view(
            run.run_id,
            status,
            answer.console.items,
            exit_code=exit_code,
            is_password=run.is_password,
        )

    async def send_input(self, run: Run, text: str) -> None:
        """Give a run the input that it asks for; one that is over takes it without a word.

        Raises:
            NoInputRequestError: It goes on, and asks for none.
        """
        executions = self._services.executions
        try:
            await executions.answer(run.execution_id, text)
        except NoInputRequestError:
            if not (await executions.get(run.execution_id)).state.is_final:
                raise
        run.is_password = None
