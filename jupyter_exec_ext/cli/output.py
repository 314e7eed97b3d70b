"""What a program prints, on this terminal or in this pipe as it comes."""

from collections.abc import Mapping
from typing import IO, Any

from jupyter_exec_ext.cli.progress import ProgressView
from jupyter_exec_ext.cli.render import Screen
from jupyter_exec_ext.cli.terminal import SafeConsole, TerminalText


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
        console = self._console(is_out)
        text = str(event.get("text", ""))
        if console.reaches_terminal:
            text = self._texts.setdefault(is_out, TerminalText()).feed(text)
        self._write(console, text)

    def end(self) -> None:
        """Show what is left."""
        for is_out, text in self._texts.items():
            self._write(self._console(is_out), text.end())
        self.break_line()

    def break_line(self) -> None:
        """End the line that is begun on a terminal, and its colours, where other lines follow."""
        for is_out, text in self._texts.items():
            _write(self._console(is_out), text.reset())
        if self.is_line_open:
            _write(self._screen.err, "\n")
            self.is_line_open = False

    def _console(self, is_out: bool) -> SafeConsole:
        return self._screen.out if is_out else self._screen.err

    def _write(self, console: SafeConsole, text: str) -> None:
        if not text:
            return
        self._view.hide()
        _write(console, text)
        if console.reaches_terminal:
            self.is_line_open = not text.endswith("\n")


def _write(console: SafeConsole, text: str) -> None:
    file: IO[str] = console.file
    file.write(text)
    file.flush()
