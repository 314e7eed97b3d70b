"""The shapes of answers that are no value of the core; they serve to describe the contract.

What is `None` is left out of an answer: a field that can be `None` can be absent.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import msgspec

from jupyter_exec_ext.core.files import FileEntry
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import CommandStep, Execution, ExecutionError, MimeBundle, Output
from jupyter_exec_ext.core.sessions import Session
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.services.kernelspecs import Kernelspec

Uuid: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})]


@dataclass(frozen=True, kw_only=True)
class VariableView:
    """One output variable as it was after the run: `json`, else `data`, else `error`.

    Attributes:
        type: The name of its type in the kernel's language; ``None`` when it does not exist.
        json: Its value, where that is JSON, digit for digit as the kernel wrote it.
        data: Otherwise the MIME bundle that the kernel shows for it.
        truncated: True when the value, or a part of its bundle, was left out for its size.
        error: Why there is no value, or not all of it.
    """

    type: str | None = None
    json: Any = None
    data: MimeBundle | None = None
    truncated: bool | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class TruncationView:
    """How much of the published output was kept.

    Attributes:
        kept_bytes: In bytes of UTF-8.
        total_bytes: The same of all that was published.
        has_uncounted: Whether more was lost on the way from the kernel, which nobody could count.
    """

    kept_bytes: int
    total_bytes: int
    has_uncounted: bool


@dataclass(frozen=True, kw_only=True)
class PayloadView:
    """What a kernel requested of its client at the end of a cell.

    Attributes:
        cell_index: 0-based, in the notebook; 0 for a piece of code.
        payload: As the kernel sent it; `source` is its kind, such as `set_next_input`.
    """

    cell_index: int
    payload: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ExecutionCountView:
    """The number that the kernel gave to the execution of a cell, as in `In [3]`.

    Attributes:
        cell_index: 0-based, in the notebook; 0 for a piece of code.
        execution_count: The kernel counts from 1, over all requests of all its clients.
    """

    cell_index: int
    execution_count: int


@dataclass(frozen=True, kw_only=True)
class ResultView:
    """What the run left; partial while it runs.

    Attributes:
        stdout: What it printed, as the outputs show it.
        stderr: The same of standard error.
        value: The displayed last expression of the code, or of a notebook's last cell, where it
            is JSON, as the kernel wrote it.
        value_data: The MIME bundle of the last one that was displayed, whatever it is.
        exit_codes: Of each step of a command that ran to its end, 128 and more for a signal; a
            step that had nothing to do has none.
        outputs: nbformat output objects of all cells that ran, in document order.
        execution_counts: The execution counts of the cells that have begun, in document order;
            ``None`` when there are none.
        payloads: What the kernel requested of its client, in the order of the cells, but for pages
            (`obj?`), which are outputs; ``None`` when it requested nothing.
        variables: By name, one entry for each that was asked for, once they are gathered.
        notebook_path: API path of the saved notebook.
        save_conflict: API path of the copy that was saved instead, because somebody else
            changed the notebook during the run.
        save_error: Why the notebook could not be saved; it stays with the record.
        truncated: ``None`` when everything was kept.
    """

    stdout: str
    stderr: str
    value: Any = None
    value_data: MimeBundle | None = None
    exit_codes: dict[CommandStep, int] | None = None
    outputs: list[Output]
    execution_counts: list[ExecutionCountView] | None = None
    payloads: list[PayloadView] | None = None
    variables: dict[str, VariableView]
    notebook_path: str | None = None
    save_conflict: str | None = None
    save_error: str | None = None
    truncated: TruncationView | None = None


@dataclass(frozen=True, kw_only=True)
class RecordedError(ExecutionError):
    """Why an execution failed.

    Attributes:
        code: `CodeError` when the code raised; else how the run ended, see the error codes.
        message: A sentence for people.
        ename: The name of the exception, in the kernel's language.
        evalue: Its message.
        traceback: The kernel's traceback lines, with ANSI colours; only in the full view.
        traceback_text: The same as one text without them.
        cell_id: The cell that failed; ``None`` where cells have no ids.
        cell_index: Its 0-based index in the notebook.
        details: The last lines that a kernel which could not start wrote to standard error, at
            most 20 lines and 4,000 characters, without values of environment variables; only in
            the full view.
    """


@dataclass(frozen=True, kw_only=True)
class SourceView:
    """What is executed: `code`, the notebook at `path`, or the steps of a command.

    Attributes:
        code: The code; its first 200 characters in lists and in the basic view.
        path: API path, relative to the server's root.
        cells: The chosen cells, as in the request; ``None`` for all.
        save_to: Where the executed notebook is written, as in the request.
        has_content: True when the request had the content of the notebook.
        clean: The first step of a command, as in the request; its beginning in lists.
        build: The second step.
        exec: The last step.
    """

    code: str | None = None
    path: str | None = None
    cells: list[str | int] | dict[str, str | int] | None = None
    save_to: str | None = None
    has_content: bool | None = None
    clean: str | list[str] | None = None
    build: str | list[str] | None = None
    exec: str | list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class ExecutionRecord(Execution):
    """An execution and, in the full view, what it left.

    Attributes:
        type: What it runs.
        state: Where it is in its life.
        source: What it runs, as in the request.
        session_id: The session it runs in: a lasting one, or one of its own that ends with it.
        session_name: The name that session had; ``None`` for one without.
        fresh_kernel: Whether it has a kernel of its own, in the folder of that session.
        kernel_name: The kernelspec it uses.
        owner: The user who asked for it.
        description: As given by the client.
        labels: As given by the client.
        annotations: As given by the client; empty in lists.
        origin: The notebook and the cell that the code comes from, as given by the client.
        after: The id of the execution that must succeed before this one begins.
        input_names: Whose values are kept nowhere.
        variable_names: What is gathered after the run.
        on_error: What happens after a cell that failed.
        on_kernel_death: What happens when the session loses its kernel while this waits; ``None``
            where the client did not choose.
        created_time: When it was accepted.
        start_time: When its turn came.
        end_time: When it became final.
        progress: How far it has come.
        error: Why it failed; ``None`` unless it did.
        result: What it left, or has left so far; ``None`` in lists and in the basic view.
    """

    id: Uuid
    session_id: Uuid
    source: SourceView  # type: ignore[assignment]
    kernel_lost: RecordedError | None = None
    error: RecordedError | None = None
    result: ResultView | None = None


@dataclass(frozen=True, kw_only=True)
class ExecutionState:
    """What a user sees of an execution who may run executions, but not read them.

    Attributes:
        id: The id of the execution.
        state: Where it is in its life.
    """

    id: Uuid
    state: State


@dataclass(frozen=True, kw_only=True)
class ExecutionPage:
    """A page of a list.

    Attributes:
        executions: Each in the basic view.
        next_page_token: Gets the next page; ``None`` on the last.
    """

    executions: list[ExecutionRecord]
    next_page_token: str | None = None


@dataclass(frozen=True, kw_only=True)
class SessionRecord(Session):
    """A session, as it is at this moment.

    Attributes:
        state: What it does.
        kernel_name: The kernelspec of its kernels.
        owner: The user who asked for it.
        description: As given by the client.
        labels: As given by the client.
        annotations: As given by the client.
        created_time: When it was accepted.
        end_time: When it ended.
    """

    id: Uuid
    kernel_error: RecordedError | None = None
    end_error: RecordedError | None = None


@dataclass(frozen=True, kw_only=True)
class SessionList:
    """A page of a list of sessions.

    Attributes:
        sessions: Each as it is at this moment.
        next_page_token: Gets the next page; ``None`` on the last.
    """

    sessions: list[SessionRecord]
    next_page_token: str | None = None


@dataclass(frozen=True, kw_only=True)
class UploadedFiles:
    """What an upload put in place.

    Attributes:
        files: In the order in which they came.
    """

    files: list[FileEntry]


@dataclass(frozen=True, kw_only=True)
class DeletedCount:
    """What a bulk delete did.

    Attributes:
        deleted: How many executions it removed.
    """

    deleted: int


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What this service can do.

    Attributes:
        version: Of this extension.
        features: Names of what can be asked for.
        default_kernel_name: The kernelspec for notebooks that name none.
        kernelspecs: Those of this server.
        limits: As this server is configured.
        dialects: Other services whose wire format it speaks.
        time: The server's clock.
    """

    version: str
    features: list[str]
    default_kernel_name: str
    kernelspecs: list[Kernelspec]
    limits: Limits
    dialects: list[str] = field(default_factory=list)
    time: datetime
