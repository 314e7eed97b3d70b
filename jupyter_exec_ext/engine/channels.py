"""The connection to one kernel: sends requests and routes what comes back by its parent.

`KernelChannels` is all that the code above knows; a kernel that is reached in another way than
by ZeroMQ needs another implementation of it and nothing else.
"""

import logging
from collections.abc import Callable
from functools import partial
from types import NoneType
from typing import Any, Literal, Protocol, TypeAlias

import zmq
from jupyter_client.session import Session

Message: TypeAlias = dict[str, Any]
"""A message of the Jupyter protocol, deserialized."""

Channel: TypeAlias = Literal["shell", "control", "iopub"]

MAX_QUEUED_MESSAGES = 100_000
"""How many messages ZeroMQ holds for us while the event loop is busy, before it drops some."""

RECONNECT_MILLISECONDS = 10
"""Instead of ZeroMQ's 100: a fresh kernel binds its ports a moment after we connect."""


class KernelChannels(Protocol):
    """An open connection to one kernel."""

    def send(
        self, msg_type: str, content: dict[str, Any], *, channel: Literal["shell", "control"]
    ) -> str:
        """Send one request and return its message id."""

    def subscribe(self, msg_id: str, handler: Callable[[Channel, Message], None]) -> None:
        """Call *handler* for each message whose parent is *msg_id*, until `unsubscribe`."""

    def unsubscribe(self, msg_id: str) -> None:
        """Forget the handler of *msg_id*, if there is one."""

    def send_comm(self, message: Message) -> None:
        """Send a ready-made message on the shell channel, for widgets."""

    @property
    def msg_session(self) -> Session:
        """What makes and signs this connection's messages."""

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
        self._handlers: dict[str, Callable[[Channel, Message], None]] = {}
        self._streams: dict[Channel, Any] = {}
        channels: tuple[Channel, ...] = ("iopub", "shell", "control")
        for channel in channels:
            # The manager connects, since it knows the transport and its encryption keys.
            connect = getattr(kernel_manager, f"connect_{channel}")
            stream = connect(identity=self._msg_session.bsession)
            _reconnect(stream.socket)
            stream.on_recv(partial(self._receive, channel))
            self._streams[channel] = stream

    @property
    def msg_session(self) -> Session:
        """What makes and signs this connection's messages."""
        return self._msg_session

    def send(
        self, msg_type: str, content: dict[str, Any], *, channel: Literal["shell", "control"]
    ) -> str:
        """Send one request and return its message id."""
        message = self._msg_session.msg(msg_type, content)
        self._msg_session.send(self._streams[channel], message)
        msg_id: str = message["header"]["msg_id"]
        return msg_id

    def send_comm(self, message: Message) -> None:
        """Send a ready-made message on the shell channel, for widgets."""
        self._msg_session.send(self._streams["shell"], message)

    def subscribe(self, msg_id: str, handler: Callable[[Channel, Message], None]) -> None:
        """Call *handler* for each message whose parent is *msg_id*, until `unsubscribe`."""
        self._handlers[msg_id] = handler

    def unsubscribe(self, msg_id: str) -> None:
        """Forget the handler of *msg_id*, if there is one."""
        self._handlers.pop(msg_id, None)

    def close(self) -> None:
        """Close the sockets; closing twice is allowed."""
        for stream in self._streams.values():
            if not stream.closed():
                stream.close(linger=0)
        self._handlers.clear()

    def _receive(self, channel: Channel, parts: list[bytes]) -> None:
        try:
            _, frames = self._msg_session.feed_identities(parts)
            message = self._msg_session.deserialize(frames)
            parent_id = _parent_of(message)
        except (AttributeError, ValueError, TypeError, KeyError, RecursionError) as error:
            # Never the message itself: it may hold anything.
            self._log.warning("a message on %s is not valid: %s", channel, type(error).__name__)
            return
        handler = self._handlers.get(parent_id) if parent_id is not None else None
        if handler is not None:
            handler(channel, message)
        elif channel == "iopub" and _is_lifecycle(message):
            self._on_lifecycle(message)


def _parent_of(message: Message) -> str | None:
    """Return the id of the request that *message* belongs to; ``None`` when to none.

    Raises:
        TypeError: What all code above relies on is not as the protocol says.
    """
    msg_type = message["header"]["msg_type"]
    parent_id = message["parent_header"].get("msg_id")
    if not isinstance(message["content"], dict) or not isinstance(msg_type, str):
        raise TypeError("content or msg_type")
    if not isinstance(parent_id, (str, NoneType)):
        raise TypeError("msg_id")
    return parent_id


def _is_lifecycle(message: Message) -> bool:
    if message["header"]["msg_type"] == "status":
        return message["content"].get("execution_state") in ("starting", "restarting", "dead")
    return bool(message["header"]["msg_type"] == "shutdown_reply")


def _reconnect(socket: zmq.Socket[bytes]) -> None:
    """Connect *socket* again with our options, which only bind at connection time."""
    endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    socket.disconnect(endpoint)
    socket.setsockopt(zmq.RCVHWM, MAX_QUEUED_MESSAGES)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MILLISECONDS)
    socket.connect(endpoint)
