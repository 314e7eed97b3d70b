"""Reads the payloads of an ``execute_reply``, by which a kernel requests something of its client.

The messaging protocol calls them deprecated; IPython and IRkernel use them all the same.
"""

from collections.abc import Mapping
from typing import Any


def payloads_of(reply: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the payloads of *reply*, the content of an ``execute_reply``, in their order."""
    payloads = reply.get("payload")
    return [
        payload
        for payload in (payloads if isinstance(payloads, list) else ())
        if isinstance(payload, Mapping) and isinstance(payload.get("source"), str)
    ]
