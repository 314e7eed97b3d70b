"""The failure of a cell as the record has it, from what its kernel published and replied."""

import re
from collections.abc import Mapping
from typing import Any

from jupyter_exec_ext.core.models import ExecutionError, code_error_message, is_exit_status
from jupyter_exec_ext.engine.contents import clean_text, without_colors

MAX_MESSAGE_LENGTH = 10_000
"""In characters, of an exception's name and message in the record."""

MAX_TRACEBACK_LENGTH = 200_000

_NAMELESS = (None, "", "NoneType")
"""The ``ename`` of a reply that does not have the exception.

ipykernel sends ``NoneType`` when its display hook failed: it had published the exception before.
"""

_CLASS = re.compile(r"\A<class '(?:[^'<>]+\.)?([^'<>.]+)'>\Z")
"""How xeus-python names an exception: by the ``repr`` of its class."""


def code_error_of(reply: Mapping[str, Any], published: Mapping[str, Any] | None) -> ExecutionError:
    """Return the failure of a cell, without the cell.

    Args:
        reply: The content of the ``execute_reply``.
        published: The content of the last ``error`` message; ``None`` when none was published.
    """
    content = reply
    if published is not None and reply.get("ename") in _NAMELESS:
        content = published
    ename, evalue = (_text(content.get(key), MAX_MESSAGE_LENGTH) for key in ("ename", "evalue"))
    ename = _CLASS.sub(r"\1", ename)
    lines = content.get("traceback")
    traceback = [str(line) for line in lines] if isinstance(lines, list) else []
    if sum(map(len, traceback)) > MAX_TRACEBACK_LENGTH:
        traceback = _text("\n".join(traceback), MAX_TRACEBACK_LENGTH).split("\n")
    traceback = [clean_text(line) for line in traceback]
    return ExecutionError(
        code="CodeError",
        message=code_error_message(ename, evalue),
        ename=ename,
        evalue=evalue,
        traceback=traceback,
        traceback_text=without_colors("\n".join(traceback)),
        exit_code=int(evalue) if is_exit_status(ename, evalue) else None,
    )


def _text(value: object, max_length: int) -> str:
    """Return *value* as text: its beginning and its end, when it is longer than *max_length*."""
    text = str(value if value is not None else "")
    if len(text) > max_length:
        half = max_length // 2
        left_out = len(text) - 2 * half
        text = f"{text[:half]}[... {left_out} characters left out ...]{text[-half:]}"
    return clean_text(text)
