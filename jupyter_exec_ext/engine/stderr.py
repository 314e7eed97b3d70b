"""Collects what kernel processes write to standard error, to explain a start that fails.

Jupyter lets a kernel inherit the server's standard error. Here a kernel writes to a pipe instead;
a thread copies the pipe to the server's standard error and keeps the end of it.
"""

import json
import os
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import anyio

from jupyter_exec_ext import threads
from jupyter_exec_ext.engine.contents import clean_text, without_colors

READ_BYTES = 65_536
KEPT_BYTES = 16_384
"""How much of the end is kept in memory for each kernel."""

MAX_LINES = 20
MAX_TEXT_LENGTH = 4_000
"""How many lines, and characters in all, a record holds at most."""

END_SECONDS = 1.0
"""How long to wait for the end of the text after the kernel's process ended."""

END_POLL_SECONDS = 0.01

MIN_HIDDEN_LENGTH = 4
"""Shorter values of environment variables are not hidden: they occur in any text by chance."""

HIDDEN = "***"

BOX_EDGES = " \t|\u2502"
"""What stands around each line of a text that was wrapped in a box, as rich does."""

_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL|AUTH", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"^([+ \t]*(?:export |declare -x )?([A-Za-z_]\w*)=).*$", re.MULTILINE)

_TRACEBACK_FILE = re.compile(r'^ *File "([^"\n]{1,1000})", line ', re.MULTILINE)
_IMPORT_LINE = re.compile(r"^.*(?:module|import).*$", re.MULTILINE)
_QUOTED_NAME = re.compile(r"'([A-Za-z_]\w*)[.']")
_ATTRIBUTE = re.compile(r"(?<![\w./\\])([A-Za-z_]\w*)\.[A-Za-z_]")


class KernelStderr:
    """The standard error of a kernel's processes, for the ``stderr`` argument of `Popen`.

    `Popen` calls `fileno` for each process that it starts, so that a restarted kernel gets a new
    pipe. Call `release` once a process has started; the pipe then ends with the process.

    Args:
        environment: The variables that clients set for the kernel. `last_lines` replaces their
            values, and those of inherited variables whose names suggest a secret.
    """

    def __init__(self, environment: Mapping[str, str | None]) -> None:
        self._environment = environment
        self._pipe: _Pipe | None = None

    def fileno(self) -> int:
        """Return the writing end of a new pipe."""
        self.release()
        self._pipe = _Pipe()
        return self._pipe.writing_fd

    def release(self) -> None:
        """Close the server's copy of the writing end; calling this twice is allowed."""
        if self._pipe is not None:
            self._pipe.close_writing_end()

    async def last_lines(self) -> tuple[str, ...]:
        """Return the last lines of the process that started last; empty where it wrote nothing.

        Waits up to `END_SECONDS` for the end of the text. No line has colours or values of
        environment variables.
        """
        pipe = self._pipe
        if pipe is None:
            return ()
        self.release()
        with anyio.move_on_after(END_SECONDS):
            while not pipe.has_ended:  # noqa: ASYNC110 - a thread sets it
                await anyio.sleep(END_POLL_SECONDS)
        text = without_colors(clean_text(pipe.text()))
        return _last_lines(_without_values(text, self._environment))


class _Pipe:
    """A pipe whose reading end a thread reads until all copies of the writing end are closed.

    The thread does not depend on the event loop: a kernel that writes much never waits for it.
    """

    def __init__(self) -> None:
        reading_fd, self.writing_fd = os.pipe()
        self._is_open = True
        self._end = b""
        self.has_ended = False
        threading.Thread(
            target=self._read, args=(reading_fd,), name="kernel stderr", daemon=True
        ).start()

    def close_writing_end(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self.writing_fd)

    def text(self) -> str:
        """Return the end of what was written, from the beginning of a line if it has any."""
        data = self._end
        if len(data) == KEPT_BYTES:
            data = data.partition(b"\n")[2] or data
        return data.decode("utf-8", "replace")

    def _read(self, reading_fd: int) -> None:
        with open(reading_fd, "rb", buffering=0) as pipe:
            while data := pipe.read(READ_BYTES):
                self._end = (self._end + data)[-KEPT_BYTES:]
                _copy_to_server(data)
        self.has_ended = True


