"""One stream of the events of several executions: of those with given ids, or of a session."""

import base64
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import UUID

import anyio

from jupyter_exec_ext.core.errors import (
    ExecutionNotFoundError,
    InvalidArgumentError,
    SessionEndedError,
    StoreUnavailableError,
)
from jupyter_exec_ext.core.models import Event, EventType, Execution
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.engine.signals import wait_for_any
from jupyter_exec_ext.services.executions import ExecutionService
from jupyter_exec_ext.services.following import (
    ELSEWHERE_POLL_SECONDS,
    RETRY_SECONDS,
    Follower,
    Following,
)
from jupyter_exec_ext.services.live import Live, LiveSession
from jupyter_exec_ext.services.log_reader import PACE_SECONDS, LogReader
from jupyter_exec_ext.services.sessions import SessionService
from jupyter_exec_ext.services.turns import Turns
from jupyter_exec_ext.store.records import microseconds_of, moment_of
from jupyter_exec_ext.store.store import Store

MAX_EXECUTIONS = 50
"""How many executions a stream of ids can have: a cursor has 32 bytes for each."""

MAX_ENDED = 100
"""How many executions that have ended a stream of a session can begin with, for the same reason."""

_ENTRY = struct.Struct(">q16s")
_NOT_BEGUN = -1

End: TypeAlias = tuple[int, bytes]
"""When an execution ended, in microseconds since 1970, and its id, so that no two are equal."""

NEVER: End = (0, bytes(16))


