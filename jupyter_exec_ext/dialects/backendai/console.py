"""What a run printed and displayed, as one answer has it."""

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any

from jupyter_exec_ext.core.models import Event, EventType, code_error_message

Item = list[Any]
STREAMS = ("stdout", "stderr")

LEFT_OUT = "\n[... output left out ...]\n"

_PICTURES = ("image/png", "image/jpeg")
_SVG = "image/svg+xml"
_HTML = "text/html"
_TEXT = "text/plain"
_JSON = "application/json"


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
    items = [item_of(event) for event in events]
    return "".join(item[1] for item in items if item is not None and item[0] in STREAMS)


def item_of(event: Event) -> Item | None:
    """Return what *event* puts on the console; ``None`` for what cannot be shown there."""
    content = event.content
    match event.type:
        case EventType.STREAM:
            return [content["name"], content["text"]]
        case EventType.INPUT_REQUEST:
            return ["stdout", content["prompt"]]
        case EventType.GAP:
            return ["stdout", LEFT_OUT]
        case EventType.OUTPUT | EventType.UPDATE:
            return _item_of_output(content)
    return None


def _item_of_output(content: dict[str, Any]) -> Item | None:
    if content["msg_type"] == "error":
        lines = content["traceback"] or [code_error_message(content["ename"], content["evalue"])]
        return ["stderr", "\n".join(lines) + "\n"]
    data = {key: _text_of(value) for key, value in content["data"].items()}
    for mime_type in _PICTURES:
        picture = "".join(data.get(mime_type, "").split())
        if picture and _is_base64(picture):
            return ["media", [mime_type, f"data:{mime_type};base64,{picture}"]]
    if _SVG in data:
        return ["media", [_SVG, data[_SVG]]]
    # HTML without an element shows no more than the text: R has it for each number.
    if _HTML in data and (_TEXT not in data or "<" in data[_HTML]):
        return ["html", data[_HTML]]
    if _TEXT in data:
        return ["stdout", data[_TEXT] + "\n"]
    if _JSON in content["data"]:
        return ["media", [_JSON, json.dumps(content["data"][_JSON])]]
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
