"""``jupyter exec run --exec``: a program, from its files to its results."""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_exec_ext.cli import interrupts
from jupyter_exec_ext.cli.arguments import (
    STEP_OPTIONS,
    UsageError,
    pairs,
    prepared_answers,
    read_inputs,
)
from jupyter_exec_ext.cli.downloads import (
    Download,
    MissingError,
    OutsideError,
    fetch,
    parse_download,
)
from jupyter_exec_ext.cli.following import CommandEvents, follow_command
from jupyter_exec_ext.cli.notebooks import CellTexts
from jupyter_exec_ext.cli.output import LiveOutput
from jupyter_exec_ext.cli.progress import ProgressView, activity, progress_view
from jupyter_exec_ext.cli.render import Screen, counted, size
from jupyter_exec_ext.cli.run import OK, SERVICE_FAILED, exit_code
from jupyter_exec_ext.cli.servers import (
    Address,
    Connection,
    connect,
    find_server,
    named_server,
)
from jupyter_exec_ext.cli.uploads import Uploads, find_uploads, send
from jupyter_exec_ext.client import ClientError, Record, RefusedError, ServiceFailedError
from jupyter_exec_ext.core.errors import CommandFailedError
from jupyter_exec_ext.core.sessions import SessionState
from jupyter_exec_ext.core.states import FINAL_STATES, State

BUILD_FAILED, NOT_THERE = 4, 5

ORPHAN_SECONDS = 300
"""How long a session for the occasion stays without use if this process is killed."""

FEATURES = {"commands", "files", "sessions", "events"}

Session = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CommandPlan:
    """What was typed, checked as far as this machine can.

    Attributes:
        session_name: Of the session that stays; ``None`` for one that ends.
        steps: The commands, by step.
        request: The other fields of the request.
    """

    address: Address | None
    session_name: str | None
    kernel_name: str | None
    steps: Mapping[str, str]
    request: dict[str, Any]
    uploads: Uploads
    downloads: Sequence[Download]
    as_json: bool


def run_command(arguments: argparse.Namespace, screen: Screen) -> int:
    """Send the files, run the steps, fetch the files, end the session; return the exit code."""
    plan = make_command_plan(arguments)
    view = progress_view(screen, quiet=plan.as_json)
    with ExitStack() as stack:
        with view:
            connection = stack.enter_context(_connected(plan, view))
            limits = _limits_of(connection)
            with _session(plan, connection, view, screen) as session:
                _upload(plan, session, connection, limits, view, screen)
                record, wish = _execute(plan, session, connection, view, screen)
                code = OK
                if record["state"] in FINAL_STATES and wish.signal_number is None:
                    code = _download(plan, session, connection, view, screen)
        return _conclude(plan, record, wish, code, screen)


def make_command_plan(arguments: argparse.Namespace) -> CommandPlan:
    """Return what is to be done.

    Raises:
        UsageError: Something cannot be done as it was typed.
    """
    address = named_server(arguments.server, arguments.token, os.environ)
    if arguments.session is not None and not arguments.session:
        raise UsageError("--session: give a name")
    if arguments.session is not None and address is None and find_server(Path.cwd()) is None:
        raise UsageError(
            "--session: no running server is found whose folder holds this one, and a session"
            " ends with the server that would be started; start one (jupyter server), or name one"
            " with --server"
        )
    given = {step: getattr(arguments, step) for step in STEP_OPTIONS}
    return CommandPlan(
        address=address,
        session_name=arguments.session,
        kernel_name=arguments.kernel,
        steps={step: command for step, command in given.items() if command is not None},
        downloads=[parse_download(text) for text in arguments.downloads],
        uploads=find_uploads(arguments.uploads),
        as_json=arguments.json,
        request={
            "stdin": prepared_answers(arguments),
            "inputs": read_inputs(arguments),
            "timeout_seconds": arguments.timeout,
            "labels": pairs("--label", arguments.labels),
        },
    )


