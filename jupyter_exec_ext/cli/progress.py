"""Progress of a run: a bar on a terminal, plain lines elsewhere, nothing for programs."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from getpass import getpass
from types import TracebackType
from typing import Protocol, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from jupyter_exec_ext.cli.answers import can_read, hidden_typing, is_typed, read_line
from jupyter_exec_ext.cli.notebooks import CellTexts
from jupyter_exec_ext.cli.render import Screen
from jupyter_exec_ext.cli.terminal import SafeConsole, one_line, output_text, printable
from jupyter_exec_ext.client import Record
from jupyter_exec_ext.core.states import FINAL_STATES, State


class ProgressView(Protocol):
    """Shows how far a run has come; a context manager that leaves a clean terminal.

    Attributes:
        can_ask: Whether answers can be read.
    """

    can_ask: bool

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End to show."""

    def tell(self, message: str) -> None:
        """Say what happens now, before there is anything to count."""

    def update(self, record: Record, cells: CellTexts) -> None:
        """Show the record as it is now."""

    def move(self, message: str, *, done: float, total: float, count: str) -> None:
        """Show how much of something that goes on is done; a total of 0 is not known yet."""

    def step(self, message: str, *, done: int, total: int, count: str) -> None:
        """Show which of the things that are done one after the other is done now."""

    def hide(self) -> None:
        """Make room for what a program prints."""

    def show(self) -> None:
        """Show again what was hidden."""

    def ask(self, prompt: str, is_asked: Callable[[], bool], *, password: bool) -> str:
        """Return the answer, of a person or from a pipe.

        Args:
            is_asked: Returns whether the code still waits for it.

        Raises:
            EOFError: The input has ended.
            QuestionEndedError: The code does not wait any more.
            UsageError: The answer is too long.
        """


def progress_view(screen: Screen, *, quiet: bool) -> ProgressView:
    """Return the view for this screen.

    Args:
        quiet: Show a bar, which leaves no trace, but no lines.
    """
    if screen.err.is_interactive:
        return BarView(screen.err)
    return LineView(None if quiet else screen)


class BarView:
    """A bar over cells, the current cell and the elapsed time; gone when the run ends."""

    def __init__(self, console: SafeConsole) -> None:
        self._progress = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", style="progress.percentage", markup=False),
            TimeElapsedColumn(),
            TextColumn(
                "{task.description}",
                markup=False,
                # Room is left at the end of the line: there the terminal shows the ^C of ctrl-C.
                table_column=Column(
                    no_wrap=True, overflow="ellipsis", max_width=max(8, console.width - 50)
                ),
            ),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, count="")
        self._is_hidden = False
        self.can_ask = can_read()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def tell(self, message: str) -> None:
        """Show *message* where the current cell will be; without a bar as a line."""
        if self._is_hidden and message:
            self._progress.console.print(Text(printable(message), "dim"), soft_wrap=True)
        self._progress.update(self._task, description=printable(message))

    def update(self, record: Record, cells: CellTexts) -> None:
        """Move the bar."""
        progress = record.get("progress") or {}
        done, total = progress.get("done", 0), progress.get("total", 0)
        self._progress.update(
            self._task,
            completed=done,
            total=total or None,
            count=f"{done}/{total}" if total else "",
            description=printable(activity(record, cells)),
        )

    def move(self, message: str, *, done: float, total: float, count: str) -> None:
        """Move the bar; without a total it only shows that something goes on."""
        self._progress.update(
            self._task,
            completed=done,
            total=total or None,
            count=count,
            description=printable(message),
        )

    def step(self, message: str, *, done: int, total: int, count: str) -> None:
        """Print a line of its own for it, and move the bar."""
        line = Text(printable(f"[{count}] {message}"), "dim")
        self._progress.console.print(line, soft_wrap=True)
        self.move(message, done=done, total=total, count=count)

    def hide(self) -> None:
        """Take the bar away; doing so twice is allowed."""
        self._progress.stop()
        self._is_hidden = True

    def show(self) -> None:
        """Show the bar again."""
        self._progress.start()
        self._is_hidden = False

    def ask(self, prompt: str, is_asked: Callable[[], bool], *, password: bool) -> str:
        """Return what the user types; the bar is away meanwhile."""
        if not is_typed():
            return read_line(is_asked)
        self._progress.stop()
        try:
            return self._ask_person(output_text(prompt), is_asked, password=password)
        finally:
            self._progress.start()

    def _ask_person(self, prompt: str, is_asked: Callable[[], bool], *, password: bool) -> str:
        if password and sys.platform == "win32":
            return getpass(prompt)
        file = self._progress.console.file
        # Typing is hidden before the prompt is shown.
        with hidden_typing() if password else nullcontext():
            file.write(prompt)
            file.flush()
            is_line_open = True
            try:
                answer = read_line(is_asked)
                is_line_open = password
            finally:
                if is_line_open:
                    file.write("\n")
            return answer


class LineView:
    """One line for each thing that is new.

    Args:
        screen: Takes the lines; ``None`` for silence.
    """

    def __init__(self, screen: Screen | None) -> None:
        # A person would not see the prompts.
        self.can_ask = can_read() and not is_typed()
        self._screen = screen
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def tell(self, message: str) -> None:
        """Print *message*, unless it is what was printed last."""
        if self._screen is not None and message and message != self._last:
            self._screen.err.print(Text(printable(message)), soft_wrap=True)
        self._last = message

    def update(self, record: Record, cells: CellTexts) -> None:
        """Print the cell that runs now, or what is waited for."""
        if record["state"] in FINAL_STATES:
            return
        progress = record.get("progress") or {}
        done, total = progress.get("done", 0), progress.get("total", 0)
        text = activity(record, cells)
        self.tell(f"[{min(done + 1, total)}/{total}] {text}" if _cell(record) else text)

    def move(self, message: str, *, done: float, total: float, count: str) -> None:
        """Print nothing: what was done is told when it is done."""

    def step(self, message: str, *, done: int, total: int, count: str) -> None:  # noqa: ARG002
        """Print it."""
        self.tell(f"[{count}] {message}")

    def hide(self) -> None:
        """Do nothing: lines are not in the way."""

    def show(self) -> None:
        """Do nothing."""

    def ask(
        self,
        prompt: str,  # noqa: ARG002 - the protocol's
        is_asked: Callable[[], bool],
        *,
        password: bool,  # noqa: ARG002
    ) -> str:
        """Return the next line of standard input."""
        return read_line(is_asked)


def activity(record: Record, cells: CellTexts) -> str:
    """Return in one line what the execution does now."""
    state = record["state"]
    if state == State.CANCELLING:
        return "cancelling"
    if state == State.PENDING:
        position = record.get("position")
        return f"waiting, {position} before it" if position else "waiting to start"
    if request := record.get("input_request"):
        return f"waits for input: {one_line(request.get('prompt', ''))}"
    cell = _cell(record)
    if cell is not None:
        return cells.title(*cell)
    return "" if state != State.RUNNING or record.get("started") else "starting the kernel"


def _cell(record: Record) -> tuple[str | None, int | None] | None:
    """Return id and index of the cell that runs now."""
    progress = record.get("progress") or {}
    cell = progress.get("current_cell_id"), progress.get("current_cell_index")
    return None if cell == (None, None) or record["state"] != State.RUNNING else cell
