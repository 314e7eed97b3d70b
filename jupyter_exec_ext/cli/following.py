"""Stays with the execution of a command until its end, and shows what happens as it happens."""

import queue
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from jupyter_exec_ext.cli import interrupts
from jupyter_exec_ext.cli.output import LiveOutput
from jupyter_exec_ext.cli.progress import ProgressView
from jupyter_exec_ext.cli.run import CANCEL_SECONDS, LOST_SECONDS, TELL_LOST_SECONDS, LostError
from jupyter_exec_ext.cli.servers import Connection
from jupyter_exec_ext.client import (
    ClientError,
    ExecClient,
    NoAnswerError,
    Record,
    ServiceFailedError,
)
from jupyter_exec_ext.core.states import State

POLL_SECONDS = 0.1
"""How soon ctrl-C is seen while nothing happens."""

MAX_WAITING_EVENTS = 1_000
"""How many events wait for who shows them; then the server has to wait, which can."""

JOIN_SECONDS = 2.0

Event = Mapping[str, Any]


class EventReader:
    """Reads the events of an execution in a thread, so that a signal never waits for an event.

    When it has ended without the last event, `resume` goes on where it was.
    """

    def __init__(self, client: ExecClient, execution_id: str) -> None:
        self._client = client
        self._id = execution_id
        self._after: int | None = None
        self._items: queue.Queue[Event | ClientError | None] = queue.Queue(MAX_WAITING_EVENTS)
        self._is_left = threading.Event()
        self._has_ended = True
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A thread that waits for the server ends with its connection, or at the next heartbeat.
        self._is_left.set()
        if self._thread is not None and kind is None:
            self._thread.join(JOIN_SECONDS)

    def resume(self) -> None:
        """Ask for what follows the last event that `next` returned, unless that goes on."""
        if not self._has_ended:
            return
        self._has_ended = False
        self._thread = threading.Thread(target=self._read, args=(self._after,), daemon=True)
        self._thread.start()

    def next(self, wait_seconds: float) -> Event | None:
        """Return the next event; ``None`` when none came.

        Raises:
            NoAnswerError: The connection ended before the execution did.
            ClientError: The server does not tell.
        """
        try:
            item = self._items.get(timeout=wait_seconds)
        except queue.Empty:
            return None
        self._has_ended = item is None or isinstance(item, ClientError)
        if item is None:
            raise NoAnswerError("the server cut the connection", code="NoAnswer")
        if isinstance(item, ClientError):
            raise item
        self._after = item.get("id", self._after)
        return item

    def _read(self, after: int | None) -> None:
        last: ClientError | None = None
        try:
            for event in self._client.events(self._id, after=after):
                self._put(event)
                if self._is_left.is_set():
                    return
        except ClientError as error:
            last = error
        except (RuntimeError, ValueError):  # the client was closed, or this was no JSON
            last = None
        self._put(last)

    def _put(self, item: Event | ClientError | None) -> None:
        while not self._is_left.is_set():
            try:
                self._items.put(item, timeout=1)
            except queue.Full:
                continue
            return


def follow_command(
    record: Record,
    connection: Connection,
    events: "CommandEvents",
    wish: interrupts.Wish,
    *,
    lost_seconds: float = LOST_SECONDS,
    cancel_seconds: float = CANCEL_SECONDS,
) -> bool:
    """Show each event until the last one, and return whether it came.

    Once the user wishes it, the execution is cancelled; it did not end when that takes too long.

    Args:
        lost_seconds: How long the server may be silent.
        cancel_seconds: How long the cancelled execution may take to end.

    Raises:
        LostError: The server ended, or was silent for too long.
    """
    cancel_until: float | None = None
    is_cancelled = False
    lost_at: float | None = None
    with EventReader(connection.client, record["id"]) as reader:
        while cancel_until is None or time.monotonic() < cancel_until:
            try:
                if wish.signal_number is not None and not is_cancelled:
                    cancel_until = cancel_until or time.monotonic() + cancel_seconds
                    events.tell("cancelling; ctrl-C again gives up at once")
                    connection.client.cancel(record["id"])
                    is_cancelled = True
                event = reader.next(POLL_SECONDS)
            except (NoAnswerError, ServiceFailedError) as error:
                lost_at = lost_at or time.monotonic()
                _bear(error, record, connection, events, time.monotonic() - lost_at, lost_seconds)
                reader.resume()
                continue
            if event is not None:
                lost_at = None
                events.take(event)
                if event.get("type") == "end":
                    return True
    return False


def _bear(
    error: ClientError,
    record: Record,
    connection: Connection,
    events: "CommandEvents",
    silent_seconds: float,
    lost_seconds: float,
) -> None:
    """Wait a moment after a failure of the server; raise `LostError` when it is one too many."""
    if not connection.is_alive:
        raise LostError("the server ended while the execution ran") from error
    if silent_seconds > lost_seconds:
        raise LostError(f"{error.message}; the execution is {record['id']}") from error
    if silent_seconds > TELL_LOST_SECONDS:
        events.tell(f"the server does not answer; execution {record['id']} may go on")
    time.sleep(1)


class CommandEvents:
    """Shows the events of a command: what runs now, and what it prints.

    Args:
        steps: The commands, by step.
        output: Shows what is printed; ``None`` for nobody.
        is_starting: Whether the kernel still has to start.
    """

    def __init__(
        self,
        steps: Mapping[str, str],
        output: LiveOutput | None,
        view: ProgressView,
        *,
        is_starting: bool,
    ) -> None:
        self._is_starting = is_starting
        self._last = ""
        self._steps = steps
        self._output = output
        self._view = view

    def tell(self, message: str) -> None:
        """Say something, on a line of its own, unless it was what was shown last."""
        if message == self._last:
            return
        self._last = message
        if self._output is not None:
            self._output.break_line()
        self._view.tell(message)

    def take(self, event: Event) -> None:
        """Show an event."""
        if event.get("type") == "stream":
            self._last = ""
        match event.get("type"):
            case "stream" if self._output is not None:
                self._output.take(event)
            case "progress":
                self._show_step(event)
            case "state" if event.get("state") == State.RUNNING and self._is_starting:
                self.tell("starting the kernel")
            case "gap":
                self.tell("some of the output is missing here")

    def _show_step(self, event: Event) -> None:
        step, done, total = event.get("current_step"), event.get("done", 0), event.get("total", 0)
        if step is None:
            return
        if self._output is not None:
            self._output.break_line()
        self._view.show()
        count = f"{min(done + 1, total)}/{total}"
        message = f"{step}: {' '.join(self._steps.get(str(step), '').split())}"
        self._view.step(message, done=done, total=total, count=count)
