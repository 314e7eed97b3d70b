"""What the kernel of a session prints after the executions that started it have ended."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio

from jupyter_exec_ext.core.models import Event, EventType
from jupyter_exec_ext.engine.channels import Channel, Message
from jupyter_exec_ext.engine.events import event_of
from jupyter_exec_ext.engine.signals import Signal
from jupyter_exec_ext.services.journal import MERGE_BYTES, HeadAndTail
from jupyter_exec_ext.services.log_reader import BATCH_BYTES, PACE_SECONDS, LogReader

ENTRY_BYTES = 500
"""How much each entry counts in addition to its text: about the memory that Python needs for it."""

MAX_REQUESTS = 1_000
"""For how many requests that ended a log keeps the execution that each belonged to."""


class SessionLog:
    """The log of one session, in memory: the first and the last half of *max_bytes*.

    It takes the output of threads, tasks and processes that an execution left behind, and output
    for which the kernel names no request. Output that comes while its execution runs is in the log
    of the execution.

    Attributes:
        last_number: The number of the newest entry. A hole in the numbers shows that entries are
            missing there.
        has_news: Fires when an entry came, and when the log was closed.
        is_closed: Whether the session has ended.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.last_number = 0
        self.has_news = Signal()
        self.is_closed = False
        self._piece_length = max(1, min(MERGE_BYTES, max_bytes // 4))
        self._kept = HeadAndTail(max_bytes, max(1, max_bytes // ENTRY_BYTES))
        self._entries: dict[int, _Entry] = {}
        self._open: _Entry | None = None
        self._execution_ids: dict[str, str] = {}

    def expect(self, execution_id: str, request_ids: Iterable[str]) -> None:
        """Note the message ids of the requests of an execution that ends now."""
        self._execution_ids.update(dict.fromkeys(request_ids, execution_id))
        while len(self._execution_ids) > MAX_REQUESTS:
            del self._execution_ids[next(iter(self._execution_ids))]

    def take(self, channel: Channel, message: Message) -> None:
        """Add the printed text of a message that belongs to no execution which runs."""
        event = event_of(message) if channel == "iopub" else None
        if event is None or event[0] is not EventType.STREAM:
            return
        content = event[1]
        if content.get("left_out_bytes"):
            self._open = None
            self.last_number += 1
        execution_id = self._execution_ids.get(content.get("parent_id", ""))
        text = content["text"]
        # A character has up to four bytes.
        length = max(1, self._piece_length // 4)
        for start in range(0, len(text), length):
            piece = text[start : start + length].encode()
            self._append(content["name"], execution_id, piece)
        self.has_news.fire()

    def _append(self, name: str, execution_id: str | None, piece: bytes) -> None:
        entry = self._open
        if (
            entry is not None
            and (entry.name, entry.execution_id) == (name, execution_id)
            and len(entry.data) + len(piece) <= self._piece_length
        ):
            entry.data += piece
            dropped = self._kept.grow(len(piece))
        else:
            self.last_number += 1
            entry = _Entry(self.last_number, name, execution_id, bytearray(piece))
            self._entries[self.last_number] = self._open = entry
            dropped = self._kept.add(self.last_number, len(piece))
        for number in dropped:
            del self._entries[number]

    def events_after(self, number: int, *, max_bytes: int) -> list[Event]:
        """Return the entries that follow *number*, as events; what was returned never changes.

        Args:
            max_bytes: About how much to return at once; one entry in any case.
        """
        self._open = None
        newer: list[_Entry] = []
        # Backwards, since most readers have read all but the newest.
        for entry in reversed(self._entries.values()):
            if entry.number <= number:
                break
            newer.append(entry)
        events: list[Event] = []
        while newer and max_bytes > 0:
            entry = newer.pop()
            events.append(entry.event())
            max_bytes -= len(entry.data)
        return events

    def close(self) -> None:
        """Let readers that follow end once they have read all entries."""
        self.is_closed = True
        self.has_news.fire()


@dataclass
class _Entry:
    number: int
    name: str
    execution_id: str | None
    data: bytearray
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def event(self) -> Event:
        content: dict[str, Any] = {
            "name": self.name,
            "text": self.data.decode(),
            "execution_id": self.execution_id,
        }
        return Event(
            number=self.number, type=EventType.STREAM, cell_index=0, content=content, time=self.time
        )


class SessionLogReader(LogReader):
    """Reads the log of a session in order: each entry once, and a gap for those that are missing.

    Args:
        after: Only entries with a higher number are read.
        is_following: Whether to go on until the session ends, and not only to what there is.
    """

    def __init__(self, log: SessionLog, *, after: int, is_following: bool) -> None:
        super().__init__()
        self._log = log
        self._last_number = None if is_following else log.last_number
        self._seen_number = after

    async def read(self, *, seconds: float) -> list[Event]:
        """Return the next entries, about `BATCH_BYTES`; none when none come in *seconds*."""
        deadline = time.monotonic() + seconds
        while True:
            found = self._log.events_after(self._seen_number, max_bytes=BATCH_BYTES)
            if self._last_number is not None:
                found = [event for event in found if event.number <= self._last_number]
            if found:
                return self._with_gaps(found)
            if self._last_number is not None or self._log.is_closed:
                self.has_ended = True
                return []
            left = deadline - time.monotonic()
            if left <= 0:
                return []
            await self._wait(left)

    def _with_gaps(self, found: list[Event]) -> list[Event]:
        shown = []
        for event in found:
            lost = event.number - self._seen_number - 1
            if lost > 0:
                number = event.number - 1
                shown.append(
                    Event(
                        number=number,
                        type=EventType.GAP,
                        cell_index=0,
                        content={"lost": lost},
                        time=event.time,
                    )
                )
            shown.append(event)
            self._seen_number = event.number
        return shown

    async def _wait(self, seconds: float) -> None:
        with self._waiting():
            await self._log.has_news.wait(seconds)
            if not self._log.is_closed:
                await anyio.sleep(PACE_SECONDS)
