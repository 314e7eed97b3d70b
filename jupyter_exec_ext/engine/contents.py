"""Takes from a kernel's message what the protocol describes, made JSON, and leaves the rest.

A kernel can send anything. What comes out of here can be encoded as JSON in UTF-8, stays the same
when it is encoded and decoded, and makes outputs that are valid in a notebook.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

MAX_DEPTH = 100
"""How deep JSON may be nested; what is deeper becomes ``null``. Notebooks are read recursively."""

MAX_ID_LENGTH = 1_000
"""In characters, of a display id and a comm id; the rest is cut."""

_JSON_TYPE = re.compile(r"application/(.*\+)?json")
_CHECKED_LENGTH = 1_000_000
_SCALARS = (str, int, float, type(None))
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def checked_content(msg_type: str, content: Any) -> dict[str, Any] | None:
    """Return what *content* says; ``None`` when it is not that of a *msg_type* message."""
    if not isinstance(content, Mapping):
        return None
    match msg_type:
        case "stream":
            return _stream(content)
        case "display_data" | "execute_result" | "update_display_data":
            return _display(msg_type, content)
        case "error":
            return _error(content)
        case "clear_output":
            return {"wait": bool(content.get("wait"))}
        case "comm_open" | "comm_msg":
            return _comm(content)
    return None


def _stream(content: Mapping[str, Any]) -> dict[str, Any] | None:
    name, text = content.get("name"), content.get("text")
    if name not in ("stdout", "stderr") or not isinstance(text, str):
        return None
    return {"name": name, "text": clean_text(text)}


def _display(msg_type: str, content: Mapping[str, Any]) -> dict[str, Any] | None:
    data = content.get("data")
    if not isinstance(data, Mapping):
        return None
    metadata = content.get("metadata")
    checked = {
        "data": _mime_bundle(data),
        "metadata": as_json(metadata) if isinstance(metadata, Mapping) else {},
    }
    transient = content.get("transient")
    display_id = transient.get("display_id") if isinstance(transient, Mapping) else None
    if display_id and isinstance(display_id, str):
        checked["transient"] = {"display_id": clean_text(display_id[:MAX_ID_LENGTH])}
    elif msg_type == "update_display_data":
        return None
    if msg_type == "execute_result":
        count = content.get("execution_count")
        is_count = isinstance(count, int) and not isinstance(count, bool) and count >= 0
        checked["execution_count"] = count if is_count else None
    return checked


def _mime_bundle(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the parts of *data* that nbformat takes: JSON where the type is JSON, else text."""
    bundle: dict[str, Any] = {}
    for mime_type, value in data.items():
        if not isinstance(mime_type, str):
            continue
        mime_type = clean_text(mime_type)
        if isinstance(value, str):
            bundle[mime_type] = clean_text(value)
        elif _JSON_TYPE.fullmatch(mime_type):
            bundle[mime_type] = as_json(value)
        elif isinstance(value, list) and all(isinstance(line, str) for line in value):
            bundle[mime_type] = [clean_text(line) for line in value]
    return bundle


def _error(content: Mapping[str, Any]) -> dict[str, Any] | None:
    ename, evalue, traceback = (content.get(key) for key in ("ename", "evalue", "traceback"))
    if not isinstance(ename, str) or not isinstance(evalue, str):
        return None
    lines = traceback if isinstance(traceback, list) else []
    return {
        "ename": clean_text(ename),
        "evalue": clean_text(evalue),
        "traceback": [clean_text(line) for line in lines if isinstance(line, str)],
    }


def _comm(content: Mapping[str, Any]) -> dict[str, Any] | None:
    comm_id, data = content.get("comm_id"), content.get("data")
    if not isinstance(comm_id, str) or not isinstance(data, Mapping):
        return None
    if not isinstance(data.get("state", {}), Mapping):
        return None
    if not _are_paths(data.get("buffer_paths") or []):
        return None
    checked = {"comm_id": clean_text(comm_id[:MAX_ID_LENGTH]), "data": as_json(data)}
    target_name = content.get("target_name")
    if isinstance(target_name, str):
        checked["target_name"] = clean_text(target_name)
    return checked


def _are_paths(paths: Any) -> bool:
    return isinstance(paths, list) and all(
        isinstance(path, list) and all(isinstance(step, (str, int)) for step in path)
        for path in paths
    )


def as_json(value: Any) -> Any:
    """Return *value* as it comes back when it is stored, changed no more than JSON needs."""
    if not _is_deep(value):
        try:
            return msgspec.json.decode(msgspec.json.encode(value))
        except (UnicodeEncodeError, OverflowError, TypeError, ValueError, RecursionError):
            pass
    return msgspec.json.decode(msgspec.json.encode(_cleaned(value, depth=MAX_DEPTH)))


def _is_deep(value: Any) -> bool:
    level: list[Any] = [[value]]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, Mapping) else item)
            # Most are scalars, for which the check for `Mapping` is slow.
            if not isinstance(child, _SCALARS) and isinstance(child, (dict, list, tuple, Mapping))
        ]
        if not level:
            return False
    return True


def _cleaned(value: Any, *, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if depth == 0:
        return None
    if isinstance(value, Mapping):
        return {
            clean_text(str(key)): _cleaned(item, depth=depth - 1) for key, item in value.items()
        }
    if isinstance(value, Sequence):
        return [_cleaned(item, depth=depth - 1) for item in value]
    return None


def clean_text(text: str) -> str:
    """Return *text* with its lone surrogates, which UTF-8 cannot hold, replaced by ``?``."""
    if text.isascii():
        return text
    try:
        for start in range(0, len(text), _CHECKED_LENGTH):
            text[start : start + _CHECKED_LENGTH].encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def without_colors(text: str) -> str:
    """Return *text* without ANSI colours and other control sequences of terminals."""
    return _ANSI.sub("", text)
