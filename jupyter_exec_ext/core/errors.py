"""Every failure the package can name. Nothing here knows HTTP: `web.errors` gives the status.

Two families. An `ExecError` refuses a request. A *run error* (`RunError`) is how running code
ended; it is never an HTTP error but data in the record of an execution that was accepted.
"""

from typing import ClassVar


class ExecError(Exception):
    """A request cannot be carried out.

    Attributes:
        code: A stable name for programs.
        target: The field of the request that is at fault, dotted, or ``None``.
        details: More findings, one sentence each.
    """

    code: ClassVar[str] = "ExecError"

    def __init__(
        self, message: str, *, target: str | None = None, details: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.target = target
        self.details = details


class MalformedRequestError(ExecError):
    """The request has not the documented shape: not JSON, a wrong type, an unknown field."""

    code = "MalformedRequest"


class InvalidArgumentError(ExecError):
    """The request is well formed, but a value in it cannot be accepted."""

    code = "InvalidArgument"


class UnknownKernelError(InvalidArgumentError):
    """No kernelspec of this server has the name."""

    code = "UnknownKernel"

    def __init__(self, name: str, known: tuple[str, ...], *, target: str) -> None:
        hint = "; for Python: pip install ipykernel" if name.startswith("python") else ""
        super().__init__(
            f"no kernelspec is called {name!r}; this server has:"
            f" {', '.join(known) or 'none'}{hint}",
            target=target,
        )
        self.known = known


class InvalidNotebookError(InvalidArgumentError):
    """The file is not a notebook that can be run."""

    code = "InvalidNotebook"


class UnknownCellError(InvalidArgumentError):
    """The notebook has no cell with this id, index or tag."""

    code = "UnknownCell"


class NotFoundError(ExecError):
    """The thing that the request names is not there, or the caller may not know that it is."""

    code = "NotFound"


class ExecutionNotFoundError(NotFoundError):
    """This server keeps no execution with this id."""

    code = "ExecutionNotFound"

    def __init__(self, execution_id: str) -> None:
        super().__init__(f"no execution {execution_id[:64]!r}")
        self.execution_id = execution_id


class SessionNotFoundError(NotFoundError):
    """This server keeps no session with this id."""

    code = "SessionNotFound"

    def __init__(self, session_id: str, *, target: str | None = None) -> None:
        super().__init__(f"no session {session_id[:64]!r}", target=target)
        self.session_id = session_id


class KernelNotFoundError(NotFoundError):
    """No kernel with this id runs on this server."""

    code = "KernelNotFound"

    def __init__(self, kernel_id: str) -> None:
        super().__init__(f"no kernel {kernel_id[:64]!r} runs here", target="kernel_id")
        self.kernel_id = kernel_id


class NotebookNotFoundError(NotFoundError):
    """No notebook is at the path. Says the same of what is missing, hidden or out of bounds."""

    code = "NotebookNotFound"

    def __init__(self, *, target: str = "notebook.path") -> None:
        super().__init__("no notebook at this path", target=target)


class NoSuchFileError(NotFoundError):
    """The session has no file or folder at the path."""

    code = "FileNotFound"

    def __init__(self, *, target: str = "path") -> None:
        super().__init__("no file or folder is at this path", target=target)


class NoFolderError(NotFoundError):
    """The session has no folder that can be reached from here."""

    code = "FolderNotFound"

    def __init__(self, message: str = "the session has no folder here") -> None:
        super().__init__(message)


class LinkRefusedError(InvalidArgumentError):
    """A link is on the way, and none is followed: it may lead out of the session's folder."""

    code = "LinkRefused"

    def __init__(self, *, target: str = "path") -> None:
        super().__init__("a symbolic link is on this path, and none is followed", target=target)


class FileForbiddenError(ExecError):
    """The operating system does not let the server do this to the file."""

    code = "FileForbidden"

    def __init__(self, *, target: str = "path") -> None:
        super().__init__("the file system does not allow that here", target=target)


class ConflictError(ExecError):
    """The request is in conflict with the state that the thing is in."""

    code = "Conflict"


class StateConflictError(ConflictError):
    """The execution cannot go from the state it is in to the one asked for."""

    code = "StateConflict"

    def __init__(self, execution_id: str, state: str, to: str) -> None:
        super().__init__(f"execution {execution_id} is {state} and cannot become {to}")
        self.execution_id = execution_id
        self.state = state
        self.to = to


class NoNotebookError(ConflictError):
    """The execution is of a command, which has no notebook."""

    code = "NoNotebook"

    def __init__(self, execution_id: str) -> None:
        super().__init__(f"execution {execution_id} is of a command, which has no notebook")
        self.execution_id = execution_id


class IdempotencyConflictError(ConflictError):
    """The idempotency key was used before, with another request."""

    code = "IdempotencyConflict"

    def __init__(self, execution_id: str) -> None:
        super().__init__(
            f"execution {execution_id} has this key, and was another request",
            target="Idempotency-Key",
        )
        self.execution_id = execution_id


class NotFinalError(ConflictError):
    """The execution still waits or runs, and only final ones can be deleted."""

    code = "NotFinal"

    def __init__(self, execution_id: str, state: str) -> None:
        super().__init__(
            f"execution {execution_id} is {state}: cancel it first, or delete it by force"
        )
        self.execution_id = execution_id
        self.state = state


class SessionEndedError(ConflictError):
    """The session has ended; its record says why."""

    code = "SessionEnded"

    def __init__(self, session_id: str, *, target: str | None = None) -> None:
        super().__init__(f"session {session_id} has ended", target=target)
        self.session_id = session_id


class KernelInUseError(ConflictError):
    """A session has this kernel already: run in that one, a kernel has one queue."""

    code = "KernelInUse"

    def __init__(self, kernel_id: str, session_id: str) -> None:
        super().__init__(
            f"session {session_id} has kernel {kernel_id[:64]} already", target="kernel_id"
        )
        self.kernel_id = kernel_id
        self.session_id = session_id


class SessionDiffersError(ConflictError):
    """A session has the name that is asked for, but is not as it is asked for."""

    code = "SessionDiffers"

    def __init__(self, session_id: str, *, target: str) -> None:
        super().__init__(f"session {session_id} has this name and another {target}", target=target)
        self.session_id = session_id


class SessionNameTakenError(ConflictError):
    """Another session has the name."""

    code = "SessionNameTaken"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id} has this name", target="name")
        self.session_id = session_id


