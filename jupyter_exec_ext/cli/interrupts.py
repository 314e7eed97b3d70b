"""Ctrl-C and its relatives: an exception by default, a wish while an execution runs."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupted(KeyboardInterrupt):
    """The user wants the command to end now.

    Attributes:
        signal_number: The signal that said so.
    """

    def __init__(self, signal_number: int = signal.SIGINT) -> None:
        super().__init__()
        self.signal_number = signal_number


class Wish:
    """Whether the user has asked, politely, for the end of the execution.

    Attributes:
        signal_number: The signal that asked; ``None`` while nobody did.
    """

    signal_number: int | None = None


@contextmanager
def raised() -> Iterator[None]:
    """Within, raise `Interrupted` for SIGINT, SIGTERM and SIGHUP, so that everything is closed."""

    def handle(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    with _handled_by(handle):
        yield


@contextmanager
def noted() -> Iterator[Wish]:
    """Within, note the first signal, so that no request is torn; raise for the second."""
    wish = Wish()

    def handle(number: int, _frame: FrameType | None) -> None:
        if wish.signal_number is not None:
            raise Interrupted(number)
        wish.signal_number = number

    with _handled_by(handle):
        yield wish


@contextmanager
def _handled_by(handle: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread, and only that may say who takes them.
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup, or a background job of a shell
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
