"""What clients of the service send and read, and how it follows from our records."""

import base64
import binascii
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from jupyter_exec_ext.core.errors import MalformedRequestError
from jupyter_exec_ext.core.files import FileEntry, FileType
from jupyter_exec_ext.core.models import (
    Execution,
    ExecutionError,
    MimeBundle,
    Result,
)
from jupyter_exec_ext.core.paths import parts_of
from jupyter_exec_ext.core.sessions import Session
from jupyter_exec_ext.core.states import State

DATA_FOLDER = "/mnt/data"
"""Where the service's code finds the files of its session."""

FIRST_FLAT_VERSION = "2024-10"
"""From this api-version on bodies have no envelope."""

FIRST_OK_VERSION = "2025"
"""From this api-version on the answer to a request for an execution is 200, before it 202."""

FIRST_SHORT_VERSION = "2025-10"
"""From this api-version on an answer has a part of long output only."""

KNOWN_TYPES = (FileType.FILE, FileType.DIRECTORY)
"""What the service has a word for."""

IDENTIFIER = "azure.identifier"
OPERATION_ID = "azure.operation_id"
EXECUTION_TYPE = "azure.execution_type"
STREAM_LENGTH = "azure.output_streams_max_length"

_MAX_VALUE_LENGTH = 1_000_000
"""A longer value is answered as text: it would have to be read whole to know that it is JSON."""

_MAX_REASON_LENGTH = 4_096
"""In characters: how much of a traceback is answered behind a part of the output."""

