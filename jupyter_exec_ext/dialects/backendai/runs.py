"""Runs: executions whose output is handed out piece by piece, to who asks for the next."""

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from jupyter_exec_ext.core.errors import (
    IdempotencyConflictError,
    ServerStoppingError,
)
from jupyter_exec_ext.core.models import (
    STEPS,
    CodeSource,
    CommandSource,
    CommandStep,
    Event,
    EventType,
    Execution,
    NewExecution,
    Source,
)
from jupyter_exec_ext.core.sessions import Session
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.dialects.backendai.console import STREAMS, Console, item_of
from jupyter_exec_ext.dialects.backendai.options import BackendAI
from jupyter_exec_ext.dialects.backendai.wire import (
    DIALECT_LABEL,
    NAME,
    RUN_ANNOTATION,
    ExecuteBody,
    bad_params,
)
from jupyter_exec_ext.services.doors import Services

CONTINUED = "continued"
WAITING = "waiting-input"
FINISHED = "finished"
STEP_STATUSES = ("clean-finished", "build-finished", FINISHED)

LEFT_OUT = "\n[... output left out ...]\n"
NO_COMMAND = ":"
"""Stands for a batch in which there is nothing to do."""

NOT_RUN = 127
INTERRUPTED = 130
OUT_OF_TIME = 124

_OF_CODE = {
    "CodeError": 0,
    "InputNotGiven": 0,
    "Timeout": OUT_OF_TIME,
    "KernelStartFailed": NOT_RUN,
    "CommandFailed": NOT_RUN,
    "InternalError": NOT_RUN,
}
"""The exit codes of runs that failed so; the kernel is gone in all other ways to fail."""

_TOLD = ("Timeout", "KernelStartFailed", "InternalError")
"""What nothing but a note tells."""


@dataclass(frozen=True)
class Place:
    """How far a run was handed out.

    Attributes:
        number: Of the last event that was handed out whole.
        chars: How much of the text of the next one was too.
        step: How many steps of a command are known to be over.
    """

    number: int = 0
    chars: int = 0
    step: int = 0


@dataclass(eq=False)
class Run:
    """One run, as its client knows it.

    Attributes:
        before: Where it stood before the last answer.
        is_password: What its question asks for; ``None`` while it asks nothing.
        has_ended: Whether its end was handed out.
        lock: Held while an answer is put together.
    """

    run_id: str
    session_id: str
    execution_id: str
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


def answer_of(run: Run, status: str, console: Console, exit_code: int | None) -> dict[str, Any]:
    """Return the result object of one answer."""
    options = {"is_password": bool(run.is_password)} if status == WAITING else None
    return {
        "runId": run.run_id,
        "status": status,
        "exitCode": exit_code,
        "console": console.items,
        "options": options,
        "files": [],
    }


def source_of(body: ExecuteBody) -> Source:
    """Return what a request wants to have run.

    Raises:
        RefusalError: It does not say.
    """
    if body.mode == "query":
        if body.code is None:
            raise bad_params("a query has code")
        return CodeSource(code=body.code)
    steps: dict[str, str | None] = {}
    for step in STEPS:
        command = (body.options or {}).get(step)
        if not isinstance(command, str | None):
            raise bad_params(f"{step} is a command")
        steps[step] = command if command and command.strip() else None
    if not any(steps.values()):
        steps["exec"] = NO_COMMAND
    return CommandSource(clean=steps["clean"], build=steps["build"], exec=steps["exec"])


