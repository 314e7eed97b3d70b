"""Runs cells in a kernel: sets the inputs before, reads variables afterwards, restores."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    InputNotGivenError,
    KernelStartFailedError,
    RunError,
    RunTimeoutError,
)
from jupyter_exec_ext.core.inputs import Environment
from jupyter_exec_ext.core.models import CodeExit, EventType, ExecutionError, OnError, Variable
from jupyter_exec_ext.core.ports import Sink
from jupyter_exec_ext.engine.channels import Message
from jupyter_exec_ext.engine.code_errors import code_error_of
from jupyter_exec_ext.engine.events import event_of
from jupyter_exec_ext.engine.exits import Exit, end_kernel, exit_of
from jupyter_exec_ext.engine.kernels import Kernel
from jupyter_exec_ext.engine.languages import (
    Language,
    Reply,
    Request,
    language_of,
    unread_variables,
)
from jupyter_exec_ext.engine.payloads import payload_events
from jupyter_exec_ext.engine.runner import ExecuteRequest, Runner
from jupyter_exec_ext.engine.stdin import Stdin
from jupyter_exec_ext.engine.subshells import Subshell

VARIABLES_SECONDS = 30.0
"""How long reading all variables may take, within the time limit of the run."""

MIN_VARIABLES_SECONDS = 3.0
"""How long it may take when less is left of the time limit, or nothing."""

VARIABLE_SECONDS = 3.0
"""How long reading each variable may take at most, once one of its batch took too long."""

VARIABLES_AT_ONCE = 4
"""How many variables one request reads."""

ENVIRONMENT_SECONDS = 10.0
"""How long setting the inputs in a kernel may take, and restoring what was before."""

TEST_SECONDS = 10.0
"""How long a kernel of an unknown implementation may take to answer a test request."""

SUBSHELL_SECONDS = 10.0
"""How long a new subshell may take until it answers."""

SMALL_LENGTH = 64_000
"""In characters, of what is read without a thread."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A code cell to run.

    Attributes:
        index: 0-based, in the notebook; 0 for a piece of code.
        may_fail: Tagged ``raises-exception``: an error neither stops nor fails the run.
        wants_value: Whether the displayed last expression is read as JSON.
    """

    index: int
    cell_id: str | None = None
    source: str
    may_fail: bool = False
    wants_value: bool = False


@dataclass(kw_only=True)
class CellsRun:
    """One run of cells. Tells its progress by callbacks, its outputs through the sink.

    Attributes:
        on_cell: Called with the cell that begins, how many are done, and the cell that has just
            ended; with ``None`` where there is no such cell.
        on_count: Called with a cell's index and the kernel's prompt number for it, when the kernel
            announces the number and again when the cell ends. ``None`` where there is none.
        is_abandoned: Asked when the run is cancelled: if true, the kernel is left as it is.
        max_value_bytes: Largest value, of an expression or a variable, that is read.
        max_text_bytes: How much printed text the sink keeps at most; ``None`` if all of it.
        error: The first failure of the code, or ``None``.
        code_exit: Where and how the code itself ended the run, or ``None``.
        value_json: The value of the last cell that wants one, as JSON text; ``None`` without.
        runner: What runs the requests, for others than cells too.
    """

    kernel: Kernel
    sink: Sink
    stdin: Stdin
    subshell: Subshell | None
    interrupt_grace_seconds: float
    max_value_bytes: int
    on_cell: Callable[[Cell | None, int, Cell | None], None]
    on_count: Callable[[int, int | None], None]
    is_abandoned: Callable[[], bool]
    max_text_bytes: int | None = None
    error: ExecutionError | None = None
    code_exit: CodeExit | None = None
    value_json: str | None = None
    runner: Runner = field(init=False)

    def __post_init__(self) -> None:
        self.runner = Runner(
            self.kernel,
            stdin=self.stdin,
            subshell=self.subshell,
            interrupt_grace_seconds=self.interrupt_grace_seconds,
            is_abandoned=self.is_abandoned,
        )

    @property
    def language(self) -> Language | None:
        """How to speak to this kernel, as far as known; ``None`` where its language is unknown."""
        name = str(self.kernel.language_info.get("name", ""))
        return self.kernel.language or language_of(name)

    async def find_language(self) -> Language | None:
        """Return how to speak to this kernel, for requests that a kernel may be unable to answer.

        A kernel whose implementation is unknown gets a test request the first time. ``None``
        where the language is unknown or the kernel does not answer; `unsupported` has the reason.

        Raises:
            RunError: The kernel ended, or does not end the test request in time.
        """
        kernel, language = self.kernel, self.language
        if kernel.language is not None or language is None or kernel.is_unsupported:
            return kernel.language
        if kernel.implementation in language.implementations:
            kernel.language = language
            return language
        for variant in language.variants():
            reading = variant.read_variables((), max_bytes=SMALL_LENGTH)
            if reading.is_answered(await self._exchange(reading.request, TEST_SECONDS)):
                kernel.language = variant
                return variant
        kernel.is_unsupported = True
        return None

    @property
    def unsupported(self) -> str:
        """Why `find_language` returned ``None``."""
        name = str(self.kernel.language_info.get("name", "unknown"))
        if not self.kernel.is_unsupported:
            return f"its language is {name}"
        return f"{self.kernel.implementation!r} does not answer as other kernels for {name} do"

    @property
    def has_lost_output(self) -> bool:
        """Whether output was lost that nobody could count; see `Runner`."""
        return self.runner.has_lost_output

    async def wait_for_kernel(self, *, deadline: float) -> None:
        """Wait until the kernel has done what others asked it for.

        Raises:
            RunError: The deadline passed, or the kernel is gone.
        """
        await self.runner.knock(deadline)

    async def set_inputs(self, environment: Environment) -> None:
        """Set *environment* inside the running kernel, until `restore_inputs`.

        Raises:
            KernelStartFailedError: They could not be set.
            RunError: The kernel ended meanwhile, or did not answer in time.
        """
        if not environment:
            return
        language = await self.find_language()
        if language is None:
            raise KernelStartFailedError(f"inputs cannot be set in this kernel: {self.unsupported}")
        try:
            request = language.set_environment(environment)
        except ValueError as error:
            raise KernelStartFailedError("an input cannot be set in this kernel") from error
        reply = await self._exchange(request, ENVIRONMENT_SECONDS)
        if language.environment_error(reply) is not None:
            raise KernelStartFailedError("the inputs could not be set in the kernel")

    async def restore_inputs(self) -> bool:
        """Give the kernel back the environment it had; return whether that worked."""
        language = self.kernel.language
        if language is None:
            return True  # Without one, nothing was set.
        try:
            reply = await self._exchange(language.restore_environment(), ENVIRONMENT_SECONDS)
        except RunError:
            return False
        return language.environment_error(reply) is None

    async def run(
        self,
        cells: Sequence[Cell],
        *,
        on_error: OnError,
        deadline: float,
        cell_timeout_seconds: float | None,
    ) -> None:
        """Run *cells* in order, until one fails or ends the run; see ``error`` and ``code_exit``.

        Raises:
            RunError: The run could not go on: a time-out, or the kernel died or was restarted.
        """
        if self.subshell is not None:
            await self._prepare_subshell()
        ended: Cell | None = None
        for done, cell in enumerate(cells):
            self.on_cell(cell, done, ended)
            cell_deadline = deadline
            if cell_timeout_seconds is not None:
                cell_deadline = min(deadline, time.monotonic() + cell_timeout_seconds)
            try:
                reply, published = await self._run_cell(cell, cell_deadline)
            except RunError as error:
                message = str(error)
                if isinstance(error, RunTimeoutError):
                    limit = "cell" if cell_deadline < deadline else "execution"
                    message = f"the time limit of the {limit} passed"
                    if self.kernel.fate is not None:
                        message += "; the code did not react to an interrupt, and cost the kernel"
                self.error = replace(
                    error_of(error), message=message, cell_id=cell.cell_id, cell_index=cell.index
                )
                raise
            self.on_count(cell.index, _count_of(reply))
            exited = exit_of(reply, self.language)
            failure = self._failure_of(reply, published, cell, exited)
            self.error = self.error or failure
            if failure is not None:
                is_over = on_error is OnError.STOP
            else:
                is_over = exited is not None and not cell.may_fail
            if exited is not None and (is_over or exited.ends_kernel):
                self.code_exit = CodeExit(
                    exit_code=exited.exit_code,
                    kernel_ended=exited.ends_kernel and await end_kernel(self.kernel),
                    cell_id=cell.cell_id,
                    cell_index=cell.index,
                )
                is_over = True
            ended = cell
            if is_over:
                self.on_cell(None, done + 1, ended)
                return
        self.on_cell(None, len(cells), ended)

    async def _prepare_subshell(self) -> None:
        """Leave in the kernel what reads values: a first request beside others brings none."""
        if self.language is not None:
            expressions = self.language.value_expressions(max_bytes=self.max_value_bytes)
            await self._exchange(Request(code="", user_expressions=expressions), SUBSHELL_SECONDS)

    async def _run_cell(
        self, cell: Cell, deadline: float
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return the contents of the reply and of the last error published; ``None`` without."""
        published: dict[str, Any] | None = None
        is_announced = False

        def publish(message: Message) -> None:
            nonlocal published, is_announced
            if message["msg_type"] == "execute_input" and not is_announced:
                # User code can publish such messages too: only the first is the kernel's own.
                is_announced = True
                self.on_count(cell.index, _count_of(message["content"]))
            event = event_of(message)
            if event is not None:
                event_type, content = event
                if event_type is EventType.OUTPUT and content["msg_type"] == "error":
                    published = content
                self.sink.emit(event_type, content, cell_index=cell.index)

        language = self.language if cell.wants_value else None
        expressions = language.value_expressions(max_bytes=self.max_value_bytes) if language else {}
        reply = await self.runner.run(
            ExecuteRequest(code=cell.source, allow_stdin=True, user_expressions=expressions),
            publish,
            deadline=deadline,
            max_text_bytes=self.max_text_bytes,
        )
        for event_type, content in await threads.run_if_large(payload_events, reply):
            self.sink.emit(event_type, content, cell_index=cell.index)
        if language and expressions:
            read = partial(language.value_of, Reply(content=reply), max_bytes=self.max_value_bytes)
            # A thread takes longer to begin than a small value to be read.
            self.value_json = read() if _is_small(reply) else await threads.run_sync(read)
        return reply, published

    def _failure_of(
        self,
        reply: Mapping[str, Any],
        published: Mapping[str, Any] | None,
        cell: Cell,
        exited: Exit | None,
    ) -> ExecutionError | None:
        """Return why *cell* failed; ``None`` when it did not, or may."""
        exit_code = exited.exit_code if exited is not None else None
        if cell.may_fail or exit_code == 0:
            return None
        if reply.get("status") == "error":
            error = code_error_of(reply, published)
            if self.stdin.has_ended:
                message = f"the code requested input, and no client gave any: {error.ename}"
                error = replace(error, code=InputNotGivenError.code, message=message)
        elif exit_code is not None:
            message = f"the code ended the run with exit status {exit_code}"
            error = ExecutionError(code="CodeError", message=message)
        else:
            return None
        if exit_code is not None:
            error = replace(error, exit_code=exit_code)
        return replace(error, cell_id=cell.cell_id, cell_index=cell.index)

    async def read_variables(
        self, names: Sequence[str], *, max_total_bytes: int, deadline: float
    ) -> dict[str, Variable]:
        """Return the named variables as they are now; each name has an entry, if only an error.

        Reading ends at *deadline*, that of the run, but may take `MIN_VARIABLES_SECONDS`.

        They are read a few at a time, so that no more than a few are in memory twice; once they
        have *max_total_bytes* together the rest is left out.
        """
        variables: dict[str, Variable] = {}
        now = time.monotonic()
        deadline = min(now + VARIABLES_SECONDS, max(deadline, now + MIN_VARIABLES_SECONDS))
        room = max_total_bytes
        for start in range(0, len(names), VARIABLES_AT_ONCE):
            batch = names[start : start + VARIABLES_AT_ONCE]
            if room <= 0:
                why = f"left out: the variables have more than {max_total_bytes} bytes together"
                variables.update(unread_variables(batch, why))
                continue
            read = await self._read_batch(batch, deadline)
            room -= sum(map(_size_of, read.values()))
            variables.update(read)
        return variables

    async def _read_batch(self, names: Sequence[str], deadline: float) -> dict[str, Variable]:
        try:
            language = await self.find_language()
        except RunError as error:
            return unread_variables(names, str(error))
        if language is None:
            why = f"variables of this kernel cannot be read: {self.unsupported}"
            return unread_variables(names, why)
        reading = language.read_variables(names, max_bytes=self.max_value_bytes)
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            return unread_variables(names, "reading the variables took too long")
        try:
            reply = await self._exchange(
                reading.request, seconds if len(names) == 1 else seconds / 2
            )
        except RunTimeoutError:
            if len(names) == 1:
                return unread_variables(names, "reading the variable took too long")
            # One of them takes so long: the others may not.
            read: dict[str, Variable] = {}
            for done, name in enumerate(names):
                now = time.monotonic()
                share = (deadline - now) / (len(names) - done)
                read |= await self._read_batch([name], now + min(share, VARIABLE_SECONDS))
            return read
        except RunError as error:
            return unread_variables(names, str(error))
        return await threads.run_sync(reading.parse, reply)

    async def _exchange(self, request: Request, seconds: float) -> Reply:
        """Run a request of ours and return what came back; nothing of it is published."""
        stdout: list[str] = []
        bundles: list[dict[str, Any]] = []

        def collect(message: Message) -> None:
            content = message["content"]
            match message["header"]["msg_type"]:
                case "stream" if content.get("name") == "stdout":
                    stdout.append(str(content.get("text", "")))
                case "display_data" | "execute_result":
                    bundles.append(content.get("data") or {})

        content = await self.runner.run(
            ExecuteRequest(
                code=request.code,
                silent=request.silent,
                store_history=False,
                user_expressions=request.user_expressions,
            ),
            collect,
            deadline=time.monotonic() + seconds,
        )
        return Reply(stdout="".join(stdout), content=content, display_data=bundles)

    def close(self) -> list[str]:
        """Stop listening for late output; return the message ids of the requests."""
        return self.runner.close()


def _count_of(content: Mapping[str, Any]) -> int | None:
    """Return the execution count if it is a sane integer. User code can send any value."""
    count = content.get("execution_count")
    return count if type(count) is int and 0 <= count < 2**53 else None


def _is_small(reply: Mapping[str, Any]) -> bool:
    """Whether what the user expressions of a reply brought is soon read."""
    results = reply.get("user_expressions")
    bundles = results.values() if isinstance(results, dict) else ()
    data = [bundle.get("data") for bundle in bundles if isinstance(bundle, dict)]
    texts = [text for parts in data if isinstance(parts, dict) for text in parts.values()]
    return all(isinstance(text, str) and len(text) < SMALL_LENGTH for text in texts)


def _size_of(variable: Variable) -> int:
    size = len(variable.json_text or "")
    if variable.data is not None:
        size += len(msgspec.json.encode(variable.data))
    return size


def error_of(error: RunError) -> ExecutionError:
    """Return *error* as it stands in the record."""
    return ExecutionError(
        code=error.code,
        message=str(error),
        exit_code=getattr(error, "exit_code", None),
        signal=getattr(error, "signal", None),
        step=getattr(error, "step", None),
        details=list(getattr(error, "details", ())) or None,
    )
