"""Qinling's objects, and how records and notebooks look as such."""

import ast
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import msgspec

from jupyter_exec_ext.core.errors import (
    CommandFailedError,
    InputNotGivenError,
    KernelDiedError,
    RunTimeoutError,
)
from jupyter_exec_ext.core.models import Execution, ExecutionError, NotebookSource, Result, Variable
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.services.kernelspecs import Kernelspec

NAME = "qinling"

METADATA = "qinling"
"""The key of a notebook's metadata under which it says what only Qinling asks of a function."""

NAMESPACE = UUID("0d6f2bb6-0d0c-5c0b-9a7e-6b1c1f4f1a7d")
"""From it and a path, or the name of a kernelspec, follow the ids of functions and runtimes."""

KEY_PREFIX = "qinling:"
"""Begins the idempotency key of an execution whose id the client chose."""

INPUT_VARIABLE = "QINLING_INPUT"
"""The variable that has an input which is no JSON object, and for a module any input."""

OUTPUT_VARIABLE = "qinling_output"
"""The variable that is the output itself, where it is the only one that a notebook names."""

STAMP_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

ANNOTATED_ALIAS = "qinling.alias"
ANNOTATED_INPUT = "qinling.input"
ANNOTATED_SYNC = "qinling.sync"
ANNOTATED_REQUEST = "qinling.request"

MASK = "***"
_SECRET_WORDS = ("pass", "secret", "token", "key")

MAX_SHOWN_TEXT = 1_000
"""Longest input that is shown and neither an object nor a list."""

MAX_INPUT_DEPTH = 100
"""How deep the objects and lists of an input may be in each other."""

MAX_LITERAL_LENGTH = 100_000
"""Longest displayed text that is looked at for a value."""

TIMED_OUT = "Function execution timeout."
KILLED = "Function execution failed because of too much resource consumption"
BROKEN = "Function execution failed."
CANCELLED = "Function execution cancelled."

_FAULTS_OF_CODE = (
    "CodeError",
    RunTimeoutError.code,
    InputNotGivenError.code,
    CommandFailedError.code,
)
_STATES: dict[str, tuple[State, ...]] = {
    "running": (State.PENDING, State.RUNNING, State.CANCELLING),
    "success": (State.SUCCEEDED,),
    "failed": (State.FAILED, State.CANCELLED),
    "error": (State.FAILED,),
}


class ExecutionView(msgspec.Struct, kw_only=True):
    """An execution as Qinling shows it; every field is always there."""

    id: str
    function_id: str | None
    function_version: int = 0
    function_alias: str | None = None
    description: str | None
    status: str
    sync: bool
    input: str | None
    result: str | None
    project_id: str
    created_at: str
    updated_at: str | None


class RuntimeView(msgspec.Struct, kw_only=True):
    """A kernelspec as a runtime."""

    id: str
    name: str
    image: str
    description: str
    is_public: bool = True
    trusted: bool = True
    status: str = "available"
    project_id: str
    created_at: str | None = None
    updated_at: str | None = None


class FunctionView(msgspec.Struct, kw_only=True):
    """A notebook as a function; its `code` is an object, but in a list the text of it."""

    id: str
    name: str
    description: str | None
    cpu: int
    memory_size: int
    timeout: int
    runtime_id: str | None
    code: dict[str, str] | str
    entry: str | None
    count: int
    latest_version: int = 0
    project_id: str
    created_at: str
    updated_at: str | None


class AliasView(msgspec.Struct, kw_only=True):
    """Another name of a function; its times are those of the notebook."""

    id: str
    name: str
    description: str
    function_id: str
    function_version: int = 0
    project_id: str
    created_at: str
    updated_at: str | None


def function_id_of(path: str) -> str:
    """Return the id of the function that the notebook at *path* is."""
    return str(uuid5(NAMESPACE, f"function:{path}".encode("utf-8", "replace").decode()))


