"""The account of one run while it runs: takes its events, folds them, writes them in groups."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import anyio

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import ExecutionNotFoundError, StoreUnavailableError
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import CellResult, Event, EventType, Truncation
from jupyter_exec_ext.engine.channels import KernelChannels
from jupyter_exec_ext.engine.outputs import OutputFold
from jupyter_exec_ext.engine.signals import Signal
from jupyter_exec_ext.engine.sizes import measure, size_as_json
from jupyter_exec_ext.engine.streams import size_of
from jupyter_exec_ext.services.events import encode_events, without_large_parts
from jupyter_exec_ext.services.held import HeldText
from jupyter_exec_ext.store.store import EventRow, Store

WRITE_SECONDS = 0.2
"""For how long events are gathered before they are written together."""

HOLD_SECONDS = 1.0
"""For how long much text that may become the kept tail is held before it is folded and written."""

MERGE_BYTES = 64 * 1024
"""Neighbouring stream chunks become one event until it has this size; larger ones are divided."""

CLOSE_SECONDS = 0.02
"""For how long at least the newest event takes more text before those who follow may read it."""

RECENT_BYTES = 1_000_000
"""Events that are written stay in memory for those who follow, if they are no more than this."""


class Journal:
    """Takes a run's events (a `core.ports.Sink`), within limits, and knows what they add up to.

    Whoever follows the run reads the newest events from memory (`events_after`) and older ones
    from the store; nothing is kept for them.

    Attributes:
        has_uncounted: Set when output was lost before it came here.
        last_number: That of the newest event.
        has_news: Fires when something came.
        covered_number: Later events are in memory, earlier ones only in the store.
    """

    def __init__(
        self, execution_id: str, *, store: Store, fold: OutputFold, limits: Limits
    ) -> None:
        self._execution_id = execution_id
        self._store = store
        self._fold = fold
        self._limits = limits
        self.last_number = 0
        self.covered_number = 0
        self._taken_number = 0
        self._total_bytes = 0
        self._refused_bytes = 0
        self.has_uncounted = False
        self._kept_streams = HeadAndTail(limits.max_stream_bytes, limits.max_events)
        self._kept_others = HeadAndTail(limits.max_output_bytes, limits.max_events)
        self._pending: dict[int, Entry] = {}
        self._recent: dict[int, Entry] = {}
        self._open: Entry | None = None
        self._close_time = 0.0
        self._held = HeldText(limits.max_stream_bytes - limits.max_stream_bytes // 2)
        self._fold_time = 0.0
        self._to_drop: list[int] = []
        self.has_news = Signal()
        self._write_lock = anyio.Lock()

    def emit(self, event_type: EventType, content: dict[str, Any], *, cell_index: int) -> None:
        """Take one event; *content* is not changed by the caller afterwards."""
        if event_type is EventType.STREAM:
            self._emit_stream(content, cell_index)
        else:
            self._emit_other(event_type, content, cell_index)
        self.has_news.fire()

    def tell(self, event_type: EventType, content: dict[str, Any]) -> None:
        """Take an event that tells of the execution itself: small, and always kept.

        The end is told by `closing_events`, once the final record is stored.
        """
        self._fold_held()
        self._append(event_type, content, cell_index=0, size=size_as_json(content))
        self.has_news.fire()

    def _emit_stream(self, content: dict[str, Any], cell_index: int) -> None:
        left_out = content.pop("left_out_bytes", 0)
        text = content["text"]
        size = size_of(text)
        self._total_bytes += left_out + size
        if self._kept_streams.is_head_full and self._fold.is_head_full:
            self._held.add(content, cell_index, size, left_out_bytes=left_out)
            if self._held.has_many:
                self._fold_held()
            return
        self._take_text(content, cell_index, left_out)

    def _fold_held(self, *, after_seconds: float = 0.0) -> None:
        """Fold the text that is held, and make events of it.

        Args:
            after_seconds: Much text stays held until the last fold is so long ago.
        """
        now = time.monotonic()
        if not self._held or (self._held.is_much and now - self._fold_time < after_seconds):
            return
        self._fold_time = now
        dropped, chunks = self._held.take()
        for cell_index, size in dropped.items():
            self._leave_out(size, cell_index)
        while chunks:  # Each is free as soon as it is folded.
            content, cell_index, _ = chunks.popleft()
            self._take_text(content, cell_index, 0)
        self.has_news.fire()

    def _take_text(self, content: dict[str, Any], cell_index: int, left_out: int) -> None:
        if left_out:
            self._leave_out(left_out, cell_index)
        text = content["text"]
        half = self._limits.max_stream_bytes // 2
        if len(text) <= 2 * max(half, MERGE_BYTES):
            self._emit_text(content, text, cell_index)
            return
        # Of so much text at once no more than this can be kept; the rest is only counted.
        head, tail = text[:half], text[-half:]
        self._emit_text(content, head, cell_index)
        self._leave_out(size_of(text) - size_of(head) - size_of(tail), cell_index)
        self._emit_text(content, tail, cell_index)

    def _leave_out(self, size: int, cell_index: int) -> None:
        self._fold.leave_out(cell_index, size)
        self._close_open()
        self.last_number += 1  # The hole shows that something is missing here.

    def _emit_text(self, content: dict[str, Any], text: str, cell_index: int) -> None:
        for start in range(0, max(1, len(text)), MERGE_BYTES):
            piece = {**content, "text": text[start : start + MERGE_BYTES]}
            self._fold.apply(_event(0, EventType.STREAM, cell_index, piece))
            self._append_text(piece, cell_index)

    def _append_text(self, content: dict[str, Any], cell_index: int) -> None:
        text = content["text"]
        size = size_of(text)
        if self._open is not None and self._open.takes(content, cell_index):
            self._open.parts.append(text)
            self._open.size_bytes += size
            self._forget(self._kept_streams.grow(size))
            return
        self._open = self._append(EventType.STREAM, content, cell_index, size)
        self._open.parts.append(text)
        self._forget(self._kept_streams.add(self.last_number, size))

    def _emit_other(self, event_type: EventType, content: dict[str, Any], cell_index: int) -> None:
        self._fold_held()
        size, counted_bytes = measure(content)
        self._total_bytes += size
        if counted_bytes > self._limits.max_display_bytes:
            reduced = without_large_parts(content, self._limits.max_display_bytes)
            if reduced is None:
                self._refused_bytes += size
                return
            content = reduced
            smaller, counted_bytes = measure(content)
            # The note on what was left out can be longer than that.
            self._refused_bytes += max(1, size - smaller)
            size = smaller
        growth = self._fold.growth_of(content, cell_index)
        is_too_much = self._fold.shown_bytes + growth > self._limits.max_output_bytes
        if (growth > 0 and is_too_much) or not self._fold.has_place_for(content, cell_index):
            self._refused_bytes += size
            return
        entry = self._append(event_type, content, cell_index, counted_bytes)
        self._fold.apply(entry.event)
        self._forget(self._kept_others.add(self.last_number, counted_bytes))

    def _append(
        self, event_type: EventType, content: dict[str, Any], cell_index: int, size: int
    ) -> "Entry":
        self._close_open()
        self.last_number += 1
        event = _event(self.last_number, event_type, cell_index, content)
        entry = Entry(replace(event, time=datetime.now(UTC)), size)
        self._pending[self.last_number] = entry
        return entry

    def _close_open(self) -> None:
        if self._open is not None:
            self._open.event.content["text"] = "".join(self._open.parts)
            self._open.parts.clear()
            self._open = None
            self._close_time = time.monotonic()

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if self._pending.pop(number, None) is None:
                self._to_drop.append(number)

    def connect(self, channels: KernelChannels) -> None:
        """Let widgets send to the kernel that the run has from now on."""
        self._fold.connect(channels.msg_session, channels.send_comm)

    def set_execution_count(self, cell_index: int, count: int | None) -> None:
        """Take the kernel's prompt number of a cell; a number that is not new adds no event."""
        if count is None or count == self._fold.execution_count(cell_index):
            return
        self._fold_held()
        content = {"execution_count": count}
        size = size_as_json(content)
        entry = self._append(EventType.EXECUTION_COUNT, content, cell_index, size)
        self._fold.apply(entry.event)
        self.has_news.fire()

    def execution_count(self, cell_index: int) -> int | None:
        """Return the kernel's prompt number of a cell; ``None`` while it has none."""
        return self._fold.execution_count(cell_index)

    def cells(self, indexes: Iterable[int]) -> list[CellResult]:
        """Return what these cells have published so far; the outputs must not be changed."""
        self._fold_held()
        return self._fold.cells(indexes)

    @property
    def truncated(self) -> Truncation | None:
        """How much of the output was kept; ``None`` when all of it."""
        self._fold_held()
        lost = self._fold.lost_bytes + self._refused_bytes
        if not lost and not self.has_uncounted:
            return None
        return Truncation(
            kept_bytes=self._total_bytes - lost,
            total_bytes=self._total_bytes,
            has_uncounted=self.has_uncounted,
        )

    def widget_metadata(self) -> dict[str, Any]:
        """Return the ``widgets`` entry of the notebook's metadata, empty without widgets."""
        self._fold_held()
        return self._fold.widget_metadata()

    def settle(self) -> int:
        """Let the newest event take no more, so that it can be read; return its number."""
        self._fold_held()
        self._close_open()
        return self.last_number

    def events_after(self, number: int, *, max_bytes: int) -> list[Event] | None:
        """Return events that follow *number*; ``None`` when the store has to be read first.

        The newest is left out while it may still take more text: what was read never changes.

        Args:
            max_bytes: About how much to return at once; one event in any case.
        """
        if number < self.covered_number:
            return None
        if time.monotonic() - self._close_time >= CLOSE_SECONDS:
            self._fold_held(after_seconds=WRITE_SECONDS)
            self._close_open()
        newer: list[Entry] = []
        # Backwards, since most who follow have read all but the newest.
        for entry in chain(reversed(self._pending.values()), reversed(self._recent.values())):
            if entry.event.number <= number:
                break
            if entry is not self._open:
                newer.append(entry)
        events: list[Event] = []
        while newer and max_bytes > 0:
            entry = newer.pop()
            events.append(entry.event)
            max_bytes -= entry.size_bytes
        return events

    async def keep_written(self) -> None:
        """Write events soon after they come, until cancelled; a failing store is tried again."""
        while True:
            if not self._pending and not self._held and not self._to_drop:
                await self.has_news.wait(60)
            await anyio.sleep(WRITE_SECONDS)
            try:
                await self.flush()
            except (StoreUnavailableError, ExecutionNotFoundError):
                # The events stay, within the limits; they are stored with the final record.
                await anyio.sleep(1)

    async def flush(self) -> None:
        """Write what is not written yet.

        Raises:
            StoreUnavailableError: It could not be written, and is kept for the next time.
            ExecutionNotFoundError: The record was removed; the same.
        """
        with anyio.CancelScope(shield=True):
            async with self._write_lock:
                self._fold_held(after_seconds=HOLD_SECONDS)
                entries, drop = self._take_pending()
                if not entries and not drop:
                    return
                rows = await rows_of(entries)
                try:
                    await self._store.append_events(self._execution_id, rows, drop=drop)
                except (StoreUnavailableError, ExecutionNotFoundError):
                    self.put_back(entries, drop)
                    raise
                if sum(entry.size_bytes for entry in self._recent.values()) > RECENT_BYTES:
                    self._recent = {}
                    self.covered_number = self._taken_number

    async def finish_writing(self) -> None:
        """Wait until what was taken before is written."""
        async with self._write_lock:
            pass

    def take(self) -> tuple[list["Entry"], list[int]]:
        """Return what to write (see `rows_of`) and the numbers of rows to delete, and forget both.

        Until the next time the events stay in memory for those who follow.
        """
        self._fold_held()
        return self._take_pending()

    def _take_pending(self) -> tuple[list["Entry"], list[int]]:
        self._close_open()
        if self._pending:
            newest = self._pending[max(self._pending)]
            newest.event = replace(newest.event, published_bytes=self._total_bytes)
            self._recent, self._pending = self._pending, {}
            self.covered_number, self._taken_number = self._taken_number, self.last_number
            entries = [*self._recent.values()]
        else:
            entries = []
        drop, self._to_drop = self._to_drop, []
        return entries, drop

    def put_back(self, entries: list["Entry"], drop: list[int]) -> None:
        """Take back what `take` returned, since it could not be written."""
        again = {entry.event.number: entry for entry in entries}
        for number in self._to_drop:
            again.pop(number, None)
        self._pending = {**again, **self._pending}
        self._to_drop = drop + self._to_drop
        if entries:
            self._recent = {}
            self._taken_number = self.covered_number

    def discard(self) -> None:
        """Forget what is not written, since it cannot be; its numbers are not used again."""
        self._fold_held()
        self._pending, self._recent, self._open, self._to_drop = {}, {}, None, []
        self.covered_number = self._taken_number = self.last_number


