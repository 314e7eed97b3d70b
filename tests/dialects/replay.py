"""Replays recorded exchanges of a service against the server, and compares every field.

A recording is a list of calls: a ``request`` (``method``, ``path`` below ``exec/``, ``headers``,
and ``json`` or ``body``) and its ``answer`` (``status``, ``headers``, and ``json`` or ``body``).
What cannot be known beforehand stands there as a placeholder, ``<kind>`` or ``<kind name>``; a
named one is remembered, and ``${name}`` in what follows is what it was.
"""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.conftest import Answer

Send = Callable[[str, str, dict[str, str], bytes | None], Awaitable[Answer]]

_PLACEHOLDER = re.compile(r"<(?P<kind>[a-z]+)(?: (?P<name>\w+))?>")
_REFERENCE = re.compile(r"\$\{(\w+)\}")


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


KINDS: dict[str, Callable[[Any], bool]] = {
    "any": lambda _: True,
    "text": lambda value: isinstance(value, str) and value != "",
    "uuid": lambda value: str(UUID(value)) == value,
    "time": _is_time,
    "count": _is_count,
}


def recordings(folder: Path) -> list[Path]:
    """Return the recordings in *folder*, of which there is at least one."""
    found = sorted(folder.glob("*.json"))
    assert found
    return found


async def replay(recording: Path, send: Send, **known: str) -> None:
    """Send what was recorded, and assert that the answers are what was recorded.

    Args:
        known: What references mean from the beginning.
    """
    memory = dict(known)
    for number, call in enumerate(json.loads(recording.read_text())):
        request = _filled(call["request"], memory)
        body = request.get("body")
        if "json" in request:
            body = json.dumps(request["json"])
        answer = await send(
            request["method"],
            request["path"],
            request.get("headers", {}),
            None if body is None else body.encode(),
        )
        where = f"{recording.name}[{number}]"
        expected = _filled(call["answer"], memory)
        assert answer.status == expected["status"], (where, answer.status, answer.body[:1000])
        for name, value in expected.get("headers", {}).items():
            assert name in answer.headers, f"{where}: no header {name}"
            _match(value, answer.headers[name], memory, f"{where}.{name}")
        if "json" in expected:
            _match(expected["json"], answer.json, memory, where)
        else:
            assert answer.body.decode() == expected.get("body", ""), where


def _filled(value: Any, memory: dict[str, str]) -> Any:
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: memory[found[1]], value)
    if isinstance(value, list):
        return [_filled(item, memory) for item in value]
    if isinstance(value, dict):
        return {_filled(name, memory): _filled(item, memory) for name, item in value.items()}
    return value


def _match(expected: Any, found: Any, memory: dict[str, str], where: str) -> None:
    """Assert that *found* is what is *expected*, no member more and none less."""
    placeholder = _PLACEHOLDER.fullmatch(expected) if isinstance(expected, str) else None
    if placeholder is not None:
        assert KINDS[placeholder["kind"]](found), f"{where}: {expected}, not {found!r}"
        if placeholder["name"]:
            memory[placeholder["name"]] = found
    elif isinstance(expected, dict) and isinstance(found, dict):
        assert sorted(expected) == sorted(found), f"{where}: {sorted(expected)}, not {found!r}"
        for name, value in expected.items():
            _match(value, found[name], memory, f"{where}.{name}")
    elif isinstance(expected, list) and isinstance(found, list):
        assert len(expected) == len(found), f"{where}: {expected!r}, not {found!r}"
        for index, value in enumerate(expected):
            _match(value, found[index], memory, f"{where}[{index}]")
    else:
        is_same = (type(expected), expected) == (type(found), found)
        assert is_same, f"{where}: {expected!r}, not {found!r}"
