"""What a program prints, and staying with it, against a server that answers what a test says."""

import io
import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_exec_ext.cli.following import CommandEvents, follow_command
from jupyter_exec_ext.cli.interrupts import Wish
from jupyter_exec_ext.cli.output import LiveOutput
from jupyter_exec_ext.cli.progress import BarView, LineView
from jupyter_exec_ext.cli.render import Screen
from jupyter_exec_ext.cli.run import LostError
from jupyter_exec_ext.cli.servers import Connection
from jupyter_exec_ext.cli.terminal import SafeConsole, TerminalText
from jupyter_exec_ext.client import ExecClient

from .scripted import Scripted, scripted_server

RECORD = {"id": "1", "state": "running"}
REFUSAL = {"code": "StoreUnavailable", "message": "the store is locked"}
END = {"id": 9, "type": "end", "state": "succeeded"}


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def connection(server: Scripted, tmp_path: Path) -> Iterator[Connection]:
    with ExecClient(server.url, trust_env=False) as client:
        yield Connection(client=client, root=tmp_path)


def stream(text: str, step: str = "exec", name: str = "stdout", number: int = 1) -> dict[str, Any]:
    return {"id": number, "type": "stream", "step": step, "name": name, "text": text}


def told(server: Scripted, *events: dict[str, Any]) -> None:
    server.answer(200, "".join(json.dumps(event) + "\n" for event in events).encode())


def shown(*, quiet: bool = False, is_starting: bool = False) -> CommandEvents:
    screen = Screen()
    view = LineView(None if quiet else screen)
    output = None if quiet else LiveOutput(screen, view)
    return CommandEvents(
        {"build": "make\n all", "exec": "./x"}, output, view, is_starting=is_starting
    )


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a\r", "\nb"], "a\nb"),
        (["10%\r20%\r\x1b[K30%"], "10%\r20%\r\x1b[K30%"),
        (["\x1b", "[31mred\x1b[", "0m"], "\x1b[31mred\x1b[0m"),
        (["\x1b[2", "J\x1b[5;5Hx"], r"\x1b[2J\x1b[5;5Hx"),
        (["\x1b]0;ti", "tle\x07x"], r"\x1b]0;title\x07x"),
        (["x\b\bbell\x07\x00\x9b2J"], "x\b\bbell\\x07\\x00\\x9b2J"),
        (["end\x1b"], r"end\x1b"),
        (["\x1b[8", ";31", "mhid"], "\x1b[8;31mhid\x1b[0m"),
        (["\x1b[1mbold\x1b[mnot"], "\x1b[1mbold\x1b[mnot"),
    ],
)
def test_a_terminal_gets_colours_and_lines_only(pieces: list[str], text: str) -> None:
    """However it is cut into pieces; a bar that a program draws is drawn."""
    terminal = TerminalText()

    assert "".join((*map(terminal.feed, pieces), terminal.end())) == text


def test_only_the_programs_output_is_output(
    server: Scripted, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output is for pipes; a pipe gets it as it is."""
    told(
        server,
        {"id": 0, "type": "state", "state": "running"},
        {"id": 1, "type": "progress", "done": 0, "total": 2, "current_step": "build"},
        stream("compiling\n", "build"),
        {"id": 3, "type": "progress", "done": 1, "total": 2, "current_step": "exec"},
        stream("\x1b[2Jout"),
        stream("err", name="stderr"),
        {"type": "heartbeat"},
        {"id": 7, "type": "gap"},
        END,
    )

    assert follow_command(RECORD, connection, shown(is_starting=True), Wish())

    out, err = capsys.readouterr()
    assert out == "\x1b[2Jout"
    assert err.splitlines() == [
        "starting the kernel",
        "[1/2] build: make all",
        "compiling",
        "[2/2] exec: ./x",
        "errsome of the output is missing here",
    ]


def test_what_was_cut_goes_on_where_it_was(
    server: Scripted, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is shown twice and nothing is lost."""
    told(server, stream("one\n", number=4))
    server.answer(503, REFUSAL)
    told(server, stream("two\n", number=5), END)

    assert follow_command(RECORD, connection, shown(), Wish())

    assert capsys.readouterr().out == "one\ntwo\n"
    assert [request[2].get("after") for request in server.requests] == [None, ["4"], ["4"]]


def test_a_server_that_stays_away_is_given_up(server: Scripted, connection: Connection) -> None:
    """The message has the id, with which the execution can be looked up later."""
    server.answer(503, REFUSAL)

    with pytest.raises(LostError, match="the store is locked; the execution is 1"):
        follow_command(RECORD, connection, shown(quiet=True), Wish(), lost_seconds=-1)


def test_a_wish_to_end_is_told_until_it_is_heard(
    server: Scripted, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """The end is waited for; it did not come when that takes too long."""
    wish = Wish()
    wish.signal_number = signal.SIGINT
    server.answer(503, REFUSAL, to="/cancel")
    server.answer(200, {**RECORD, "state": "cancelling"}, to="/cancel")
    for _ in range(5):  # each is cut before the end
        server.answer(200, b'{"type":"heartbeat"}\n', to="/events")

    assert not follow_command(RECORD, connection, shown(), wish, cancel_seconds=2.5)

    assert capsys.readouterr().err == "cancelling; ctrl-C again gives up at once\n"
    verbs = [verb for verb, *_ in server.requests]
    assert verbs.count("POST") == 2


def test_the_bar_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the program's text, as long as a line of it is open; remarks begin a line."""
    screen = Screen()
    text = io.StringIO()
    for name in ("err", "out"):
        monkeypatch.setattr(screen, name, SafeConsole(file=text, force_terminal=True, width=80))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with BarView(screen.err) as view:
        output = LiveOutput(screen, view)
        events = CommandEvents({"exec": "./x"}, output, view, is_starting=False)
        view.move("uploading", done=1, total=2, count="1 B of 2 B")
        view.show()
        events.take(stream("open line"))
        assert output.is_line_open
        events.take({"type": "progress", "done": 0, "total": 1, "current_step": "exec"})
        events.take(stream("open again"))
        events.tell("cancelling")

        shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", text.getvalue())
        assert "open line\n" in shown
        assert "[1/1] exec: ./x\n" in shown
        assert shown.endswith("open again\ncancelling\n")
        events.take(stream("\x1b[31mhalf\x1b"))
        output.end()
        assert text.getvalue().endswith("\x1b[31mhalf\\x1b\x1b[0m\n")
        events.take({"type": "progress", "done": 0, "total": 1, "current_step": "exec"})
    assert "━" in text.getvalue()
    assert "1 B of 2 B" in text.getvalue()
