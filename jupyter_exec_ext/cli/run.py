"""``jupyter exec run``: one notebook, from its parameters to its results."""

import argparse
import os
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_exec_ext.cli import interrupts
from jupyter_exec_ext.cli.answers import QuestionEndedError
from jupyter_exec_ext.cli.arguments import UsageError, pairs, prepared_answers, read_inputs
from jupyter_exec_ext.cli.notebooks import CellTexts, read_notebook, write_notebook
from jupyter_exec_ext.cli.progress import ProgressView, progress_view
from jupyter_exec_ext.cli.render import Screen
from jupyter_exec_ext.cli.servers import Address, Connection, api_path, connect, named_server
from jupyter_exec_ext.client import (
    ClientError,
    ExecClient,
    NoAnswerError,
    Record,
    RefusedError,
    ServiceFailedError,
)
from jupyter_exec_ext.core.errors import NoInputRequestError
from jupyter_exec_ext.core.states import FINAL_STATES, State

POLL_SECONDS = 0.25
REMOTE_POLL_SECONDS = 1.0
"""How long the server holds each question about a run: final states are answered at once."""

LOST_SECONDS = 60.0
"""How long a server that was named may be silent before a run is given up."""

CANCEL_SECONDS = 30.0
"""How long a cancelled execution may take: the interrupt's grace time, then its kernel's end."""

SERVER_PREFIX = "server:"

MAX_DESCRIPTION_LENGTH = 1_000

OK, CODE_FAILED, SERVICE_FAILED = 0, 1, 3

