"""The values that cross layers: frozen dataclasses that msgspec can encode and describe.

`None` in an optional field means: not known yet, or not asked for. Moments are aware and UTC.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from jupyter_exec_ext.core.states import State

Output: TypeAlias = dict[str, Any]
"""An nbformat output object."""

MimeBundle: TypeAlias = dict[str, Any]
"""Data by MIME type, as Jupyter displays it."""


ExecutionType: TypeAlias = Literal["code", "notebook", "command"]

CommandStep: TypeAlias = Literal["clean", "build", "exec"]
"""A step of a command."""

DISPLAYING_LANGUAGES = ("R",)
"""Those whose kernels show the value of an expression as they show anything else."""

STEPS: tuple[CommandStep, ...] = get_args(CommandStep)
"""The steps in their order; the place of one here is the index of the cell that it is."""


class OnError(StrEnum):
    """What a notebook does after a cell that failed."""

    STOP = "stop"
    CONTINUE = "continue"


class OnBusy(StrEnum):
    """What happens to a request whose session is busy.

    It waits its turn; or it is refused; or it runs at once in a subshell of the same kernel.
    """

    QUEUE = "queue"
    REJECT = "reject"
    SUBSHELL = "subshell"


class OnKernelDeath(StrEnum):
    """What happens to an execution that waits when its session loses its kernel."""

    FAIL = "fail"
    CONTINUE = "continue"


class Source:
    """What an execution runs.

    Attributes:
        type: What kind of source it is.
    """

    type: ClassVar[ExecutionType]


@dataclass(frozen=True, kw_only=True)
class CodeSource(Source):
    """A piece of code, run as one cell."""

    type: ClassVar[ExecutionType] = "code"

    code: str


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The notebook and the cell that a piece of code comes from, as the client names them.

    Attributes:
        path: The path of the notebook, which need not exist.
        cell_id: The id of the cell in the notebook; ``None`` when the client gave none.
    """

    path: str
    cell_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class NotebookSource(Source):
    """A notebook of the server, whole or some of its cells.

    Attributes:
        path: API path, relative to the server root.
        cells: Ids or 0-based indexes in any order, or one of ``{"from": cell}``,
            ``{"up_to": cell}`` (the cell included) and ``{"tag": name}``; ``None`` for all.
            Cells always run in document order.
        save_to: Where the executed notebook is written: an API path, ``"in_place"``, or ``None``
            to keep it with the record only.
        has_content: True when the request had the content of the notebook; ``None`` when the file
            at ``path`` was read.
    """

    type: ClassVar[ExecutionType] = "notebook"

    path: str
    cells: list[str | int] | dict[str, str | int] | None = None
    save_to: str | None = None
    has_content: bool | None = None


