"""What `"*"` means in the folder where it is asked."""

from __future__ import annotations

import glob
import os
from typing import Any


def choose(rules: list[dict[str, Any]], python: str) -> tuple[list[str] | None, bool]:
    """Return the command of the first of *rules* that fits the folder, and whether one did."""
    for rule in rules:
        if not rule["files"]:
            return None, True
        found = sorted({name for pattern in rule["files"] for name in glob.glob(pattern)})
        files = [name for name in found if os.path.isfile(name)]
        if rule["choose"] == "program":
            files = [name for name in files if os.access(name, os.X_OK)]
        main = [name for name in files if name.partition(".")[0].lower() == "main"]
        if rule["choose"] == "main" and len(files) > 1:
            files = files if main else []
        if not files:
            continue
        # A name is no option, whatever it begins with.
        files = [f"./{name}" if name.startswith("-") else name for name in files]
        words = {"{file}": (main or files)[:1], "{files}": files, "{python}": [python]}
        command = []
        for word in rule["command"] or ():
            command += words.get(word, [word])
        return command or None, True
    return None, False
