"""Stream text as JupyterLab shows it, kept head and tail within a budget.

``\\n`` ends a line, ``\\r`` goes back to its start, where what comes then overwrites, and ``\\b``
deletes (`_Line.delete`). Finished lines never change, so they can be counted, cut and forgotten.
What a text is does not depend on how it was cut into chunks.
"""

import re
from collections import OrderedDict, deque

_CONTROL = re.compile(r"[\b]+|\r+")

MAX_LINE_LENGTH = 100_000
"""In characters. What is further before the cursor is finished: ``\\r`` does not reach it."""

MAX_OPEN_LINES = 100
"""How many lines of a run can be written to; the one that was left alone longest is finished."""

_STEP_LENGTH = 1_000_000
_PIECE_LENGTH = 4_096
_MAX_PIECES = 1_024
_BLOCK_BYTES = 16 * 1024


class StreamBudget:
    """How much finished stream text a run may hold: the first half of it and the last half.

    Attributes:
        lost_bytes: How much was forgotten between the two.
        max_line_length: Of a line that is not finished, and so not counted yet.
    """

    def __init__(self, max_bytes: int) -> None:
        self._head_left = max_bytes // 2
        self._tail_left = max_bytes - max_bytes // 2
        self._tail: OrderedDict[_Block, None] = OrderedDict()
        self._open: OrderedDict[StreamText, None] = OrderedDict()
        self.lost_bytes = 0
        self.max_line_length = min(MAX_LINE_LENGTH, max_bytes // 8)

    @property
    def is_head_full(self) -> bool:
        """Whether text that comes now is kept only as long as it is among the last half."""
        return bool(self._tail)

    def add(self, owner: "StreamText", text: str) -> None:
        """Keep *text* for *owner*, in the head while there is room, and then in the tail."""
        for start in range(0, len(text), _STEP_LENGTH):
            self._add(owner, _encode(text[start : start + _STEP_LENGTH]))

    def _add(self, owner: "StreamText", data: bytes) -> None:
        if not self._tail and not owner.lost_bytes:
            cut = _boundary_before(data, self._head_left)
            self._head_left -= cut
            owner.head += data[:cut]
            data = data[cut:]
        start = 0
        while start < len(data):
            end = _boundary_before(data, start + _BLOCK_BYTES)
            self._add_to_tail(owner, data[start:end])
            start = end

    def _add_to_tail(self, owner: "StreamText", data: bytes) -> None:
        block = owner.tail[-1] if owner.tail else None
        if block is None or len(block.data) + len(data) > _BLOCK_BYTES:
            block = _Block(owner)
            owner.tail.append(block)
            self._tail[block] = None
        block.data += data
        self._tail_left -= len(data)
        while self._tail_left < 0:
            self._cut_oldest(-self._tail_left)

    def _cut_oldest(self, size: int) -> None:
        block = next(iter(self._tail))
        cut = _boundary_after(block.data, size)
        del block.data[:cut]
        self._tail_left += cut
        self.lost_bytes += cut
        block.owner.lost_bytes += cut
        if not block.data:
            del self._tail[block]
            del block.owner.tail[0]

    def touch(self, owner: "StreamText") -> None:
        """Note that *owner*'s line was written to just now."""
        self._open[owner] = None
        self._open.move_to_end(owner)
        if len(self._open) > MAX_OPEN_LINES:
            next(iter(self._open)).finish_line()

    def forget_line(self, owner: "StreamText") -> None:
        """Note that *owner* has no line any more that can be written to."""
        self._open.pop(owner, None)

    def release(self, owner: "StreamText") -> None:
        """Give back what *owner* held: its output was cleared."""
        self._head_left += len(owner.head)
        for block in owner.tail:
            del self._tail[block]
            self._tail_left += len(block.data)
        self.lost_bytes -= owner.lost_bytes
        self._open.pop(owner, None)


class StreamText:
    """The text of one stream output."""

    __slots__ = ("_budget", "_line", "head", "lost_bytes", "tail")

    def __init__(self, budget: StreamBudget) -> None:
        self._budget = budget
        self.head = bytearray()
        self.tail: list[_Block] = []
        self.lost_bytes = 0
        self._line: _Line | None = None

    def append(self, text: str) -> None:
        """Append *text* as JupyterLab would."""
        for start in range(0, len(text), _STEP_LENGTH):
            # `\r` then `\n` is what `\n` alone is, in one chunk and in two.
            self._append(text[start : start + _STEP_LENGTH].replace("\r\n", "\n"))
        self._budget.touch(self)

    def _append(self, text: str) -> None:
        if self._line is None:
            self._line = _Line(self._budget.max_line_length)
        start = 0
        # Looking for one character is many times faster than the expression.
        controls = _CONTROL.finditer(text) if "\r" in text or "\b" in text else ()
        for match in controls:
            self._write(self._line, text[start : match.start()])
            start = match.end()
            if match[0][0] == "\r":
                self._line.go_to_start()
            else:
                self._line.delete(len(match[0]))
        self._write(self._line, text[start:])

    def _write(self, line: "_Line", text: str) -> None:
        first, newline, rest = text.partition("\n")
        finished = line.write(first)
        if newline:
            # A new line begins after all of the old one, wherever the cursor was in it.
            others, newline, rest = f"\n{rest}".rpartition("\n")
            finished = "".join((finished, line.take(), others, newline, line.write(rest)))
        if finished:
            self._budget.add(self, finished)

    def leave_out(self, size: int) -> None:
        """Count *size* bytes as lost that would have come now."""
        self.finish_line()
        self.lost_bytes += size
        self._budget.lost_bytes += size

    def finish_line(self) -> None:
        """Count the open line as finished; what comes then begins a line of its own."""
        if self._line is not None:
            self._budget.add(self, self._line.take())
            self._line = None
        self._budget.forget_line(self)

    @property
    def value(self) -> str:
        """The text; where some was forgotten, a line says how much."""
        gap = f"\n[... {self.lost_bytes} bytes left out ...]\n" if self.lost_bytes else ""
        tail = b"".join(block.data for block in self.tail)
        line = self._line.text if self._line is not None else ""
        return "".join((_decode(self.head), gap, _decode(tail), line))


class _Block:
    """Some finished text in the tail."""

    __slots__ = ("data", "owner")

    def __init__(self, owner: StreamText) -> None:
        self.owner = owner
        self.data = bytearray()


class _Line:
    """The line that is written, in short pieces: no change of it costs more than a piece."""

    __slots__ = ("_after", "_before", "_before_length", "_max_length")

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self._before: deque[str] = deque()
        self._before_length = 0
        # The text after the cursor, the piece next to the cursor last.
        self._after: list[str] = []

    @property
    def text(self) -> str:
        return "".join((*self._before, *reversed(self._after)))

    def take(self) -> str:
        """Return the line and begin a new one."""
        text = self.text
        self._before.clear()
        self._after.clear()
        self._before_length = 0
        return text

    def write(self, text: str) -> str:
        """Write *text*, which has no control characters, at the cursor, over what is there.

        Returns:
            What is finished now, since it is too far before the cursor.
        """
        for start in range(0, len(text), _PIECE_LENGTH):
            self._before.append(text[start : start + _PIECE_LENGTH])
        self._before_length += len(text)
        self._drop_after(len(text))
        if len(self._before) > _MAX_PIECES:
            whole = "".join(self._before)
            self._before = deque(
                whole[start : start + _PIECE_LENGTH]
                for start in range(0, len(whole), _PIECE_LENGTH)
            )
        return self._cut(self._before_length - self._max_length)

    def _cut(self, length: int) -> str:
        cut = []
        while length > 0:
            piece = self._before.popleft()
            if len(piece) > length:
                self._before.appendleft(piece[length:])
                piece = piece[:length]
            cut.append(piece)
            length -= len(piece)
            self._before_length -= len(piece)
        return "".join(cut)

    def go_to_start(self) -> None:
        while self._before:
            self._after.append(self._before.pop())
        self._before_length = 0

    def delete(self, count: int) -> None:
        """Delete so many characters before the cursor and, as JupyterLab does, each time the one
        after it.
        """
        while count > 0 and self._before:
            piece = self._before.pop()
            deleted = min(count, len(piece))
            if deleted < len(piece):
                self._before.append(piece[:-deleted])
            self._before_length -= deleted
            self._drop_after(deleted)
            count -= deleted

    def _drop_after(self, length: int) -> None:
        while length > 0 and self._after:
            piece = self._after.pop()
            if len(piece) > length:
                self._after.append(piece[length:])
            length -= len(piece)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decode(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "surrogatepass")


def _is_inside_character(data: bytes | bytearray, index: int) -> bool:
    return index < len(data) and data[index] & 0xC0 == 0x80


def _boundary_before(data: bytes, index: int) -> int:
    """Return the last place at or before *index* where a character begins or *data* ends."""
    index = min(index, len(data))
    while _is_inside_character(data, index):
        index -= 1
    return index


def _boundary_after(data: bytearray, index: int) -> int:
    """Return the first place at or after *index* where a character begins or *data* ends."""
    index = min(index, len(data))
    while _is_inside_character(data, index):
        index += 1
    return index


def size_of(text: str) -> int:
    """Return how many bytes *text* has in UTF-8, without making a copy of all of it."""
    if text.isascii():
        return len(text)
    return sum(
        len(_encode(text[start : start + _STEP_LENGTH]))
        for start in range(0, len(text), _STEP_LENGTH)
    )