FAILURES_OF_CODE = {"CodeError", "CommandFailed", "Timeout", "InputNotGiven", "KernelDied"}


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What was typed, checked as far as this machine can.

    Attributes:
        local: The notebook's file here; ``None`` when the server has it.
        path: Its path on a server that was named; ``None`` otherwise, or to be derived.
        save_here: Where the executed notebook is written on this machine.
        save_there: The ``save_to`` of the request.
        request: The other fields of the request.
    """

    address: Address | None
    local: Path | None
    path: str | None
    save_here: Path | None
    save_there: str | None
    request: dict[str, Any]
    as_json: bool


TELL_LOST_SECONDS = 5.0
"""After how much silence of the server the user is told."""


class LostError(Exception):
    """The server went away while the execution ran."""


def run(arguments: argparse.Namespace, screen: Screen) -> int:
    """Run the notebook, show what comes of it and return the exit code."""
    plan = make_plan(arguments)
    holds = plan.local if plan.local is not None else Path.cwd()
    view = progress_view(screen, quiet=plan.as_json)
    with ExitStack() as stack:
        with view:
            connection = stack.enter_context(connect(plan.address, holds=holds, tell=view.tell))
            path = _path_on_server(plan, connection)
            record, wish, cells = _execute(plan, path, connection, view)
        return _conclude(plan, record, wish, cells, connection.client, screen)


def make_plan(arguments: argparse.Namespace) -> RunPlan:
    """Return what is to be done.

    Raises:
        UsageError: Something cannot be done as it was typed.
    """
    address = named_server(arguments.server, arguments.token, os.environ)
    if len(arguments.uploads) > 1:
        raise UsageError("--upload: only one notebook runs")
    local, path = next(map(Path, arguments.uploads), None), arguments.notebook
    if address is None:
        if local is not None:
            raise UsageError("--upload needs --server for a notebook, and --exec for a program")
        local, path = (None if path is None else Path(path)), None
    if local is None and path is None:
        raise UsageError("NOTEBOOK: name a notebook, or a program with --exec")
    if local is not None and not local.is_file():
        raise UsageError(f"NOTEBOOK: no file {local}")
    save_here, save_there = _destination(arguments.save_to)
    return RunPlan(
        address=address,
        local=local,
        path=path,
        save_here=save_here,
        save_there=save_there,
        as_json=arguments.json,
        request={
            "stdin": _answers(arguments),
            "cells": arguments.cells,
            "kernel_name": arguments.kernel,
            "inputs": read_inputs(arguments),
            "variable_names": arguments.variable_names,
            "timeout_seconds": arguments.timeout,
            "cell_timeout_seconds": arguments.cell_timeout,
            "on_error": arguments.on_error,
            "labels": pairs("--label", arguments.labels),
        },
    )


def _answers(arguments: argparse.Namespace) -> list[str] | None:
    lines = prepared_answers(arguments)
    # A program gets the bytes of the file; an answer has no end of line, also not that of Windows.
    return None if lines is None else [line.removesuffix("\r") for line in lines]


def local_destination(text: str) -> Path:
    """Return the file to write.

    Raises:
        UsageError: It is a folder, in none that exists, or no name of a notebook.
    """
    path = Path(text)
    if path.suffix != ".ipynb" and text != os.devnull:
        raise UsageError(f"--save-to: {text} does not end in .ipynb")
    if path.is_dir():
        raise UsageError(f"--save-to: {text} is a folder")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--save-to: no folder {path.parent}")
    return path


def follow(
    record: Record,
    cells: CellTexts,
    connection: Connection,
    view: ProgressView,
    wish: interrupts.Wish,
    *,
    lost_seconds: float = LOST_SECONDS,
    cancel_seconds: float = CANCEL_SECONDS,
) -> Record:
    """Show the execution until it is final, and return its record without the result.

    Once the user wishes it, the execution is cancelled; then the record may be returned in
    another state when that takes too long.

    Args:
        lost_seconds: How long the server may be silent.
        cancel_seconds: How long the cancelled execution may take to end.

    Raises:
        LostError: The server ended, or was silent for too long.
    """
    client = connection.client
    wait_seconds = POLL_SECONDS if connection.root is not None else REMOTE_POLL_SECONDS
    cancel_until: float | None = None
    is_cancelled = False
    heard_at = time.monotonic()
    is_told = False
    while record["state"] not in FINAL_STATES:
        try:
            if cancel_until is not None and time.monotonic() > cancel_until:
                return record
            if wish.signal_number is not None and not is_cancelled:
                cancel_until = cancel_until or time.monotonic() + cancel_seconds
                view.tell("cancelling; ctrl-C again gives up at once")
                client.cancel(record["id"])
                is_cancelled = True
            record = client.get(record["id"], view="basic", wait_seconds=wait_seconds)
            heard_at = time.monotonic()
        except (NoAnswerError, ServiceFailedError) as error:
            if not connection.is_alive:
                raise LostError("the server ended while the execution ran") from error
            if not is_told and time.monotonic() - heard_at > TELL_LOST_SECONDS:
                view.tell(f"the server does not answer; execution {record['id']} may go on")
                is_told = True
            if time.monotonic() - heard_at > lost_seconds:
                raise LostError(f"{error.message}; the execution is {record['id']}") from error
            time.sleep(wait_seconds)
        else:
            if not is_cancelled:
                view.update(record, cells)
            if not is_cancelled and record.get("input_request") and view.can_ask:
                _answer(record, connection, view, wish)
    return record


def _answer(
    record: Record, connection: Connection, view: ProgressView, wish: interrupts.Wish
) -> None:
    """Send the user's answer to the code's ``input()``; ctrl-C cancels the execution instead.

    Raises:
        UsageError: The answer is too long; the execution is cancelled.
    """
    client, request, value = connection.client, record["input_request"], None

    def is_asked() -> bool:
        try:
            return bool(client.get(record["id"], view="basic").get("input_request"))
        except (NoAnswerError, ServiceFailedError):
            return connection.is_alive

    try:
        # The user's ctrl-D is the end of the input of the code.
        with interrupts.raised(), suppress(EOFError):
            value = view.ask(request["prompt"], is_asked, password=request["password"])
    except interrupts.Interrupted as interrupted:
        wish.signal_number = interrupted.signal_number
        return
    except QuestionEndedError:
        return
    except UsageError:
        with suppress(ClientError):
            client.cancel(record["id"])
        raise
    try:
        client.answer(record["id"], value)
    except RefusedError as error:
        if error.code != NoInputRequestError.code:  # that means: too late
            raise


def exit_code(record: Record) -> int:
    """Return the exit code that the final record stands for."""
    if record["state"] == State.SUCCEEDED:
        result = record.get("result") or {}
        return SERVICE_FAILED if result.get("save_error") else OK
    code = (record.get("error") or {}).get("code")
    if record["state"] == State.CANCELLED or code in FAILURES_OF_CODE:
        return CODE_FAILED
    return SERVICE_FAILED


def _destination(text: str | None) -> tuple[Path | None, str | None]:
    if text is None:
        return None, None
    if text.startswith(SERVER_PREFIX):
        there = text.removeprefix(SERVER_PREFIX)
        if not there:
            raise UsageError("--save-to: give a path after server:")
        return None, there
    return local_destination(text), None


def _path_on_server(plan: RunPlan, connection: Connection) -> str:
    """Return the notebook's API path, after it was sent there if need be."""
    if plan.local is None:
        return plan.path or ""
    if plan.address is None:
        path = api_path(plan.local, connection.root or Path.cwd())
        if path is None:
            raise UsageError(f"NOTEBOOK: servers do not serve hidden files: {plan.local}")
        return path
    try:
        text = read_notebook(plan.local)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--upload: {plan.local} is not a notebook") from error
    path = plan.path or plan.local.name
    if plan.path is None and connection.client.has_file(path):
        raise UsageError(
            f"--upload: the server has a file {path} already; to replace it, name it as NOTEBOOK"
        )
    connection.client.upload_notebook(path, text)
    return path


