"""Notebooks that ask, run from a terminal and from where nobody can answer."""

import json
import os
import sys
from pathlib import Path

import pytest

from .machine import Machine

# The prompts are markup for rich, and clear the screen.
ASK = r"""
name = input('[/x] [y/n] \x1b[2JYour name? ')
import getpass
n = len(getpass.getpass('[/y] \x1b[2JPIN: '))
"""


def test_where_nobody_can_answer_the_code_meets_the_end_of_its_input(machine: Machine) -> None:
    """At once, and not after the time-out of a question."""
    machine.notebook("ask.ipynb", ASK)

    code, out, _ = machine.run("run", "ask.ipynb", "--json")

    assert code == 1
    assert json.loads(out)["error"]["code"] == "InputNotGiven"


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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
@pytest.mark.parametrize("ends_input", [False, True])
def test_on_a_terminal_the_user_is_asked(
    machine: Machine, tmp_path: Path, ends_input: bool
) -> None:
    """The question is shown and the answer given; a password is not shown; ctrl-D ends it."""
    machine.notebook("ask.ipynb", ASK)
    ours, theirs = os.openpty()
    with machine.start(
        *("run", "ask.ipynb", "-o", "name", "-o", "n", "--json"),
        stdin=theirs,
        stderr=theirs,
        # Without another terminal, passwords are read from this one.
        start_new_session=True,
    ) as process:
        os.close(theirs)
        read_until(ours, r"[/x] [y/n] \x1b[2JYour name? ")
        os.write(ours, b"\x04" if ends_input else b"Ada\n")
        shown = ""
        if not ends_input:
            shown = read_until(ours, r"[/y] \x1b[2JPIN: ")
            os.write(ours, b"geheim\n")
        assert process.stdout is not None
        record = json.loads(process.stdout.read())
        process.wait(60)
        os.close(ours)

    if ends_input:
        assert record["error"]["code"] == "InputNotGiven"
        return
    assert process.returncode == 0
    assert record["result"]["variables"]["name"]["json"] == "Ada"
    assert record["result"]["variables"]["n"]["json"] == 6
    assert "geheim" not in shown
