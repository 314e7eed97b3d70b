"""The connection to one kernel: sends requests and routes what comes back by its parent.

`KernelChannels` is all that the code above knows; a kernel that is reached in another way than
by ZeroMQ needs another implementation of it and nothing else.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import zmq
from jupyter_client.session import Session

from jupyter_exec_ext.engine.events import read_event
from jupyter_exec_ext.engine.memory import FreedMemory
from jupyter_exec_ext.engine.messages import Envelope
from jupyter_exec_ext.engine.messages import Message as Message
from jupyter_exec_ext.engine.numbering import MessageNumbers

RequestChannel: TypeAlias = Literal["shell", "control", "stdin"]

Channel: TypeAlias = RequestChannel | Literal["iopub"]

Handler: TypeAlias = Callable[[Channel, Message], None]

MAX_QUEUED_MESSAGES = 20_000
"""How many messages ZeroMQ holds for us while the event loop is busy, before it drops some."""

BATCH_SECONDS = 0.005
"""For how long at most messages of one channel are taken before all else has its turn."""

RECONNECT_MILLISECONDS = 10
"""Instead of ZeroMQ's 100: a fresh kernel binds its ports a moment after we connect."""


class KernelChannels(Protocol):
    """An open connection to one kernel."""

    def send(
        self,
        msg_type: str,
        content: dict[str, Any],
        *,
        channel: RequestChannel,
        subshell_id: str | None = None,
    ) -> str:
        """Send one message and return its message id.

        Args:
            channel: ``stdin`` takes the ``input_reply`` to an ``input_request``.
            subshell_id: Which subshell of the kernel has to do it; ``None`` is the main shell.
        """

    def subscribe(
        self, msg_id: str, handler: Handler, *, max_text_bytes: int | None = None
    ) -> None:
        """Call *handler* for each message whose parent is *msg_id*, until `unsubscribe`.

        Args:
            max_text_bytes: How much stream text of a message *handler* can use. Of a message with
                much more it gets the beginning and the end, as two messages (see `Message`).
                ``None`` gives it everything.
        """

    def unsubscribe(self, msg_id: str) -> None:
        """Forget the handler of *msg_id*, if there is one."""

    def subscribe_late(self, handler: Handler, *, max_text_bytes: int, takes_all: bool) -> None:
        """Call *handler* for printed text that belongs to a request without a handler.

        Args:
            max_text_bytes: See `subscribe`.
            takes_all: Whether it gets all such text; else only that of requests of this connection.
        """

    def send_comm(self, message: Message) -> None:
        """Send a ready-made message on the shell channel, for widgets."""

    @property
    def msg_session(self) -> Session:
        """What makes and signs this connection's messages."""

    @property
    def is_busy(self) -> bool:
        """Whether a message has come that takes its time before it is handed on."""

    @property
    def can_be_asked(self) -> bool:
        """Whether a question of the kernel's code would arrive."""

    @property
    def missing_count(self) -> int:
        """How many IOPub messages did not arrive since the connection opened, as far as known.

        The count can fall, since messages can arrive out of order.
        """

    def close(self) -> None:
        """Close the connection; closing twice is allowed."""


