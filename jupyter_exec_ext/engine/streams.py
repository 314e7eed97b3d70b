"""Stream text as JupyterLab shows it, kept head and tail within a budget.

``\\n`` ends a line, ``\\r`` goes back to its start and ``\\b`` one character back; what comes then
overwrites. Finished lines never change, so they can be counted, cut and forgotten.
"""

import re
from collections import deque

_CONTROL = re.compile(r"[\b\r\n]")

MAX_LINE_LENGTH = 1_000_000
"""Of a longer line the beginning counts as finished: ``\\r`` does not reach it any more."""


class StreamBudget:
    """How much finished stream text a run may hold: the first half of it and the last half.

    Attributes:
        lost_bytes: How much was forgotten between the two.
    """

    def __init__(self, max_bytes: int) -> None:
        self._head_left = max_bytes // 2
        self._tail_left = max_bytes - max_bytes // 2
        self._tail: deque[tuple[StreamText, str, int]] = deque()
        self.lost_bytes = 0

    def add(self, owner: "StreamText", text: str) -> None:
        """Keep *text* for *owner*, in the head while there is room, and then in the tail."""
        size = _size(text)
        if size <= self._head_left and not self._tail:
            self._head_left -= size
            owner.head.append(text)
            owner.head_bytes += size
            return
        if size > self._head_left + self._tail_left and len(text) > 1:
            # One chunk larger than all: cut it, so that its own head and tail can be kept.
            middle = max(1, min(self._head_left, len(text) // 2))
            self.add(owner, text[:middle])
            self.add(owner, text[middle:])
            return
        owner.tail.append(text)
        self._tail.append((owner, text, size))
        self._tail_left -= size
        while self._tail_left < 0 and self._tail:
            oldest, _, oldest_size = self._tail.popleft()
            self._tail_left += oldest_size
            self.lost_bytes += oldest_size
            oldest.tail.popleft()
            oldest.lost_bytes += oldest_size

    def release(self, owner: "StreamText") -> None:
        """Give back what *owner* held: its output was cleared."""
        self._head_left += owner.head_bytes
        if owner.tail:
            kept = deque(entry for entry in self._tail if entry[0] is not owner)
            self._tail_left += sum(entry[2] for entry in self._tail) - sum(
                entry[2] for entry in kept
            )
            self._tail = kept
        self.lost_bytes -= owner.lost_bytes


class StreamText:
    """The text of one stream output."""

    def __init__(self, budget: StreamBudget) -> None:
        self._budget = budget
        self.head: list[str] = []
        self.tail: deque[str] = deque()
        self.head_bytes = 0
        self.lost_bytes = 0
        self._line = ""
        self._cursor = 0

    def append(self, text: str) -> None:
        """Append *text* as a terminal would."""
        if self._cursor == len(self._line) and "\r" not in text and "\b" not in text:
            finished, newline, rest = text.rpartition("\n")
            if newline:
                self._budget.add(self, f"{self._line}{finished}\n")
                self._line = rest
            else:
                self._line += text
            self._cursor = len(self._line)
        else:
            self._append_with_control(text)
        if len(self._line) > MAX_LINE_LENGTH:
            self._budget.add(self, self._line)
            self._line, self._cursor = "", 0

    def _append_with_control(self, text: str) -> None:
        start = 0
        for match in _CONTROL.finditer(text):
            self._write(text[start : match.start()])
            start = match.end()
            if match[0] == "\n":
                self._budget.add(self, f"{self._line}\n")
                self._line, self._cursor = "", 0
            elif match[0] == "\r":
                self._cursor = 0
            else:
                self._cursor = max(0, self._cursor - 1)
        self._write(text[start:])

    def _write(self, text: str) -> None:
        end = self._cursor + len(text)
        self._line = self._line[: self._cursor] + text + self._line[end:]
        self._cursor = end

    @property
    def value(self) -> str:
        """The text; where some was forgotten, a line says how much."""
        gap = [f"\n[... {self.lost_bytes} bytes left out ...]\n"] if self.lost_bytes else []
        return "".join([*self.head, *gap, *self.tail, self._line])


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