_MAX_NUMBER = 2**63 - 1
_CODE_INPUT_TYPES = ("Inline", "InlineBase64", "InlineText")
_EXECUTION_TYPES = ("Synchronous", "Asynchronous")
_STOPPED_STATUS = "124"
"""The exit code of a command that was ended from outside, as `timeout` of coreutils has it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = timedelta(days=365)
_FORMATS = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
}
_STATUS = {
    State.PENDING: "NotStarted",
    State.RUNNING: "Running",
    State.CANCELLING: "Running",
    State.SUCCEEDED: "Succeeded",
    State.FAILED: "Failed",
    State.CANCELLED: "Canceled",
}
_COMMAND_FAILED = "CommandFailed"
_CODE_OF_RUN = {"CodeError": "CodeExecutionFailed", "Timeout": "ExecutionTimeout"}

# Part of a longer name, such as /mnt/database or {root}/mnt/data, is another place.
# The literal comes first, so that text without it is passed over quickly.
_DATA_FOLDER = re.compile(
    r"""
    /mnt/data (?! [\w-] | \.\w )
    (?: (?<![\w.~})\]-]/mnt/data) (?<!://mnt/data)
      | (?<=[\s'"=]-[A-Za-z]/mnt/data)  # an option, as of tar -C/mnt/data
      | (?<=:-/mnt/data)                # ${X:-/mnt/data}
      | (?<=[^\\]\\[nrt]/mnt/data)      # "\n/mnt/data"
    )
    """,
    re.VERBOSE,
)
_SAFE_PLACE = re.compile(r"[\w/.,:@+=~-]+")


class Request(msgspec.Struct, rename="camel"):
    """What is to be executed."""

    code_input_type: str | None = None
    execution_type: str | None = None
    code: str | None = None
    timeout_in_seconds: int | None = None
    output_streams_max_length: int | None = None
    use_empty_kernel: bool | None = None
    shell_command: str | None = None
    python_code: str | None = None

    @property
    def is_asynchronous(self) -> bool:
        """Whether the client does not wait for the end."""
        return (self.execution_type or "").lower() == "asynchronous"

    def check(self) -> None:
        """Raise `MalformedRequestError`, naming the member, for what the service refuses."""
        for name, number in (
            ("timeoutInSeconds", self.timeout_in_seconds),
            ("outputStreamsMaxLength", self.output_streams_max_length),
        ):
            if number is not None and not 0 < number <= _MAX_NUMBER:
                raise MalformedRequestError(
                    "this is a whole number above 0, of 64 bits at most", target=name
                )
        if self.shell_command is not None:
            for name, value in (
                ("code", self.code),
                ("codeInputType", self.code_input_type),
                ("executionType", self.execution_type),
            ):
                if value is not None:
                    raise MalformedRequestError("shellCommand goes without this", target=name)
            if not self.shell_command.strip():
                raise MalformedRequestError("the command is empty", target="shellCommand")
            return
        if self.code is None:
            raise MalformedRequestError("code or shellCommand is required", target="code")
        _check_choice("codeInputType", self.code_input_type, _CODE_INPUT_TYPES)
        _check_choice("executionType", self.execution_type, _EXECUTION_TYPES)

    def text(self) -> str:
        """Return the code, or the command.

        Raises:
            MalformedRequestError: It is not encoded as it says.
        """
        if self.shell_command is not None:
            return self.shell_command
        code = self.code or ""
        if (self.code_input_type or "").lower() != "inlinebase64":
            return code
        try:
            return base64.b64decode(code, validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise MalformedRequestError("this is no base64 of UTF-8 text", target="code") from error


class Envelope(msgspec.Struct):
    """The same in the older shape."""

    properties: Request


def _check_choice(name: str, value: str | None, choices: tuple[str, ...]) -> None:
    if (value or "").lower() not in [choice.lower() for choice in choices]:
        raise MalformedRequestError(f"this is one of {', '.join(choices)}", target=name)


def translated(text: str, place: str | None) -> str:
    """Return code or a command in which the session's folder stands for `DATA_FOLDER`.

    Args:
        place: Of the folder. With ``None``, or where a name on the way would mean something else
            in a string of code, the text stays as it is.
    """
    if place is None or not _SAFE_PLACE.fullmatch(place):
        return text
    return _DATA_FOLDER.sub(lambda _: place, text)


def operation_id_of(execution: Execution) -> str:
    """Return the id that the client chose for an execution, else the id of the record."""
    return execution.annotations.get(OPERATION_ID, execution.id)


def execution_view(execution: Execution, result: Result, identifier: str) -> dict[str, Any]:
    """Return an execution as the newer shape has it."""
    annotations = execution.annotations
    shown: dict[str, Any] = {
        "id": operation_id_of(execution),
        "identifier": identifier,
        "executionType": annotations.get(EXECUTION_TYPE, "Synchronous"),
        "status": _STATUS[execution.state],
    }
    if not execution.state.is_final:
        return shown
    length = int(annotations[STREAM_LENGTH]) if STREAM_LENGTH in annotations else None
    shown["result"] = {
        "stdout": result.stream("stdout")[:length],
        "stderr": _stderr(execution, result, length),
        "executionResult": value_view(result),
        "executionTimeInMilliseconds": _milliseconds(execution),
    }
    if execution.type == "command":
        shown["status"] = _exit_status(execution, result)
    if execution.error is not None and execution.error.code != _COMMAND_FAILED:
        shown["error"] = {
            "error": {
                "code": _CODE_OF_RUN.get(execution.error.code, execution.error.code),
                "message": execution.error.message,
            }
        }
    return shown


def properties_view(execution: Execution, result: Result) -> dict[str, Any]:
    """Return an execution as the older shape has it, without its envelope."""
    return {
        "status": "Success" if execution.state is State.SUCCEEDED else "Failure",
        "stdout": result.stream("stdout"),
        "stderr": _stderr(execution, result),
        "result": value_view(result),
        "executionTimeInMilliseconds": _milliseconds(execution),
    }


def operation_label(identifier: str, operation_id: str) -> tuple[str, str]:
    """Return the name and value of a label by which an execution is found again."""
    digest = hashlib.sha256(f"{identifier} {operation_id}".encode()).hexdigest()
    return "azure.operation", digest[:32]


def given_up(execution: Execution) -> Execution:
    """Return *execution*, which runs, as it is answered to a client that cannot ask again."""
    late = "it did not end while a request may wait, and is cancelled"
    return replace(
        execution, state=State.FAILED, error=ExecutionError(code="Timeout", message=late)
    )


def value_view(result: Result) -> Any:
    """Return what code had as its value: the last picture, else the last expression.

    A number, list or object that Python writes as JSON does comes as that, anything else as the
    text that a notebook shows, and nothing as the empty string.
    """
    for output in reversed(result.outputs):
        if output["output_type"] in ("execute_result", "display_data"):
            picture = _picture(output["data"])
            if picture is not None:
                return picture
    text = (result.value_data or {}).get("text/plain", "")
    text = "".join(text) if isinstance(text, list) else str(text)
    if len(text) <= _MAX_VALUE_LENGTH and not text.startswith('"'):
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return text
        # As it is: a number can have more digits than would survive.
        return msgspec.Raw(text.encode())
    return text


def _picture(data: MimeBundle) -> dict[str, str] | None:
    for mime_type, kind in _FORMATS.items():
        content = data.get(mime_type)
        if isinstance(content, list):
            content = "".join(content)
        if not isinstance(content, str):
            continue
        if kind == "svg":
            content = base64.b64encode(content.encode("utf-8", "replace")).decode()
        return {"type": "image", "format": kind, "base64_data": "".join(content.split())}
    return None


def _stderr(execution: Execution, result: Result, length: int | None = None) -> str:
    """Return what was printed as errors and, behind it, why the execution failed.

    Args:
        length: How much of what was printed is shown; of the reason then only the end may be.
    """
    text = result.stream("stderr")[:length]
    error = execution.error
    if execution.state is State.CANCELLED and error is None:
        why = "the execution was cancelled"
    elif error is None or error.code == _COMMAND_FAILED:
        return text
    else:
        why = error.explanation
    if length is not None:
        why = why[-_MAX_REASON_LENGTH:]
    return f"{text}\n{why}" if text and not text.endswith("\n") else text + why


def _exit_status(execution: Execution, result: Result) -> str:
    error = execution.error
    if execution.state is State.CANCELLED or (error and error.code != _COMMAND_FAILED):
        # Its own code, where it has one, is only that of the signal which ended it.
        return _STOPPED_STATUS
    code = (result.exit_codes or {}).get("exec")
    if code is None and error is not None:
        code = error.exit_code
    if code is None:
        return "0" if error is None else _STOPPED_STATUS
    return str(code)


def _milliseconds(execution: Execution) -> int:
    return int((execution.duration_seconds or 0) * 1000)


def file_view(entry: FileEntry) -> dict[str, Any]:
    """Return a file or a directory as the newer shape has it."""
    return {
        "name": entry.name,
        "directory": entry.path.rpartition("/")[0],
        "type": entry.type.value,
        "contentType": entry.mime_type or "application/octet-stream",
        "sizeInBytes": entry.size_bytes or 0,
        "lastModifiedAt": entry.modified_time or _EPOCH,
    }


def old_file_view(entry: FileEntry) -> dict[str, Any]:
    """Return a file as the older shape has it."""
    return {
        "properties": {
            "filename": entry.path,
            "size": entry.size_bytes or 0,
            "lastModifiedTime": entry.modified_time or _EPOCH,
        }
    }


def shown_entries(entries: list[FileEntry], *, is_old: bool) -> list[dict[str, Any]]:
    """Return what of *entries* the service has a word for."""
    if is_old:
        return [old_file_view(entry) for entry in entries if entry.type is FileType.FILE]
    return [file_view(entry) for entry in entries if entry.type in KNOWN_TYPES]


def session_view(session: Session) -> dict[str, Any]:
    """Return a session as the service has it."""
    expiry = session.expire_time
    if expiry is None:
        # It is used at this moment, or never ends by itself.
        idle = session.idle_timeout_seconds
        now = datetime.now(UTC)
        expiry = now + (_NEVER if idle is None else timedelta(seconds=idle))
    return {
        "identifier": session.name,
        "createdAt": session.created_time,
        "lastAccessedAt": session.last_activity_time,
        "expireAt": expiry,
        "etag": f'"{session.id}"',
    }


def path_of(name: str, folder: str, place: str | None, *, target: str = "path") -> str:
    """Return the path in the session's folder that a client means by *name* in *folder*.

    Both can be absolute, below `DATA_FOLDER` or *place*. Any other *folder* is one of the session,
    with a slash before it or without.

    Args:
        place: Of the session's folder, as code prints it; ``None`` where no code can.

    Raises:
        ExecError: No file can be there.
    """
    name, folder = _relative(name, place), _relative(folder, place).lstrip("/")
    if name.startswith("/"):
        raise MalformedRequestError(f"a path is relative, or below {DATA_FOLDER}", target=target)
    path = f"{folder}/{name}" if folder and name else folder or name
    parts_of(path, target=target)
    return path


def _relative(path: str, place: str | None) -> str:
    for top in (place, DATA_FOLDER):
        if top and f"{path}/".startswith(f"{top}/"):
            path = path[len(top) + 1 :]
    return path.removeprefix("./").removesuffix("/")


def decoded_name(name: str) -> str:
    """Return the name of a file of a form, which some clients write as in a URL.

    Only what is written exactly so is taken for that; the names of others hold blanks as they are.
    """
    if "%" not in name:
        return name
    try:
        plain = unquote(name, errors="strict")
    except UnicodeDecodeError:
        return name
    return plain if name in (quote(plain, safe=""), quote(plain)) else name