class Runs:
    """The runs of one server of which is remembered how far they were handed out.

    That is no more than a few numbers each; all else is read from the record of the execution.
    """

    def __init__(self, services: Services, options: BackendAI) -> None:
        self._services = services
        self._options = options
        self._known: OrderedDict[tuple[str, str], Run] = OrderedDict()

    async def start(
        self, session: Session, body: ExecuteBody, *, owner: str, is_remembered: bool = True
    ) -> Run:
        """Begin a run; the one that has the id of *body* already is returned while it goes on.

        Raises:
            ExecError: It is refused.
        """
        source = source_of(body)
        run_id = body.run or secrets.token_hex(8)
        known = self._known.get((session.id, run_id))
        if known is not None and not known.has_ended:
            return known
        new = NewExecution(
            source=source,
            session_id=session.id,
            timeout_seconds=self._timeout_seconds,
            labels=DIALECT_LABEL,
            annotations={RUN_ANNOTATION: run_id},
            idempotency_key=None if known is not None else _key_of(session.id, run_id),
        )
        executions = self._services.executions
        try:
            execution = await executions.create(new, owner=owner)
        except IdempotencyConflictError:
            # An id that was used long ago, for something else.
            execution = await executions.create(replace(new, idempotency_key=None), owner=owner)
        run = Run(run_id, session.id, execution.id, source)
        if is_remembered:
            self._remember(run)
        return run

    @property
    def _timeout_seconds(self) -> float | None:
        longest = self._services.limits.max_execution_seconds
        return min(self._options.run_timeout_seconds, longest) or None

    async def find(self, session: Session, run_id: str | None) -> Run:
        """Return a run that goes on or is over, also one that was forgotten.

        Raises:
            RefusalError: There is none.
        """
        if run_id is None:
            raise bad_params("runId is missing")
        key = (session.id, run_id)
        if key not in self._known:
            execution = await self._services.executions.of_key(_key_of(*key))
            if execution is None:
                raise bad_params("no such run")
            self._remember(Run(run_id, session.id, execution.id, execution.source))
        self._known.move_to_end(key)
        return self._known[key]

    def _remember(self, run: Run) -> None:
        self._known[run.session_id, run.run_id] = run
        while len(self._known) > self._options.max_runs:
            self._known.popitem(last=False)

    async def answer(
        self, run: Run, *, seconds: float, idle_seconds: float | None = None
    ) -> dict[str, Any]:
        """Return the next answer: at the end, at a question or the end of a step, or in time.

        Args:
            seconds: After how long it says that the run goes on.
            idle_seconds: How long to wait for the first news before these seconds begin; then a
                question that is told already is waited for. ``None``: not at all.

        Raises:
            ServerStoppingError: The server stops.
            ExecError: The run cannot be followed.
        """
        run.before, console = run.place, Console(self._options.max_console_chars)
        is_told = run.is_password is not None and idle_seconds is None
        if is_told and await self._is_asking(run):
            seconds = 0
        deadline = time.monotonic() + seconds
        wait = seconds if idle_seconds is None else idle_seconds
        with self._services.following.follow(run.execution_id, after=run.place.number) as follower:
            while True:
                events = await follower.read(seconds=max(0.0, wait))
                for event in events:
                    status = self._take(run, event, console)
                    if status == WAITING and not await self._is_asking(run):
                        continue
                    if status == FINISHED:
                        return await self._finish(run, console)
                    if status is not None:
                        return answer_of(run, status, console, await self._exit_code(run, status))
                if idle_seconds is not None and events:
                    deadline, idle_seconds = time.monotonic() + seconds, None
                wait = deadline - time.monotonic()
                if not events or wait <= 0:
                    status = WAITING if is_told and await self._is_asking(run) else CONTINUED
                    return answer_of(run, status, console, None)
        raise ServerStoppingError("the server is stopping")

    async def _is_asking(self, run: Run) -> bool:
        execution = await self._services.executions.get(run.execution_id)
        if execution.input_request is None:
            run.is_password = None
        return execution.input_request is not None

    def _take(self, run: Run, event: Event, console: Console) -> str | None:
        """Put what *event* tells on the console; return the status of the answer if it ends it."""
        content = event.content
        item: list[Any] | None = None
        status = None
        match event.type:
            case EventType.STREAM:
                item = [content["name"], content["text"]]
            case EventType.OUTPUT | EventType.UPDATE:
                item = item_of(content)
            case EventType.GAP:
                item = ["stdout", LEFT_OUT]
            case EventType.INPUT_REQUEST:
                item = ["stdout", content["prompt"]]
                status = WAITING
            case EventType.PROGRESS | EventType.END if isinstance(run.source, CommandSource):
                step = _steps_over(event)
                if step > run.place.step:
                    run.place = replace(run.place, step=run.place.step + 1)
                    return STEP_STATUSES[run.place.step - 1]
            case EventType.END:
                return FINISHED
        if item is not None:
            data = item[1]
            if isinstance(data, str):
                data = data[run.place.chars :]
            taken = console.add(item[0], data)
            if item[0] in STREAMS and taken < len(data):
                run.place = replace(run.place, chars=run.place.chars + taken)
                return CONTINUED
        if status == WAITING:
            run.is_password = bool(content.get("password"))
        run.place = Place(event.number, 0, run.place.step)
        return status

    async def _finish(self, run: Run, console: Console) -> dict[str, Any]:
        run.has_ended, run.is_password = True, None
        execution = await self._services.executions.get(run.execution_id)
        error = execution.error
        if error is not None and error.code in _TOLD:
            console.add("stderr", f"{error.message}\n")
        if isinstance(run.source, CommandSource):
            return answer_of(run, FINISHED, console, await self._exit_code(run, FINISHED))
        return answer_of(run, FINISHED, console, _exit_code_of_end(execution))

    async def _exit_code(self, run: Run, status: str) -> int | None:
        """Return the exit code of the step of a command whose end *status* tells."""
        source = run.source
        if status not in STEP_STATUSES or not isinstance(source, CommandSource):
            return None
        executions = self._services.executions
        codes = (await executions.result(run.execution_id)).exit_codes or {}
        execution = await executions.get(run.execution_id)
        last = _last_step(execution)

        def code_of(step: CommandStep) -> int:
            if step in codes:
                return codes[step]
            # A step before the last has no code when there was nothing to do.
            is_over = last is not None and STEPS.index(step) < STEPS.index(last)
            return 0 if is_over or step not in source.steps else _exit_code_of_end(execution)

        if status == FINISHED and code_of("build"):
            return NOT_RUN
        return code_of(STEPS[STEP_STATUSES.index(status)])

    async def send_input(self, run: Run, text: str) -> None:
        """Give a run the input that it asks for.

        Raises:
            NoInputRequestError: It asks for none.
        """
        await self._services.executions.answer(run.execution_id, text)
        run.is_password = None


def _steps_over(event: Event) -> int:
    """Return how many steps of a command are over by what *event* tells."""
    if event.type is EventType.END:
        return len(STEPS)
    step = event.content.get("current_step")
    return STEPS.index(step) if step in STEPS else 0


def _last_step(execution: Execution) -> CommandStep | None:
    """Return the step of a command in which it ended; ``None`` where that is not known."""
    if execution.error is not None and execution.error.step is not None:
        return execution.error.step
    return execution.progress.current_step if execution.progress is not None else None


def _exit_code_of_end(execution: Execution) -> int:
    """Return the exit code of what ended without one of its own."""
    if execution.state is State.CANCELLED:
        return INTERRUPTED
    if execution.error is None:
        return 0
    return _OF_CODE.get(execution.error.code, INTERRUPTED)


def _key_of(session_id: str, run_id: str) -> str:
    return f"{NAME}:{session_id}:{run_id}"