@dataclass(frozen=True, kw_only=True)
class CommandSource(Source):
    """Programs to run beside the kernel, in its working folder: up to three steps, in order.

    Each is a command for a shell, a list of arguments that need none, ``"*"`` for what fits the
    folder, or ``None`` to be left out.

    Attributes:
        clean: Its failure does not matter.
        build: Its failure ends the run.
    """

    type: ClassVar[ExecutionType] = "command"

    clean: str | list[str] | None = None
    build: str | list[str] | None = None
    exec: str | list[str] | None = None

    @property
    def steps(self) -> dict[CommandStep, str | list[str]]:
        """The commands of the steps that are not left out, in order."""
        given = {step: getattr(self, step) for step in STEPS}
        return {step: command for step, command in given.items() if command is not None}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come.

    Attributes:
        done: Cells, or steps of a command, that ended, failed ones included.
        total: Cells, or steps of a command, that the execution will run.
        current_step: The step of a command that runs now.
        current_cell_id: The cell that runs now; ``None`` where cells have no ids.
        current_cell_index: Its 0-based index in the notebook.
    """

    done: int = 0
    total: int = 0
    current_cell_id: str | None = None
    current_cell_index: int | None = None
    current_step: CommandStep | None = None


@dataclass(frozen=True, kw_only=True)
class ExecutionError:
    """Why an execution failed or was cancelled.

    Attributes:
        code: ``CodeError`` when the user's code raised; else one of `core.errors.RunError`'s.
        traceback: The kernel's traceback lines, with ANSI colours.
        traceback_text: The same as one text without them.
        exit_code: Of the command, of the kernel's process, or of the code that ended the run with
            a status (see `CodeExit`), where it is known.
        signal: The signal that ended the command or the kernel's process, as ``SIGKILL``.
        step: The step of a command that failed.
        details: The last lines that a kernel which could not start wrote to standard error, at
            most 20 lines and 4,000 characters, without values of environment variables.
    """

    code: str
    message: str
    ename: str | None = None
    evalue: str | None = None
    traceback: list[str] | None = None
    traceback_text: str | None = None
    cell_id: str | None = None
    cell_index: int | None = None
    exit_code: int | None = None
    signal: str | None = None
    step: CommandStep | None = None
    details: list[str] | None = None

    @property
    def explanation(self) -> str:
        """The traceback as text; where the error has none, the message and the details."""
        return self.traceback_text or "\n".join([self.message, *(self.details or ())])


def is_exit_status(ename: str, evalue: str) -> bool:
    """Whether an error is a command's exit status, which bash_kernel publishes without a name."""
    return not ename and re.fullmatch(r"[0-9]{1,3}", evalue) is not None


def code_error_message(ename: str, evalue: str) -> str:
    """Return the sentence for an error that a kernel published."""
    if is_exit_status(ename, evalue):
        return f"exit status {evalue}"
    return ": ".join(part for part in (ename, evalue.rstrip()) if part)


@dataclass(frozen=True, kw_only=True)
class CodeExit:
    """Where and how the code itself ended the run, as by `sys.exit()`, `exit()` or R's `q()`.

    Attributes:
        exit_code: The exit status, 0 to 255; 0 is a success, any other a failure. ``None`` when
            the kernel reports none, which is a success.
        kernel_ended: Whether the code ended the kernel too, so that its variables are lost.
        cell_id: The cell that did it; ``None`` where cells have no ids.
        cell_index: Its 0-based index in the notebook; ``None`` for a piece of code.
    """

    exit_code: int | None = None
    kernel_ended: bool
    cell_id: str | None = None
    cell_index: int | None = None