class ZmqChannels:
    """ZeroMQ sockets to a kernel on this machine, driven by the event loop without any task.

    Args:
        kernel_manager: The server's manager of this one kernel, which must run.
        on_lifecycle: Called with the IOPub messages that tell of the process, not of a request:
            ``shutdown_reply``, and ``status`` of ``starting``, ``restarting`` or ``dead``.
    """

    def __init__(
        self, kernel_manager: Any, *, on_lifecycle: Callable[[Message], None], log: logging.Logger
    ) -> None:
        # A Session of its own: clients that share one have the same ZeroMQ identity, and the
        # older one silently loses its replies (jupyter_client's `km.client()` shares it).
        self._msg_session = Session(
            key=kernel_manager.session.key,
            signature_scheme=kernel_manager.session.signature_scheme,
        )
        self._on_lifecycle = on_lifecycle
        self._log = log
        self._subscriptions: dict[str, _Subscription] = {}
        self._late: _Subscription | None = None
        self._late_takes_all = False
        self._streams: dict[Channel, Any] = {}
        self._opening: set[Channel] = set()
        self._numbers = MessageNumbers()
        self._freed_memory = FreedMemory()
        channels: tuple[Channel, ...] = ("iopub", "shell", "control", "stdin")
        for channel in channels:
            # The manager connects, since it knows the transport and its encryption keys.
            self._streams[channel] = stream = getattr(kernel_manager, f"connect_{channel}")()
            if channel == "stdin":
                stream.socket.setsockopt(zmq.IMMEDIATE, 1)  # Shows when it is connected.
            _reconnect(stream.socket, self._msg_session.bsession)
            self._listen(channel)

    @property
    def msg_session(self) -> Session:
        """What makes and signs this connection's messages."""
        return self._msg_session

    @property
    def is_busy(self) -> bool:
        """Whether a message has come that takes its time before it is handed on."""
        return bool(self._opening)

    @property
    def can_be_asked(self) -> bool:
        """Whether the kernel has our stdin channel; until then it drops its questions."""
        events = self._streams["stdin"].socket.getsockopt(zmq.EVENTS)
        return bool(events & zmq.POLLOUT)

    @property
    def missing_count(self) -> int:
        """How many IOPub messages did not arrive since the connection opened, as far as known."""
        return self._numbers.missing_count

    def send(
        self,
        msg_type: str,
        content: dict[str, Any],
        *,
        channel: RequestChannel,
        subshell_id: str | None = None,
    ) -> str:
        """Send one message and return its message id."""
        message = self._msg_session.msg(msg_type, content)
        if subshell_id is not None:
            message["header"]["subshell_id"] = subshell_id
        self._msg_session.send(self._streams[channel], message)
        msg_id: str = message["header"]["msg_id"]
        return msg_id

    def send_comm(self, message: Message) -> None:
        """Send a ready-made message on the shell channel, for widgets."""
        self._msg_session.send(self._streams["shell"], message)

    def subscribe(
        self, msg_id: str, handler: Handler, *, max_text_bytes: int | None = None
    ) -> None:
        """Call *handler* for each message whose parent is *msg_id*, until `unsubscribe`."""
        self._subscriptions[msg_id] = _Subscription(handler, max_text_bytes)

    def unsubscribe(self, msg_id: str) -> None:
        """Forget the handler of *msg_id*, if there is one."""
        self._subscriptions.pop(msg_id, None)

    def subscribe_late(self, handler: Handler, *, max_text_bytes: int, takes_all: bool) -> None:
        """Call *handler* for printed text that belongs to a request without a handler."""
        self._late = _Subscription(handler, max_text_bytes)
        self._late_takes_all = takes_all

    def close(self) -> None:
        """Close the sockets; closing twice is allowed."""
        for stream in self._streams.values():
            if not stream.closed():
                stream.close(linger=0)
        self._subscriptions.clear()

    def _listen(self, channel: Channel) -> None:
        self._streams[channel].on_recv(partial(self._receive, channel), copy=False)

    def _receive(self, channel: Channel, frames: Sequence[zmq.Frame]) -> None:
        """Take a message, and with it those behind it: each call of this costs as much as a few."""
        stream = self._streams[channel]
        until = time.thread_time() + BATCH_SECONDS
        self._take(channel, frames)
        while not stream.closed() and stream.receiving() and time.thread_time() < until:
            try:
                frames = stream.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._take(channel, frames)

    def _take(self, channel: Channel, frames: Sequence[zmq.Frame]) -> None:
        with self._skipping(channel):
            envelope = Envelope(frames)
            if channel == "iopub":
                self._numbers.note(envelope.header)
            elif channel == "stdin":
                self._numbers.note_elsewhere()
            subscription = self._subscription_of(channel, envelope.header, envelope.parent_header)
            if subscription is not None:
                max_text_bytes = subscription.max_text_bytes
            elif channel == "iopub" and envelope.header["msg_type"] in _LIFECYCLE_TYPES:
                max_text_bytes = None
            else:
                return  # Another client's.
            open_envelope = partial(envelope.open, self._msg_session, max_text_bytes=max_text_bytes)
            if envelope.is_large:
                self._open_aside(channel, open_envelope)
            else:
                if envelope.is_middling:
                    self._freed_memory.expect()
                self._hand_on(channel, open_envelope())

    def _open_aside(self, channel: Channel, open_envelope: Callable[[], list[Message]]) -> None:
        """Open a message in a thread, and make its event; what follows it on its channel waits."""

        def open_and_read() -> list[Message]:
            return [read_event(message) for message in open_envelope()]

        self._opening.add(channel)
        self._freed_memory.expect()
        self._streams[channel].stop_on_recv()
        # The threads are the event loop's own, so that it is done with them when it ends.
        future = asyncio.get_running_loop().run_in_executor(None, open_and_read)
        future.add_done_callback(partial(self._go_on, channel))

    def _go_on(self, channel: Channel, opened: asyncio.Future[list[Message]]) -> None:
        self._opening.discard(channel)
        with self._skipping(channel):
            self._hand_on(channel, opened.result())
        if not self._streams[channel].closed():
            self._listen(channel)

    def _hand_on(self, channel: Channel, messages: list[Message]) -> None:
        for message in messages:
            subscription = self._subscription_of(
                channel, message["header"], message["parent_header"]
            )
            if subscription is not None:
                subscription.handler(channel, message)
            elif channel == "iopub" and _is_lifecycle(message):
                self._on_lifecycle(message)

    def _subscription_of(
        self, channel: Channel, header: dict[str, Any], parent_header: dict[str, Any]
    ) -> "_Subscription | None":
        parent_id = parent_header.get("msg_id")
        found = self._subscriptions.get(parent_id) if isinstance(parent_id, str) else None
        if found is not None or channel != "iopub" or header["msg_type"] != "stream":
            return found
        is_own = parent_header.get("session") == self._msg_session.session
        return self._late if is_own or self._late_takes_all else None

    @contextmanager
    def _skipping(self, channel: Channel) -> Iterator[None]:
        """Leave out a message that cannot be read, or that its handler cannot take."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - one bad message must not end the stream
            # Never the message itself: it may hold anything.
            self._log.warning("a message on %s is not valid: %s", channel, type(error).__name__)


class _Subscription(NamedTuple):
    handler: Handler
    max_text_bytes: int | None


_LIFECYCLE_TYPES = ("status", "shutdown_reply")


def _is_lifecycle(message: Message) -> bool:
    if message["msg_type"] == "status":
        return message["content"].get("execution_state") in ("starting", "restarting", "dead")
    return bool(message["msg_type"] == "shutdown_reply")


def _reconnect(socket: zmq.Socket[bytes], identity: bytes) -> None:
    """Connect *socket* again with our options, which only bind at connection time.

    Only this second connection has the *identity*, which is the same on all channels, since a
    kernel sends an ``input_request`` to the identity that its parent came from. Had the first one
    it too, a kernel that still sees that one would silently refuse the second.
    """
    endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    socket.disconnect(endpoint)
    socket.setsockopt(zmq.ROUTING_ID, identity)
    socket.setsockopt(zmq.RCVHWM, MAX_QUEUED_MESSAGES)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MILLISECONDS)
    socket.connect(endpoint)
