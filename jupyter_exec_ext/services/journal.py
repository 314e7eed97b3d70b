"""The account of one run while it runs: takes its events, folds them, writes them in groups."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import msgspec

from jupyter_exec_ext.core.errors import StoreUnavailableError
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import CellResult, Event, EventType, Truncation
from jupyter_exec_ext.engine.kernels import Signal
from jupyter_exec_ext.engine.outputs import OutputFold
from jupyter_exec_ext.engine.streams import size_of
from jupyter_exec_ext.store.store import Store

WRITE_SECONDS = 0.2
"""For how long events are gathered before they are written together."""

MERGE_BYTES = 64 * 1024
"""Neighbouring stream chunks become one event until it has this size; larger ones are divided."""

MAX_EVENTS = 500_000
"""About how many events of a run are stored, however small they are."""


class Journal:
    """Takes a run's events (a `core.ports.Sink`), within limits, and knows what they add up to.

    Attributes:
        has_uncounted: Set when output was lost before it came here.
    """

    def __init__(
        self, execution_id: str, *, store: Store, fold: OutputFold, limits: Limits
    ) -> None:
        self._execution_id = execution_id
        self._store = store
        self._fold = fold
        self._limits = limits
        self._number = 0
        self._total_bytes = 0
        self._refused_bytes = 0
        self.has_uncounted = False
        self._kept_streams = _HeadAndTail(limits.max_stream_bytes)
        self._kept_others = _HeadAndTail(limits.max_output_bytes)
        self._pending: dict[int, Event] = {}
        self._open: _OpenStream | None = None
        self._to_drop: list[int] = []
        self._has_news = Signal()
        self._write_lock = anyio.Lock()

    def emit(self, event_type: EventType, content: dict[str, Any], *, cell_index: int) -> None:
        """Take one event; *content* is not changed by the caller afterwards."""
        if event_type is EventType.STREAM:
            self._emit_stream(content, cell_index)
        else:
            self._emit_other(event_type, content, cell_index)
        self._has_news.fire()

    def _emit_stream(self, content: dict[str, Any], cell_index: int) -> None:
        left_out = content.pop("left_out_bytes", 0)
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
        self._total_bytes += size
        self._fold.leave_out(cell_index, size)
        self._close_open()
        self._number += 1  # The hole shows that something is missing here.

    def _emit_text(self, content: dict[str, Any], text: str, cell_index: int) -> None:
        for start in range(0, max(1, len(text)), MERGE_BYTES):
            piece = {**content, "text": text[start : start + MERGE_BYTES]}
            self._fold.apply(_event(0, EventType.STREAM, cell_index, piece))
            self._append_text(piece, cell_index)

    def _append_text(self, content: dict[str, Any], cell_index: int) -> None:
        text = content["text"]
        size = size_of(text)
        self._total_bytes += size
        if self._open is not None and self._open.takes(content, cell_index):
            self._open.parts.append(text)
            self._open.size_bytes += size
            self._forget(self._kept_streams.grow(size))
            return
        event = self._append(EventType.STREAM, content, cell_index)
        self._open = _OpenStream(event, parts=[text], size_bytes=size)
        self._forget(self._kept_streams.add(self._number, size))

    def _emit_other(self, event_type: EventType, content: dict[str, Any], cell_index: int) -> None:
        size = _size_as_json(content)
        self._total_bytes += size
        if size > self._limits.max_display_bytes:
            reduced = _without_large_parts(content, self._limits.max_display_bytes)
            if reduced is None:
                self._refused_bytes += size
                return
            content = reduced
            smaller = _size_as_json(content)
            self._refused_bytes += size - smaller
            size = smaller
        growth = self._fold.growth_of(content, cell_index)
        if growth > 0 and self._fold.shown_bytes + growth > self._limits.max_output_bytes:
            self._refused_bytes += size
            return
        event = self._append(event_type, content, cell_index)
        self._fold.apply(event)
        self._forget(self._kept_others.add(self._number, size))

    def _append(self, event_type: EventType, content: dict[str, Any], cell_index: int) -> Event:
        self._close_open()
        self._number += 1
        event = _event(self._number, event_type, cell_index, content)
        self._pending[self._number] = event
        return event

    def _close_open(self) -> None:
        if self._open is not None:
            self._open.event.content["text"] = "".join(self._open.parts)
            self._open = None

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if self._pending.pop(number, None) is None:
                self._to_drop.append(number)

    def set_execution_count(self, cell_index: int, count: int | None) -> None:
        """Note the kernel's prompt number of a cell."""
        self._fold.set_execution_count(cell_index, count)

    def cells(self, indexes: Iterable[int]) -> list[CellResult]:
        """Return what these cells have published so far; the outputs must not be changed."""
        return self._fold.cells(indexes)

    @property
    def truncated(self) -> Truncation | None:
        """How much of the output was kept; ``None`` when all of it."""
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
        return self._fold.widget_metadata()

    async def keep_written(self) -> None:
        """Write events soon after they come, until cancelled; a failing store is tried again."""
        while True:
            if not self._pending and not self._to_drop:
                await self._has_news.wait(60)
            await anyio.sleep(WRITE_SECONDS)
            try:
                await self.flush()
            except StoreUnavailableError:
                # The events stay, within the limits; the final record says if the store was lost.
                await anyio.sleep(1)

    async def flush(self) -> None:
        """Write what is not written yet.

        Raises:
            StoreUnavailableError: It could not be written, and is kept for the next time.
        """
        with anyio.CancelScope(shield=True):
            async with self._write_lock:
                rows, drop = self.take()
                if not rows and not drop:
                    return
                try:
                    await self._store.append_events(self._execution_id, rows, drop=drop)
                except StoreUnavailableError:
                    self.put_back(rows, drop)
                    raise

    def take(self) -> tuple[list[tuple[int, bytes]], list[int]]:
        """Return the rows to write and the numbers of rows to delete, and forget both."""
        self._close_open()
        if self._pending:
            last = max(self._pending)
            self._pending[last] = replace(self._pending[last], published_bytes=self._total_bytes)
        rows = [(number, msgspec.json.encode(event)) for number, event in self._pending.items()]
        drop = self._to_drop
        self._pending, self._to_drop = {}, []
        return rows, drop

    def put_back(self, rows: list[tuple[int, bytes]], drop: list[int]) -> None:
        """Take back what `take` returned, since it could not be written."""
        again = {number: decode_event(payload) for number, payload in rows}
        for number in self._to_drop:
            again.pop(number, None)
        self._pending = {**again, **self._pending}
        self._to_drop = drop + self._to_drop


