"""What a kernel's messages mean for the outputs of a cell, as events."""

import base64
from typing import Any

from jupyter_exec_ext.core.models import EventType
from jupyter_exec_ext.engine.contents import checked_content
from jupyter_exec_ext.engine.messages import Message
from jupyter_exec_ext.engine.sizes import measured

_TYPE_OF = {
    "stream": EventType.STREAM,
    "display_data": EventType.OUTPUT,
    "execute_result": EventType.OUTPUT,
    "error": EventType.OUTPUT,
    "update_display_data": EventType.UPDATE,
    "clear_output": EventType.CLEAR,
    "comm_open": EventType.COMM,
    "comm_msg": EventType.COMM,
}

KernelEvent = tuple[EventType, dict[str, Any]]
"""The type and the content of an event."""


def read_event(message: Message) -> Message:
    """Return *message* together with its event, so that `event_of` need not make it again."""
    return {**message, "event": event_of(message)}


def event_of(message: Message) -> KernelEvent | None:
    """Return what *message* means for the outputs of its cell; ``None`` when nothing.

    The content can be encoded as JSON in UTF-8, whatever the kernel sent (`engine.contents`).
    In addition to the content of the message it has ``msg_type`` (but for streams), ``parent_id``,
    the message id of the parent, where there is one, for widgets base64 ``buffers``, and for the
    end of a text that was cut ``left_out_bytes``: how much is missing before it.
    """
    if "event" in message:
        event: KernelEvent | None = message["event"]
        return event
    header, parent = message.get("header"), message.get("parent_header")
    msg_type = header.get("msg_type") if isinstance(header, dict) else None
    event_type = _TYPE_OF.get(msg_type) if isinstance(msg_type, str) else None
    if event_type is None:
        return None
    content = checked_content(str(msg_type), message.get("content"))
    if content is None:
        return None
    if event_type is not EventType.STREAM:
        content["msg_type"] = msg_type
    elif "left_out_bytes" in message:
        content["left_out_bytes"] = message["left_out_bytes"]
    if event_type is EventType.COMM:
        buffers = message.get("buffers") or ()
        content["buffers"] = [base64.b64encode(buffer).decode() for buffer in buffers]
    parent_id = parent.get("msg_id") if isinstance(parent, dict) else None
    if isinstance(parent_id, str):
        content["parent_id"] = parent_id
    return event_type, content if event_type is EventType.STREAM else measured(content)
