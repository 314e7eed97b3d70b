"""The guard as it is sent to a kernel, with what it is to do."""

import base64
import json
import re
import zlib
from functools import cache
from pathlib import Path
from typing import Any

MODULES = ("tree", "choice", "outbox", "step")
"""In this order they become one program; each finds there what those before it define."""

_OWN_IMPORT = re.compile(r"^from jupyter_exec_ext\.[^(\n]*(?:\([^)]*\))?\n", re.MULTILINE)


def guard_path(module: str) -> Path:
    """Return the file of a module of the guard."""
    return Path(__file__).parent / "guard" / f"{module}.py"


@cache
def guard_sources() -> tuple[str, ...]:
    """Return the texts of the guard, without what they import of each other."""
    texts = [guard_path(module).read_text(encoding="utf-8") for module in MODULES]
    return tuple(_OWN_IMPORT.sub("", text) for text in texts)


def blob_of(request: dict[str, Any]) -> str:
    """Return the guard and its *request* in base64, as the Python of the guard reads it."""
    value = {"sources": guard_sources(), "request": request}
    return base64.b64encode(zlib.compress(json.dumps(value).encode(), 6)).decode()
