"""What a guard writes: never waits for the one who reads, and keeps no more than it may."""

from __future__ import annotations

import base64
import os
import time
from collections import deque

MERGE_SECONDS = 0.02
MAX_BYTES_A_SECOND = 8_000_000
WRITE_BYTES = 65536
# Beyond this the order of the two streams matters less than that the pieces are few.
MAX_SHORT_ENTRIES = 32


class Outbox:
    """Lines to write: all of the beginning of what came, then no more than can be kept."""

    def __init__(self, fd: int, marker: str, limit: int, chunk: int) -> None:
        self.fd, self.marker, self.limit, self.chunk = fd, marker.encode(), limit, chunk
        self.queue: deque[tuple[str, int, bytearray]] = deque()
        self.queued = self.sent = 0
        self.totals = {"o": 0, "e": 0}
        self.line = b""
        self.due = 0.0

    def tell(self, kind: str, text: bytes) -> None:
        """Write a line at once, before what waits."""
        self.line += b"%s %s %s\n" % (self.marker, kind.encode(), text)

    def add(self, kind: str, data: bytes) -> None:
        """Take output; of what is too much the middle is left out."""
        last = self.last_of(kind)
        if last is not None and len(last) + len(data) <= self.chunk:
            last.extend(data)
        else:
            for start in range(0, len(data), self.chunk):
                offset = self.totals[kind] + start
                self.queue.append((kind, offset, bytearray(data[start : start + self.chunk])))
        self.totals[kind] += len(data)
        self.queued += len(data)
        while self.queued > self.limit and self.sent >= self.limit:
            self.queued -= len(self.queue.popleft()[2])

    def last_of(self, kind: str) -> bytearray | None:
        """Return the newest output of a stream that waits, unless the other's came after it."""
        places = 2 if len(self.queue) > MAX_SHORT_ENTRIES else 1
        for place in range(-1, -1 - min(places, len(self.queue)), -1):
            if self.queue[place][0] == kind:
                return self.queue[place][2]
        return None

    @property
    def has_room(self) -> bool:
        """Whether more may come: if not, the command has to wait."""
        return self.queued <= self.limit or self.sent >= self.limit

    @property
    def wants_to_write(self) -> bool:
        return bool(self.line) or (bool(self.queue) and self.wait_seconds() <= 0)

    def wait_seconds(self) -> float:
        """Return how long to hold back what waits, so that small pieces go together."""
        is_full = self.queue and len(self.queue[0][2]) * 2 > self.chunk
        if is_full and self.sent <= self.limit:
            return 0
        return self.due - time.monotonic()

    def write(self, *, is_last: bool = False) -> None:
        """Write what can be written without waiting."""
        while True:
            if self.line:
                try:
                    self.line = self.line[os.write(self.fd, self.line[:WRITE_BYTES]) :]
                except BlockingIOError:
                    return
            elif self.queue and (is_last or self.wait_seconds() <= 0):
                kind, offset, data = self.queue.popleft()
                self.queued -= len(data)
                self.sent += len(data)
                pace = len(data) / MAX_BYTES_A_SECOND if self.sent > self.limit else MERGE_SECONDS
                self.due = time.monotonic() + pace
                self.tell(kind, b"%d %s" % (offset, base64.b64encode(data)))
            else:
                return