@dataclass
class Entry:
    """An event in memory.

    Attributes:
        parts: Its text while chunks can be added: it is not written, nor was it ever tried.
    """

    event: Event
    size_bytes: int
    parts: list[str] = field(default_factory=list)

    def takes(self, content: dict[str, Any], cell_index: int) -> bool:
        """Whether a chunk belongs to this event."""
        own = self.event.content
        return (
            self.event.cell_index == cell_index
            and own["name"] == content["name"]
            and own.get("parent_id") == content.get("parent_id")
            and self.size_bytes < MERGE_BYTES
        )


async def rows_of(entries: list[Entry]) -> list[EventRow]:
    """Return *entries* as they are stored; runs in a thread when they are large."""
    events = [entry.event for entry in entries]
    if sum(entry.size_bytes for entry in entries) > threads.LARGE_BYTES:
        return await threads.run_sync(encode_events, events)
    return encode_events(events)


class HeadAndTail:
    """Which events are kept: the first half of the budget and the last half."""

    def __init__(self, max_bytes: int, max_events: int) -> None:
        self._head_left = max_bytes // 2
        self._tail_left = max_bytes - max_bytes // 2
        self._tail: deque[tuple[int, int]] = deque()
        # Each event counts for so much more that the budget holds no more of them.
        self._event_bytes = max(1, max_bytes // max_events)

    @property
    def is_head_full(self) -> bool:
        """Whether what comes now is kept only as long as it is among the last half."""
        return bool(self._tail)

    def add(self, number: int, size: int) -> list[int]:
        """Count event *number*; return the numbers of those that are kept no longer."""
        size += self._event_bytes
        if size <= self._head_left and not self._tail:
            self._head_left -= size
            return []
        self._tail.append((number, 0))
        return self.grow(size)

    def grow(self, size: int) -> list[int]:
        """Count *size* more bytes of the newest event; return what is kept no longer."""
        if not self._tail:
            self._head_left -= size
            return []
        number, before = self._tail.pop()
        self._tail.append((number, before + size))
        self._tail_left -= size
        dropped = []
        while self._tail_left < 0 and len(self._tail) > 1:
            number, freed = self._tail.popleft()
            self._tail_left += freed
            dropped.append(number)
        return dropped


def _event(number: int, event_type: EventType, cell_index: int, content: dict[str, Any]) -> Event:
    return Event(number=number, type=event_type, cell_index=cell_index, content=content)
