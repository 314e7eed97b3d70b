"""What a run printed and displayed, as one answer has it."""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from jupyter_exec_ext.core.models import Event, EventType

Item = list[Any]
STREAMS = ("stdout", "stderr")

_PICTURES = ("image/png", "image/jpeg")
_SVG = "image/svg+xml"
_HTML = "text/html"


class Console:
    """The console of one answer: neighbours of one stream are one entry.

    Args:
        max_chars: How much text of each stream it takes.

    Attributes:
        items: Pairs of a kind and its data.
    """

    def __init__(self, max_chars: int) -> None:
        self.items: list[Item] = []
        self._left = dict.fromkeys(STREAMS, max_chars)

    def add(self, kind: str, data: Any) -> int:
        """Add an entry; return how many characters of a text were taken, and 0 for what is none."""
        if kind not in self._left:
            self.items.append([kind, data])
            return 0
        text = data[: self._left[kind]]
        self._left[kind] -= len(text)
        if text and self.items and self.items[-1][0] == kind:
            self.items[-1][1] += text
        elif text:
            self.items.append([kind, text])
        return len(text)


def text_of(events: Iterable[Event]) -> str:
    """Return all text that *events* put on the console, of both streams."""
    items: list[Item | None] = []
    for event in events:
        if event.type is EventType.STREAM:
            items.append(["stdout", event.content["text"]])
        elif event.type in (EventType.OUTPUT, EventType.UPDATE):
            items.append(item_of(event.content))
    return "".join(item[1] for item in items if item is not None and item[0] in STREAMS)


def item_of(content: dict[str, Any]) -> Item | None:
    """Return what an output is on the console; ``None`` for what cannot be shown there."""
    if content["msg_type"] == "error":
        lines = content["traceback"] or [f"{content['ename']}: {content['evalue']}"]
        return ["stderr", "\n".join(lines) + "\n"]
    data = {key: _text_of(value) for key, value in content["data"].items()}
    for mime_type in _PICTURES:
        picture = "".join(data.get(mime_type, "").split())
        if picture and _is_base64(picture):
            return ["media", [mime_type, f"data:{mime_type};base64,{picture}"]]
    if _SVG in data:
        return ["media", [_SVG, data[_SVG]]]
    if _HTML in data:
        return ["html", data[_HTML]]
    if "text/plain" in data:
        return ["stdout", data["text/plain"] + "\n"]
    return None


def _text_of(value: Any) -> str:
    if isinstance(value, list):
        return "".join(line for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return False
    return True