def runtime_id_of(kernel_name: str) -> str:
    """Return the id of the runtime that a kernelspec is."""
    return str(uuid5(NAMESPACE, f"kernelspec:{kernel_name}"))


def alias_id_of(name: str) -> str:
    """Return the id of an alias, which nothing asks for."""
    return str(uuid5(NAMESPACE, f"alias:{name}".encode("utf-8", "replace").decode()))


def is_uuid(text: object) -> bool:
    """Whether *text* is a UUID, with dashes or without, in any case."""
    if not isinstance(text, str):
        return False
    try:
        return str(UUID(text)).replace("-", "") == text.replace("-", "").lower()
    except ValueError:
        return False


def canonical_id(text: str) -> str:
    """Return a UUID as it is stored, in small letters and with dashes; other text as it is."""
    return str(UUID(text)) if is_uuid(text) else text


def notebook_path(name: str) -> str:
    """Return the path of the notebook that a function's name stands for."""
    path = name.strip("/")
    return path if path.endswith(".ipynb") else f"{path}.ipynb"


def is_path(text: str) -> bool:
    """Whether *text* names a function by the path of its notebook; no id looks like that."""
    return "/" in text or text.endswith(".ipynb")


def stamp(moment: datetime) -> str:
    """Return a moment as Qinling writes it."""
    return moment.astimezone(UTC).strftime(STAMP_FORMAT)


def id_of(execution: Execution) -> str:
    """Return the id that clients know *execution* by: their own, where they chose one."""
    key = execution.idempotency_key or ""
    chosen = key.removeprefix(KEY_PREFIX)
    is_ours = execution.labels.get("dialect") == NAME and key.startswith(KEY_PREFIX)
    return chosen if is_ours and is_uuid(chosen) else execution.id


def states_of(status: str) -> tuple[State, ...]:
    """Return the states that an execution with a status can have; none for no status."""
    return _STATES.get(status, ())


def status_of(execution: Execution) -> str:
    """Return running, success, failed or error: no other is known to clients."""
    match execution.state:
        case State.SUCCEEDED:
            return "success"
        case State.CANCELLED:
            return "failed"
        case State.FAILED:
            error = execution.error
            is_fault_of_code = error is not None and (
                error.code in _FAULTS_OF_CODE or _was_killed(error)
            )
            return "failed" if is_fault_of_code else "error"
        case _:
            return "running"


def _was_killed(error: ExecutionError) -> bool:
    return error.code == KernelDiedError.code and error.signal == "SIGKILL"


def fields_of(execution: Execution, *, project_id: str) -> dict[str, str | None]:
    """Return the fields by which lists are filtered."""
    source = execution.source
    path = source.path if isinstance(source, NotebookSource) else None
    return {
        "function_id": None if path is None else function_id_of(path),
        "status": status_of(execution),
        "description": execution.description or None,
        "project_id": project_id,
    }


def execution_view(
    execution: Execution, result: Result | None, *, project_id: str, has_input: bool
) -> ExecutionView:
    """Return a record as Qinling shows it.

    Args:
        result: What the run left; read only when it succeeded.
        has_input: Whether the input is shown.
    """
    fields = fields_of(execution, project_id=project_id)
    told = execution.annotations
    return ExecutionView(
        id=id_of(execution),
        function_id=fields["function_id"],
        function_alias=told.get(ANNOTATED_ALIAS),
        description=fields["description"],
        status=status_of(execution),
        sync=told.get(ANNOTATED_SYNC, "true") == "true",
        input=told.get(ANNOTATED_INPUT) if has_input else None,
        result=_result_text(execution, result) if execution.state.is_final else None,
        project_id=project_id,
        created_at=stamp(execution.created_time),
        updated_at=None if execution.end_time is None else stamp(execution.end_time),
    )


def _result_text(execution: Execution, result: Result | None) -> str:
    shown: dict[str, Any] = {"output": _output_of(execution, result)}
    if execution.duration_seconds is not None and status_of(execution) != "error":
        shown["duration"] = round(execution.duration_seconds, 3)
    return _dumps(shown)


