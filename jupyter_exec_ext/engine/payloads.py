"""Reads the payloads of an ``execute_reply``, by which a kernel requests something of its client.

The messaging protocol calls them deprecated; IPython and IRkernel use them all the same.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from jupyter_exec_ext.core.models import EventType
from jupyter_exec_ext.engine.contents import as_json, checked_content
from jupyter_exec_ext.engine.sizes import measured

MAX_PAYLOADS = 100
"""How many payloads of one reply are read."""


def payloads_of(reply: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the payloads of *reply*, the content of an ``execute_reply``, in their order."""
    payloads = reply.get("payload")
    return [
        payload
        for payload in (payloads[:MAX_PAYLOADS] if isinstance(payloads, list) else ())
        if isinstance(payload, Mapping) and isinstance(payload.get("source"), str)
    ]


def payload_events(reply: Mapping[str, Any]) -> list[tuple[EventType, dict[str, Any]]]:
    """Return the payloads of *reply* as events; see `engine.events.event_of` for their contents.

    A page (``obj?``, R's ``?name``) is shown as an output, as JupyterLab does. What is left out
    is a page without data.
    """
    return list(_events(payloads_of(reply)))


def _events(
    payloads: Iterable[Mapping[str, Any]],
) -> Iterable[tuple[EventType, dict[str, Any]]]:
    for payload in payloads:
        if payload["source"] != "page":
            yield EventType.PAYLOAD, measured({"msg_type": "payload", "payload": as_json(payload)})
        elif content := checked_content("display_data", payload):
            page = {**content, "metadata": {}, "msg_type": "display_data"}
            yield EventType.OUTPUT, measured(page)
