"""What people see: results on standard output, everything else on standard error."""

import io
import json
import shlex
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from jupyter_exec_ext.cli.notebooks import CellTexts
from jupyter_exec_ext.cli.terminal import SafeConsole, one_line, output_text, printable
from jupyter_exec_ext.client import BusyError, ClientError, Record
from jupyter_exec_ext.core.models import STEPS
from jupyter_exec_ext.core.states import State

STATE_STYLES = {
    State.PENDING: "dim",
    State.RUNNING: "cyan",
    State.CANCELLING: "yellow",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.CANCELLED: "yellow",
}

SHORT_ID_LENGTH = 8

SEVERAL_LINES = {*STEPS, "description", "not saved"}
"""The facts of a record that may have several lines."""

UNCUT_WIDTH = 10_000
"""Of a table that is not on a terminal: other programs read it."""


class Screen:
    """The two streams of a command.

    Attributes:
        out: Takes what was asked for.
        err: Takes progress, remarks and failures.
    """

    def __init__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # What cells print need not be in the terminal's character set.
                stream.reconfigure(errors="replace")
        self.out = SafeConsole(highlight=False)
        self.err = SafeConsole(highlight=False, stderr=True)
        if not self.out.is_terminal:
            self.out.width = UNCUT_WIDTH

    def write(self, text: str) -> None:
        """Write *text* to standard output as it is; on a terminal without what steers that."""
        self.out.file.write(output_text(text) if self.out.reaches_terminal else text)
        self.out.file.flush()

    def print_json(self, value: Any) -> None:
        """Write *value* to standard output as indented JSON."""
        # JSON escapes all other control characters.
        self.write(json.dumps(value, indent=2).replace("\x7f", r"\u007f") + "\n")

    def tell(self, message: str, style: str = "", *, lines: bool = False) -> None:
        """Print *message* for a person, on standard error; programs need not read it.

        Args:
            lines: Whether *message* has several lines.
        """
        self.err.print(Text(printable(message, lines=lines), style=style), soft_wrap=True)

    def error(self, message: str) -> None:
        """Say in one line what went wrong."""
        self.err.print(Text(f"error: {one_line(message)}", style="red"), soft_wrap=True)

    def client_error(self, error: ClientError) -> None:
        """Say in one line what the server refused, and which field was at fault."""
        parts = [f"{error.target}: {error.message}" if error.target else error.message]
        parts += error.details
        if isinstance(error, BusyError) and error.retry_after_seconds is not None:
            parts.append(f"try again in {error.retry_after_seconds} s")
        self.error("; ".join(part.rstrip(".") for part in parts))

    def variables(self, record: Record) -> None:
        """Print the gathered variables, JSON as JSON and other values as text."""
        for name, variable in record.get("result", {}).get("variables", {}).items():
            _print_variable(self.out, name, variable)

    def failure(self, record: Record, cells: CellTexts) -> None:
        """Print why the execution failed: the cell's source and its traceback."""
        error = record.get("error")
        if not error:
            return
        code, message = error.get("code", ""), error.get("message", "")
        cell_id, cell_index = error.get("cell_id"), error.get("cell_index")
        step = error.get("step")
        where = _cell_name(cell_id, cell_index)
        where = f" in the {step} step" if step and f"{step} step" not in message else where
        heading = Text(printable(f"{code}{where}: "), style="bold red")
        heading.append(printable(message, lines=True), style="not bold red")
        self.err.print(heading, soft_wrap=True)
        cell = cells.find(cell_id, cell_index) if where and not step else None
        if cell is not None:
            self.err.print(_rule(self.err, "source"))
            self.err.print(_source(self.err, cell.source, cell.language), soft_wrap=True)
        traceback = error.get("traceback") or []
        text = error.get("traceback_text") or "\n".join(traceback)
        if text:
            self.err.print(_rule(self.err, "traceback"))
            if self.err.is_terminal and traceback:
                text = printable("\n".join(traceback), lines=True, colours=True)
                self.err.print(Text.from_ansi(text), soft_wrap=True)
            else:
                self.err.print(Text(printable(text, lines=True)), soft_wrap=True)
        details = error.get("details") or []
        if details:
            self.err.print(_rule(self.err, "standard error of the kernel"))
            self.err.print(Text(printable("\n".join(details), lines=True)), soft_wrap=True)

    def summary(self, record: Record) -> None:
        """Print in one line how the execution ended."""
        state = record.get("state", "")
        text = Text(printable(state), style=f"bold {_style(state)}")
        duration = record.get("duration_seconds")
        if duration is not None:
            text.append(f" after {span(duration)}", style="not bold default")
        progress = record.get("progress") or {}
        if codes := exit_codes(record):
            text.append(f", exit codes: {printable(codes)}", style="not bold default")
        elif progress.get("total"):
            kind = "steps" if record.get("type") == "command" else "cells"
            text.append(
                f", {progress['done']} of {progress['total']} {kind}", style="not bold default"
            )
        if ending := code_exit(record):
            text.append(f", {printable(ending)}", style="not bold default")
        text.append(f"  execution {printable(record.get('id', ''))}", style="not bold dim default")
        self.err.print(text, soft_wrap=True)

    def records(self, records: Iterable[Record]) -> None:
        """Print a table of executions; on a terminal with short ids."""
        records = list(records)
        short = short_ids([record["id"] for record in records])
        terminal = self.out.is_terminal
        table = Table(
            box=None, pad_edge=False, header_style="bold" if terminal else "", expand=terminal
        )
        table.add_column("id", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("type", no_wrap=True)
        table.add_column("what", overflow="ellipsis", no_wrap=True, ratio=1 if terminal else None)
        table.add_column("session", no_wrap=True)
        table.add_column("created", no_wrap=True)
        table.add_column("duration", justify="right", no_wrap=True)
        for record in records:
            state = record.get("state", "")
            table.add_row(
                printable(short[record["id"]] if terminal else record["id"]),
                Text(printable(state), style=_style(state)),
                printable(record.get("type", "")),
                printable(what(record)),
                printable(record.get("session_name") or ""),
                printable(local_time(record.get("created_time"))),
                span(record.get("duration_seconds")),
            )
        self.out.print(table)

    def record(self, record: Record) -> None:
        """Print what is known of an execution, but for its failure and its variables."""
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold" if self.out.is_terminal else "", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in _facts(record):
            style = _style(value) if name == "state" else ""
            text = printable(value, lines=name in SEVERAL_LINES)
            table.add_row(name, Text(text, style=style))
        self.out.print(table)


def what(record: Mapping[str, Any]) -> str:
    """Return in a few words what an execution runs."""
    source = record.get("source", {})
    text = source.get("code") or "; ".join(steps(record).values())
    words = (source.get("path"), record.get("description"), one_line(text))
    return str(next(filter(None, words), record.get("type", "")))


def steps(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the steps of a command as one would type them; none of what is no command."""
    source = record.get("source", {})
    given = {step: source.get(step) for step in STEPS}
    return {
        step: command if isinstance(command, str) else shlex.join(command)
        for step, command in given.items()
        if command is not None
    }


def exit_codes(record: Mapping[str, Any]) -> str:
    """Return how the steps of a command ended; empty where that is not known."""
    codes = (record.get("result") or {}).get("exit_codes") or {}
    return ", ".join(f"{step} {code}" for step, code in codes.items())


def code_exit(record: Mapping[str, Any]) -> str:
    """Return where and how the code itself ended the run; empty when it did not."""
    ending = record.get("code_exit")
    if not ending:
        return ""
    text = f"ended by the code{_cell_name(ending.get('cell_id'), ending.get('cell_index'))}"
    if ending.get("exit_code") is not None:
        text += f" with exit status {ending['exit_code']}"
    if ending.get("kernel_ended"):
        text += ", which ended the kernel too"
    return text


def size(count: int) -> str:
    """Return a number of bytes for people."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < (1000 if unit == "B" else 999.95):
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def counted(count: int, what: str) -> str:
    """Return a number of things for people; *what* is one of them."""
    if count == 1:
        return f"1 {what}"
    first, space, rest = what.partition(" of ") if " of " in what else what.partition(" that ")
    return f"{count} {first}s{space}{rest}"


def span(seconds: float | None) -> str:
    """Return a duration for people; nothing for ``None``."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def local_time(moment: str | None) -> str:
    """Return a moment of the API in the clock of this machine; nothing for ``None``."""
    if not moment:
        return ""
    with suppress(ValueError):
        return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"
    return moment


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Return for each id its shortest beginning that no other has, of 8 characters or more."""
    ids = set(ids)
    for length in range(SHORT_ID_LENGTH, 37):
        short = {full: full[:length] for full in ids}
        if len(set(short.values())) == len(ids):
            return short
    return {full: full for full in ids}


def _style(state: str) -> str:
    return STATE_STYLES.get(State(state), "") if state in list(State) else ""


def _cell_name(cell_id: str | None, cell_index: int | None) -> str:
    if cell_id is None and cell_index is None:
        return ""
    if cell_id is None:
        return f" in cell {cell_index}"
    return f" in cell {cell_id}" + ("" if cell_index is None else f" (index {cell_index})")


def _rule(console: SafeConsole, name: str) -> Text:
    """Return a heading; a real rule would be as wide as the terminal, whatever the text."""
    return Text(f"── {name} ──" if console.encoding.startswith("utf") else f"-- {name} --", "dim")


def _source(console: SafeConsole, source: str, language: str) -> Text:
    text = printable(source.rstrip(), lines=True)
    if not console.is_terminal:
        return Text(text)
    syntax = Syntax(text, language, theme="ansi_dark", background_color="default")
    highlighted = syntax.highlight(text)
    highlighted.rstrip()
    return highlighted


def _print_variable(console: SafeConsole, name: str, variable: Mapping[str, Any]) -> None:
    heading = Text(printable(name), style="bold")
    if variable.get("type"):
        heading.append(f" ({printable(variable['type'])})", style="not bold dim")
    value = _value_text(variable)
    remarks = []
    if variable.get("truncated"):
        remarks.append("not all of it: too large")
    if variable.get("error"):
        remarks.append(printable(variable["error"]))
    if value is not None:
        heading.append(" =\n" if "\n" in value else " = ", style="not bold")
        heading.append(value, style="not bold")
    console.print(heading, soft_wrap=True)
    for remark in remarks:
        console.print(Text(f"  {remark}", style="yellow"), soft_wrap=True)


def _value_text(variable: Mapping[str, Any]) -> str | None:
    if "json" in variable:
        value = variable["json"]
        flat = json.dumps(value, ensure_ascii=False)
        text = flat if len(flat) <= 72 else json.dumps(value, ensure_ascii=False, indent=2)
        return printable(text, lines=True)
    data = variable.get("data")
    if not data:
        return None
    text = data.get("text/plain")
    if text is None:
        return printable(f"({', '.join(sorted(data))})")
    text = text if isinstance(text, str) else "".join(text)
    return printable(text, lines=True).rstrip("\n")


def _facts(record: Record) -> Iterable[tuple[str, str]]:
    progress = record.get("progress") or {}
    result = record.get("result") or {}
    labels = record.get("labels") or {}
    origin = record.get("origin") or {}
    pairs = {
        "id": record.get("id"),
        "type": record.get("type"),
        "state": record.get("state"),
        "what": "" if record.get("type") == "command" else what(record),
        **steps(record),
        "exit codes": exit_codes(record),
        "description": record.get("description"),
        "session": record.get("session_name"),
        "kernel": record.get("kernel_name"),
        "notebook": origin.get("path"),
        "cell": origin.get("cell_id"),
        "after": record.get("after"),
        "created": local_time(record.get("created_time")),
        "started": local_time(record.get("start_time")),
        "ended": local_time(record.get("end_time")),
        "duration": span(record.get("duration_seconds")),
        "steps" if record.get("type") == "command" else "cells": (
            f"{progress['done']} of {progress['total']}" if progress.get("total") else ""
        ),
        "exit": code_exit(record),
        "inputs": ", ".join(record.get("input_names") or ()),
        "labels": ", ".join(f"{key}={value}" for key, value in labels.items()),
        "saved to": result.get("save_conflict") or result.get("notebook_path"),
        "not saved": result.get("save_error"),
    }
    return ((name, str(value)) for name, value in pairs.items() if value)