@dataclass(frozen=True, kw_only=True)
class MergedEvent(Event):
    """An event of one of several executions.

    Attributes:
        execution_id: The execution that the event belongs to.
        cursor: The position after this event in the stream, see `Cursor`.
    """

    execution_id: str
    cursor: str


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """A position in a stream of several executions.

    Attributes:
        ended: In a stream of a session, all events were sent of the executions that ended until
            then and are not in ``numbers``.
        numbers: The number of the last event that was sent, by execution id; ``None`` for an
            execution of which no event was sent.
    """

    ended: End = NEVER
    numbers: dict[str, int | None] = field(default_factory=dict)

    def encode(self) -> str:
        """Return the text that clients send back."""
        entries = [_ENTRY.pack(*self.ended)]
        entries += [
            _ENTRY.pack(_NOT_BEGUN if number is None else number, UUID(execution_id).bytes)
            for execution_id, number in self.numbers.items()
        ]
        return base64.urlsafe_b64encode(b"".join(entries)).decode()

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Return the cursor that `encode` made *text* of.

        Raises:
            ValueError: *text* is not a cursor.
        """
        try:
            data = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
            (ended, *rest) = _ENTRY.iter_unpack(data)
            moment_of(ended[0])
        except (ValueError, OverflowError, struct.error) as error:
            raise ValueError("not a cursor") from error
        numbers = {
            str(UUID(bytes=key)): None if number == _NOT_BEGUN else max(0, number)
            for number, key in rest
        }
        return cls(ended=ended, numbers=numbers)


@dataclass(kw_only=True, eq=False)
class _Member:
    """An execution of the stream whose end was not sent yet.

    Attributes:
        number: That of the last event that was sent; ``None`` before the first.
        end: When it ended, as far as that is known; see `End`.
        next_time: When the store is read again, by `time.monotonic`, for an execution that another
            server process runs.
    """

    id: str
    follower: Follower
    number: int | None
    end: End | None = None
    next_time: float = 0.0


class MergedReader(LogReader):
    """Reads the events of several executions: of each all in order, and each once.

    In a stream of a session an execution has no event while it waits: its first ones come when it
    begins or when it ends without having begun.

    Args:
        follower_of: Returns a reader of one execution, after the event with a number.
        live_of: Returns an execution of this process that is not stored in its final state.
        session: The session whose new executions belong to the stream; ``None`` for none.
    """

    def __init__(
        self,
        cursor: Cursor,
        *,
        follower_of: Callable[[str, int | None], Follower],
        live_of: Callable[[str], Live | None],
        session: LiveSession | None = None,
        is_of_session: bool,
    ) -> None:
        super().__init__()
        self._follower_of = follower_of
        self._live_of = live_of
        self._session = session
        self._is_of_session = is_of_session
        self._ended = cursor.ended
        self._numbers: dict[str, int | None] = {
            key: number for key, number in cursor.numbers.items() if number is not None
        }
        self._members: dict[str, _Member] = {}
        for execution_id, number in cursor.numbers.items():
            self.add(execution_id, number=number)
        self._has_begun = False

    def add(self, execution_id: str, *, number: int | None = None, end: End | None = None) -> None:
        """Let an execution belong to the stream, if it does not already.

        Args:
            number: Only later events are read; ``None`` for all.
            end: When it ended, if that is known.
        """
        if execution_id not in self._members:
            follower = self._follower_of(execution_id, number)
            self._members[execution_id] = _Member(
                id=execution_id, follower=follower, number=number, end=end
            )
        elif end is not None:
            self._members[execution_id].end = end

    def note(self, execution: Execution) -> None:
        """Take the record of an execution of the session, which is new or final."""
        if execution.end_time is None:
            self.add(execution.id)
        elif execution.id in self._members:
            self._members[execution.id].end = _end(execution.end_time, execution.id)

    async def read(self, *, seconds: float) -> list[Event]:
        """Return the next events of one execution; none when none come in *seconds*.

        A store that fails is tried again, but not for the first read.

        Raises:
            StoreUnavailableError: The store failed at the first read.
        """
        deadline = time.monotonic() + seconds
        while True:
            for member in self._readable():
                events = await self._read_member(member)
                if events:
                    break
            else:
                events = []
            self._has_begun = True
            is_open = self._session is not None and not self._session.log.is_closed
            self.has_ended = not self._members and not is_open
            left = deadline - time.monotonic()
            if events or self.has_ended or left <= 0:
                return events
            await self._wait(left)

    def _readable(self) -> list[_Member]:
        """Return the members that may have events: first those that have ended, in this order.

        The more ends are sent in their order, the shorter are the cursors.
        """
        now = time.monotonic()
        readable = [
            (self._end_of(member), member)
            for member in self._members.values()
            if member.next_time <= now and not self._is_pending(member)
        ]
        ended = sorted(
            ((end, member) for end, member in readable if end is not None), key=lambda pair: pair[0]
        )
        return [member for _, member in ended] + [m for end, m in readable if end is None]

    def _is_pending(self, member: _Member) -> bool:
        live = self._live_of(member.id) if self._is_of_session else None
        return live is not None and live.execution.state is State.PENDING

    def _end_of(self, member: _Member) -> End | None:
        live = self._live_of(member.id)
        if member.end is None and live is not None and live.execution.end_time is not None:
            return _end(live.execution.end_time, member.id)
        return member.end

    async def _read_member(self, member: _Member) -> list[Event]:
        try:
            found = await member.follower.read(seconds=0)
        except ExecutionNotFoundError:  # It was deleted.
            self._members.pop(member.id, None)
            return []
        except StoreUnavailableError:
            if not self._has_begun:
                raise
            member.next_time = time.monotonic() + RETRY_SECONDS
            return []
        if self._live_of(member.id) is None:
            member.next_time = 0.0 if found else time.monotonic() + ELSEWHERE_POLL_SECONDS
        # The next read begins with another one.
        self._members.pop(member.id, None)
        if not member.follower.has_ended:
            self._members[member.id] = member
        return [*self._merged(member, found)]

    def _merged(self, member: _Member, found: Iterable[Event]) -> Iterator[MergedEvent]:
        """Yield the events *found* of *member*, each with the position after it."""
        others = self._other_numbers(member)
        for event in found:
            member.number = event.number
            numbers = {**others, member.id: event.number}
            if event.type is EventType.END and self._is_of_session:
                if event.time is not None:
                    self._ended = max(self._ended, _end(event.time, member.id))
                numbers = self._other_numbers(member)
            yield MergedEvent(
                **{part.name: getattr(event, part.name) for part in fields(event)},
                execution_id=member.id,
                cursor=Cursor(ended=self._ended, numbers=numbers).encode(),
            )
        if not self._is_of_session:
            self._numbers[member.id] = member.number

    def _other_numbers(self, current: _Member) -> dict[str, int | None]:
        """Return what a cursor has of the executions besides *current*."""
        if not self._is_of_session:
            return self._numbers
        numbers = {}
        for member in self._members.values():
            if member is current or self._is_pending(member):
                continue
            end = self._end_of(member)
            # What has not begun and ended later is found by its end.
            if member.number is not None or end is None or end <= self._ended:
                numbers[member.id] = member.number
        return numbers

    async def _wait(self, seconds: float) -> None:
        """Wait for news, and for more of them to come with them."""
        with self._waiting():
            lives = [live for key in self._members if (live := self._live_of(key)) is not None]
            now = time.monotonic()
            polls = [m.next_time - now for m in self._members.values() if m.next_time]
            has_news = any(
                member.follower.has_news and not self._is_pending(member)
                for member in self._members.values()
                if not member.next_time
            )
            if not has_news:
                signals = [live.changed for live in lives]
                signals += [live.journal.has_news for live in lives if live.journal is not None]
                if self._session is not None:
                    signals.append(self._session.changed)
                await wait_for_any(signals, min([seconds, *polls]))
            await anyio.sleep(PACE_SECONDS)


def _end(moment: datetime, execution_id: str) -> End:
    return microseconds_of(moment), UUID(execution_id).bytes


class MergedStreams:
    """Opens streams of several executions; each counts as one of its user's streams."""

    def __init__(
        self,
        *,
        executions: ExecutionService,
        sessions: SessionService,
        turns: Turns,
        following: Following,
        store: Store,
    ) -> None:
        self._executions = executions
        self._sessions = sessions
        self._turns = turns
        self._following = following
        self._store = store

    @asynccontextmanager
    async def follow_executions(
        self, ids: Sequence[str], *, after: Cursor | None, user: str
    ) -> AsyncIterator[MergedReader]:
        """Follow the executions with these *ids* until the last has ended.

        Raises:
            ExecutionNotFoundError: One of them is not there.
            TooManyError: The user has a share of the streams already, or all are in use.
            ServerStoppingError: The server stops.
        """
        for execution_id in ids:
            await self._executions.get(execution_id)
        known = Cursor() if after is None else after
        numbers = {execution_id: known.numbers.get(execution_id) for execution_id in ids}
        reader = self._reader(Cursor(numbers=numbers), session=None, is_of_session=False)
        with self._following.admitted(reader, user):
            yield reader

    @asynccontextmanager
    async def follow_session(
        self, session_id: str, *, after: Cursor | None, created_after: datetime | None, user: str
    ) -> AsyncIterator[MergedReader]:
        """Follow the executions of a session until the session and they have ended.

        They are those that are not final now, and all that come later.

        Args:
            after: Go on after this position.
            created_after: Without a position, also those that are final already, if they were
                created then or later.

        Raises:
            SessionNotFoundError: No session has this id.
            RunsElsewhereError: It is another server process's.
            InvalidArgumentError: Too many executions of it are final already.
            TooManyError: The user has a share of the streams already, or all are in use.
            ServerStoppingError: The server stops.
        """
        with suppress(SessionEndedError):
            await self._sessions.find(session_id)
        session = self._sessions.live(session_id)
        cursor = after or Cursor(ended=(microseconds_of(datetime.now(UTC)), bytes(16)))
        reader = self._reader(cursor, session=session, is_of_session=True)
        if session is not None:
            session.listeners.add(reader.note)
        try:
            for live in self._turns.all():
                if live.execution.session_id == session_id and not live.execution.state.is_final:
                    reader.add(live.execution.id)
            if after is not None:
                for execution_id, end in await self._ended(session_id, ended_after=after.ended):
                    reader.add(execution_id, end=end)
            elif created_after is not None:
                found = await self._ended(session_id, created_after=created_after)
                if len(found) > MAX_ENDED:
                    raise InvalidArgumentError(
                        f"more than {MAX_ENDED} executions of the session that were created then or"
                        " later have ended; list them, and follow the session without it",
                        target="created_after",
                    )
                for execution_id, end in found:
                    reader.add(execution_id, end=end)
            with self._following.admitted(reader, user):
                yield reader
        finally:
            if session is not None:
                session.listeners.discard(reader.note)

    async def _ended(
        self,
        session_id: str,
        *,
        ended_after: End | None = None,
        created_after: datetime | None = None,
    ) -> list[tuple[str, End]]:
        """Return the final executions of a session with their ends, in this order.

        Args:
            ended_after: Only those that ended after this one; ``None`` for all.
            created_after: Only those that were created then or later; ``None`` for all.
        """
        found = {
            execution_id: _end(end_time, execution_id)
            for execution_id, end_time in await self._store.ended(
                session_id,
                ended_after=None if ended_after is None else moment_of(ended_after[0]),
                created_after=created_after,
                limit=MAX_ENDED + 1 if ended_after is None else None,
            )
        }
        for live in self._turns.all():  # Those that a failing store did not take.
            execution = live.execution
            if (
                execution.session_id == session_id
                and execution.end_time is not None
                and (created_after is None or execution.created_time >= created_after)
            ):
                found[execution.id] = _end(execution.end_time, execution.id)
        ended = sorted(found.items(), key=lambda item: item[1])
        return [(key, end) for key, end in ended if ended_after is None or end > ended_after]

    def _reader(
        self, cursor: Cursor, *, session: LiveSession | None, is_of_session: bool
    ) -> MergedReader:
        return MergedReader(
            cursor,
            follower_of=self._following.reader,
            live_of=self._executions.live_of,
            session=session,
            is_of_session=is_of_session,
        )