@contextmanager
def _connected(plan: CommandPlan, view: ProgressView) -> Iterator[Connection]:
    """Give a server; one of our own works in a folder that ends with it, not in the user's."""
    with (
        tempfile.TemporaryDirectory(prefix="jupyter-exec-", ignore_cleanup_errors=True) as folder,
        connect(plan.address, holds=Path.cwd(), tell=view.tell, root=Path(folder)) as connection,
    ):
        yield connection


def _limits_of(connection: Connection) -> Mapping[str, Any]:
    """Return the limits of the server.

    Raises:
        ServiceFailedError: It cannot run commands.
    """
    capabilities = connection.client.capabilities()
    if not set(capabilities.get("features", ())) >= FEATURES:
        raise ServiceFailedError(
            f"the server at {connection.client.url} cannot run programs: its jupyter_exec_ext is"
            " too old",
            code="NoCommands",
        )
    limits: Mapping[str, Any] = capabilities.get("limits", {})
    return limits


@contextmanager
def _session(
    plan: CommandPlan, connection: Connection, view: ProgressView, screen: Screen
) -> Iterator[Session]:
    """Give the session; one for the occasion ends with its files, however this is left."""
    client = connection.client
    is_ours = plan.session_name is None
    with interrupts.noted() as wish:
        session = client.create_session(
            plan.session_name,
            kernel_name=plan.kernel_name,
            keep_files=False if is_ours else None,
            idle_timeout_seconds=ORPHAN_SECONDS if is_ours else None,
            description="of jupyter exec run" if is_ours else None,
        )
    if not is_ours and session.get("state") == SessionState.STARTING and not plan.as_json:
        screen.tell(f"new session {plan.session_name}")
    try:
        if wish.signal_number is not None:
            raise interrupts.Interrupted(wish.signal_number)
        if (plan.uploads.files or plan.downloads) and not session.get("works_in_folder", True):
            raise ServiceFailedError(
                "the kernels of this server do not see the files of sessions", code="NoFolder"
            )
        yield session
    finally:
        if is_ours and connection.is_alive:
            with interrupts.noted():
                view.tell("")
                _end(session, connection, screen)


def _end(session: Session, connection: Connection, screen: Screen) -> None:
    try:
        connection.client.delete_session(session["id"])
    except ClientError as error:
        screen.client_error(error)
        screen.tell(f"session {session['id']} ends after {ORPHAN_SECONDS} s without use")


def _upload(
    plan: CommandPlan,
    session: Session,
    connection: Connection,
    limits: Mapping[str, Any],
    view: ProgressView,
    screen: Screen,
) -> None:
    uploads = plan.uploads
    if connection.root is not None and session.get("has_own_folder"):
        # The folder that is sent may hold those of the sessions of a server of this machine.
        folders = (connection.root / session["path"]).parent
        if folders != connection.root:
            uploads = uploads.outside(folders)
    if uploads.remark and not plan.as_json:
        screen.tell(uploads.remark)
    if not uploads.files:
        return
    what = counted(len(uploads.files), "file")
    send(
        connection.client,
        session["id"],
        uploads,
        limits,
        _counter(view, f"uploading {what}", uploads.size_bytes),
    )
    if not plan.as_json:
        screen.tell(f"uploaded {what}, {size(uploads.size_bytes)}")


def _execute(
    plan: CommandPlan,
    session: Session,
    connection: Connection,
    view: ProgressView,
    screen: Screen,
) -> tuple[Record, interrupts.Wish]:
    """Create the execution and stay with it until its end, or until the user gives up."""
    client = connection.client
    output = None if plan.as_json else LiveOutput(screen, view)
    with interrupts.noted() as wish:
        record = client.create(
            command={"exec": None, **plan.steps}, session_id=session["id"], **plan.request
        )
        events = CommandEvents(
            plan.steps, output, view, is_starting=session.get("state") == SessionState.STARTING
        )
        if record.get("position"):
            view.tell(activity(record, CellTexts()))
        try:
            follow_command(record, connection, events, wish)
        except interrupts.Interrupted:
            if connection.embedded is not None:
                connection.embedded.stop(within_seconds=1)
            elif plan.session_name is not None:
                screen.tell(f"left execution {record['id']} as it was")
            raise
        except BrokenPipeError:
            # As a program of this machine would end.
            with suppress(ClientError):
                client.cancel(record["id"])
            raise
        finally:
            if output is not None:
                output.end()
        view.move("", done=0, total=0, count="")
        view.show()
        return client.get(record["id"]), wish


