"""Following an execution while it runs and after it: its events, and its log as their fold."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import anyio

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import ServerStoppingError, StoreUnavailableError
from jupyter_exec_ext.core.models import Event, EventType
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.services.events import closing_events, decode_event
from jupyter_exec_ext.services.live import Live
from jupyter_exec_ext.services.log_reader import BATCH_BYTES, PACE_SECONDS, LogReader
from jupyter_exec_ext.services.session_log import SessionLog, SessionLogReader
from jupyter_exec_ext.services.shares import Shares
from jupyter_exec_ext.store.store import EventRow, Store

BATCH_EVENTS = 5_000

ELSEWHERE_POLL_SECONDS = 0.5
"""How often the store is asked for news of an execution that another server process runs."""

RETRY_SECONDS = 1.0
"""When a store that failed is asked again."""

INLINE_BYTES = 64_000
"""What is larger is decoded in a thread."""

LEFT_OUT = b"\n[... output left out ...]\n"


class Follower(LogReader):
    """Reads the events of one execution in order: each once, and a gap for those that are lost.

    The first one, number 0, says that the execution is pending; it is not stored.

    Args:
        after: Only what follows this number; ``None`` for all.
        is_following: Whether to go on to the end of the execution, and not only to what there is.

    """

    def __init__(
        self,
        execution_id: str,
        *,
        after: int | None,
        is_following: bool,
        store: Store,
        live_of: Callable[[str], Live | None],
    ) -> None:
        super().__init__()
        self._id = execution_id
        self._store = store
        self._live_of = live_of
        self._is_following = is_following
        self._is_new = after is None
        self._created_time: datetime | None = None
        self._seen_number = after or 0
        self._read_number = after or 0
        self._last_number: int | None = None
        self._has_begun = False
        self._is_final = False

    @property
    def has_news(self) -> bool:
        """Whether there may be events to read; true where only the store can tell."""
        live = self._live_of(self._id)
        if live is None or live.execution.state.is_final:
            return True
        return live.journal is not None and live.journal.last_number > self._read_number

    async def read(self, *, seconds: float) -> list[Event]:
        """Return the next events, about `BATCH_BYTES` of them; none when none come in *seconds*.

        A store that fails is tried again, but not for the first read.

        Raises:
            ExecutionNotFoundError: There is no such execution, or no longer.
            StoreUnavailableError: The store failed at the first read.
        """
        deadline = time.monotonic() + seconds
        while not self.has_ended:
            try:
                found = await self._next()
                events = self._note(found)
                self._has_begun = True
            except StoreUnavailableError:
                if not self._has_begun:
                    raise
                found = events = []
                await anyio.sleep(RETRY_SECONDS)
            left = deadline - time.monotonic()
            if events or (not found and left <= 0):
                return events
            if not found and not self.has_ended:
                await self._wait(left)
        return []

    async def _next(self) -> list[Event]:
        """Return what is there to read now."""
        live = self._live_of(self._id)
        if self._is_new:
            execution = await self._store.get(self._id) if live is None else live.execution
            self._created_time = execution.created_time
        if live is None:
            return await self._next_stored()
        journal = live.journal
        if journal is not None:
            if not self._is_following and self._last_number is None:
                # What a log showed is there after a crash too, if the store allows it.
                with suppress(StoreUnavailableError):
                    await journal.flush()
                self._last_number = journal.settle()
            while True:
                covered_number = journal.covered_number
                found = journal.events_after(self._read_number, max_bytes=BATCH_BYTES)
                found = await self._read_store() if found is None else found
                if found:
                    return found
                if self._read_number >= covered_number:
                    break
                # All that was stored up to there was dropped again.
                self._read_number = covered_number
        if live.execution.state.is_final:
            # The store fails: what ended is kept in memory.
            return closing_events(
                live.execution, after=journal.last_number if journal is not None else 0
            )
        self.has_ended = not self._is_following
        return []

    async def _next_stored(self) -> list[Event]:
        while not (found := await self._read_store()):
            if self._is_final or not self._is_following:
                self.has_ended = True
                break
            # Its last events are stored together with the final state.
            execution = await self._store.get(self._id)
            self._is_final = execution.state.is_final
            if not self._is_final:
                break
        return found

    async def _read_store(self) -> list[Event]:
        rows = await self._store.events(
            self._id, after=self._read_number, limit=BATCH_EVENTS, max_bytes=BATCH_BYTES
        )
        if sum(len(payload) for _, payload in rows) <= INLINE_BYTES:
            return _decoded(rows)
        return await threads.run_sync(_decoded, rows)

    def _note(self, found: list[Event]) -> list[Event]:
        """Return what a reader is shown of the events *found*, and remember that they were."""
        shown = []
        if self._is_new:
            content = {"state": State.PENDING.value}
            shown.append(_event(0, EventType.STATE, content, self._created_time))
            self._is_new = False
        for event in found:
            if self._last_number is not None and event.number > self._last_number:
                self.has_ended = True
                break
            if event.number > self._seen_number + 1:
                shown.append(_gap(self._seen_number, event))
            if event.number > self._seen_number and event.type is not EventType.COMM:
                shown.append(event)
            self._seen_number = max(self._seen_number, event.number)
            self.has_ended = event.type is EventType.END
        self._read_number = max(self._read_number, self._seen_number)
        return shown

    async def _wait(self, seconds: float) -> None:
        """Wait for news, and for more of them to come with them."""
        with self._waiting():
            live = self._live_of(self._id)
            if live is None:
                await anyio.sleep(min(seconds, ELSEWHERE_POLL_SECONDS))
            elif live.journal is None:
                await live.changed.wait(seconds)
            else:
                if live.journal.last_number <= self._read_number:
                    await live.journal.has_news.wait(seconds)
                await anyio.sleep(PACE_SECONDS)


class Following:
    """All who follow an execution of this server, no more than *max_streams* at the same time."""

    def __init__(
        self, *, store: Store, live_of: Callable[[str], Live | None], max_streams: int
    ) -> None:
        self._store = store
        self._live_of = live_of
        self._shares = Shares(max_streams, "streams", retry_after_seconds=10)
        self._followers: set[LogReader] = set()
        self._is_closed = False

    @contextmanager
    def follow(
        self, execution_id: str, *, after: int | None = None, user: str = ""
    ) -> Iterator[Follower]:
        """Follow an execution to its end; what is done meanwhile ends when the server stops.

        Args:
            user: Whose share of the streams it counts in.

        Raises:
            TooManyError: The user has a share of the streams already, or all are in use.
            ServerStoppingError: The server stops.
        """
        follower = self._follower(execution_id, after=after, is_following=True)
        with self.admitted(follower, user):
            yield follower

    @contextmanager
    def follow_session(
        self, log: SessionLog, *, after: int = 0, user: str = ""
    ) -> Iterator[SessionLogReader]:
        """Follow the log of a session to its end, as `follow` does an execution.

        Args:
            user: Whose share of the streams it counts in.

        Raises:
            TooManyError: The user has a share of the streams already, or all are in use.
            ServerStoppingError: The server stops.
        """
        reader = SessionLogReader(log, after=after, is_following=True)
        with self.admitted(reader, user):
            yield reader

    @contextmanager
    def admitted(self, follower: LogReader, user: str) -> Iterator[None]:
        """Count *follower* in the share of *user*, and end it when the server stops.

        Raises:
            TooManyError: The user has a share of the streams already, or all are in use.
            ServerStoppingError: The server stops.
        """
        if self._is_closed:
            raise ServerStoppingError("the server is stopping")
        with self._shares.hold(user):
            self._followers.add(follower)
            try:
                with follower.scope:
                    yield
            finally:
                self._followers.discard(follower)

    def so_far(self, execution_id: str) -> Follower:
        """Read the stored and the newest events of an execution until now, from number 1 on."""
        return self._follower(execution_id, after=0, is_following=False)

    def reader(self, execution_id: str, after: int | None) -> Follower:
        """Return a reader of an execution to its end; see `admitted`."""
        return self._follower(execution_id, after=after, is_following=True)

    def _follower(self, execution_id: str, *, after: int | None, is_following: bool) -> Follower:
        return Follower(
            execution_id,
            after=after,
            is_following=is_following,
            store=self._store,
            live_of=self._live_of,
        )

    async def close(self, *, timeout_seconds: float) -> None:
        """Let all read what there is, for *timeout_seconds* at most, and end them."""
        self._is_closed = True
        deadline = time.monotonic() + timeout_seconds
        while self._followers and time.monotonic() < deadline:
            await anyio.sleep(2 * PACE_SECONDS)
            for follower in self._followers:
                if follower.is_waiting:
                    follower.close()
        for follower in self._followers:
            follower.close()


async def log_size(reader: LogReader) -> int:
    """Return how many bytes of a log there are to read for *reader*, which does not follow."""
    log, size = LogFold(), 0
    while not reader.has_ended:
        size += len(log.add(await reader.read(seconds=0)))
    return size


class LogFold:
    """What events add to the log: the text of both streams, as it came, in UTF-8."""

    def __init__(self) -> None:
        self._is_cut = False

    def add(self, events: Iterable[Event]) -> bytes:
        """Return what the log gets from *events*."""
        parts = []
        for event in events:
            if event.type is EventType.GAP:
                self._is_cut = True
            elif event.type is EventType.STREAM:
                if self._is_cut:
                    parts.append(LEFT_OUT)
                    self._is_cut = False
                parts.append(event.content["text"].encode())
        return b"".join(parts)


def _decoded(rows: Iterable[EventRow]) -> list[Event]:
    return [decode_event(row) for row in rows]


def _event(
    number: int, event_type: EventType, content: dict[str, Any], time: datetime | None
) -> Event:
    return Event(number=number, type=event_type, cell_index=0, content=content, time=time)


def _gap(seen_number: int, following: Event) -> Event:
    """Return what is shown of the events between *seen_number* and the one *following* it."""
    number = following.number - 1
    if following.type in (EventType.ERROR, EventType.END):
        # The server process ended, and it is not known which events it had not stored.
        return _event(number, EventType.GAP, {}, following.time)
    return _event(number, EventType.GAP, {"lost": number - seen_number}, following.time)
