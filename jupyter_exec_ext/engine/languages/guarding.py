"""How a kernel starts the guard of a command: `engine.commands.guard`, as a program of its own.

All that the guard gets travels as base64 text through its standard input, so that nothing of it is
seen in a list of processes, and nothing becomes source.
"""

import base64
import json
import sys
from dataclasses import dataclass

BOOT = (
    "import base64,json,sys,zlib;"
    'f=open(0,"rb",closefd=False);'
    r'd=b"".join(iter(lambda:f.readline() or sys.exit(),b".\n"));'
    "d=json.loads(zlib.decompress(base64.b64decode(d)));"
    'n={"__name__":"guard"};'
    '[exec(compile(s,"guard","exec"),n) for s in d["sources"]];'
    'n["main"](d["request"])'
)
"""What the guard's Python runs: it reads the guard itself, up to a line with a dot. No ``'``."""

OPTIONS = ("-I", "-S")
"""Nothing of the user's environment takes part in the guard, and it starts in 15 ms."""

NO_PYTHON = "no Python was found to run commands with"
NO_POSIX = "commands run on Linux and macOS only"


@dataclass(frozen=True, kw_only=True)
class Guarding:
    """What a guard has to know of the kernel that starts it.

    Attributes:
        own_session: Whether the kernel's interrupt must not reach it.
        watch_stdin: Whether its standard input ends when the kernel does.
        own_python: Whether its Python is the kernel's own.
        chunk_bytes: How much output is in one line at most.
    """

    own_session: bool = True
    watch_stdin: bool = True
    own_python: bool = False
    chunk_bytes: int = 48_000


def pythons() -> tuple[str, ...]:
    """Return where a kernel of another language finds a Python, in the order to try."""
    server = sys.executable or ""
    # A path that no shell can misread; any other is found by its name.
    own = (server,) if server.isascii() and server.isprintable() and "'" not in server else ()
    return (*(path for path in own if path), "python3", "python")


def failing_lines(marker: str, why: str) -> tuple[str, str]:
    """Return what a guard would write, if there were one to tell *why* there is none."""
    text = f"{why}\n".encode()
    facts = {"exit_code": 127, "stdout_bytes": 0, "stderr_bytes": len(text)}
    return (
        f"{marker} e 0 {base64.b64encode(text).decode()}",
        f"{marker} x {base64.b64encode(json.dumps(facts).encode()).decode()}",
    )
