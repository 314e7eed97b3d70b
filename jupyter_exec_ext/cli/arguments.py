"""The command line's grammar: what can be typed, and what it is turned into."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_exec_ext._version import __version__
from jupyter_exec_ext.cli.texts import DESCRIPTION, EXIT_CODES, RUN_EXAMPLES, SERVERS
from jupyter_exec_ext.core.models import OnError
from jupyter_exec_ext.core.states import State

Cells = list[str | int] | dict[str, str | int]

NOTEBOOK_OPTIONS = {
    "notebook": "NOTEBOOK",
    "save_to": "--save-to",
    "cells": "--cells",
    "cell_timeout": "--cell-timeout",
    "on_error": "--on-error",
    "variable_names": "-o",
}
COMMAND_OPTIONS = {"downloads": "--download", "session": "--session"}
STEP_OPTIONS = {"clean": "--clean", "build": "--build", "exec": "--exec"}


class CommandParser(argparse.ArgumentParser):
    """Ends with one line for a mistake, as every other error of the command line does."""

    def error(self, message: str) -> Any:
        """Leave the message to `main`."""
        raise UsageError(f"{message}; see {self.prog} --help")


class UsageError(Exception):
    """Something that was typed cannot be accepted."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``jupyter exec``."""
    parser = CommandParser(
        prog="jupyter exec",
        description=DESCRIPTION,
        epilog=f"{SERVERS}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"jupyter_exec_ext {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_list(commands)
    _add_show(commands)
    _add_log(commands)
    _add_cancel(commands)
    _add_delete(commands)
    return parser


def _add_run(commands: Any) -> None:
    run = _add(commands, "run", "run a notebook or a program and wait for its end", RUN_EXAMPLES)
    run.add_argument(
        "notebook",
        nargs="?",
        metavar="NOTEBOOK",
        help="a local file; with --server a path on that server, relative to its root",
    )
    run.add_argument(
        "-i",
        "--input",
        dest="inputs",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=VALUE",
        help="set an environment variable of the kernel, and so of a program (repeatable)",
    )
    run.add_argument(
        "--inputs-json",
        metavar="FILE",
        help="read inputs from a JSON object, - for standard input: lists and objects become JSON"
        " text, and no value shows in the list of processes",
    )
    run.add_argument(
        "-o",
        "--output",
        dest="variable_names",
        action="append",
        default=[],
        metavar="NAME",
        help="gather this variable after the run (repeatable)",
    )
    run.add_argument(
        "--save-to",
        metavar="PATH",
        help="write the executed notebook, of a failed run too, to this local file;"
        " server:PATH saves it on the server, server:in_place over the notebook",
    )
    run.add_argument(
        "--cells",
        type=parse_cells,
        metavar="CELLS",
        help="run only these: ids or 0-based indexes (numbers up to 99999) with commas, or"
        " from=CELL, up_to=CELL, tag=NAME",
    )
    run.add_argument(
        "--kernel",
        metavar="NAME",
        help="another kernel than the notebook names, or than the default for a program",
    )
    run.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="limit for the run, waiting not counted"
    )
    run.add_argument("--cell-timeout", type=_seconds, metavar="SECONDS", help="limit for each cell")
    run.add_argument(
        "--on-error",
        choices=[str(choice) for choice in OnError],
        help="after a cell that failed: stop (default) or continue with the next",
    )
    run.add_argument(
        "--label",
        dest="labels",
        action="append",
        default=[],
        type=_pair,
        metavar="KEY=VALUE",
        help="keep a label with the record (repeatable)",
    )
    run.add_argument(
        "--upload",
        dest="uploads",
        action="append",
        default=[],
        metavar="PATH",
        help="of a program: first send this file or folder (repeatable; see below). With --server"
        " and no program: first send this local notebook, to NOTEBOOK if given (over what is"
        " there), else to the server's root under its own name (if nothing is there)",
    )
    run.add_argument(
        "--stdin",
        metavar="FILE",
        help="answer input() of a notebook, or give a program its input: the lines of this file, -"
        " for all of standard input. Without it a notebook reads one line of standard input for"
        " each input(), and a program has no input",
    )
    run.add_argument(
        "--json", action="store_true", help="print the record with its result, nothing else"
    )
    _add_command_options(run.add_argument_group("programs, in the folder of a session"))


def _add_command_options(group: Any) -> None:
    group.add_argument(
        "--exec",
        type=_command,
        metavar="COMMAND",
        help="run this, as in a shell, instead of a notebook; '*' runs what fits the files: main,"
        " main.py and their like",
    )
    group.add_argument(
        "--build",
        type=_command,
        metavar="COMMAND",
        help="run this before; '*': make, or the compiler. Its output goes to standard error",
    )
    group.add_argument(
        "--clean",
        type=_command,
        metavar="COMMAND",
        help="run this first, whatever comes of it; '*': make clean where there is a makefile",
    )
    group.add_argument(
        "--download",
        dest="downloads",
        action="append",
        default=[],
        metavar="PATH",
        help="afterwards fetch this file, folder or pattern (repeatable; see below)",
    )
    group.add_argument(
        "--session",
        metavar="NAME",
        help="in the session that has this name, or a new one, which stays with its files;"
        " otherwise in one that ends with all of its files",
    )


def runs_command(arguments: argparse.Namespace) -> bool:
    """Return whether ``run`` is to run a command, and not a notebook.

    Raises:
        UsageError: An option belongs to the other of the two.
    """
    steps = [option for name, option in STEP_OPTIONS.items() if getattr(arguments, name)]
    if steps:
        for name, option in NOTEBOOK_OPTIONS.items():
            if getattr(arguments, name) not in (None, []):
                raise UsageError(f"{option}: is for notebooks, and {steps[-1]} runs a program")
        return True
    for name, option in COMMAND_OPTIONS.items():
        if getattr(arguments, name):
            raise UsageError(f"{option} needs --exec: it is for programs")
    return False


def _add_list(commands: Any) -> None:
    listing = _add(commands, "list", "list executions, newest first")
    listing.add_argument(
        "--state",
        type=_states,
        metavar="STATES",
        help=f"only these, with commas between: {', '.join(State)}",
    )
    listing.add_argument(
        "--limit", type=_count, default=20, metavar="N", help="at most so many (default 20)"
    )
    listing.add_argument("--json", action="store_true", help="print the records as a JSON array")


def _add_show(commands: Any) -> None:
    show = _add(commands, "show", "show an execution, its variables and its failure")
    show.add_argument("id", metavar="ID", help="an id, or the beginning of one")
    show.add_argument("--json", action="store_true", help="print the record with its result")
    show.add_argument(
        "--save-to", metavar="PATH", help="also write the executed notebook to this local file"
    )


def _add_log(commands: Any) -> None:
    log = _add(commands, "log", "print what an execution printed so far")
    which = log.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", metavar="ID", help="an id, or the beginning of one")
    which.add_argument(
        "--session",
        metavar="NAME",
        help="the session with this name or id: print what its kernel printed after the executions"
        " that started it had ended",
    )


def _add_cancel(commands: Any) -> None:
    cancel = _add(commands, "cancel", "stop executions that wait or run")
    cancel.add_argument("ids", nargs="+", metavar="ID", help="an id, or the beginning of one")


def _add_delete(commands: Any) -> None:
    delete = _add(commands, "delete", "delete records with all that belongs to them")
    delete.add_argument("ids", nargs="+", metavar="ID", help="an id, or the beginning of one")
    delete.add_argument("--force", action="store_true", help="also running ones: cancel them first")


def _add(commands: Any, name: str, what: str, examples: str = "") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog="\n".join(part for part in (examples, SERVERS, EXIT_CODES) if part),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    server = parser.add_argument_group("server")
    server.add_argument("--server", metavar="URL", help="with its base URL (JUPYTER_EXEC_URL)")
    server.add_argument(
        "--token",
        metavar="TOKEN",
        help="JUPYTER_EXEC_TOKEN does the same and does not show in the list of processes",
    )
    return parser


def parse_cells(text: str) -> Cells:
    """Return what ``--cells`` means to the API.

    Numbers of up to five digits are indexes, all else are ids: ids that tools make have eight
    characters or more, and some of those are all digits.
    """
    kind, equals, rest = text.partition("=")
    if equals:
        if kind == "tag" and rest:
            return {"tag": rest}
        if kind in ("from", "up_to") and rest:
            return {kind: _cell(rest)}
        raise argparse.ArgumentTypeError("give from=CELL, up_to=CELL or tag=NAME")
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise argparse.ArgumentTypeError("give ids or indexes with commas between them")
    return [_cell(part) for part in parts]


def read_inputs(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the inputs of ``--inputs-json`` and, over them, those of ``-i``.

    Raises:
        UsageError: The file cannot be read or is not a JSON object.
    """
    inputs: dict[str, Any] = {}
    source = arguments.inputs_json
    if source is not None:
        try:
            text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
            inputs = json.loads(text)
        except OSError as error:
            raise UsageError(f"--inputs-json: cannot read {source}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise UsageError(f"--inputs-json: {source} is not JSON") from error
        if not isinstance(inputs, dict):
            raise UsageError(f"--inputs-json: {source} is not a JSON object")
    return {**inputs, **pairs("-i", arguments.inputs)}


def prepared_answers(arguments: argparse.Namespace) -> list[str] | None:
    """Return the lines of ``--stdin``; ``None`` without that option.

    Raises:
        UsageError: They cannot be read.
    """
    source = arguments.stdin
    if source is None:
        return None
    if source == "-" == arguments.inputs_json:
        raise UsageError("--stdin: --inputs-json reads standard input already")
    try:
        if source == "-" and sys.stdin is None:
            raise UsageError("--stdin: standard input is closed")
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        text = raw.decode()
    except OSError as error:
        raise UsageError(f"--stdin: cannot read {source}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--stdin: {source} is not text in UTF-8") from error
    return text.removesuffix("\n").split("\n") if text else []


def pairs(option: str, given: list[tuple[str, str]]) -> dict[str, str]:
    """Return the pairs of a repeatable option.

    Raises:
        UsageError: A name stands there twice.
    """
    names = [name for name, _ in given]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{option}: {name} is given twice")
    return dict(given)


def _cell(text: str) -> str | int:
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) else text


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        # The value may be a secret, so the text is not repeated.
        raise argparse.ArgumentTypeError("give NAME=VALUE")
    return name, value


def _command(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("give a command")
    return text


def _states(text: str) -> str:
    if not set(text.split(",")) <= set(State):
        raise argparse.ArgumentTypeError(f"give some of {', '.join(State)}, with commas between")
    return text


def _number(kind: Callable[[str], Any], text: str, what: str) -> Any:
    try:
        number = kind(text)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return number


def _seconds(text: str) -> float:
    return float(_number(float, text, "a number of seconds above 0"))


def _count(text: str) -> int:
    return int(_number(int, text, "a whole number above 0"))
