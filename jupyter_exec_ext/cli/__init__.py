"""The command line: ``jupyter exec``."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jupyter_exec_ext.cli import interrupts, records
from jupyter_exec_ext.cli.arguments import UsageError, build_parser, runs_command
from jupyter_exec_ext.cli.commands import run_command
from jupyter_exec_ext.cli.embedded import StartFailedError
from jupyter_exec_ext.cli.render import Screen
from jupyter_exec_ext.cli.run import LostError, run
from jupyter_exec_ext.cli.servers import STARTING, connect, named_server
from jupyter_exec_ext.client import ClientError, RefusedError

USAGE, SERVICE_FAILED = 2, 3
CLOSED_PIPE = 141
"""What a shell reports of a program that SIGPIPE ended."""

COMMANDS = {
    "list": records.list_executions,
    "show": records.show,
    "log": records.log,
    "cancel": records.cancel,
    "delete": records.delete,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code; errors are one line each."""
    screen = Screen()
    try:
        with interrupts.raised():
            return _run_command(build_parser().parse_args(arguments), screen)
    except UsageError as error:
        screen.error(str(error))
        return USAGE
    except RefusedError as error:
        screen.client_error(error)
        return USAGE
    except ClientError as error:
        screen.client_error(error)
        return SERVICE_FAILED
    except StartFailedError as error:
        if error.log:
            screen.tell(error.log, style="dim", lines=True)
        screen.error(str(error))
        return SERVICE_FAILED
    except LostError as error:
        screen.error(str(error))
        return SERVICE_FAILED
    except interrupts.Interrupted as error:
        screen.error("interrupted")
        return 128 + error.signal_number
    except BrokenPipeError:
        # The interpreter flushes standard output once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except OSError as error:  # of this machine: no current folder, no room for the log
        screen.error(str(error))
        return SERVICE_FAILED


def _run_command(arguments: argparse.Namespace, screen: Screen) -> int:
    if arguments.command == "run":
        return (run_command if runs_command(arguments) else run)(arguments, screen)
    address = named_server(arguments.server, arguments.token, os.environ)
    with connect(address, holds=Path.cwd(), tell=_tell_of(screen), borrow=True) as connection:
        return COMMANDS[arguments.command](arguments, connection, screen)


def _tell_of(screen: Screen) -> Callable[[str], None]:
    """Return what says which server is asked, but not that one has to be started for it."""

    def tell(message: str) -> None:
        if message != STARTING:
            screen.tell(message, style="dim")

    return tell
