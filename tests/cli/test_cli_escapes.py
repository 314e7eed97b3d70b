"""No text that came from elsewhere steers the terminal, whatever field it was in."""

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

from jupyter_exec_ext.cli import COMMANDS, main
from jupyter_exec_ext.cli.arguments import build_parser
from jupyter_exec_ext.cli.progress import BarView
from jupyter_exec_ext.cli.render import Screen
from jupyter_exec_ext.cli.servers import Connection
from jupyter_exec_ext.cli.terminal import printable
from jupyter_exec_ext.client import ClientError, ExecClient

from .hostile import HOSTILE, SHOWN, SHOWN_IN_JSON, hostile, merged, plain
from .scripted import Scripted, scripted_server

ID = "0d5b7f3e-0000-4000-8000-000000000000"

# What rich sends: colours, and for the bar: hide and show the cursor, up a line, erase it.
OURS = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|1A|2K)|\r(?=\x1b\[2K|\x1b\[1A)")
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

# An id may be cut to its first eight characters. What code printed may have colours.
COLOUR = re.escape(r"\x1b[31m")
HARMLESS = "|".join(
    re.escape(text).replace(COLOUR, f"(?:{COLOUR})?")
    for text in (SHOWN, SHOWN_IN_JSON, printable(HOSTILE[:8]))
)

NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {"language_info": {"name": "python"}},
    "cells": [{"id": HOSTILE, "cell_type": "code", "source": HOSTILE, "metadata": {}}],
}
EVENTS: list[dict[str, Any]] = [
    {"type": "state", "state": "running"},
    {"type": "progress", "done": 0, "total": 1, "current_step": HOSTILE},
    {"type": "error", "error": {"code": HOSTILE, "message": HOSTILE}},
    {"type": "output", "output": {"output_type": HOSTILE, "text": HOSTILE}},
    {"type": "gap", "reason": HOSTILE},
    {"type": HOSTILE, HOSTILE: HOSTILE},
    {"type": "end", "state": HOSTILE},
]


class Terminal(io.StringIO):
    """Takes what would be shown on a terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def on_terminal() -> Iterator[Terminal]:
    """Give a terminal for both streams, which is wide enough for everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "4000")
        patch.setenv("TERM", "xterm-256color")
        terminal = Terminal()
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, terminal)
        patch.setattr(sys, "stdin", io.StringIO())
        yield terminal


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with scripted_server() as server:
        monkeypatch.setenv("JUPYTER_EXEC_URL", server.url)
        monkeypatch.delenv("JUPYTER_EXEC_TOKEN", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


Shown = Callable[..., str]


@pytest.fixture
def shown(server: Scripted) -> Iterator[Shown]:
    """Run a command with the answers of a server, each with the end of its path."""
    parser = build_parser()
    with ExecClient(server.url, trust_env=False) as client:

        def run(*arguments: str, **answers: Any) -> str:
            for path, body in answers.items():
                server.answer(200, body, to=path)
            parsed = parser.parse_args(arguments)
            with on_terminal() as terminal:
                COMMANDS[parsed.command](parsed, Connection(client=client), Screen())
            server.answers.clear()
            return terminal.getvalue()

        yield run


def assert_harmless(text: str) -> None:
    """Fail where *text* steers the terminal, or does not show what is hostile as it is."""
    bare = OURS.sub("", text)
    assert not STEERING.search(bare), repr(text)
    assert not re.search(f"(?!{HARMLESS})evil", bare), repr(bare)


def test_no_field_of_a_record_steers_the_terminal(shown: Shown) -> None:
    """Each string of the schema, alone: whatever the API adds is in its OpenAPI document."""
    count = 0
    for record in hostile("ExecutionRecord"):
        with on_terminal() as terminal:
            Screen().summary(record)
        texts = [
            terminal.getvalue(),
            shown("show", ID, **{ID: record, "/notebook": NOTEBOOK}),
            shown("list", **{"/executions": {"executions": [record]}}),
            shown("cancel", ID, **{"/cancel": record}),
        ]
        for text in texts:
            assert_harmless(text)
        count += any("evil" in text for text in texts)

    assert count > 20


def played(*arguments: str) -> str:
    """Run the command on a terminal, and return what that shows."""
    with on_terminal() as terminal:
        main(arguments)
    return terminal.getvalue()


def test_a_hostile_server_does_not_steer_the_terminal_during_a_run(server: Scripted) -> None:
    """Neither while the notebook runs nor when it ended, however it ended."""
    record = merged(hostile("ExecutionRecord"))
    failures = [record["error"], {"code": HOSTILE, "message": HOSTILE, "step": HOSTILE}, None]
    for error in failures:
        for result in ({}, {"save_error": None}, {"save_error": None, "save_conflict": None}):
            final = {**record, "error": error, "result": {**record["result"], **result}}
            running = {**record, "state": "running"}
            server.answer(202, running, to="/executions")
            server.answer(200, NOTEBOOK, to="/notebook")
            server.answer(200, running)
            server.answer(200, {**running, "input_request": None})
            for _ in range(2):
                server.answer(200, {**final, "state": "failed"})
            server.answer(200, NOTEBOOK, to="/notebook")

            text = played("run", "a.ipynb", "--save-to", "server:b.ipynb")

            assert_harmless(text)
            assert SHOWN in text
            server.answers.clear()


def test_a_hostile_server_does_not_steer_the_terminal_during_a_program(
    server: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its session, its files and its events, and the names of files here."""
    monkeypatch.chdir(tmp_path)
    name = HOSTILE.replace("/", "")
    (tmp_path / name).write_text("1")
    record = merged(hostile("ExecutionRecord"))
    session = merged(hostile("SessionRecord"))
    file = {**merged(hostile("FileEntry")), "type": "file", "path": name}
    can = {**plain("Capabilities"), "features": ["commands", "files", "sessions", "events"]}
    for files in ([file], [{**file, "path": HOSTILE}], [{**file, "path": f"../{HOSTILE}"}]):
        server.answer(200, can, to="/exec/")
        server.answer(201, session, to="/sessions")
        server.answer(200, file)  # that is sent
        server.answer(202, {**record, "state": "running"}, to="/executions")
        server.answer(
            200, "".join(json.dumps(event) + "\n" for event in EVENTS).encode(), to="/events"
        )
        server.answer(200, {**record, "state": "failed"})
        server.answer(200, {"files": files}, to="/files")
        server.answer(200, b"content")
        server.answer(204)

        text = played(
            *("run", "--exec", HOSTILE, "--build", "true", "--session", HOSTILE),
            *("--upload", name, "--download", f"*{HOSTILE}*", "--download", "**=got"),
        )

        assert_harmless(text)
        assert SHOWN in text
        server.answers.clear()


def test_a_refusal_does_not_steer_the_terminal(server: Scripted) -> None:
    """Each string of an error, alone, with each status that has a meaning of its own."""
    with ExecClient(server.url, trust_env=False) as client:
        for error in hostile("ErrorBody"):
            for status in (302, 400, 401, 404, 429, 500):
                server.answer(status, error, Retry_After="5")
                with pytest.raises(ClientError) as caught:
                    client.get(ID)
                with on_terminal() as terminal:
                    Screen().client_error(caught.value)

                assert_harmless(terminal.getvalue())
                assert terminal.getvalue().count("\n") == 1


def test_what_was_typed_does_not_steer_the_terminal(server: Scripted) -> None:
    """Each option and argument of each command: a script may have it from elsewhere."""
    [commands] = (a.choices for a in build_parser()._actions if isinstance(a.choices, dict))
    assert set(commands) == {"run", *COMMANDS}
    typed = [[HOSTILE], [f"--{HOSTILE}"], []]
    for command, parser in commands.items():
        needed = {"list": [], "run": ["a.ipynb"]}.get(command, [ID])
        typed += [[command, f"--{HOSTILE}"], [command, HOSTILE], [command, ID, HOSTILE]]
        for action in parser._actions:
            for option in set(action.option_strings[:1]) - {"-h"}:
                value = HOSTILE if action.dest != "server" else f"{server.url}{HOSTILE}"
                typed.append([command, *needed, option, value])
    for arguments in typed:
        server.answers.clear()
        for _ in range(5):
            server.answer(404, {"code": "NotFound", "message": "not found"})

        assert_harmless(played(*arguments))


def test_json_does_not_steer_the_terminal(shown: Shown) -> None:
    """It is the same JSON as in a pipe."""
    record = merged(hostile("ExecutionRecord"))

    text = shown("show", ID, "--json", **{ID: record})

    assert not STEERING.search(text)
    assert json.loads(text) == record


def test_what_code_printed_moves_only_in_its_line(shown: Shown) -> None:
    """Colours stay, and end with the text."""
    text = shown("log", ID, **{"/log": b"10%\r20%\x1b[K\x1b[2J \x1b[31mred[/x]\x1b[8;1;1t"})

    assert text == "10%\r20%\x1b[K\\x1b[2J \x1b[31mred[/x]\\x1b[8;1;1t\x1b[0m"


def test_nothing_reaches_a_terminal_that_rich_is_told_is_none(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The escapes of a log would have effect all the same."""
    monkeypatch.setenv("TTY_COMPATIBLE", "0")

    assert shown("log", ID, **{"/log": b"\x1b[2J"}) == r"\x1b[2J"


def test_what_is_printed_in_any_other_way_does_not_steer_the_terminal() -> None:
    """The console does not depend on those who use it."""
    with on_terminal() as terminal:
        screen = Screen()
        screen.err.print(HOSTILE, Text(HOSTILE), f"{HOSTILE} 1")
        table = Table(HOSTILE)
        table.add_row(HOSTILE)
        table.add_row(Text(HOSTILE, "red"))
        screen.out.print(table)
        with BarView(screen.err) as view:
            view.move("x", done=1, total=2, count=HOSTILE)
            sys.stdout.write(HOSTILE)

    assert_harmless(terminal.getvalue())
