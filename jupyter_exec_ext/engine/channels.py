"""The connection to one kernel: sends requests and routes what comes back by its parent.

`KernelChannels` is all that the code above knows; a kernel that is reached in another way than
by ZeroMQ needs another implementation of it and nothing else.
"""

import hmac
import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
import zmq
from jupyter_client.session import DELIM, Session

Message: TypeAlias = dict[str, Any]
"""A message of the Jupyter protocol, deserialized."""

Channel: TypeAlias = Literal["shell", "control", "iopub", "stdin"]

MAX_QUEUED_MESSAGES = 20_000
"""How many messages ZeroMQ holds for us while the event loop is busy, before it drops some."""

RECONNECT_MILLISECONDS = 10
"""Instead of ZeroMQ's 100: a fresh kernel binds its ports a moment after we connect."""


class KernelChannels(Protocol):
    """An open connection to one kernel."""

    def send(
        self,
        msg_type: str,
        content: dict[str, Any],
        *,
        channel: Literal["shell", "control", "stdin"],
        subshell_id: str | None = None,
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
        channels: tuple[Channel, ...] = ("iopub", "shell", "control", "stdin")
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
        self,
        msg_type: str,
        content: dict[str, Any],
        *,
        channel: Literal["shell", "control", "stdin"],
        subshell_id: str | None = None,
    ) -> str:
        """Send one request and return its message id."""
        message = self._msg_session.msg(msg_type, content)
        if subshell_id is not None:
            message["header"]["subshell_id"] = subshell_id
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
            self._route(channel, _deserialize(self._msg_session, parts))
        except Exception as error:  # noqa: BLE001 - one bad message must not end the stream
            # Never the message itself: it may hold anything.
            self._log.warning("a message on %s is not valid: %s", channel, type(error).__name__)

    def _route(self, channel: Channel, message: Message) -> None:
        parent_id = message["parent_header"].get("msg_id")
        handler = self._handlers.get(parent_id) if isinstance(parent_id, str) else None
        if handler is not None:
            handler(channel, message)
        elif channel == "iopub" and _is_lifecycle(message):
            self._on_lifecycle(message)


def _deserialize(msg_session: Session, parts: list[bytes]) -> Message:
    """Return the message in *parts*, as `Session.deserialize` does, but for the dates in it.

    Those are most of the cost of a small message, and nothing here looks at them.

    Raises:
        ValueError: It is not signed as the kernel's messages are.
        TypeError: It has not the shape that all code above relies on.
    """
    frames = parts[parts.index(DELIM) + 1 :]
    signature, *texts = frames[:5]
    if msg_session.auth is not None and not hmac.compare_digest(
        msg_session.sign(texts), bytes(signature)
    ):
        raise ValueError("the signature is wrong")
    header, parent_header, metadata, content = map(_decode, texts)
    message = {
        "header": header,
        "msg_type": header["msg_type"],
        "parent_header": parent_header,
        "metadata": metadata,
        "content": content,
        "buffers": frames[5:],
    }
    if not isinstance(parent_header, dict) or not isinstance(content, dict):
        raise TypeError("no objects")
    if not isinstance(message["msg_type"], str):
        raise TypeError("no type")
    return message


def _decode(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        # The standard library takes what kernels really send: NaN, and lone surrogates.
        return json.loads(text)


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
