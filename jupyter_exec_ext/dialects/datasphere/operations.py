"""What an execution looks like as one of the service's operations; pure, both values and texts."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from jupyter_exec_ext.core.models import (
    Execution,
    ExecutionError,
    Output,
    Result,
    Variable,
    code_error_message,
)
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.dialects.datasphere.errors import TYPE_PREFIX, Code
from jupyter_exec_ext.dialects.datasphere.requests import CHECKPOINT_MARK

VERSION = "datasphere.version"
PROJECT_ID = "datasphere.project_id"
NOTEBOOK_ID = "datasphere.notebook_id"
CELL_ID = "datasphere.cell_id"

MAX_DESCRIPTION_LENGTH = 256

_MANY_DIGITS = re.compile(rb"(?<!\d)\d{309}")
_STRING_OR_LONG_INTEGER = re.compile(rb'"(?:[^"\\]++|\\.)*+"|(?<![-+.\deE])-?\d{309,}+(?![.eE])')
"""In JSON; doubles end where integers have so many digits, and many a reader refuses those."""

_CODE_ERRORS = ("CodeError", "CommandFailed", "InputNotGiven")
"""The user's code or program ended badly."""

_INTERRUPTS = ("KernelDied", "KernelRestarted", "SessionIdle", "SessionLost")
_STOPS = ("ServerStopped", "ServerRestarted")


class Wire(msgspec.Struct, rename="camel", kw_only=True):
    """A part of an answer; what is unset is left out."""


class Metadata(Wire, kw_only=True):
    """What an operation is about, in the client's words."""

    type: str = msgspec.field(name="@type")
    project_id: str
    notebook_id: str | UnsetType = UNSET
    cell_id: str | UnsetType = UNSET


class Status(Wire, kw_only=True):
    """An error of an operation."""

    code: int
    message: str
    details: list[Any] = []


class ErrorDetails(Wire, kw_only=True):
    """The exception that ended the code."""

    error_name: str
    error_message: str
    traceback: list[str]


class Response(Wire, kw_only=True):
    """What a run came to."""

    type: str = msgspec.field(name="@type")
    execution_status: str | UnsetType = UNSET
    checkpoint_id: str | UnsetType = UNSET
    output_variables: dict[str, msgspec.Raw] | UnsetType = UNSET
    error_details: ErrorDetails | UnsetType = UNSET


class Operation(Wire, kw_only=True):
    """An execution; `done` is there also while it is false."""

    id: str
    description: str | UnsetType = UNSET
    created_at: str
    created_by: str
    modified_at: str
    done: bool
    metadata: Metadata | UnsetType = UNSET
    error: Status | UnsetType = UNSET
    response: Response | UnsetType = UNSET


def operation_of(execution: Execution, result: Result, *, max_bytes: int) -> Operation:
    """Return *execution* as an operation.

    Args:
        result: What it left; is looked at only when it is final and variables were asked for.
        max_bytes: How large their values are together; what does not fit is left out.
    """
    version = "v1" if execution.annotations.get(VERSION) == "v1" else "v2"
    operation = Operation(
        id=execution.id,
        description=execution.description[:MAX_DESCRIPTION_LENGTH] or UNSET,
        created_at=timestamp(execution.created_time),
        created_by=execution.owner,
        modified_at=timestamp(execution.end_time or execution.start_time or execution.created_time),
        done=execution.state.is_final,
        metadata=_metadata_of(execution, version),
    )
    if not operation.done:
        return operation
    outcome = _outcome_of(execution, version)
    if isinstance(outcome, Status):
        operation.error = outcome
        return operation
    response = Response(type=_type(version, "ProjectExecutionResponse"), execution_status=outcome)
    if execution.variable_names:
        # A strict reader of today's protocol, which has no such fields, asks for no variables.
        project_id = execution.annotations.get(PROJECT_ID, "default")
        response.checkpoint_id = f"{project_id}{CHECKPOINT_MARK}{execution.id}"
        response.output_variables = values_of(
            result.variables, execution.variable_names, max_bytes=max_bytes
        )
        if execution.error is not None:
            response.error_details = _details_of(execution.error)
    operation.response = response
    return operation


