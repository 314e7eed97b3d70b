"""What a guard writes, one line after the other, as text for the outputs and as how it ended."""

import base64
import binascii
import codecs
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jupyter_exec_ext.engine.channels import Message
from jupyter_exec_ext.engine.contents import clean_text
from jupyter_exec_ext.engine.languages import READING_MIME

_NAMES = {"o": "stdout", "e": "stderr"}

_MAX_EXIT_CODE = 2**31
_MAX_OFFSET = 2**53

_SIGNAL = re.compile(r"SIG[A-Z0-9+-]{1,16}|signal \d{1,3}")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a step ended.

    Attributes:
        exit_code: 128 and more for a signal; ``None`` where there was nothing to do.
        signal: The name of the signal that ended it.
    """

    exit_code: int | None = None
    signal: str | None = None


class Frames:
    """Takes the messages of one step, whose lines a *marker* begins that no other line has.

    Args:
        emit: Gets the content of a ``stream`` message for each piece of text.

    Attributes:
        has_begun: Whether the guard said anything.
        ending: How the step ended; ``None`` before that is known.
    """

    def __init__(self, marker: str, emit: Callable[[dict[str, Any]], None]) -> None:
        self._line = re.compile(rf"{marker} ([a-z]) ([0-9]+ )?([A-Za-z0-9+/=]*)")
        self._emit = emit
        self._streams = {kind: _Stream(name) for kind, name in _NAMES.items()}
        self.has_begun = False
        self.ending: Ending | None = None

    def take(self, message: Message) -> None:
        """Take what the kernel published; other output of it is left out."""
        content = message["content"]
        match message["header"]["msg_type"]:
            case "stream":
                text = content.get("text")
            case "display_data":
                data = content.get("data")
                text = data.get(READING_MIME) if isinstance(data, dict) else None
            case _:
                return
        if isinstance(text, str):
            self.take_text(text)

    def take_text(self, text: str) -> None:
        """Take lines of a guard, whole ones."""
        for kind, offset, data in self._line.findall(text):
            self.has_begun = True
            try:
                if kind in self._streams and offset:
                    raw = base64.b64decode(data, validate=True)
                    self._tell(self._streams[kind], int(offset), raw)
                elif kind == "x" and self.ending is None:
                    self._end(json.loads(base64.b64decode(data, validate=True)))
            except (binascii.Error, ValueError, TypeError, LookupError):
                # The kernel runs anybody's code: what is damaged is as good as lost.
                continue

    def _end(self, facts: dict[str, Any]) -> None:
        for kind, name in _NAMES.items():
            total = facts[f"{name}_bytes"]
            if type(total) is not int or total > _MAX_OFFSET:
                raise TypeError("no count of bytes")
            self._tell(self._streams[kind], total, b"", is_last=True)
        code, signal = facts.get("exit_code"), facts.get("signal")
        is_code = type(code) is int and 0 <= code < _MAX_EXIT_CODE
        is_signal = isinstance(signal, str) and _SIGNAL.fullmatch(signal)
        if is_code or facts.get("is_skipped") is True:
            self.ending = Ending(
                exit_code=code if is_code else None, signal=signal if is_signal else None
            )

    def _tell(self, stream: "_Stream", offset: int, data: bytes, *, is_last: bool = False) -> None:
        left_out = offset - stream.offset
        if left_out < 0 or offset > _MAX_OFFSET:
            return
        text = stream.decode(b"", is_last=True) if left_out else ""
        if text:
            self._emit({"name": stream.name, "text": clean_text(text)})
        stream.offset = offset + len(data)
        text = stream.decode(data, is_last=is_last)
        if text or left_out:
            content: dict[str, Any] = {"name": stream.name, "text": clean_text(text)}
            if left_out:
                content["left_out_bytes"] = left_out
            self._emit(content)


class _Stream:
    """One of the two streams: how many bytes came, and the character that is not whole yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def decode(self, data: bytes, *, is_last: bool) -> str:
        text = self._decoder.decode(data, final=is_last)
        if is_last:
            self._decoder.reset()
        return text
