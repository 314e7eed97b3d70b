"""How events look to clients: as server-sent events, and as lines of JSON."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from jupyter_exec_ext.core.models import Event, EventType
from jupyter_exec_ext.services.merging import MergedEvent

SSE_HEARTBEAT = b": heartbeat\n\n"
NDJSON_HEARTBEAT = b'{"type":"heartbeat"}\n'

_OF_OUTPUTS = ("output_type", "data", "metadata", "execution_count", "ename", "evalue", "traceback")

Encoding = Callable[[Iterable[Event]], bytes]


def encode_sse(events: Iterable[Event]) -> bytes:
    """Return *events* as server-sent events, whose ``data`` is one line of JSON."""
    return b"".join(
        b"id: %s\nevent: %s\ndata: %s\n\n"
        % (_position_of(event).encode(), event.type.value.encode(), _one_line(event))
        for event in events
    )


def encode_ndjson(events: Iterable[Event]) -> bytes:
    """Return *events* as lines of JSON."""
    return b"".join(_one_line(event) + b"\n" for event in events)


def _position_of(event: Event) -> str:
    """Return what a client sends as ``Last-Event-ID`` to get what follows *event*."""
    return event.cursor if isinstance(event, MergedEvent) else str(event.number)


def _one_line(event: Event) -> bytes:
    data = msgspec.json.encode(event_view(event))
    # What JSON takes for a letter many clients take for the end of a line.
    for separator in ("\x85", "\u2028", "\u2029"):
        data = data.replace(separator.encode(), b"\\u%04x" % ord(separator))
    return data


def event_view(event: Event) -> dict[str, Any]:
    """Return *event* as clients see it."""
    shown: dict[str, Any] = {"id": event.number, "type": event.type.value}
    if event.time is not None:
        shown["time"] = event.time
    if isinstance(event, MergedEvent):
        shown["execution_id"] = event.execution_id
        shown["cursor"] = event.cursor
    content = event.content
    match event.type:
        case EventType.ERROR:
            return {**shown, "error": content}
        case EventType.STREAM if "execution_id" in content:  # Of the log of a session.
            return {**shown, **{key: value for key, value in content.items() if value is not None}}
        case EventType.STREAM:
            more = {"name": content["name"], "text": content["text"]}
        case EventType.OUTPUT:
            output = {"output_type": content["msg_type"], **content}
            more = {"output": {key: output[key] for key in _OF_OUTPUTS if key in output}}
            if "transient" in content:
                more["display_id"] = content["transient"]["display_id"]
        case EventType.UPDATE:
            display_id = content["transient"]["display_id"]
            more = {"display_id": display_id, "data": content["data"]}
            more["metadata"] = content["metadata"]
        case EventType.PAYLOAD:
            more = {"payload": content["payload"]}
        case EventType.CLEAR:
            more = {"wait": content["wait"]}
        case EventType.EXECUTION_COUNT:
            more = {"execution_count": content["execution_count"]}
        case _:
            return {**shown, **content}
    if "step" in content:
        return {**shown, "step": content["step"], **more}
    return {**shown, "cell_index": event.cell_index, **more}