def _output_of(execution: Execution, result: Result | None) -> object:
    if execution.state is State.CANCELLED:
        return CANCELLED
    error = execution.error
    if error is None:
        return None if result is None else _value_of(execution, result)
    if error.code == RunTimeoutError.code:
        return TIMED_OUT
    if _was_killed(error):
        return KILLED
    return error.message if status_of(execution) == "failed" else f"{BROKEN} {error.message}"


def _value_of(execution: Execution, result: Result) -> object:
    """Return the outputs that the notebook names, by name, else what it displayed last."""
    if execution.variable_names == [OUTPUT_VARIABLE] and OUTPUT_VARIABLE in result.variables:
        return _value_of_variable(result.variables[OUTPUT_VARIABLE])
    if execution.variable_names:
        return {name: _value_of_variable(variable) for name, variable in result.variables.items()}
    if result.value_json is not None:
        return _loads(result.value_json)
    return _value_of_bundle(result.value_data)


def _value_of_variable(variable: Variable) -> object:
    if variable.json_text is not None:
        return _loads(variable.json_text)
    text = (variable.data or {}).get("text/plain")
    return variable.error if text is None and variable.truncated else text


def _value_of_bundle(bundle: dict[str, Any] | None) -> object:
    if not bundle:
        return None
    if "application/json" in bundle:
        return bundle["application/json"]
    text = bundle.get("text/plain")
    if not isinstance(text, str) or len(text) > MAX_LITERAL_LENGTH:
        return text
    # What a kernel displays of a value is for most languages a literal of theirs.
    try:
        value = ast.literal_eval(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _loads(text)
    return value


def _loads(text: str) -> object:
    """Return the value that *text* is as JSON, else the text."""
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return text
    return value


def _dumps(value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return json.dumps({"output": BROKEN})


def shown_input(text: str, *, is_masked: bool) -> str | None:
    """Return an input as it is stored and shown; ``None`` for what is not.

    With *is_masked* that is an object or a list without the values that their names call secret,
    or a short text without such a name in it.
    """
    value = _loads(text)
    if isinstance(value, (dict, list)):
        shown = _masked(value) if is_masked else value
        return json.dumps(shown) if isinstance(value, dict) or shown != value else text
    is_plain = len(text) <= MAX_SHOWN_TEXT and not _is_secret(f"{text} {value}")
    return text if not is_masked or (is_plain and text.lstrip()[:1] not in ("{", "[")) else None


def _masked(value: object) -> object:
    if isinstance(value, dict):
        return {name: MASK if _is_secret(name) else _masked(item) for name, item in value.items()}
    return [_masked(item) for item in value] if isinstance(value, list) else value


def _is_secret(text: str) -> bool:
    return any(word in text.lower() for word in _SECRET_WORDS)


def variables_of(text: str | None, *, is_whole: bool) -> dict[str, Any]:
    """Return the inputs that an input text stands for: the keys of an object, else one.

    Args:
        is_whole: Whether an object is one, too.
    """
    if text is None:
        return {}
    value = None if is_whole else _loads(text)
    return value if isinstance(value, dict) else {INPUT_VARIABLE: text}


def is_deep(text: str) -> bool:
    """Whether an input has more in each other than `MAX_INPUT_DEPTH`."""
    try:
        level = [msgspec.json.decode(text)]
    except RecursionError:
        return True
    except (msgspec.DecodeError, ValueError):
        return False
    for _ in range(MAX_INPUT_DEPTH):
        level = [
            item
            for value in level
            if isinstance(value, (dict, list))
            for item in (value.values() if isinstance(value, dict) else value)
        ]
    return bool(level)


def runtime_view(spec: Kernelspec, *, project_id: str) -> RuntimeView:
    """Return a kernelspec as a runtime."""
    return RuntimeView(
        id=runtime_id_of(spec.name),
        name=spec.name,
        image=spec.name,
        description=spec.display_name,
        project_id=project_id,
    )
