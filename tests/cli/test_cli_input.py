"""Notebooks that ask: a person at a terminal, a file, or another program in a pipe."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jupyter_exec_ext.cli import answers

from .conftest import Here
from .machine import Machine, RunningServer

# The prompts are markup for rich, and clear the screen.
ASK = r"""
name = input('[/x] [y/n] \x1b[2JYour name? ')
import getpass
n = len(getpass.getpass('[/y] \x1b[2JPIN: '))
"""


@pytest.fixture
def ask(machine: Machine, named: RunningServer) -> str:
    """A notebook of the server that asks for a name and a password."""
    return str(machine.notebook("../served/ask.ipynb", ASK).name)


@contextmanager
def piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> Iterator[int]:
    """Let standard input be a pipe with *content*, and give its end that is read."""
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield reader


def test_a_file_answers(machine: Machine, ask: str, here: Here) -> None:
    """Line by line; a file that is too short is the end of the code's input."""
    file = machine.folder / "work" / "answers.txt"
    file.write_bytes("Ada é\r\ngeheim\r\n".encode())

    code, out, _ = here("run", ask, "--stdin", "answers.txt", "-o", "name", "-o", "n")
    assert (code, out) == (0, 'name (str) = "Ada é"\nn (int) = 6\n')

    file.write_text("Ada\n")
    code, out, _ = here("run", ask, "--stdin", "answers.txt", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "InputNotGiven")


def test_a_pipe_answers(ask: str, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the code does not ask for stays in the pipe, for the next command of a script."""
    with piped(monkeypatch, "Ada é\r\ngeheim\nnext\n".encode()) as pipe:
        code, out, _ = here("run", ask, "-o", "name", "-o", "n")

        assert (code, out) == (0, 'name (str) = "Ada é"\nn (int) = 6\n')
        assert os.read(pipe, 100) == b"next\n"

    with piped(monkeypatch, b"Ada\n"):
        code, out, err = here("run", ask, "--json")

        assert (code, json.loads(out)["error"]["code"], err) == (1, "InputNotGiven", "")

    with piped(monkeypatch, b"Ada\ngeheim"):
        code, out, _ = here("run", ask, "--stdin", "-", "-o", "n")

        assert (code, out) == (0, "n (int) = 6\n")


def test_a_pipe_in_which_nothing_comes_does_not_hang_the_command(
    machine: Machine, named: RunningServer, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the execution ends, its question has ended too."""
    machine.notebook("../served/ask.ipynb", "input('Name?')")
    reader, writer = os.pipe()
    with os.fdopen(reader) as stdin, os.fdopen(writer, "w"):
        monkeypatch.setattr(sys, "stdin", stdin)

        code, _, err = here("run", "ask.ipynb", "--cell-timeout", "3")

    assert code == 1
    assert "waits for input: Name?" in err
    assert "Timeout in cell" in err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /dev/zero")
def test_a_line_without_end_is_refused(
    machine: Machine, named: RunningServer, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer has a limit in bytes; the execution is cancelled."""
    machine.notebook("../served/ask.ipynb", "input()")
    monkeypatch.setattr(answers, "MAX_ANSWER_BYTES", 10_000)
    with Path("/dev/zero").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)

        code, _, err = here("run", "ask.ipynb", "--label", "line=endless")

    assert code == 2
    [record] = (
        record
        for record in json.loads(here("list", "--json")[1])
        if record.get("labels") == {"line": "endless"}
    )
    assert record["state"] in ("cancelling", "cancelled")
    assert "error: standard input has a line of more than" in err


def read_until(terminal: int, text: str) -> str:
    """Return what the terminal shows until *text* is among it."""
    shown = b""
    while text.encode() not in shown:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:
            chunk = b""
        if not chunk:
            raise AssertionError(f"the command ended without showing {text!r}: {shown!r}")
        shown += chunk
    return shown.decode(errors="replace")


@contextmanager
def at_terminal(machine: Machine, *arguments: str) -> Iterator[tuple[Any, int, int]]:
    """Run a command at a terminal; give its process, our end of the terminal and the other."""
    ours, theirs = os.openpty()
    try:
        with machine.start(
            # Without another terminal, passwords are read from this one.
            *arguments,
            stdin=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as process:
            yield process, ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def is_echoed(terminal: int) -> bool:
    """Whether the terminal shows what is typed."""
    import termios

    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_on_a_terminal_the_user_is_asked(machine: Machine, named: RunningServer, ask: str) -> None:
    """The question is shown and the answer given; a password is not shown."""
    server = ("--server", named.url, "--token", named.token)
    options = ("-o", "name", "-o", "n", "--json")
    with at_terminal(machine, "run", ask, *options, *server) as (process, ours, theirs):
        read_until(ours, r"[/x] [y/n] \x1b[2JYour name? ")
        os.write(ours, b"Ada\n")
        shown = read_until(ours, r"[/y] \x1b[2JPIN: ")
        assert not is_echoed(theirs)
        os.write(ours, b"geheim\n")
        record = json.loads(process.stdout.read())
        assert process.wait(60) == 0
        assert is_echoed(theirs)

    assert record["result"]["variables"]["name"]["json"] == "Ada"
    assert record["result"]["variables"]["n"]["json"] == 6
    assert "geheim" not in shown


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
@pytest.mark.parametrize("ending", ["ctrl-D", "ctrl-C", "time limit"])
def test_a_question_can_end_without_an_answer(
    machine: Machine, named: RunningServer, ending: str
) -> None:
    """By the end of the input, a cancel or a time limit; then typing is shown again."""
    machine.notebook("../served/password.ipynb", "import getpass\ngetpass.getpass('PIN: ')")
    server = ("--server", named.url, "--token", named.token)
    limit = ("--cell-timeout", "3") if ending == "time limit" else ()
    command = ("run", "password.ipynb", "--json", *limit, *server)
    with at_terminal(machine, *command) as (process, ours, theirs):
        read_until(ours, "PIN: ")
        if ending == "ctrl-D":
            os.write(ours, b"\x04")
        elif ending == "ctrl-C":
            process.send_signal(signal.SIGINT)
        record = json.loads(process.stdout.read())
        code = process.wait(60)
        assert is_echoed(theirs)

    expected = {
        "ctrl-D": (1, "failed", "InputNotGiven"),
        "ctrl-C": (130, "cancelled", None),
        "time limit": (1, "failed", "Timeout"),
    }
    error = (record.get("error") or {}).get("code")
    assert (code, record["state"], error if ending != "ctrl-C" else None) == expected[ending]


def test_without_any_input_the_code_meets_its_end_at_once(
    machine: Machine, named: RunningServer, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where standard input is closed, or is that of a background service."""
    machine.notebook("../served/ask.ipynb", "input()")
    with Path(os.devnull).open() as nothing:
        for stdin in (None, nothing):
            monkeypatch.setattr(sys, "stdin", stdin)

            code, out, _ = here("run", "ask.ipynb", "--json")

            assert (code, json.loads(out)["error"]["code"]) == (1, "InputNotGiven")
