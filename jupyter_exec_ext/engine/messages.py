"""Messages as a kernel sends them: checks their signature, decodes them, cuts huge texts.

What is kept of a huge text is found without ever building all of it.
"""

import hmac
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import msgspec
import zmq
from jupyter_client.session import DELIM, Session

Message: TypeAlias = dict[str, Any]
"""A message of the Jupyter protocol, deserialized.

That with the end of a text that was cut has ``left_out_bytes`` beside its content: how many bytes
in UTF-8 are missing before it. A large one has its ``event`` (see `engine.events`).
"""

LARGE_BYTES = 1_000_000
"""What is larger takes so long to decode that the event loop must not wait for it."""

COPIED_BYTES = 16 * 1024
"""What is larger is read where ZeroMQ put it."""

_PIECE_BYTES = 256 * 1024

_MAX_AROUND_TEXT = 200
_BEFORE_TEXT = re.compile(rb'\s*\{\s*(?:"name"\s*:\s*"(std(?:out|err))"\s*,\s*)?"text"\s*:\s*"')
_AFTER_TEXT = re.compile(rb'"\s*(?:,\s*"name"\s*:\s*"(std(?:out|err))"\s*)?\}\s*\Z')

_MAX_ESCAPE_LENGTH = len(rb"\ud83d\ude00")
_WHOLE_CHARACTERS = re.compile(
    rb"(?:[^\\]|\\[^u]|\\u(?![dD][89abAB]).{4}|\\u[dD][89abAB]..\\u[dD][c-fC-F]..)*", re.DOTALL
)


class Envelope:
    """A message that came in, of which is decoded only what tells what it is and to whom it goes.

    Nothing in it is to be trusted before `open`.

    Args:
        frames: Of ZeroMQ, whose memory this refers to.

    Raises:
        ValueError: They are no message.
        TypeError: It has not the shape that all code above relies on.
    """

    __slots__ = ("_buffers", "_signature", "_texts", "header", "parent_header")

    def __init__(self, frames: Sequence[zmq.Frame]) -> None:
        parts = [frame.bytes if len(frame) <= COPIED_BYTES else frame.buffer for frame in frames]
        start = parts.index(DELIM) + 1
        self._signature, *self._texts = parts[start : start + 5]
        self._buffers = parts[start + 5 :]
        header, parent_header, _, _ = self._texts
        if len(header) + len(parent_header) > LARGE_BYTES:
            raise ValueError("the headers are too large")
        self.header = _decode(header)
        self.parent_header = _decode_object(parent_header)
        if not isinstance(self.header, dict) or not isinstance(self.parent_header, dict):
            raise TypeError("no objects")
        if not isinstance(self.header.get("msg_type"), str):
            raise TypeError("no type")

    @property
    def is_large(self) -> bool:
        """Whether `open` takes so long that it belongs into a thread."""
        # Buffers become base64.
        return sum(map(len, self._texts)) + 2 * sum(map(len, self._buffers)) > LARGE_BYTES

    @property
    def is_middling(self) -> bool:
        """Whether thousands of such messages leave free memory behind that the system needs."""
        return len(self._texts[-1]) > COPIED_BYTES

    def open(self, msg_session: Session, *, max_text_bytes: int | None = None) -> list[Message]:
        """Return the message, as `Session.deserialize` does, but for the dates in it.

        Those are most of the cost of a small message, and nothing here looks at them.

        Args:
            max_text_bytes: Of a large ``stream`` message at least so much text is kept, its first
                and its last half, and not much more; they are two messages then. ``None``
                keeps all of it.

        Raises:
            ValueError: It is not signed as the kernel's messages are.
            TypeError: It has not the shape that all code above relies on.
        """
        if msg_session.auth is not None and not hmac.compare_digest(
            msg_session.sign(self._texts), bytes(self._signature)
        ):
            raise ValueError("the signature is wrong")
        metadata, content = self._texts[2:]
        if max_text_bytes is not None and len(content) > max(max_text_bytes, LARGE_BYTES):
            parts = self.header["msg_type"] == "stream" and _cut(content, max_text_bytes)
            if parts:
                head, left_out_bytes, tail = parts
                last = self._message(metadata, tail)
                return [self._message(metadata, head), {**last, "left_out_bytes": left_out_bytes}]
        return [self._message(metadata, _decode(content))]

    def _message(self, metadata: bytes | memoryview, content: Any) -> Message:
        if not isinstance(content, dict):
            raise TypeError("no object")
        return {
            "header": self.header,
            "msg_type": self.header["msg_type"],
            "parent_header": self.parent_header,
            "metadata": _decode_object(metadata),
            "content": content,
            "buffers": self._buffers,
        }


def _decode(text: bytes | memoryview) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # What kernels really send has NaN, lone surrogates, and bytes of file names.
        return json.loads(str(text, "utf-8", "replace"))


def _decode_object(text: bytes | memoryview) -> Any:
    """Decode an object that may be empty, for which xeus sends ``null``."""
    value = _decode(text)
    return {} if value is None else value


def _cut(
    content: bytes | memoryview, max_text_bytes: int
) -> tuple[dict[str, Any], int, dict[str, Any]] | None:
    """Return beginning and end of what a ``stream`` message says, and the bytes between them.

    Returns:
        ``None`` if nothing has to be left out, or *content* says more than a name and a text.
    """
    before = _BEFORE_TEXT.match(content, 0, _MAX_AROUND_TEXT)
    after = _AFTER_TEXT.search(content, len(content) - _MAX_AROUND_TEXT)
    if before is None or after is None or (before[1] is None) == (after[1] is None):
        return None
    head: list[str] = []
    tail: deque[tuple[str, int]] = deque()
    half = (max_text_bytes + 1) // 2
    head_bytes = tail_bytes = left_out_bytes = 0
    try:
        for text in _pieces(memoryview(content)[before.end() : after.start()]):
            size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
            if head_bytes < half:
                head.append(text)
                head_bytes += size
                continue
            tail.append((text, size))
            tail_bytes += size
            while tail_bytes - tail[0][1] >= half:
                size = tail.popleft()[1]
                tail_bytes -= size
                left_out_bytes += size
    except ValueError:
        return None
    if not left_out_bytes:
        return None
    name = (before[1] or after[1]).decode()
    ends = ("".join(head), "".join(text for text, _ in tail))
    return {"name": name, "text": ends[0]}, left_out_bytes, {"name": name, "text": ends[1]}


def _pieces(raw: memoryview) -> Iterator[str]:
    """Decode the inside of a JSON string piece by piece.

    Raises:
        ValueError: It is no such thing.
    """
    start = 0
    while start < len(raw):
        end = _boundary(raw, start)
        yield _decode(b"".join((b'"', raw[start:end], b'"')))
        start = end


def _boundary(raw: memoryview, start: int) -> int:
    """Return where a piece ends that begins at *start* and cuts no character and no escape."""
    end = start + _PIECE_BYTES
    if end >= len(raw):
        return len(raw)
    for _ in range(3):
        if raw[end] & 0xC0 == 0x80:
            end -= 1
    # Only what follows an odd number of backslashes is escaped.
    last = end - _MAX_ESCAPE_LENGTH
    piece = bytes(raw[start:last])
    last += (len(piece) - len(piece.rstrip(b"\\"))) % 2
    match = _WHOLE_CHARACTERS.match(raw, last, end)
    assert match is not None
    return match.end()
