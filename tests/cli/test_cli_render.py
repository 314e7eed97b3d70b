"""What people see."""

import json
from typing import Any

import pytest

from jupyter_exec_ext.cli.commands import command_exit_code
from jupyter_exec_ext.cli.notebooks import CellTexts
from jupyter_exec_ext.cli.progress import LineView, activity
from jupyter_exec_ext.cli.render import (
    Screen,
    local_time,
    short_ids,
    span,
    what,
)
from jupyter_exec_ext.cli.run import exit_code
from jupyter_exec_ext.cli.terminal import printable
from jupyter_exec_ext.client import BusyError, RefusedError

CELLS = CellTexts({"cells": [{"id": "load", "source": "import this\nthis.go()"}]})

RECORD: dict[str, Any] = {
    "id": "0d5b7f3e-0000-4000-8000-000000000000",
    "type": "notebook",
    "state": "running",
    "source": {"path": "a [bold]b.ipynb"},
    "created_time": "2026-07-01T12:00:00Z",
    "started": True,
}


@pytest.mark.parametrize(
    ("text", "name", "plain", "coloured"),
    [
        ("tab\tline\nend", "tab\tline\\nend", "tab\tline\nend", "tab\tline\nend"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m", "red", "\x1b[31mred\x1b[0m"),
        ("\x1b[38;5;1mx", r"\x1b[38;5;1mx", "x", "\x1b[38;5;1mx"),
        ("x\r\ny", r"x\r\ny", "x\ny", "x\ny"),
        *(
            (text, shown, shown, shown)
            for text, shown in (
                ("\x1b[2J\x1b[Hcleared", r"\x1b[2J\x1b[Hcleared"),
                (
                    "\x1b]0;title\x07x\x1b]8;;http://h\x1b\\y",
                    r"\x1b]0;title\x07x\x1b]8;;http://h\x1b\y",
                ),
                ("\x1bPq#0\x1b\\sixel\x1bcreset\x1b", r"\x1bPq#0\x1b\sixel\x1bcreset\x1b"),
                ("back\x08 \x9b31m nul\x00", r"back\x08 \x9b31m nul\x00"),
                ("over\rwritten", r"over\rwritten"),
                ("a\x85b\u2028c\u2029d", r"a\x85b\u2028c\u2029d"),
                ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
                ("\x1b[>4;2m\x1b[?25l", r"\x1b[>4;2m\x1b[?25l"),
                (f"\x1b[{'1' * 65}m", rf"\x1b[{'1' * 65}m"),
                ("half \ud800", r"half \ud800"),
                ("[/x] [y/n] [link=h]é \u200f\U0001f600", "[/x] [y/n] [link=h]é \u200f\U0001f600"),
            )
        ),
    ],
)
def test_what_code_printed_cannot_steer_the_terminal(
    text: str, name: str, plain: str, coloured: str
) -> None:
    """Only colours and the ends of lines may stay, in text of several lines."""
    assert printable(text) == name
    assert printable(text, lines=True) == plain
    assert printable(text, lines=True, colours=True) == coloured


def test_durations_and_moments_are_for_people() -> None:
    """Nothing stands for what is not known; what is no moment stays as it is."""
    assert [span(None), span(0.04), span(59.94), span(60), span(3_725.4)] == [
        "",
        "0.0 s",
        "59.9 s",
        "0:01:00",
        "1:02:05",
    ]
    assert local_time(None) == ""
    assert local_time("soon") == "soon"
    assert len(local_time("2026-07-01T12:00:00Z")) == len("2026-07-01 12:00:00")


def test_short_ids_tell_all_from_each_other() -> None:
    """Eight characters, or more where two begin alike."""
    assert short_ids(["abcdefgh-1", "bbcdefgh-1"]) == {
        "abcdefgh-1": "abcdefgh",
        "bbcdefgh-1": "bbcdefgh",
    }
    assert short_ids(["abcdefgh-1", "abcdefgh-2"]) == {
        "abcdefgh-1": "abcdefgh-1",
        "abcdefgh-2": "abcdefgh-2",
    }
    assert short_ids([]) == {}


def test_what_a_record_ran() -> None:
    """Its notebook, else its description, else its type."""
    assert what({"source": {"path": "a.ipynb"}, "description": "x"}) == "a.ipynb"
    assert what({"source": {"code": "1"}, "description": "x", "type": "code"}) == "x"
    assert what({"source": {"code": "x = 1\n\tx + 1"}, "type": "code"}) == "x = 1 x + 1"
    assert what({"type": "code"}) == "code"


def test_variables_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON as JSON, a bundle as its text, and a word on what is missing."""
    variables = {
        "n": {"type": "int", "json": 3},
        "text": {"type": "str", "json": "a[b]\x1b[2J"},
        "none": {"type": "NoneType", "json": None},
        "long": {"type": "list", "json": ["x" * 40, "y" * 40]},
        "table": {"type": "DataFrame", "data": {"text/plain": "   a\n0  1", "text/html": "<b>"}},
        "lines": {"type": "T", "data": {"text/plain": ["a\n", "b\n"]}},
        "picture": {"type": "Image", "data": {"image/png": "AAAA"}},
        "big": {"type": "bytes", "truncated": True},
        "gone": {"error": "name 'gone' is not defined"},
    }

    Screen().variables({"result": {"variables": variables}})

    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "n (int) = 3",
        'text (str) = "a[b]\\u001b[2J"',
        "none (NoneType) = null",
        "long (list) =",
        "[",
        f'  "{"x" * 40}",',
        f'  "{"y" * 40}"',
        "]",
        "table (DataFrame) =",
        "   a",
        "0  1",
        "lines (T) =",
        "a",
        "b",
        "picture (Image) = (image/png)",
        "big (bytes)",
        "  not all of it: too large",
        "gone",
        "  name 'gone' is not defined",
    ]


def test_a_failure_shows_source_and_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, without colours when that is no terminal, and never wrapped."""
    error = {
        "code": "CodeError",
        "message": "ValueError: no [bold]",
        "cell_id": "load",
        "cell_index": 0,
        "traceback": ["\x1b[31mValueError\x1b[0m: no"],
        "traceback_text": f"ValueError: {'no ' * 60}",
    }

    Screen().failure({"error": error}, CELLS)

    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "CodeError in cell load (index 0): ValueError: no [bold]"
    assert lines[2:4] == ["import this", "this.go()"]
    assert lines[5].rstrip() == f"ValueError: {'no ' * 60}".rstrip()


def test_a_failure_without_a_cell_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A kernel that did not start has no source to show."""
    Screen().failure({"error": {"code": "KernelStartFailed", "message": "exit code 1"}}, CELLS)
    Screen().failure({}, CELLS)

    assert capsys.readouterr().err == "KernelStartFailed: exit code 1\n"


def test_what_a_kernel_wrote_before_it_ended_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"code": "KernelStartFailed", "message": "no", "details": ["[bold]", "\x1b]0;x\x07end"]}

    Screen().failure({"error": error}, CELLS)

    lines = capsys.readouterr().err.splitlines()
    assert "standard error" in lines[1]
    assert lines[2] == "[bold]"
    assert "\x1b" not in lines[3]
    assert lines[3].endswith("end")


def test_an_error_is_one_line_with_its_field(capsys: pytest.CaptureFixture[str]) -> None:
    """Also when the server's message has several."""
    screen = Screen()
    screen.client_error(
        RefusedError(
            "no such\ncell.", code="UnknownCell", target="notebook.cells", details=["a.", "b"]
        )
    )
    screen.client_error(BusyError("too many", code="TooMany", retry_after_seconds=5))

    assert capsys.readouterr().err.splitlines() == [
        "error: notebook.cells: no such cell; a; b",
        "error: too many; try again in 5 s",
    ]


def test_a_list_is_not_cut_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal, ids are whole and nothing is markup."""
    long = {**RECORD, "source": {"path": "x" * 300}, "state": "later", "duration_seconds": 1.25}

    Screen().records([RECORD, long])

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "state", "type", "what", "session", "created", "duration"]
    assert lines[1].startswith(f"{RECORD['id']}  running  notebook  a [bold]b.ipynb")
    assert "x" * 300 in lines[2]
    assert lines[2].endswith("1.2 s")


def test_a_record_shows_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """Facts that are not there have no line."""
    Screen().record(
        {
            **RECORD,
            "labels": {"team": "a"},
            "origin": {"path": "nb.ipynb", "cell_id": "c1"},
            "after": "0b6f",
            "input_names": ["A", "B"],
            "progress": {"done": 1, "total": 3},
            "result": {"notebook_path": "out.ipynb"},
        }
    )

    facts = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts.pop("created")
    assert facts.pop("saved").split() == ["to", "out.ipynb"]
    assert {name: value.strip() for name, value in facts.items()} == {
        "id": RECORD["id"],
        "type": "notebook",
        "state": "running",
        "what": "a [bold]b.ipynb",
        "cells": "1 of 3",
        "notebook": "nb.ipynb",
        "cell": "c1",
        "after": "0b6f",
        "inputs": "A, B",
        "labels": "team=a",
    }


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"state": "pending"}, "waiting to start"),
        ({"state": "pending", "position": 2}, "waiting, 2 before it"),
        ({"started": False}, "starting the kernel"),
        ({"progress": {"current_cell_id": "load", "done": 0, "total": 1}}, "import this"),
        ({"progress": {"current_cell_index": 5, "done": 0, "total": 1}}, "cell 5"),
        ({"input_request": {"prompt": "name?"}}, "waits for input: name?"),
        ({"state": "cancelling", "progress": {"current_cell_id": "load"}}, "cancelling"),
        ({"state": "succeeded"}, ""),
    ],
)
def test_a_word_for_what_it_does_now(changes: dict[str, Any], text: str) -> None:
    """One line, whatever the state."""
    assert activity({**RECORD, **changes}, CELLS) == text


def test_lines_are_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A poll that brings nothing new prints nothing; neither does the end."""
    view = LineView(Screen())
    progress = {"done": 1, "total": 3, "current_cell_id": "load"}
    with view:
        view.tell("starting a server")
        for _ in range(2):
            view.update({**RECORD, "state": "pending"}, CELLS)
        for _ in range(2):
            view.update({**RECORD, "progress": progress}, CELLS)
        view.update({**RECORD, "state": "succeeded", "progress": progress}, CELLS)

    assert capsys.readouterr().err.splitlines() == [
        "starting a server",
        "waiting to start",
        "[2/3] import this",
    ]


def test_no_lines_when_a_program_reads(capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints the record and nothing else."""
    view = LineView(None)
    view.update(RECORD, CELLS)
    Screen().print_json({"text": "\ud800é"})

    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"text": "\ud800é"}, "")


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"state": "succeeded"}, 0),
        ({"state": "succeeded", "result": {"save_error": "disk full"}}, 3),
        ({"state": "cancelled"}, 1),
        ({"state": "failed", "error": {"code": "CodeError"}}, 1),
        ({"state": "failed", "error": {"code": "Timeout"}}, 1),
        ({"state": "failed", "error": {"code": "KernelDied"}}, 1),
        ({"state": "failed", "error": {"code": "KernelRestarted"}}, 3),
        ({"state": "failed", "error": {"code": "KernelStartFailed"}}, 3),
        ({"state": "failed", "error": {"code": "ServerStopped"}}, 3),
        ({"state": "failed"}, 3),
    ],
)
def test_the_exit_code_tells_whose_failure_it_was(record: dict[str, Any], code: int) -> None:
    """1 for the code's, 3 for the service's."""
    assert exit_code(record) == code


def test_a_command_is_shown_as_it_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    """Step by step, with their exit codes; in a list it is one line."""
    record: dict[str, Any] = {
        **RECORD,
        "type": "command",
        "state": "failed",
        "source": {"build": ["make", "a b"], "exec": "./x <<E\n1\nE"},
        "session_name": "mine",
        "progress": {"done": 2, "total": 2},
        "result": {"exit_codes": {"build": 0, "exec": 139}},
        "error": {"code": "Timeout", "message": "too long for an execution", "step": "exec"},
    }

    assert what(record) == "make 'a b'; ./x <<E 1 E"
    Screen().record(record)
    Screen().failure(record, CELLS)
    Screen().summary(record)

    out, err = capsys.readouterr()
    facts = {line[:12].strip(): line[12:].strip() for line in out.splitlines()}
    assert facts["build"] == "make 'a b'"
    assert facts["exec"] == "./x <<E"
    assert (facts["exit codes"], facts["steps"]) == ("build 0, exec 139", "2 of 2")
    assert facts["session"] == "mine"
    assert "what" not in facts
    assert err.splitlines() == [
        "Timeout in the exec step: too long for an execution",
        f"failed, exit codes: build 0, exec 139  execution {RECORD['id']}",
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "CommandFailed", "step": "build", "exit_code": 2}, 4),
        ({"code": "CommandFailed", "step": "exec", "exit_code": 2}, 1),
        ({"code": "Timeout", "step": "build"}, 1),
        ({"code": "SessionLost"}, 3),
    ],
)
def test_the_exit_code_of_a_command_is_ours(error: dict[str, Any], code: int) -> None:
    """A program's own would be taken for one that means something else."""
    assert command_exit_code({"state": "failed", "error": error}) == code
    assert command_exit_code({"state": "succeeded", "result": {}}) == 0


def test_a_run_that_its_code_ended_is_shown_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    """Else a success after 1 of 3 cells would need an explanation."""
    progress = {"progress": {"done": 1, "total": 3}}
    ending = {"exit_code": 0, "kernel_ended": True, "cell_id": "load", "cell_index": 0}

    Screen().record({**RECORD, "state": "succeeded", **progress, "code_exit": ending})
    Screen().summary({**RECORD, "state": "succeeded", **progress, "code_exit": ending})

    text = "ended by the code in cell load (index 0) with exit status 0, which ended the kernel too"
    out, err = capsys.readouterr()
    assert f"1 of 3 cells, {text}" in err
    assert text in " ".join(out.split())