def _local_name(plan: RunPlan, connection: Connection) -> str | None:
    """Return the notebook's full path where the root, and so its API path, is of this run only."""
    if connection.embedded is None or plan.local is None:
        return None
    name = str(plan.local.absolute())
    return name if len(name) <= MAX_DESCRIPTION_LENGTH else None


def _execute(
    plan: RunPlan, path: str, connection: Connection, view: ProgressView
) -> tuple[Record, interrupts.Wish, CellTexts]:
    """Create the execution and stay with it until its end, or until the user gives up."""
    client = connection.client
    request = {**plan.request}
    if request["stdin"] is None and not view.can_ask:
        request["stdin"] = ()  # The code reaches the end of its input at once.
    with interrupts.noted() as wish:
        try:
            record = client.create(
                path,
                save_to=plan.save_there,
                description=_local_name(plan, connection),
                **request,
            )
        except RefusedError as error:
            if error.status == 404 and plan.local is None and Path(path).is_file():
                raise UsageError(
                    f"NOTEBOOK: the server has no notebook at {path}; --upload sends the local file"
                ) from error
            raise
        cells = CellTexts()
        with suppress(ClientError):  # without the sources, ids are shown
            cells = CellTexts(client.notebook(record["id"]))
        view.update(record, cells)
        try:
            record = follow(record, cells, connection, view, wish)
        except interrupts.Interrupted:
            view.tell(f"left execution {record['id']} as it was: {record['state']}")
            if connection.embedded is not None:
                connection.embedded.stop(within_seconds=1)
            raise
    return record, wish, cells


def _conclude(
    plan: RunPlan,
    record: Record,
    wish: interrupts.Wish,
    cells: CellTexts,
    client: ExecClient,
    screen: Screen,
) -> int:
    """Show and save what the execution left; return the exit code."""
    if record["state"] not in FINAL_STATES:
        screen.error(f"execution {record['id']} is still {record['state']} on the server")
        return 128 + (wish.signal_number or 0)
    record = client.get(record["id"])
    code = exit_code(record)
    if wish.signal_number is not None and record["state"] == State.CANCELLED:
        code = 128 + wish.signal_number
    saved = plan.save_here is None or save(client, record["id"], plan.save_here, screen)
    # A server of an older version sends none.
    for warning in record.get("warnings", ()):
        screen.tell(f"warning: {warning}", style="yellow")
    if plan.as_json:
        screen.print_json(record)
    else:
        _show(plan, record, cells, screen, saved=saved)
    if wish.signal_number is not None and record["state"] == State.CANCELLED:
        screen.tell("the execution was cancelled, as you asked")
    return code if saved or code != OK else SERVICE_FAILED


def save(client: ExecClient, execution_id: str, path: Path, screen: Screen) -> bool:
    """Write the executed notebook to a local file; say so and return false if that fails."""
    try:
        write_notebook(path, client.notebook(execution_id))
    except OSError as error:
        screen.error(f"--save-to: cannot write {path}: {error.strerror or error}")
        return False
    except ClientError as error:
        screen.client_error(error)
        return False
    return True


def _show(plan: RunPlan, record: Record, cells: CellTexts, screen: Screen, *, saved: bool) -> None:
    screen.failure(record, cells)
    screen.variables(record)
    screen.summary(record)
    result = record.get("result") or {}
    if result.get("stdout") or result.get("stderr"):
        screen.tell(f"printed text: jupyter exec log {record['id'][:8]}", style="dim")
    if result.get("save_error"):
        screen.error(f"the server could not save the notebook: {result['save_error']}")
    elif result.get("save_conflict"):
        screen.tell(
            "somebody changed the notebook during the run, so that the executed one was saved as"
            f" {result['save_conflict']} on the server"
        )
    elif result.get("notebook_path"):
        screen.tell(f"executed notebook: {result['notebook_path']} on the server")
    if plan.save_here is not None and saved:
        screen.tell(f"executed notebook: {plan.save_here}")
    elif plan.save_here is None and plan.save_there is None:
        screen.tell(
            "executed notebook: kept with the record;"
            f" jupyter exec show {record['id'][:8]} --save-to FILE writes it"
        )