def _copy_to_server(data: bytes) -> None:
    """Write *data* to the standard error that the kernel would have inherited, if there is one."""
    try:
        while data:
            data = data[os.write(2, data) :]
    except OSError:
        return


def _last_lines(text: str) -> tuple[str, ...]:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()][-MAX_LINES:]
    kept: list[str] = []
    room = MAX_TEXT_LENGTH
    for line in reversed(lines):
        if room <= 0:
            break
        # The end: the kept text can begin in the middle of a value that has to be hidden.
        kept.append(line[-room:])
        room -= len(line)
    return tuple(reversed(kept))


def _without_values(text: str, environment: Mapping[str, str | None]) -> str:
    """Return *text* without the values of environment variables, also over several lines."""
    inherited = os.environ
    text = _ASSIGNMENT.sub(
        lambda found: (
            found[1] + HIDDEN if found[2] in inherited or found[2] in environment else found[0]
        ),
        text,
    )
    secret = (value for name, value in inherited.items() if _SECRET_NAME.search(name))
    given = (value for value in environment.values() if value is not None)
    forms = sorted(_forms((*given, *secret)), key=len, reverse=True)
    for form in forms:
        text = text.replace(form, HIDDEN)
    return _without_split(text, forms)


def _without_split(text: str, forms: Iterable[str]) -> str:
    """Return *text* without the parts of *forms* that line breaks and the edges of a box divide."""
    lines = text.split("\n")
    parts = [line.strip(BOX_EDGES) for line in lines]
    joined = "".join(parts)
    is_hidden = bytearray(len(joined))
    for form in forms:
        start = joined.find(form)
        while start >= 0:
            end = start + len(form)
            is_hidden[start:end] = b"\1" * len(form)
            start = joined.find(form, end)
    shown = []
    end = 0
    for line, part in zip(lines, parts, strict=True):
        start, end = end, end + len(part)
        left, _, right = line.partition(part) if part else (line, "", "")
        shown.append(left + _without_marked(part, is_hidden[start:end]) + right)
    return "\n".join(shown)


def _without_marked(text: str, is_hidden: bytearray) -> str:
    """Return *text* with `HIDDEN` for each run of characters that *is_hidden* marks."""
    if not any(is_hidden):
        return text
    runs = groupby(zip(text, is_hidden, strict=True), key=itemgetter(1))
    return "".join(HIDDEN if marked else "".join(char for char, _ in run) for marked, run in runs)


def _forms(values: Iterable[str]) -> set[str]:
    """Return each line of *values* as it stands, and as Python and JSON quote it."""
    parts = {part.strip() for value in values for part in value.splitlines()}
    forms = {
        form
        for part in parts
        if len(part) >= MIN_HIDDEN_LENGTH
        for form in (part, repr(part)[1:-1], json.dumps(part)[1:-1])
    }
    return {clean_text(form) for form in forms}


async def hidden_module(lines: Iterable[str], folder: Path) -> str | None:
    """Return the name of a file of *folder* that a failed start shows to hide a Python module.

    ``None`` where the *lines* of standard error show no such file.
    """
    return await threads.run_sync(_find_hidden_module, "\n".join(lines), folder)


def _find_hidden_module(text: str, folder: Path) -> str | None:
    try:
        folders = {folder, folder.resolve()}
        for path in map(Path, _TRACEBACK_FILE.findall(text)):
            # Code of the folder runs before the kernel is ready only if the kernel imports it.
            if path.parent in folders:
                return path.name
            if path.name == "__init__.py" and path.parent.parent in folders:
                return f"{path.parent.name}/"
        return _file_of_module(text, folder)
    except OSError:
        return None


def _file_of_module(text: str, folder: Path) -> str | None:
    quoted = (name for line in _IMPORT_LINE.findall(text) for name in _QUOTED_NAME.findall(line))
    used = (name for name in _ATTRIBUTE.findall(text) if name in sys.stdlib_module_names)
    for name in dict.fromkeys((*quoted, *used)):
        if (folder / f"{name}.py").is_file():
            return f"{name}.py"
        if (folder / name / "__init__.py").is_file():
            return f"{name}/"
    return None
