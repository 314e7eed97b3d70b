"""``jupyter exec list | show | log | cancel | delete``: what was run, and what runs."""

import argparse
from collections.abc import Callable, Sequence
from contextlib import suppress

from jupyter_exec_ext.cli.arguments import UsageError
from jupyter_exec_ext.cli.notebooks import CellTexts
from jupyter_exec_ext.cli.render import Screen
from jupyter_exec_ext.cli.run import local_destination, save
from jupyter_exec_ext.cli.servers import Connection
from jupyter_exec_ext.client import ClientError, ExecClient, Record, RefusedError
from jupyter_exec_ext.core.errors import RunsElsewhereError
from jupyter_exec_ext.core.states import State

FULL_ID_LENGTH = 36

OK, USAGE, SERVICE_FAILED = 0, 2, 3


def list_executions(arguments: argparse.Namespace, connection: Connection, screen: Screen) -> int:
    """Print the newest executions."""
    records = [*connection.client.list(state=arguments.state, limit=arguments.limit)]
    if arguments.json:
        screen.print_json(records)
    elif records:
        screen.records(records)
    elif connection.embedded is not None:
        screen.tell("no executions of what jupyter exec ran by itself; --server names a server")
    else:
        screen.tell("no executions")
    return OK


def show(arguments: argparse.Namespace, connection: Connection, screen: Screen) -> int:
    """Print one execution with its variables and its failure."""
    client = connection.client
    destination = None if arguments.save_to is None else local_destination(arguments.save_to)
    record = client.get(full_id(client, arguments.id))
    if arguments.json:
        screen.print_json(record)
    else:
        screen.record(record)
        screen.variables(record)
        if record.get("error"):
            screen.failure(record, _cells(client, record["id"]))
    if destination is None:
        return OK
    if not save(client, record["id"], destination, screen):
        return SERVICE_FAILED
    screen.tell(f"executed notebook: {destination}")
    return OK


def log(arguments: argparse.Namespace, connection: Connection, screen: Screen) -> int:
    """Print what the code printed."""
    client = connection.client
    if arguments.session is not None:
        text = client.session_log(_session_id(client, arguments.session))
    else:
        text = client.log(full_id(client, arguments.id))
    screen.write(text)
    return OK


def cancel(arguments: argparse.Namespace, connection: Connection, screen: Screen) -> int:
    """Cancel each one; a refusal does not keep the others from it."""

    def cancel_one(execution_id: str) -> int:
        try:
            record = _cancel_where_it_runs(execution_id, connection)
        except RefusedError as error:
            if error.code != RunsElsewhereError.code:
                raise
            screen.error(f"{execution_id} runs on another server: cancel it there")
            return SERVICE_FAILED
        state = record["state"]
        if state == State.CANCELLED:
            screen.tell(f"{execution_id} is cancelled")
        elif state == State.CANCELLING:
            screen.tell(f"{execution_id} is being cancelled")
        else:
            screen.tell(f"{execution_id} had {state} already")
        return OK

    return _each(arguments.ids, cancel_one, connection.client, screen)


def delete(arguments: argparse.Namespace, connection: Connection, screen: Screen) -> int:
    """Delete each one; a refusal does not keep the others from it."""

    def delete_one(execution_id: str) -> int:
        *others, last = (connection.client, *connection.others)
        for client in others:
            with suppress(RefusedError):  # only the server that runs it can end it
                client.delete(execution_id, force=arguments.force)
                break
        else:
            last.delete(execution_id, force=arguments.force)
        screen.tell(f"{execution_id} is deleted")
        return OK

    return _each(arguments.ids, delete_one, connection.client, screen)


def full_id(client: ExecClient, beginning: str) -> str:
    """Return the id of the one execution whose id begins so.

    Raises:
        UsageError: There is none, or more than one.
    """
    if len(beginning) >= FULL_ID_LENGTH:
        return beginning
    ids = [record["id"] for record in client.list() if record["id"].startswith(beginning.lower())]
    if not ids:
        raise UsageError(f"ID: no execution {beginning}")
    if len(ids) > 1:
        some = ", ".join(ids[:4]) + (", …" if len(ids) > 4 else "")
        raise UsageError(f"ID: {len(ids)} executions begin with {beginning}: {some}")
    return str(ids[0])


def _session_id(client: ExecClient, name: str) -> str:
    """Return the id of the session that has *name*; *name* itself when none has it."""
    return next((str(session["id"]) for session in client.sessions(name=name)), name)


def _cancel_where_it_runs(execution_id: str, connection: Connection) -> Record:
    """Ask one server after the other, as only the one that runs it can cancel it."""
    *others, last = (connection.client, *connection.others)
    for client in others:
        try:
            return client.cancel(execution_id)
        except RefusedError as error:
            if error.code != RunsElsewhereError.code:
                raise
    return last.cancel(execution_id)


def _each(ids: Sequence[str], act: Callable[[str], int], client: ExecClient, screen: Screen) -> int:
    code = OK
    for beginning in ids:
        try:
            code = max(code, act(full_id(client, beginning)))
        except UsageError as error:
            screen.error(str(error))
            code = max(code, USAGE)
        except RefusedError as error:
            screen.client_error(error)
            code = max(code, USAGE)
    return code


def _cells(client: ExecClient, execution_id: str) -> CellTexts:
    try:
        return CellTexts(client.notebook(execution_id))
    except ClientError:
        return CellTexts()