def timestamp(moment: datetime) -> str:
    """Return a moment in RFC 3339, in UTC, to the millisecond."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def values_of(
    variables: Mapping[str, Variable], names: Iterable[str], *, max_bytes: int
) -> dict[str, msgspec.Raw]:
    """Return the values of *names* as JSON: those that exist, while they fit *max_bytes*.

    What is not JSON is the text that the kernel shows for it, and an integer of more than 308
    digits is a text too.
    """
    values: dict[str, msgspec.Raw] = {}
    left = max_bytes
    for name in names:
        value = _value_of(variables.get(name))
        if value is not None and len(value) <= left:
            value = _without_long_integers(value)
            values[name] = msgspec.Raw(value)
            left -= len(value)
    return values


def texts_of(outputs: Iterable[Output]) -> list[str]:
    """Return *outputs* as texts; those that have none are left out."""
    texts = []
    for output in outputs:
        match output["output_type"]:
            case "stream":
                texts.append(output["text"])
            case "error":
                texts.append(code_error_message(output["ename"], output["evalue"]))
            case _:
                text = output["data"].get("text/plain")
                if isinstance(text, str):
                    texts.append(text)
    return [text.encode("utf-8", "replace").decode() for text in texts]


def _type(version: str, name: str) -> str:
    return f"{TYPE_PREFIX}yandex.cloud.datasphere.{version}.{name}"


def _metadata_of(execution: Execution, version: str) -> Metadata | UnsetType:
    """Return what the client called it; unset for what another door accepted."""
    kept = execution.annotations
    if PROJECT_ID not in kept:
        return UNSET
    return Metadata(
        type=_type(version, "ProjectExecutionMetadata"),
        project_id=kept[PROJECT_ID],
        notebook_id=kept.get(NOTEBOOK_ID, UNSET),
        cell_id=kept.get(CELL_ID, UNSET),
    )


def _outcome_of(execution: Execution, version: str) -> str | UnsetType | Status:
    """Return the status for the response, or the error that is there instead of a response."""
    if execution.state is State.CANCELLED:
        return Status(code=Code.CANCELLED, message="The execution was cancelled")
    error = execution.error
    is_v1 = version == "v1"
    if error is None:
        return UNSET if is_v1 else "OK"
    message = "\n".join([error.message, *(error.details or ())])
    if error.code in _CODE_ERRORS and error.ename != "KeyboardInterrupt":
        return Status(code=Code.UNKNOWN, message=message) if is_v1 else "ERROR"
    if error.code == "Timeout":
        return Status(code=Code.DEADLINE_EXCEEDED, message=message)
    if error.code in _STOPS and not execution.started:
        return Status(code=Code.UNAVAILABLE, message=message)
    if error.code in (*_CODE_ERRORS, *_INTERRUPTS, *_STOPS):
        return Status(code=Code.ABORTED, message=message) if is_v1 else "ABORTED"
    return Status(code=Code.INTERNAL, message=message)


def _details_of(error: ExecutionError) -> ErrorDetails:
    return ErrorDetails(
        error_name=error.ename or error.code,
        error_message=error.evalue if error.ename and error.evalue is not None else error.message,
        traceback=(error.traceback_text or "").splitlines(),
    )


def _value_of(variable: Variable | None) -> bytes | None:
    if variable is None:
        return None
    if variable.json_text is not None:
        return variable.json_text.encode()
    text = (variable.data or {}).get("text/plain")
    return msgspec.json.encode(text) if isinstance(text, str) else None


def _without_long_integers(json_text: bytes) -> bytes:
    """Return JSON in which they are texts."""

    def quoted(found: re.Match[bytes]) -> bytes:
        return found[0] if found[0].startswith(b'"') else b'"%b"' % found[0]

    if not _MANY_DIGITS.search(json_text):
        return json_text
    return _STRING_OR_LONG_INTEGER.sub(quoted, json_text)
