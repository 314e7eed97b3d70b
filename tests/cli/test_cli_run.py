"""Staying with an execution, against a server that answers what each test says."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_exec_ext.cli.interrupts import Interrupted, Wish, noted, raised
from jupyter_exec_ext.cli.notebooks import CellTexts
from jupyter_exec_ext.cli.progress import LineView
from jupyter_exec_ext.cli.render import Screen
from jupyter_exec_ext.cli.run import LostError, follow, save
from jupyter_exec_ext.cli.servers import Connection
from jupyter_exec_ext.client import ExecClient

from .scripted import Scripted, scripted_server

RUNNING = {"id": "1", "state": "running", "started": True}
CANCELLING = {"id": "1", "state": "cancelling"}
DONE = {"id": "1", "state": "succeeded"}
REFUSAL = {"code": "StoreUnavailable", "message": "the store is locked"}


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def connection(server: Scripted, tmp_path: Path) -> Iterator[Connection]:
    with ExecClient(server.url, trust_env=False) as client:
        yield Connection(client=client, root=tmp_path)


def test_a_server_may_stumble(server: Scripted, connection: Connection) -> None:
    """A question that fails is asked again: the execution itself goes on."""
    server.answer(503, REFUSAL)
    server.answer(502, b"<html>")
    server.answer(200, DONE)

    record = follow(RUNNING, CellTexts(), connection, LineView(None), Wish())

    assert record == DONE
    assert server.requests[0][2] == {"view": ["basic"], "wait": ["0.25"]}


def test_a_server_that_stays_away_is_given_up(server: Scripted, connection: Connection) -> None:
    """The message has the id, with which the execution can be looked up later."""
    server.answer(503, REFUSAL)

    with pytest.raises(LostError, match="the store is locked; the execution is 1"):
        follow(RUNNING, CellTexts(), connection, LineView(None), Wish(), lost_seconds=0)


def test_a_wish_to_end_is_told_once(
    server: Scripted, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until the server has heard it; after that, the end is waited for."""
    wish = Wish()
    wish.signal_number = signal.SIGINT
    server.answer(503, REFUSAL)
    server.answer(200, CANCELLING)
    server.answer(200, CANCELLING)
    server.answer(200, {**CANCELLING, "state": "cancelled"})

    record = follow(RUNNING, CellTexts(), connection, LineView(Screen()), wish)

    assert record["state"] == "cancelled"
    verbs = [request[0] for request in server.requests]
    assert verbs == ["POST", "POST", "GET", "GET"]
    assert capsys.readouterr().err == "cancelling; ctrl-C again gives up at once\n"


def test_a_wish_that_is_not_fulfilled_is_not_waited_for(
    server: Scripted, connection: Connection
) -> None:
    """The record comes back as it was last, not final."""
    wish = Wish()
    wish.signal_number = signal.SIGINT
    server.answer(200, CANCELLING)
    server.answer(200, CANCELLING)

    record = follow(RUNNING, CellTexts(), connection, LineView(None), wish, cancel_seconds=0)

    assert record == CANCELLING


def test_a_notebook_that_cannot_be_saved_is_told(
    server: Scripted, connection: Connection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the server or the file system is at fault; the results are still shown."""
    server.answer(503, REFUSAL)
    server.answer(200, {"cells": [], "metadata": {}})
    (tmp_path / "folder").mkdir()

    assert not save(connection.client, "1", tmp_path / "out.ipynb", Screen())
    assert not save(connection.client, "1", tmp_path / "folder", Screen())

    assert [line[:40] for line in capsys.readouterr().err.splitlines()] == [
        "error: the store is locked",
        f"error: --save-to: cannot write {tmp_path}"[:40],
    ]


def test_signals_are_exceptions_or_wishes() -> None:
    """While an execution runs, the first one is noted; all others end the command."""
    # A background job of a shell ignores it from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with raised():
            with pytest.raises(Interrupted):
                signal.raise_signal(signal.SIGINT)
            with noted() as wish:
                signal.raise_signal(signal.SIGTERM)
                assert wish.signal_number == signal.SIGTERM
                with pytest.raises(Interrupted) as caught:
                    signal.raise_signal(signal.SIGINT)
                assert caught.value.signal_number == signal.SIGINT
            with pytest.raises(Interrupted):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As under nohup, and in the background jobs of a shell."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with raised(), noted() as wish:
            signal.raise_signal(signal.SIGINT)
        assert wish.signal_number is None
    finally:
        signal.signal(signal.SIGINT, before)
