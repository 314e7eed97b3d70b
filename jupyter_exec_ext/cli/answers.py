"""Reads answers to ``input()`` from standard input, where a person types or a program writes."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jupyter_exec_ext.cli.arguments import UsageError

MAX_ANSWER_BYTES = 1_000_000

CHECK_SECONDS = 1.0
"""How often it is checked, while no answer comes, whether the code still waits for one."""


class QuestionEndedError(Exception):
    """The code does not wait for the answer any more."""


def can_read() -> bool:
    """Return whether this process has a standard input."""
    return _descriptor() is not None


def is_typed() -> bool:
    """Return whether a person types at a terminal."""
    descriptor = _descriptor()
    return descriptor is not None and os.isatty(descriptor)


def read_line(is_asked: Callable[[], bool]) -> str:
    """Return the next line of standard input without its end; what follows is left in a pipe.

    Args:
        is_asked: Called now and then; when false, no answer is needed any more.

    Raises:
        EOFError: Standard input has ended.
        QuestionEndedError: No answer is needed any more.
        UsageError: The line is too long.
    """
    descriptor = _descriptor()
    line = bytearray()
    check_at = time.monotonic() + CHECK_SECONDS
    while descriptor is not None and len(line) <= MAX_ANSWER_BYTES:
        if not _is_ready(descriptor):
            if time.monotonic() > check_at:
                if not is_asked():
                    raise QuestionEndedError
                check_at = time.monotonic() + CHECK_SECONDS
            continue
        try:
            byte = os.read(descriptor, 1)
        except OSError:  # it cannot be read, as under nohup
            byte = b""
        if byte == b"\n" or (line and not byte):
            return line.removesuffix(b"\r").decode(sys.stdin.encoding, "replace")
        if not byte:
            raise EOFError
        line += byte
    if descriptor is None:
        raise EOFError
    raise UsageError(f"standard input has a line of more than {MAX_ANSWER_BYTES} bytes")


@contextmanager
def hidden_typing() -> Iterator[None]:
    """Within, a terminal does not show what is typed, except on Windows."""
    if sys.platform == "win32" or not is_typed():
        yield
        return
    import termios

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    hidden = [*before]
    hidden[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSAFLUSH, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _descriptor() -> int | None:
    try:
        return None if sys.stdin is None else sys.stdin.fileno()
    except (OSError, ValueError):  # closed, or not a file
        return None


def _is_ready(descriptor: int) -> bool:
    """Wait a moment; return whether a read will not block, which Windows does not report."""
    if sys.platform == "win32":
        return True
    import select

    return bool(select.select([descriptor], [], [], CHECK_SECONDS / 4)[0])