class KernelBusyError(ConflictError):
    """The kernel runs something, and answers nothing meanwhile."""

    code = "KernelBusy"

    def __init__(self) -> None:
        super().__init__("the kernel is busy")


class SessionBusyError(ConflictError):
    """The session is busy, and the request said not to wait for it."""

    code = "SessionBusy"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id} is busy", target="on_busy")
        self.session_id = session_id


class NoSubshellsError(ConflictError):
    """The session is busy, and its kernel cannot run a subshell beside what it runs."""

    code = "NoSubshells"

    def __init__(self, kernel_name: str) -> None:
        super().__init__(
            f"a kernel of {kernel_name!r} runs nothing beside what it runs", target="on_busy"
        )


class FileConflictError(ConflictError):
    """What is at the path is of another kind than the request needs: a folder for a file, say."""

    code = "FileConflict"

    def __init__(self, message: str, *, target: str = "path") -> None:
        super().__init__(message, target=target)


class NoInputRequestError(ConflictError):
    """The execution does not ask for input now."""

    code = "NoInputRequest"

    def __init__(self, execution_id: str) -> None:
        super().__init__(f"execution {execution_id} does not ask for input")
        self.execution_id = execution_id


class RunsElsewhereError(ConflictError):
    """Another server process, which shares the store, runs it; only that one can change it."""

    code = "RunsElsewhere"

    def __init__(self, name: str, state: str) -> None:
        super().__init__(f"{name} is {state} in another server process")
        self.state = state


class PreconditionFailedError(ExecError):
    """The file is not as the request's ``If-Match`` or ``If-None-Match`` has it."""

    code = "PreconditionFailed"


class TooLargeError(ExecError):
    """Something in the request is larger than this server takes."""

    code = "TooLarge"


