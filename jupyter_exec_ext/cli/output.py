"""What a program prints, on this terminal or in this pipe as it comes."""

import re
from collections.abc import Mapping
from typing import IO, Any

from rich.console import Console

from jupyter_exec_ext.cli.progress import ProgressView
from jupyter_exec_ext.cli.render import Screen, printable

_UNFINISHED = re.compile(r"(?:\r|\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,4096})?)\Z")
_LINE_STEERING = re.compile(r"[\r\b]|\x1b\[[0-2]?K")


class TerminalText:
    """Makes text harmless for a terminal, though it comes in pieces.

    Colours stay, and so does what moves within a line, as progress bars do.
    """

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> str:
        """Return what may be shown by now."""
        text = self._rest + text
        unfinished = _UNFINISHED.search(text)
        end = len(text) if unfinished is None else unfinished.start()
        self._rest = text[end:]
        return _harmless(text[:end])

    def end(self) -> str:
        """Return what is left."""
        rest, self._rest = self._rest, ""
        return _harmless(rest)


class LiveOutput:
    """Shows the text of a program; the bar is away from then on.

    The program's standard output goes to standard output, all else to standard error: also what
    is printed while it is built, so that a pipe has the program's output alone.

    Attributes:
        is_line_open: Whether a line is begun on the terminal.
    """

    def __init__(self, screen: Screen, view: ProgressView) -> None:
        self._screen = screen
        self._view = view
        self._texts: dict[bool, TerminalText] = {}
        self.is_line_open = False

    def take(self, event: Mapping[str, Any]) -> None:
        """Show the text of an event ``stream``.

        Raises:
            BrokenPipeError: Nobody reads it any more.
        """
        is_out = event.get("name") == "stdout" and event.get("step") == "exec"
        console = self._screen.out if is_out else self._screen.err
        text = str(event.get("text", ""))
        if console.is_terminal:
            text = self._texts.setdefault(is_out, TerminalText()).feed(text)
        self._write(console, text)

    def end(self) -> None:
        """Show what is left."""
        for is_out, text in self._texts.items():
            self._write(self._screen.out if is_out else self._screen.err, text.end())
        self.break_line()

    def break_line(self) -> None:
        """End the line that is begun on a terminal, where other lines follow."""
        if self.is_line_open:
            _write(self._screen.err, "\n")
            self.is_line_open = False

    def _write(self, console: Console, text: str) -> None:
        if not text:
            return
        self._view.hide()
        _write(console, text)
        if console.is_terminal:
            self.is_line_open = not text.endswith("\n")


def _write(console: Console, text: str) -> None:
    file: IO[str] = console.file
    file.write(text)
    file.flush()


def _harmless(text: str) -> str:
    text = text.replace("\r\n", "\n")
    parts = []
    at = 0
    for steering in _LINE_STEERING.finditer(text):
        parts += [printable(text[at : steering.start()], colours=True), steering[0]]
        at = steering.end()
    return "".join((*parts, printable(text[at:], colours=True)))
