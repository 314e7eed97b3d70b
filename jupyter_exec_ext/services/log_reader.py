"""What readers of a growing log share: of the events of an execution, or the log of a session."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from jupyter_exec_ext.core.models import Event

BATCH_BYTES = 1_000_000
"""About how much is read at once; a larger event is read alone."""

PACE_SECONDS = 0.025
"""How long a reader waits for more after something new has come, to read it together."""


class LogReader(ABC):
    """Reads a log in order.

    Attributes:
        scope: Work of the reader's owner inside of the scope ends when `close` is called.
        is_waiting: Whether the reader has read all there is and waits for more.
        has_ended: Whether nothing more can come.
    """

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.is_waiting = False
        self.has_ended = False

    @abstractmethod
    async def read(self, *, seconds: float) -> list[Event]:
        """Return the next events, about `BATCH_BYTES`; none when none come in *seconds*."""

    def close(self) -> None:
        """End the work inside of the scope."""
        self.scope.cancel()

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self.is_waiting = True
        try:
            yield
        finally:
            self.is_waiting = False
