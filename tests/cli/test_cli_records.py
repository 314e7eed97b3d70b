"""What commands do with the answers of a server; each test says what it answers."""

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_exec_ext.cli import main
from jupyter_exec_ext.cli.arguments import build_parser
from jupyter_exec_ext.cli.notebooks import CellTexts
from jupyter_exec_ext.cli.progress import BarView
from jupyter_exec_ext.cli.records import cancel, delete
from jupyter_exec_ext.cli.render import Screen
from jupyter_exec_ext.cli.servers import Connection
from jupyter_exec_ext.cli.terminal import SafeConsole
from jupyter_exec_ext.client import ExecClient

from .scripted import Scripted, scripted_server

ID = "0d5b7f3e-0000-4000-8000-000000000000"
RECORD: dict[str, Any] = {
    "id": ID,
    "type": "notebook",
    "state": "succeeded",
    "source": {"path": "a.ipynb"},
    "created_time": "2026-07-01T12:00:00Z",
    "duration_seconds": 1.0,
}
FAILED = {
    **RECORD,
    "state": "failed",
    "error": {"code": "CodeError", "message": "E: e", "cell_id": "one", "cell_index": 0},
}
CONFLICT = {"code": "NotFinal", "message": "it is running"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with scripted_server() as server:
        monkeypatch.setenv("JUPYTER_EXEC_URL", server.url)
        monkeypatch.delenv("JUPYTER_EXEC_TOKEN", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


@pytest.fixture
def two(server: Scripted) -> Iterator[tuple[Connection, Scripted, Scripted]]:
    """A connection to two servers that have the same records."""
    with (
        scripted_server() as other,
        ExecClient(server.url, trust_env=False) as client,
        ExecClient(other.url, trust_env=False) as other_client,
    ):
        yield Connection(client=client, others=(other_client,)), server, other


def test_a_list_is_a_table(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing on standard output when there is nothing."""
    server.answer(200, {"executions": [{**RECORD, "session_name": "mine"}]})
    server.answer(200, {"executions": []})

    assert main(["list", "--state", "succeeded,failed"]) == 0
    assert main(["list"]) == 0

    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "mine" in out
    assert err == "no executions\n"
    assert server.requests[0][2]["state"] == ["succeeded,failed"]


def test_show_tells_a_failure(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """With the source of the cell, which the server has."""
    server.answer(200, FAILED)
    server.answer(200, {"cells": [{"id": "one", "source": "1 / 0"}]})

    assert main(["show", ID]) == 0
    assert "1 / 0" in capsys.readouterr().err


def test_show_says_when_the_notebook_cannot_be_had(
    server: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, but what is known is shown."""
    server.answer(200, FAILED)
    server.answer(503, {"code": "StoreUnavailable", "message": "locked"})
    server.answer(503, {"code": "StoreUnavailable", "message": "locked"})

    assert main(["show", ID, "--save-to", str(tmp_path / "out.ipynb")]) == 3

    out, err = capsys.readouterr()
    assert ID in out
    assert err == "CodeError in cell one (index 0): E: e\nerror: locked\n"
    assert list(tmp_path.iterdir()) == []


def test_show_prints_json(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """The record, nothing else."""
    server.answer(200, FAILED)

    assert main(["show", ID, "--json"]) == 0

    out, err = capsys.readouterr()
    assert (json.loads(out), err) == (FAILED, "")


def test_the_beginning_of_an_id_must_be_of_one(
    server: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the ids are named that it may mean."""
    server.answer(200, {"executions": [RECORD, {**RECORD, "id": ID[:-1] + "1"}]})

    assert main(["log", "0D5B"]) == 2

    assert capsys.readouterr().err.startswith("error: ID: 2 executions begin with 0D5B: 0d5b7f3e-")


def test_a_log_comes_as_it_is(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """For other programs, with all its characters."""
    server.answer(200, b"\x1b[31mred\x1b[0m\x07\n")

    assert main(["log", ID]) == 0

    assert capsys.readouterr().out == "\x1b[31mred\x1b[0m\x07\n"


@pytest.mark.parametrize("name", ["mine", ID])
def test_the_log_of_a_session(
    server: Scripted, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """By its name, else by its id; either an execution or a session is named."""
    found = [{"id": ID, "name": "mine"}] if name == "mine" else []
    server.answer(200, {"sessions": found}, to="/exec/sessions")
    server.answer(200, b"late\n", to=f"/exec/sessions/{ID}/log")

    assert main(["log", "--session", name]) == 0

    assert capsys.readouterr().out == "late\n"
    for wrong in (["log"], ["log", ID, "--session", "mine"]):
        assert main(wrong) == 2


def test_cancel_asks_the_server_that_runs_it(
    two: tuple[Connection, Scripted, Scripted], capsys: pytest.CaptureFixture[str]
) -> None:
    """Others refuse; if all do, that is an error."""
    connection, first, second = two
    elsewhere = {"code": "RunsElsewhere", "message": "it is running in another server process"}
    for state in ("cancelling", "cancelled"):
        first.answer(409, elsewhere)
        second.answer(200, {**RECORD, "state": state})
    first.answer(409, elsewhere)
    second.answer(409, elsewhere)
    first.answer(200, RECORD)
    arguments = build_parser().parse_args(["cancel", ID, ID, ID, ID])

    assert cancel(arguments, connection, Screen()) == 3

    assert capsys.readouterr().err.splitlines() == [
        f"{ID} is being cancelled",
        f"{ID} is cancelled",
        f"error: {ID} runs on another server: cancel it there",
        f"{ID} had succeeded already",
    ]


def test_delete_asks_the_server_that_runs_it(
    two: tuple[Connection, Scripted, Scripted], capsys: pytest.CaptureFixture[str]
) -> None:
    """Only that one can cancel it first; what all refuse is refused."""
    connection, first, second = two
    first.answer(409, CONFLICT)
    second.answer(204)
    first.answer(409, CONFLICT)
    second.answer(409, CONFLICT)
    first.answer(204)
    arguments = build_parser().parse_args(["delete", "--force", ID, ID, ID])

    assert delete(arguments, connection, Screen()) == 2

    assert capsys.readouterr().err.splitlines() == [
        f"{ID} is deleted",
        "error: it is running",
        f"{ID} is deleted",
    ]


@pytest.mark.parametrize(
    ("result", "options", "code", "last"),
    [
        (
            {"save_error": "disk full"},
            ["--save-to", "server:b.ipynb"],
            3,
            "error: the server could not save the notebook: disk full",
        ),
        (
            {"notebook_path": "b.ipynb", "save_conflict": "b-1.ipynb"},
            ["--save-to", "server:b.ipynb"],
            0,
            (
                "somebody changed the notebook during the run, so that the executed one was"
                " saved as b-1.ipynb on the server"
            ),
        ),
        (
            {"notebook_path": "b.ipynb"},
            ["--save-to", "server:b.ipynb"],
            0,
            "executed notebook: b.ipynb on the server",
        ),
        (
            {},
            [],
            0,
            f"executed notebook: kept with the record; jupyter exec show {ID[:8]} --save-to FILE",
        ),
    ],
)
def test_the_end_of_a_run_tells_where_the_notebook_is(
    result: dict[str, Any],
    options: list[str],
    code: int,
    last: str,
    server: Scripted,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was not saved is the service's failure, though the code did well."""
    server.answer(202, RECORD)
    server.answer(503, {"code": "StoreUnavailable", "message": "locked"})
    server.answer(200, {**RECORD, "result": result})

    assert main(["run", "a.ipynb", *options]) == code

    assert capsys.readouterr().err.splitlines()[-1].startswith(last)


def test_a_result_that_cannot_be_written_here_is_a_failure(
    server: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 although the code did well, 1 if it did not; variables are printed anyway."""
    variables = {"variables": {"x": {"type": "int", "json": 1}}}
    for record in (RECORD, FAILED):
        server.answer(202, record)
        server.answer(200, {"cells": []})
        server.answer(200, {**record, "result": variables})
        server.answer(503, {"code": "StoreUnavailable", "message": "locked"})
    arguments = ["run", "a.ipynb", "-o", "x", "--save-to", str(tmp_path / "out.ipynb")]

    assert [main(arguments), main(arguments)] == [3, 1]

    assert capsys.readouterr().out == "x (int) = 1\n" * 2


def test_a_closed_pipe_has_its_own_exit_code(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to be printed is lost, as the reader wished."""
    server.answer(200, {"executions": [RECORD] * 1000})
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr("sys.stdout", closed)

        assert main(["list"]) == 141


@pytest.mark.skipif(sys.platform == "win32", reason="a current folder cannot be removed")
def test_no_current_folder_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever this machine lacks, there is no traceback."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setenv("JUPYTER_EXEC_URL", "http://127.0.0.1:1/")

    assert main(["list"]) == 3

    assert capsys.readouterr().err.startswith("error: ")


def test_the_bar_counts_cells_and_leaves_no_trace() -> None:
    """It shows the cell as it is, without markup, and room stays at the end of the line."""
    terminal = SafeConsole(file=io.StringIO(), force_terminal=True, width=80)
    cells = CellTexts({"cells": [{"id": "one", "source": f"[bold]{'x' * 100}"}]})
    with BarView(terminal) as view:
        view.tell("starting a server")
        progress = {"done": 1, "total": 4, "current_cell_id": "one"}
        view.update({**RECORD, "state": "running", "progress": progress}, cells)

    assert isinstance(terminal.file, io.StringIO)
    text = terminal.file.getvalue()
    assert "1/4" in text
    assert "[bold]xxxx" in text
    assert "x" * 40 not in text
    assert text.endswith("\x1b[2K")