def _download(
    plan: CommandPlan,
    session: Session,
    connection: Connection,
    view: ProgressView,
    screen: Screen,
) -> int:
    """Fetch what was asked for, and return the exit code for what could not be had."""
    code = OK
    for download in plan.downloads:
        on_progress = _counter(view, f"downloading {download.text}", 0)
        try:
            fetched = fetch(connection.client, session["id"], download, on_progress)
        except MissingError as error:
            screen.error(f"--download: {error}")
            code = code or NOT_THERE
            continue
        except OutsideError as error:
            screen.error(f"--download: {error}")
        except RefusedError as error:
            screen.error(f"--download: {download.text}: {error.message}")
        except ClientError as error:
            screen.client_error(error)
        except OSError as error:
            name = error.filename or download.text
            screen.error(f"--download: cannot write {name}: {error.strerror or error}")
        else:
            if not plan.as_json:
                left_out = ", ".join(counted(n, one) for one, n in fetched.left_out.items())
                what = (
                    counted(fetched.file_count, "file") + " in "
                    if not fetched.place.is_file()
                    else ""
                )
                screen.tell(
                    f"downloaded {what}{fetched.place}, {size(fetched.size_bytes)}"
                    + (f"; left out: {left_out}" if left_out else "")
                )
            continue
        code = SERVICE_FAILED
    return code


def _conclude(
    plan: CommandPlan, record: Record, wish: interrupts.Wish, download_code: int, screen: Screen
) -> int:
    """Show what the execution left; return the exit code."""
    if plan.as_json:
        screen.print_json(record)
    else:
        screen.failure(record, CellTexts())
        screen.summary(record)
        download_code = _tell_truncation(record, screen) or download_code
    if record["state"] not in FINAL_STATES:
        screen.error(f"execution {record['id']} is still {record['state']} on the server")
    if wish.signal_number is not None:
        if record["state"] == State.CANCELLED:
            screen.tell("the execution was cancelled, as you asked")
        return 128 + wish.signal_number
    return command_exit_code(record) or download_code


def _tell_truncation(record: Record, screen: Screen) -> int:
    """Say how much of the output was left out; return the exit code that this is."""
    truncated = (record.get("result") or {}).get("truncated")
    if not truncated:
        return OK
    missing = truncated["total_bytes"] - truncated["kept_bytes"]
    screen.error(
        f"{size(missing)} of the {size(truncated['total_bytes'])} that were printed are left out"
        " in the middle: a server keeps the beginning and the end (max_stream_bytes); let the"
        " program write a file, and fetch it with --download"
    )
    return NOT_THERE


def command_exit_code(record: Record) -> int:
    """Return the exit code that the final record of a command stands for.

    The program's own is not among them: it would be mistaken for one of ours.
    """
    error = record.get("error") or {}
    if error.get("code") == CommandFailedError.code and error.get("step") == "build":
        return BUILD_FAILED
    return exit_code(record)


def _counter(view: ProgressView, message: str, total: int) -> Callable[[int], None]:
    """Return what takes the sizes of pieces and shows how far all of them together are."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        # What is around the files of a form counts too, but was not promised.
        done = min(done + count, total or done + count)
        text = f"{size(done)} of {size(total)}" if total else size(done)
        view.move(message, done=done, total=total, count=text)

    view.move(message, done=0, total=total, count="")
    return add