@dataclass
class _OpenStream:
    """The newest event while chunks can be added to it: it is not written, nor was it ever tried.

    Attributes:
        parts: Its text, joined when it is closed.
    """

    event: Event
    parts: list[str] = field(default_factory=list)
    size_bytes: int = 0

    def takes(self, content: dict[str, Any], cell_index: int) -> bool:
        """Whether a chunk belongs to this event."""
        own = self.event.content
        return (
            self.event.cell_index == cell_index
            and own["name"] == content["name"]
            and own.get("parent_id") == content.get("parent_id")
            and self.size_bytes < MERGE_BYTES
        )


class _HeadAndTail:
    """Which events are kept in the store: the first half of the budget and the last half."""

    def __init__(self, max_bytes: int) -> None:
        self._head_left = max_bytes // 2
        self._tail_left = max_bytes - max_bytes // 2
        self._tail: deque[tuple[int, int]] = deque()
        self._event_bytes = max(1, max_bytes // MAX_EVENTS)

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


def _without_large_parts(content: dict[str, Any], max_bytes: int) -> dict[str, Any] | None:
    """Return *content* within *max_bytes*; ``None`` when nothing sensible is left of it.

    Parts of a display are left out whole, the largest first, and named: a picture is never cut.
    """
    changed = dict(content)
    match content["msg_type"]:
        case "display_data" | "execute_result" | "update_display_data":
            changed["data"], left_out = _smaller_bundle(content["data"], max_bytes // 2)
            metadata = content["metadata"]
            if _size_as_json(metadata) > max_bytes // 4:
                metadata = {}
            changed["metadata"] = {**metadata, "jupyter_exec_ext": {"left_out": left_out}}
        case "error":
            # A character has at most six bytes in JSON.
            changed["ename"] = content["ename"][: max_bytes // 32]
            changed["evalue"] = content["evalue"][: max_bytes // 32]
            changed["traceback"] = ["[traceback left out]"]
    return changed if _size_as_json(changed) <= max_bytes else None


def _smaller_bundle(data: dict[str, Any], max_bytes: int) -> tuple[dict[str, Any], list[str]]:
    """Return what of *data* fits into *max_bytes*, and the types that do not, largest first."""
    sizes = {key: _size_as_json(value) for key, value in data.items()}
    kept = dict(data)
    left_out = []
    for key in sorted(sizes, key=lambda key: -sizes[key]):
        if sum(sizes[key] for key in kept) <= max_bytes:
            break
        left_out.append(key)
        del kept[key]
    note = "".join(f"[{key}, {sizes[key]} bytes, left out]" for key in left_out)
    return {**kept, "text/plain": kept.get("text/plain", note)}, left_out


def _size_as_json(value: Any) -> int:
    return len(msgspec.json.encode(value))


def published_bytes_of(event: Event) -> int:
    """Return how much of what the run published *event* holds."""
    if event.type is EventType.STREAM:
        return size_of(event.content["text"])
    return _size_as_json(event.content)


def decode_event(payload: bytes) -> Event:
    """Return the event of a stored row."""
    return msgspec.json.decode(payload, type=Event)