class RangeNotSatisfiableError(ExecError):
    """Nothing is at the positions that the request asks for.

    Attributes:
        size_bytes: How much there is.
    """

    code = "RangeNotSatisfiable"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"there are only {size_bytes} bytes", target="Range")
        self.size_bytes = size_bytes


class TooManyError(ExecError):
    """A limit of this server is reached for now; the same request may be accepted later.

    Attributes:
        retry_after_seconds: When it is worth trying again.
    """

    code = "TooMany"

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(ExecError):
    """The service cannot do this now."""

    code = "Unavailable"


class ServerStoppingError(UnavailableError):
    """The server is shutting down and accepts no new work."""

    code = "ServerStopping"


class StoreUnavailableError(UnavailableError):
    """The store of executions cannot be reached; the message tells why."""

    code = "StoreUnavailable"


class UnreadableRowError(StoreUnavailableError):
    """One row of the store is damaged; all others can be used."""

    code = "UnreadableRow"


class StoreFullError(StoreUnavailableError):
    """The store of executions has no room left to write to."""

    code = "StoreFull"


class DiskFullError(UnavailableError):
    """The disk, or the user's share of it, has no room left for the file; nothing was kept."""

    code = "DiskFull"

    def __init__(self) -> None:
        super().__init__("the disk has no room left for this")


class RunError(Exception):
    """How running code ended when it did not end well; recorded in ``error`` of the execution."""

    code: ClassVar[str] = "RunError"


class KernelStartFailedError(RunError):
    """The kernel was not ready within its time, or its process ended while it started.

    Attributes:
        details: The last lines that the process wrote to standard error.
    """

    code = "KernelStartFailed"

    def __init__(
        self,
        message: str,
        *,
        exit_code: int | None = None,
        signal: str | None = None,
        details: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.signal = signal
        self.details = details


class NoWorkingFolderError(RunError):
    """The folder in which the kernel works was deleted or replaced, so no kernel was started."""

    code = "FolderNotFound"


class KernelDiedError(RunError):
    """The kernel's process ended before the code did.

    Attributes:
        exit_code: The exit code of the process; ``None`` when unknown or ended by a signal.
        signal: The name of the signal that ended it, as ``SIGKILL``; ``None`` when unknown.
    """

    code = "KernelDied"

    def __init__(
        self, message: str, *, exit_code: int | None = None, signal: str | None = None
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.signal = signal


class KernelRestartedError(RunError):
    """Somebody else restarted the kernel, or shut it down, while the code ran in it."""

    code = "KernelRestarted"


class RunTimeoutError(RunError):
    """A deadline passed: the code was interrupted, and if need be the kernel ended."""

    code = "Timeout"


class SessionLostError(RunError):
    """The session's kernel or the session itself ended before this execution's turn came."""

    code = "SessionLost"


class PredecessorError(RunError):
    """The execution that this one should run ``after`` did not succeed, so no code was sent."""

    code = "PredecessorNotSucceeded"


class SessionIdleError(RunError):
    """The session ended since it was not used for its idle time-out."""

    code = "SessionIdle"


class CommandFailedError(RunError):
    """A step of a command ended with another exit code than 0, or could not be run.

    Attributes:
        step: The step; ``None`` when none was run.
        exit_code: Its exit code, 128 and more for a signal; ``None`` when unknown.
        signal: The name of the signal that ended it, as ``SIGKILL``.
    """

    code = "CommandFailed"

    def __init__(
        self,
        message: str,
        *,
        step: str | None = None,
        exit_code: int | None = None,
        signal: str | None = None,
    ) -> None:
        super().__init__(message)
        self.step = step
        self.exit_code = exit_code
        self.signal = signal


class InputNotGivenError(RunError):
    """The code requested input, no client gave any, and it failed at the end of its input."""

    code = "InputNotGiven"


class ServerStoppedError(RunError):
    """The server was stopped while the execution waited or ran."""

    code = "ServerStopped"


class ServerRestartedError(RunError):
    """The server process ended unexpectedly while the execution waited or ran."""

    code = "ServerRestarted"


class InternalRunError(RunError):
    """A defect of this package ended the execution; the server's log has the traceback."""

    code = "InternalError"
