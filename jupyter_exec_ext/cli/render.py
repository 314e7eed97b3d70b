"""What people see: results on standard output, everything else on standard error."""

import io
import json
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from jupyter_exec_ext.cli.notebooks import CellTexts
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

UNCUT_WIDTH = 10_000
"""Of a table that is not on a terminal: other programs read it."""

_ESCAPE = re.compile(
    r"""\x1b(?:
        \[[0-?]*[ -/]*[@-~]                # a control sequence, as colours are
        | \][^\x07\x1b]*(?:\x07|\x1b\\)?  # an operating system command, as titles are
        | [PX^_][^\x1b]*(?:\x1b\\)?        # a string
        | [ -/]*[0-~]                      # an escape of two characters or a few more
    )?""",
    re.VERBOSE,
)
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")


class _PipeConsole(Console):
    """Leaves a closed pipe to `main`; rich would exit with 1, which has a meaning here."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


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
        self.out = _PipeConsole(highlight=False)
        self.err = _PipeConsole(highlight=False, stderr=True)
        if not self.out.is_terminal:
            self.out.width = UNCUT_WIDTH

    def write(self, text: str) -> None:
        """Write *text* to standard output as it is."""
        self.out.file.write(text)
        self.out.file.flush()

    def print_json(self, value: Any) -> None:
        """Write *value* to standard output as indented JSON."""
        self.write(json.dumps(value, indent=2) + "\n")

    def tell(self, message: str, style: str = "") -> None:
        """Say something to the person; programs need not read it."""
        self.err.print(Text(printable(message), style=style), soft_wrap=True)

    def error(self, message: str) -> None:
        """Say in one line what went wrong."""
        text = " ".join(printable(message).split())
        self.err.print(Text(f"error: {text}", style="red"), soft_wrap=True)

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
        heading = Text(f"{code}{where}: ", style="bold red")
        heading.append(printable(message), style="not bold red")
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
                coloured = Text.from_ansi(printable("\n".join(traceback), colours=True))
                self.err.print(coloured, soft_wrap=True)
            else:
                self.err.print(Text(printable(text)), soft_wrap=True)

    def summary(self, record: Record) -> None:
        """Print in one line how the execution ended."""
        state = record.get("state", "")
        text = Text(state, style=f"bold {_style(state)}")
        duration = record.get("duration_seconds")
        if duration is not None:
            text.append(f" after {span(duration)}", style="not bold default")
        progress = record.get("progress") or {}
        if codes := exit_codes(record):
            text.append(f", exit codes: {codes}", style="not bold default")
        elif progress.get("total"):
            kind = "steps" if record.get("type") == "command" else "cells"
            text.append(
                f", {progress['done']} of {progress['total']} {kind}", style="not bold default"
            )
        if ending := code_exit(record):
            text.append(f", {ending}", style="not bold default")
        text.append(f"  execution {record.get('id', '')}", style="not bold dim default")
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
                short[record["id"]] if terminal else record["id"],
                Text(state, style=_style(state)),
                record.get("type", ""),
                Text(printable(what(record))),
                Text(printable(record.get("session_name") or "")),
                local_time(record.get("created_time")),
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
            table.add_row(name, Text(printable(value), style=style))
        self.out.print(table)


def printable(text: str, *, colours: bool = False) -> str:
    """Return *text* without what could steer a terminal.

    Args:
        colours: Whether sequences that only set colours and weight stay.
    """
    text = text.replace("\r\n", "\n")
    text = _ESCAPE.sub(
        lambda match: match[0] if colours and _COLOUR.fullmatch(match[0]) else "", text
    )
    return _CONTROL.sub("", text)


def what(record: Mapping[str, Any]) -> str:
    """Return in a few words what an execution runs."""
    source = record.get("source", {})
    text = source.get("code") or "; ".join(steps(record).values())
    words = (source.get("path"), record.get("description"), " ".join(text.split()))
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
    return printable(text)


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


def _rule(console: Console, name: str) -> Text:
    """Return a heading; a real rule would be as wide as the terminal, whatever the text."""
    return Text(f"── {name} ──" if console.encoding.startswith("utf") else f"-- {name} --", "dim")


def _source(console: Console, source: str, language: str) -> Text:
    text = printable(source.rstrip())
    if not console.is_terminal:
        return Text(text)
    syntax = Syntax(text, language, theme="ansi_dark", background_color="default")
    highlighted = syntax.highlight(text)
    highlighted.rstrip()
    return highlighted


def _print_variable(console: Console, name: str, variable: Mapping[str, Any]) -> None:
    heading = Text(name, style="bold")
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
        return printable(text)
    data = variable.get("data")
    if not data:
        return None
    text = data.get("text/plain")
    if text is None:
        return f"({', '.join(sorted(data))})"
    return printable(text if isinstance(text, str) else "".join(text)).rstrip("\n")


def _facts(record: Record) -> Iterable[tuple[str, str]]:
    progress = record.get("progress") or {}
    result = record.get("result") or {}
    labels = record.get("labels") or {}
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
