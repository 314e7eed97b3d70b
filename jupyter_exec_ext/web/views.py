"""How the values of the core look as JSON: what is not known yet is left out."""

import json
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec

from jupyter_exec_ext.core.models import CodeSource, CommandSource, Execution, Result, Variable

SHOWN_CODE_LENGTH = 200
"""How many characters of code a list shows."""


def encode(value: Any) -> bytes:
    """Return *value* as JSON in UTF-8; fields that are ``None`` are left out."""
    return msgspec.json.encode(present(value))


def encode_notebook(notebook: dict[str, Any]) -> bytes:
    """Return *notebook* as the text of a file; by `json`, since it may hold lone surrogates."""
    return f"{json.dumps(notebook, indent=1)}\n".encode()


def present(value: Any) -> Any:
    """Return *value* in JSON's terms, without the fields of its dataclasses that are ``None``."""
    if isinstance(value, Variable):
        shown = _fields_of(value)
        text = shown.pop("json_text", None)
        if text is not None:
            shown["json"] = msgspec.Raw(text.encode())
        if not value.truncated:
            del shown["truncated"]
        return shown
    if is_dataclass(value):
        return _fields_of(value)
    if isinstance(value, dict) and any(map(is_dataclass, value.values())):
        return {key: present(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and any(map(is_dataclass, value)):
        return [present(item) for item in value]
    return value


def _fields_of(value: Any) -> dict[str, Any]:
    return {
        field.name: present(item)
        for field in fields(value)
        if (item := getattr(value, field.name)) is not None
    }


def full_view(execution: Execution, result: Result) -> dict[str, Any]:
    """Return the record together with what the run left."""
    shown = _fields_of(execution)
    left = _fields_of(result)
    del left["cells"], left["metadata"]
    value = left.pop("value_json", None)
    shown["result"] = {
        "stdout": result.stream("stdout"),
        "stderr": result.stream("stderr"),
        "outputs": result.outputs,
        **left,
    }
    counts = [
        {"cell_index": cell.cell_index, "execution_count": cell.execution_count}
        for cell in result.cells
        if cell.execution_count is not None
    ]
    if counts:
        shown["result"]["execution_counts"] = counts
    payloads = [
        {"cell_index": cell.cell_index, "payload": payload}
        for cell in result.cells
        for payload in cell.payloads
    ]
    if payloads:
        shown["result"]["payloads"] = payloads
    if value is not None:
        shown["result"]["value"] = msgspec.Raw(value.encode())
    if execution.type != "command" and result.value_data is not None:
        shown["result"]["value_data"] = result.value_data
    return shown


def basic_view(execution: Execution) -> dict[str, Any]:
    """Return the record as a list shows it: no result and traceback, the beginning of code."""
    shown = _fields_of(execution)
    if isinstance(execution.source, CodeSource):
        shown["source"] = {"code": execution.source.code[:SHOWN_CODE_LENGTH]}
    if isinstance(execution.source, CommandSource):
        shown["source"] = {
            step: _beginning(command) for step, command in execution.source.steps.items()
        }
    shown["annotations"] = {}
    if execution.error is not None:
        shown["error"] = {
            key: value
            for key, value in shown["error"].items()
            if key not in ("traceback", "traceback_text", "details")
        }
    return shown


def _beginning(command: str | list[str]) -> str | list[str]:
    """Return the words of *command* up to so many characters in all."""
    if isinstance(command, str):
        return command[:SHOWN_CODE_LENGTH]
    words, left = [], SHOWN_CODE_LENGTH
    for word in command:
        if left <= 0:
            break
        words.append(word[:left])
        left -= len(word) + 1
    return words