@dataclass(frozen=True, kw_only=True)
class InputRequest:
    """What running code asks for, as ``input()`` does.

    Attributes:
        prompt: What it says to the one who is to answer; may be empty.
        password: Whether the answer should not be shown while it is typed.
        event_id: The id of the ``input_request`` event of this request. A client that reads the
            events again can tell the open request from those that were answered.
    """

    prompt: str
    password: bool = False
    event_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One output variable as it was after the run.

    Attributes:
        type: The name of its type in the kernel's language; ``None`` when it does not exist.
        json_text: Its value as JSON text, when the value is JSON. Clients get it as ``json``,
            digit for digit as the kernel wrote it.
        data: Otherwise the MIME bundle that the kernel shows for it.
        truncated: Whether the value, or a part of its bundle, was left out for its size.
        error: Why there is no value, or not all of it.
    """

    type: str | None = None
    json_text: str | None = None
    data: MimeBundle | None = None
    truncated: bool = False
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """How much of the published output was kept, in bytes of UTF-8.

    Attributes:
        has_uncounted: Whether more was lost on the way from the kernel, which nobody could count.
    """

    kept_bytes: int
    total_bytes: int
    has_uncounted: bool = False


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """What one cell of a notebook published.

    Attributes:
        cell_index: 0-based, in the notebook.
        execution_count: The kernel's prompt number.
        payloads: What the kernel requested of its client in the reply, but for pages, which are
            outputs. Each has its kind as ``source``.
    """

    cell_index: int
    execution_count: int | None = None
    outputs: list[Output] = field(default_factory=list)
    payloads: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run left; partial while it runs.

    Attributes:
        cells: The cells that ran, in document order; code is one cell, and so is each step of a
            command.
        exit_codes: Of each step of a command that ran to its end; ``None`` for what is none.
        value_json: The displayed last expression of the code, or of the last cell, as JSON text
            where it is JSON.
        variables: By name, one entry for each that was asked for, once they are gathered.
        metadata: What the run adds to the notebook's metadata: ``language_info``, ``widgets``.
        notebook_path: API path of the saved notebook.
        save_conflict: API path of the copy that was saved instead, because somebody else
            changed the notebook during the run.
        save_error: Why the notebook could not be saved; it stays with the record.
        truncated: ``None`` when everything was kept.
    """

    cells: list[CellResult] = field(default_factory=list)
    exit_codes: dict[CommandStep, int] | None = None
    value_json: str | None = None
    variables: dict[str, Variable] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    notebook_path: str | None = None
    save_conflict: str | None = None
    save_error: str | None = None
    truncated: Truncation | None = None

    @property
    def outputs(self) -> list[Output]:
        """All outputs in document order."""
        return [output for cell in self.cells for output in cell.outputs]

    @property
    def value_data(self) -> MimeBundle | None:
        """The MIME bundle of the last expression that was displayed; ``None`` without one."""
        language = self.metadata.get("language_info", {}).get("name")
        kind = "display_data" if language in DISPLAYING_LANGUAGES else "execute_result"
        for output in reversed(self.outputs):
            if output["output_type"] == kind:
                data: MimeBundle = output["data"]
                return data
        return None

    def stream(self, name: str) -> str:
        """Return the text of *name*, ``stdout`` or ``stderr``, as the outputs show it."""
        return "".join(
            output["text"]
            for output in self.outputs
            if output["output_type"] == "stream" and output["name"] == name
        )


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One request to run something: the only account of it, whatever door it came through.

    Attributes:
        id: A dashed UUID.
        session_id: The session it runs in: a lasting one, or one of its own that ends with it.
        session_name: The name that session had; ``None`` without one.
        session_created: Whether no session had the name, so that one was created for it.
        fresh_kernel: Whether it has a kernel of its own, in the folder of its session.
        kernel_id: The kernel it runs or ran in; ``None`` before it has one.
        annotations: What the client wants to find in the record again; nothing is looked up by
            it, and lists leave it out.
        origin: The notebook and cell that the code comes from; ``None`` when the client named none.
        after: The id of the execution that must succeed before this one may begin; ``None`` when it
            waits for no other execution.
        idempotency_key: The client's own name for the request; ``None`` when it gave none.
        stdin_count: How many answers to ``input()`` were prepared, which are never stored;
            ``None`` when none were, and somebody may answer while it runs.
        position: 0-based place among the executions that wait; ``None`` once it left the queue.
        started: Whether the first request was sent to the kernel: if not, no code ran.
        on_kernel_death: What happens when the session loses its kernel while this waits. ``None``
            means ``continue`` where code ended the kernel, as by ``exit()``, else ``fail``.
        kernel_lost: Why the session's kernel was lost before this execution, which therefore
            ran in a fresh one, without the variables of those before it.
        timeout_seconds: For the whole run, waiting not counted; ``None`` means no limit of its own.
        cell_timeout_seconds: For each cell; ``None`` means no limit.
        expire_time: When the record may be deleted; ``None`` until it is final.
        duration_seconds: From start to end by the monotonic clock.
        input_request: What the code asks for now; ``None`` when it asks for nothing.
        code_exit: Where and how the code itself ended the run; ``None`` when it did not.
        warnings: What in the notebook's file was not valid nbformat and was repaired for the run:
            at most 20 sentences of at most 200 characters. Empty for a valid notebook.
    """

    id: str
    type: ExecutionType
    state: State
    source: Source
    session_id: str
    session_name: str | None = None
    session_created: bool = False
    fresh_kernel: bool = False
    kernel_name: str
    kernel_id: str | None = None
    owner: str = ""
    idempotency_key: str | None = None
    description: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    origin: Origin | None = None
    after: str | None = None
    input_names: list[str] = field(default_factory=list)
    variable_names: list[str] = field(default_factory=list)
    stdin_count: int | None = None
    timeout_seconds: float | None = None
    cell_timeout_seconds: float | None = None
    on_error: OnError = OnError.STOP
    on_kernel_death: OnKernelDeath | None = None
    position: int | None = None
    started: bool = False
    kernel_lost: ExecutionError | None = None
    created_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    expire_time: datetime | None = None
    duration_seconds: float | None = None
    progress: Progress | None = None
    input_request: InputRequest | None = None
    code_exit: CodeExit | None = None
    warnings: list[str] = field(default_factory=list)
    error: ExecutionError | None = None


@dataclass(frozen=True, kw_only=True)
class NewExecution:
    """A request to run something, as every door hands it in.

    Attributes:
        notebook_content: The JSON of a notebook, in UTF-8, that runs as if it were the file at the
            path of the source; ``None`` reads the file.
        session_id: A lasting session to run in; ``None`` for one by name, or of its own.
        session_name: The same by name; it is created when no session has the name.
        session_path: API path of the folder that the session with that name works in; ``None``
            means that of a session that exists. One that is created for a notebook works in the
            notebook's folder then, any other in one that is made for it.
        fresh_kernel: Run in the folder of that session, but in a kernel of its own.
        kernel_name: ``None`` means the session's, the notebook's own, else the server's default.
        inputs: JSON values by name; see `core.inputs`.
        stdin: Answers to what the code asks, in order; when they run out it meets the end of its
            input. ``None`` lets it wait for somebody to answer.
        origin: The notebook and cell that a piece of code comes from.
        after: The id of an execution: this one runs once that has succeeded, and ends as cancelled
            if that does not. ``None`` waits for no other execution.
        idempotency_key: The same request with the same key is accepted once.
    """

    source: Source
    notebook_content: bytes | None = None
    session_id: str | None = None
    session_name: str | None = None
    session_path: str | None = None
    fresh_kernel: bool = False
    kernel_name: str | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    variable_names: list[str] = field(default_factory=list)
    stdin: list[str] | None = None
    timeout_seconds: float | None = None
    cell_timeout_seconds: float | None = None
    on_error: OnError = OnError.STOP
    on_busy: OnBusy = OnBusy.QUEUE
    on_kernel_death: OnKernelDeath | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    origin: Origin | None = None
    after: str | None = None
    description: str = ""
    idempotency_key: str | None = None


class EventType(StrEnum):
    """What an event tells: of the execution itself, or what it published.

    A gap is never stored: it tells those who follow that events were lost before the next one.
    """

    STATE = "state"
    PROGRESS = "progress"
    INPUT_REQUEST = "input_request"
    ERROR = "error"
    END = "end"
    STREAM = "stream"
    OUTPUT = "output"
    UPDATE = "update"
    CLEAR = "clear"
    COMM = "comm"
    PAYLOAD = "payload"
    EXECUTION_COUNT = "execution_count"
    GAP = "gap"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened in a run; all that a run leaves is a fold of its events.

    Attributes:
        number: Counts up from 1 within the execution. A hole tells that retention cut there.
        cell_index: The cell that published it; 0 for what only the execution itself tells.
        content: The content of the kernel's message (see `engine.contents`), or what the record
            says: ``{"state"}``, its ``progress``, ``input_request`` or ``error``, and at the end
            ``{"state", "duration_seconds"}``. Progress that ends a cell also has its
            ``execution_count`` and, in a notebook, its index as ``ended_cell_index``.
        time: When it came, by the server's clock; of merged text, when its first part came.
            ``None`` for events that releases without this field stored.
        published_bytes: How much the run had published in all, what was left out included, when
            this was stored; 0 where a later event of the same writing tells it.
    """

    number: int
    type: EventType
    cell_index: int
    content: dict[str, Any]
    time: datetime | None = None
    published_bytes: int = 0
