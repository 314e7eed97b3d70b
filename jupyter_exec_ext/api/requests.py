"""The bodies that clients send; unknown fields are refused, so that a typing error shows."""

from typing import Annotated, Any, ClassVar

import msgspec

from jupyter_exec_ext.core.errors import MalformedRequestError
from jupyter_exec_ext.core.models import (
    STEPS,
    CodeSource,
    CommandSource,
    NewExecution,
    NotebookSource,
    OnBusy,
    OnError,
    OnKernelDeath,
    Origin,
    Source,
)
from jupyter_exec_ext.core.sessions import NewSession, SessionSettings

_Labels = Annotated[dict[str, str], msgspec.Meta(description="Names and values to find it by.")]
_Annotations = Annotated[
    dict[str, str],
    msgspec.Meta(description="Texts to find in the record again; nothing is looked up by them."),
]
_Description = Annotated[str, msgspec.Meta(description="For people.")]


class NotebookBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to run: a notebook of the server, whole or some of its cells."""

    path: Annotated[str, msgspec.Meta(description="API path, relative to the server's root.")]
    cells: Annotated[
        list[str | int] | dict[str, str | int] | None,
        msgspec.Meta(
            description="Ids or 0-based indexes in any order (run in document order), or one of"
            ' `{"from": cell}`, `{"up_to": cell}` and `{"tag": name}`. Absent: all cells.'
        ),
    ] = None
    save_to: Annotated[
        str | None,
        msgspec.Meta(
            description='Where the executed notebook is written: a path, or `"in_place"`.'
            " Absent: it stays with the record."
        ),
    ] = None
    content: Annotated[
        msgspec.Raw | msgspec.UnsetType,
        msgspec.Meta(
            description="The notebook itself, an object as in a file. It runs as if it were in the"
            " file at `path`, which is not read and need not exist. Absent or null: the file.",
            extra_json_schema={"type": ["object", "null"]},
        ),
    ] = msgspec.UNSET

    @property
    def content_bytes(self) -> bytes | None:
        """The notebook as JSON; ``None`` for that of the file."""
        if isinstance(self.content, msgspec.UnsetType):
            return None
        content = bytes(self.content)
        return None if content == b"null" else content


class OriginBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The notebook and the cell that a piece of code comes from; lists can be filtered by both."""

    path: Annotated[
        str,
        msgspec.Meta(
            description="The path of the notebook, 1 to 1,024 characters. The server compares it"
            " word for word and does not read the notebook."
        ),
    ]
    cell_id: Annotated[
        str | None,
        msgspec.Meta(description="The id of the cell in this notebook, 1 to 1,024 characters."),
    ] = None


_Command = str | list[str] | None


class CommandBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Programs to run in the kernel's working folder, in up to three steps.

    Without a session that folder is the server's root.

    Each is a command for `/bin/sh -c`, a list of arguments that needs no shell, or `"*"` for what
    fits the files in the folder. Null, or absent, leaves the step out.
    """

    clean: Annotated[_Command, msgspec.Meta(description="Its failure does not matter.")] = None
    build: Annotated[
        _Command, msgspec.Meta(description="Its failure ends the execution as failed.")
    ] = None
    exec: Annotated[_Command, msgspec.Meta(description="It alone reads `stdin`.")]


class ExecutionBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A request to execute something: exactly one of `code`, `notebook` and `command`."""

    more_schema: ClassVar[dict[str, Any]] = {
        "oneOf": [
            {"required": ["code"], "properties": {"code": {"type": "string"}}},
            {"required": ["notebook"], "properties": {"notebook": {"type": "object"}}},
            {"required": ["command"], "properties": {"command": {"type": "object"}}},
        ]
    }

    code: Annotated[str | None, msgspec.Meta(description="A piece of code, run as one cell.")] = (
        None
    )
    notebook: Annotated[
        NotebookBody | None, msgspec.Meta(description="A notebook of the server.")
    ] = None
    command: Annotated[
        CommandBody | None, msgspec.Meta(description="Programs to run beside the kernel.")
    ] = None
    session_id: Annotated[
        str | None,
        msgspec.Meta(
            description="The session to run in. Absent: `session_name`, else one of its own that"
            " ends with it."
        ),
    ] = None
    session_name: Annotated[
        str | None,
        msgspec.Meta(
            description="The name of the session to run in. When no session has the name, one is"
            " created: for a notebook in the notebook's folder, with the notebook's kernel."
        ),
    ] = None
    session_path: Annotated[
        str | None,
        msgspec.Meta(
            description="The folder, which must exist, that the session called `session_name` works"
            " in; empty: the root. Absent: any, and a new session of code or a command has a folder"
            " of its own."
        ),
    ] = None
    fresh_kernel: Annotated[
        bool,
        msgspec.Meta(
            description="Run in a kernel of its own in the folder of that session: without its"
            " variables, and beside what runs there."
        ),
    ] = False
    kernel_name: Annotated[
        str | None,
        msgspec.Meta(
            description="A kernelspec. Absent: the session's or notebook's own, else the default."
        ),
    ] = None
    inputs: Annotated[
        dict[str, Any],
        msgspec.Meta(
            description="Environment variables of the kernel: strings as they are, other JSON"
            " values as compact JSON, null takes one away. Kept in memory only. In a lasting"
            " session they are there for this execution alone."
        ),
    ] = {}
    variable_names: Annotated[
        list[str], msgspec.Meta(description="Variables to gather after the run.")
    ] = []
    stdin: Annotated[
        list[str] | None,
        msgspec.Meta(
            description="Answers to what the code asks, in order; after them it meets the end of"
            " its input. Absent: it waits for `POST …/input`. A command reads them as lines, and"
            " without them nothing. Kept in memory only."
        ),
    ] = None
    timeout_seconds: Annotated[
        float | None,
        msgspec.Meta(
            description="For the whole run, above 0; waiting does not count. Reading the variables"
            " counts, and gets at least 3 s. Absent: `max_execution_seconds`."
        ),
    ] = None
    cell_timeout_seconds: Annotated[
        float | None,
        msgspec.Meta(description="For each cell of a notebook, above 0. Absent: no limit."),
    ] = None
    on_error: Annotated[
        OnError, msgspec.Meta(description="What to do after a cell that failed.")
    ] = OnError.STOP
    on_busy: Annotated[
        OnBusy,
        msgspec.Meta(
            description="What to do when the session is busy: wait, be refused with 409, or run"
            " at once in a subshell of its kernel."
        ),
    ] = OnBusy.QUEUE
    on_kernel_death: Annotated[
        OnKernelDeath | None,
        msgspec.Meta(
            description="What to do when the session loses its kernel, and so its variables,"
            " while this execution waits: fail with `SessionLost`, or run in a fresh one. Without"
            " it, the execution runs in a fresh kernel where code ended the kernel, as by `exit()`,"
            " and fails otherwise."
        ),
    ] = None
    cancel_on_disconnect: Annotated[
        bool,
        msgspec.Meta(description="Cancel it when this request, which waits, is cut off."),
    ] = False
    labels: _Labels = {}
    annotations: _Annotations = {}
    origin: Annotated[
        OriginBody | None,
        msgspec.Meta(description="Where the `code` comes from, to find the execution by."),
    ] = None
    after: Annotated[
        str | None,
        msgspec.Meta(
            description="The id of an execution that must succeed before this one begins. If it"
            " fails or is cancelled, this one ends as `cancelled` with `PredecessorNotSucceeded`."
        ),
    ] = None
    description: _Description = ""

    @property
    def source(self) -> Source:
        """What to run.

        Raises:
            MalformedRequestError: It is not told, or told twice.
        """
        given = [one for one in (self.code, self.notebook, self.command) if one is not None]
        if len(given) != 1:
            raise MalformedRequestError(
                "exactly one of code, notebook and command is given", target="code"
            )
        if self.code is not None:
            return CodeSource(code=self.code)
        if self.command is not None:
            steps = {name: getattr(self.command, name) for name in STEPS}
            return CommandSource(**steps)
        assert self.notebook is not None
        return NotebookSource(
            path=self.notebook.path,
            cells=self.notebook.cells,
            save_to=self.notebook.save_to,
            has_content=self.notebook.content_bytes is not None or None,
        )

    def to_domain(self) -> NewExecution:
        """Return the request as the service takes it.

        Raises:
            MalformedRequestError: See `source`.
        """
        elsewhere = ("code", "notebook", "command", "cancel_on_disconnect")
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        given = {name: value for name, value in fields.items() if name not in elsewhere}
        if self.origin is not None:
            given["origin"] = Origin(path=self.origin.path, cell_id=self.origin.cell_id)
        content = None if self.notebook is None else self.notebook.content_bytes
        return NewExecution(source=self.source, notebook_content=content, **given)


class InputBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An answer to what running code asks for."""

    value: Annotated[
        str | None, msgspec.Meta(description="One line, without its end; null ends the input.")
    ]


_IdleTimeout = Annotated[
    float | None,
    msgspec.Meta(description="After so long without an execution the session ends; 0 means never."),
]


_KeepFiles = Annotated[
    bool | None,
    msgspec.Meta(
        description="Whether the folder that was made for it stays when it ends, however that is."
        " Absent: what the server does by default."
    ),
]


class SessionBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A request for a session."""

    name: Annotated[
        str | None,
        msgspec.Meta(description="The session that has it is answered; else it is created."),
    ] = None
    kernel_name: Annotated[
        str | None, msgspec.Meta(description="A kernelspec. Absent: the default.")
    ] = None
    kernel_id: Annotated[
        str | None,
        msgspec.Meta(
            description="A live kernel to attach to, for instance that of an open notebook. It is"
            " used and never shut down."
        ),
    ] = None
    path: Annotated[
        str | None,
        msgspec.Meta(
            description="A folder that is there, for its files and its kernel to work in; empty:"
            " the root. Absent: one is made for it."
        ),
    ] = None
    keep_files: _KeepFiles = None
    environment: Annotated[
        dict[str, Any],
        msgspec.Meta(
            description="Environment variables of its kernels from their start, as `inputs` of an"
            " execution. Kept in memory only."
        ),
    ] = {}
    idle_timeout_seconds: _IdleTimeout = None
    labels: Annotated[dict[str, str], msgspec.Meta(description="For programs and people.")] = {}
    annotations: _Annotations = {}
    description: _Description = ""

    def to_domain(self) -> NewSession:
        """Return the request as the service takes it."""
        return NewSession(**{name: getattr(self, name) for name in self.__struct_fields__})


class SettingsBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Settings of a session; what is absent stays as it is."""

    name: Annotated[
        str | None,
        msgspec.Meta(description="A new name, which no other session has."),
    ] = None
    idle_timeout_seconds: _IdleTimeout = None
    keep_files: _KeepFiles = None
    labels: Annotated[
        dict[str, str] | None, msgspec.Meta(description="All its labels from now on.")
    ] = None
    description: Annotated[str | None, msgspec.Meta(description="For people.")] = None

    def to_domain(self) -> SessionSettings:
        """Return the request as the service takes it."""
        return SessionSettings(**{name: getattr(self, name) for name in self.__struct_fields__})


class CompletionBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Code that somebody is writing."""

    code: Annotated[str, msgspec.Meta(description="As far as it is written.")]
    cursor_pos: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        msgspec.Meta(description="Where the cursor stands, in characters. Absent: at the end."),
    ] = None
