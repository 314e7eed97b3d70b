"""The verbs on sessions, and the watch over those that nobody uses."""

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

import anyio

from jupyter_exec_ext.core.errors import (
    InvalidArgumentError,
    KernelBusyError,
    KernelInUseError,
    NoFolderError,
    NoWorkingFolderError,
    RunError,
    RunsElsewhereError,
    ServerRestartedError,
    ServerStoppingError,
    SessionDiffersError,
    SessionEndedError,
    SessionIdleError,
    SessionLostError,
    SessionNameTakenError,
    SessionNotFoundError,
    StoreUnavailableError,
    TooManyError,
    UnavailableError,
)
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.sessions import (
    Completion,
    NewSession,
    Session,
    SessionSettings,
    SessionState,
)
from jupyter_exec_ext.engine.asking import complete
from jupyter_exec_ext.engine.cells import error_of
from jupyter_exec_ext.services.checks import check_code, check_session, check_session_settings
from jupyter_exec_ext.services.folders import Folders
from jupyter_exec_ext.services.live import LiveSession
from jupyter_exec_ext.services.openings import SessionOpener
from jupyter_exec_ext.services.session_log import SessionLog
from jupyter_exec_ext.services.supervisor import Supervisor, log_defect
from jupyter_exec_ext.services.turns import Turns
from jupyter_exec_ext.store.listing import SessionPage, SessionQuery
from jupyter_exec_ext.store.store import Store

WATCH_SECONDS = 1.0
"""How often the kernels of idle sessions are looked at."""

END_SECONDS = 20.0
"""How long the end of a session may wait for what runs in it, beyond the interrupt's grace."""


class SessionService:
    """Creates, finds, changes and ends sessions."""

    def __init__(
        self,
        *,
        opener: SessionOpener,
        folders: Folders,
        turns: Turns,
        store: Store,
        supervisor: Supervisor,
        limits: Limits,
        on_change: Callable[[Session], None],
        log: logging.Logger,
    ) -> None:
        self._opener = opener
        self._folders = folders
        self._turns = turns
        self._store = store.sessions
        self._supervisor = supervisor
        self._limits = limits
        self._on_change = on_change
        self._log = log
        self._sessions: dict[str, LiveSession] = {}
        self._unstored: dict[str, Session] = {}
        self._opening_count = 0
        self._locks: WeakValueDictionary[tuple[str, str], anyio.Lock] = WeakValueDictionary()
        self._is_watching = False

    async def create(self, new: NewSession, *, owner: str) -> tuple[Session, bool]:
        """Return the session that has the name, else a new one; and whether it is new.

        The kernel of a new one starts in the background.

        Raises:
            ExecError: The request is refused, and nothing is left of it.
        """
        session, is_new = await self._open(new, owner)
        if is_new:
            session.is_starting = True
            self._supervisor.spawn(self._warm, session)
        return session.view(), is_new

    async def of_name(
        self,
        asked: NewSession,
        *,
        owner: str,
        complete: Callable[[NewSession], Awaitable[NewSession]],
    ) -> tuple[LiveSession, bool]:
        """Return the session that has the name of *asked*, and whether it was created now.

        Args:
            complete: Called before a session is created; returns *asked* with what was left open.

        Raises:
            ExecError: It can be neither found nor created.
        """
        return await self._open(asked, owner, complete)

    async def named(self, name: str) -> Session | None:
        """Return the session that has *name* and has not ended; ``None`` when there is none.

        Raises:
            RunsElsewhereError: It is another server process's.
        """
        async with self._lock("name", name):
            session = await self._find_name(name)
        return None if session is None else session.view()

    async def _open(
        self,
        new: NewSession,
        owner: str,
        complete: Callable[[NewSession], Awaitable[NewSession]] | None = None,
    ) -> tuple[LiveSession, bool]:
        """Return the session that has the name of *new*, else a new one; and whether it is new."""
        check_session(new, self._limits)
        if new.name is None:
            return await self._create(new, owner), True
        async with self._lock("name", new.name):
            session = await self._find_name(new.name)
            if session is None:
                if complete is not None:
                    new = await complete(new)
                return await self._create(new, owner), True
        self._check_same(session, new)
        return session, False

    def _lock(self, kind: str, of: str) -> anyio.Lock:
        return self._locks.setdefault((kind, of), anyio.Lock())

    async def find(self, session_id: str, *, target: str | None = None) -> LiveSession:
        """Return a session that executions can run in.

        Args:
            target: The field of the request that names it.

        Raises:
            SessionNotFoundError: There is none with this id.
            SessionEndedError: It has ended.
            RunsElsewhereError: It is another server process's.
        """
        session = self._sessions.get(session_id)
        if session is not None and not session.is_ending:
            return session
        if session is None:
            try:
                stored = await self._store.get(session_id)
            except SessionNotFoundError:
                raise SessionNotFoundError(session_id, target=target) from None
            if stored.state is not SessionState.ENDED and stored.id not in self._unstored:
                raise RunsElsewhereError(f"session {stored.id}", "alive")
        raise SessionEndedError(session_id, target=target)

    def live(self, session_id: str) -> LiveSession | None:
        """Return a session of this process until its end is complete; ``None`` without one."""
        return self._sessions.get(session_id)

    @asynccontextmanager
    async def used(self, session_id: str, *, may_have_ended: bool) -> AsyncIterator[Session]:
        """Give the record of a session, which meanwhile does not end for being idle.

        Raises:
            SessionNotFoundError: There is none with this id.
            SessionEndedError: It has ended, unless it *may_have_ended*.
            RunsElsewhereError: The same of one that is another server process's.
        """
        session = self._sessions.get(session_id)
        if may_have_ended and (session is None or session.is_ending):
            yield await self.get(session_id)
            return
        session = await self.find(session_id)
        session.touch()
        session.transfer_count += 1
        try:
            yield session.record
        finally:
            session.transfer_count -= 1
            session.touch()

    async def _find_name(self, name: str) -> LiveSession | None:
        for session in self._sessions.values():
            if session.record.name == name and not session.is_ending:
                return session
        if not await self._store.has_name(name):
            return None
        for session in self._sessions.values():
            if session.record.name == name:
                # It ends at this moment, and its name will be free.
                await self._wait_for_end(session)
                return None
        # That of a process that ended without a word is free too.
        await self.recover()
        if not await self._store.has_name(name):
            return None
        raise RunsElsewhereError(f"the session named {name[:64]!r}", "alive")

    def _check_same(self, session: LiveSession, new: NewSession) -> None:
        """Raise `SessionDiffersError` when *session* cannot stand for what *new* asks for."""
        record = session.record
        path = None if new.path is None else new.path.strip("/")
        environment_names = sorted(new.environment) or None
        for target, asked, has in (
            ("kernel_name", new.kernel_name, record.kernel_name),
            ("kernel_id", new.kernel_id, record.kernel_id if record.is_attached else None),
            ("path", path, record.path),
            ("environment", environment_names, record.environment_names),
        ):
            if asked is not None and asked != has:
                raise SessionDiffersError(record.id, target=target)

    async def _create(self, new: NewSession, owner: str) -> LiveSession:
        if self._supervisor.is_stopping:
            raise ServerStoppingError("the server is stopping")
        if len(self._sessions) + self._opening_count >= self._limits.max_sessions:
            raise TooManyError(
                f"there are {self._limits.max_sessions} sessions already;"
                " delete one, or wait until one ends by itself",
                retry_after_seconds=10,
            )
        self._opening_count += 1
        try:
            if new.kernel_id is None:
                return await self._start(new, owner)
            async with self._lock("kernel", new.kernel_id):
                self._check_free(new.kernel_id)
                return await self._start(new, owner)
        finally:
            self._opening_count -= 1

    async def _start(self, new: NewSession, owner: str) -> LiveSession:
        session = await self._opener.open(new, owner)
        await self._supervisor.start()
        try:
            await self._store.insert(session.record)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._end_folder(session.record, is_deleted=True)
            raise
        self._sessions[session.record.id] = session
        if not self._is_watching:
            self._is_watching = True
            self._supervisor.spawn(self._watch)
        self._on_change(session.view())
        return session

    def _check_free(self, kernel_id: str) -> None:
        """Raise `KernelInUseError` when a session has this kernel: a kernel has one queue."""
        for session in self._sessions.values():
            if session.view().kernel_id == kernel_id:
                raise KernelInUseError(kernel_id, session.record.id)

    async def _warm(self, session: LiveSession) -> None:
        """Start the kernel before it is needed; what goes wrong shows in the record."""
        try:
            await session.kernels.ready()
        except RunError as error:
            session.lose_kernel(error)
        finally:
            session.is_starting = False
            session.changed.fire()
        if not session.is_ending:
            self._on_change(session.view())

    async def get(self, session_id: str) -> Session:
        """Return the record as it is at this moment.

        Raises:
            SessionNotFoundError: This server has none with this id.
        """
        if session_id in self._unstored:
            return self._unstored[session_id]
        session = self._sessions.get(session_id)
        if session is None:
            return await self._store.get(session_id)
        if session.is_idle and not session.is_starting:
            await self._turns.notice_loss(session)
        return session.view()

    async def list(self, query: SessionQuery) -> SessionPage:
        """Return one page of records, as fresh as `get` would show them."""
        page = await self._store.list(query)
        return replace(page, sessions=[self._fresh(stored) for stored in page.sessions])

    def _fresh(self, stored: Session) -> Session:
        live = self._sessions.get(stored.id)
        return self._unstored.get(stored.id, stored) if live is None else live.view()

    async def update(self, session_id: str, settings: SessionSettings) -> Session:
        """Change the settings of a session and return its record.

        Raises:
            ExecError: It cannot be found or changed; see `find`.
        """
        check_session_settings(settings, self._limits)
        session = await self.find(session_id)
        changes = {
            name: getattr(settings, name)
            for name in ("name", "labels", "description", "keep_files")
            if getattr(settings, name) is not None
        }
        if settings.idle_timeout_seconds is not None:
            changes["idle_timeout_seconds"] = settings.idle_timeout_seconds or None
        if settings.name is None:
            return await self._change(session, changes)
        async with self._lock("name", settings.name):
            other = await self._find_name(settings.name)
            if other not in (None, session):
                raise SessionNameTakenError(other.record.id)
            return await self._change(session, changes)

    async def _change(self, session: LiveSession, changes: dict[str, Any]) -> Session:
        await self._store.update(replace(session.record, **changes))
        session.record = replace(session.record, **changes)
        return session.view()

    async def log(self, session_id: str) -> SessionLog:
        """Return the log of a session that has not ended; see `find` for the errors."""
        return (await self.find(session_id)).log

    async def complete(self, session_id: str, code: str, *, cursor_pos: int | None) -> Completion:
        """Return what can stand at the cursor in *code*, as the kernel of a session knows it.

        Args:
            cursor_pos: In characters; ``None`` means the end.

        Raises:
            KernelBusyError: The session is busy, and its kernel answers nothing meanwhile.
            UnavailableError: It has no kernel, and none could be started.
            ExecError: It cannot be found, or the code cannot be sent.
        """
        check_code(code, self._limits)
        position = len(code) if cursor_pos is None else cursor_pos
        if not 0 <= position <= len(code):
            raise InvalidArgumentError("the cursor is not in the code", target="cursor_pos")
        session = await self.find(session_id)
        session.touch()
        if session.running is not None and not session.running.execution.state.is_final:
            raise KernelBusyError
        try:
            return await complete(await session.kernels.ready(), code, position)
        except RunError as error:
            raise UnavailableError(
                f"the session has no kernel: {error}", details=getattr(error, "details", ())
            ) from error

    async def wait_for_kernel(self, session_id: str, *, seconds: float) -> Session:
        """Return the record once the first kernel has started, or as it is after *seconds*."""
        session = await self.find(session_id)
        deadline = time.monotonic() + seconds
        while session.is_starting and (left := deadline - time.monotonic()) > 0:
            await session.changed.wait(left)
        return session.view()

    async def interrupt(self, session_id: str) -> Session:
        """Interrupt what runs in the kernel of a session, as a person would in a notebook."""
        session = await self.find(session_id)
        await session.kernels.interrupt()
        return session.view()

    async def restart(self, session_id: str) -> Session:
        """Restart the kernel of a session; what runs or waits in it loses its variables.

        When it does not come back, the record says so.

        Raises:
            NoFolderError: The folder in which the kernel works is missing, and is not the
                session's own, which is made again. Nothing was restarted.
        """
        session = await self.find(session_id)
        session.touch()
        try:
            await session.kernels.restart()
            await self._turns.notice_loss(session)
            await session.kernels.ready()
        except NoWorkingFolderError as error:
            raise NoFolderError(str(error)) from error
        except RunError as error:
            session.lose_kernel(error)
        return session.view()

    async def delete(self, session_id: str) -> None:
        """End a session, if it has not ended, and forget it, with the folder that it made.

        Its executions stay.

        Raises:
            SessionNotFoundError: This server has none with this id.
            RunsElsewhereError: It is another server process's to end.
        """
        session = self._sessions.get(session_id)
        has_ended = session is not None and await self._end(
            session, SessionLostError("the session was deleted"), is_deleted=True
        )
        try:
            if session is None:
                stored = await self.get(session_id)
                if stored.state is SessionState.ENDED:
                    await self._end_folder(stored, is_deleted=True)
            await self._store.delete(session_id)
        except SessionNotFoundError:
            # Somebody may have removed the whole database meanwhile.
            if not has_ended:
                raise
        self._unstored.pop(session_id, None)

    async def _end(
        self, session: LiveSession, error: RunError, *, is_deleted: bool = False
    ) -> bool:
        """End a session with all that waits or runs in it; return whether nobody else does."""
        with anyio.CancelScope(shield=True):
            if session.is_ending:
                await self._wait_for_end(session)
                return False
            session.is_ending = True
            await self._turns.fail_waiting(session, error)
            for live in (session.running, *session.side):
                if live is not None:
                    live.stop(error)
            deadline = time.monotonic() + self._limits.interrupt_grace_seconds + END_SECONDS
            while (session.running or session.side) and time.monotonic() < deadline:
                await session.changed.wait(deadline - time.monotonic())
            await session.kernels.close()
            await self._end_folder(session.record, is_deleted=is_deleted)
            await self._store_end(session, error)
        return True

    async def _end_folder(self, record: Session, *, is_deleted: bool) -> None:
        """Settle the folder of a session that ends, unless another one works in it too."""
        inside = f"{record.path}/"
        for other in self._sessions.values():
            if other.record.id != record.id and f"{other.record.path}/".startswith(inside):
                return
        await self._folders.end(record, is_deleted=is_deleted)

    async def _wait_for_end(self, session: LiveSession) -> None:
        deadline = time.monotonic() + self._limits.interrupt_grace_seconds + 2 * END_SECONDS
        while session.record.id in self._sessions and time.monotonic() < deadline:
            await session.changed.wait(deadline - time.monotonic())

    async def _store_end(self, session: LiveSession, error: RunError) -> None:
        ended = replace(
            session.view(),
            state=SessionState.ENDED,
            kernel_id=session.record.kernel_id,
            expire_time=None,
            end_time=datetime.now(UTC),
            end_error=error_of(error),
        )
        self._unstored[ended.id] = ended
        del self._sessions[ended.id]
        session.log.close()
        session.changed.fire()
        self._on_change(ended)
        await self._store_ends()

    async def _store_ends(self) -> None:
        """Store what has ended; what a failing store does not take is tried again later."""
        for ended in list(self._unstored.values()):
            try:
                await self._store.update(ended)
            except StoreUnavailableError as error:
                self._log.warning("session %s ended but is not stored: %s", ended.id, error.message)
                return
            except (SessionNotFoundError, RunsElsewhereError):
                pass  # Somebody else removed or adopted it.
            self._unstored.pop(ended.id, None)

    async def _watch(self) -> None:
        """Look after the sessions that nobody uses, until cancelled."""
        while True:
            await anyio.sleep(WATCH_SECONDS)
            for session in list(self._sessions.values()):
                if session.is_idle and not session.is_starting and not session.is_ending:
                    try:
                        await self._look_after(session)
                    except Exception as error:  # noqa: BLE001 - the others have to be looked after
                        log_defect(self._log, error)
            if self._unstored:
                await self._store_ends()

    async def _look_after(self, session: LiveSession) -> None:
        await self._turns.notice_loss(session)
        if session.kernels.is_gone:
            await self._end(session, SessionLostError("its kernel was shut down by somebody else"))
            return
        if session.kernels.was_used():
            session.touch()
        seconds = session.record.idle_timeout_seconds
        if seconds is None or time.monotonic() - session.used_at < seconds:
            return
        if session.is_idle:
            error = SessionIdleError(f"the session was not used for {seconds:g} s")
            await self._end(session, error)

    async def close(self, error: RunError, *, timeout_seconds: float) -> None:
        """Store that the sessions end, since the server stops; it ends their kernels itself."""
        deadline = time.monotonic() + timeout_seconds
        for session in list(self._sessions.values()):
            session.is_ending = True
            session.kernels.detach()
            if time.monotonic() < deadline:
                await self._end_folder(session.record, is_deleted=False)
                await self._store_end(session, error)

    async def recover(self) -> None:
        """End the sessions that a dead process of this server left behind."""
        error = error_of(ServerRestartedError("the server process ended unexpectedly"))
        for lost in await self._store.lost():
            ended = replace(
                lost, state=SessionState.ENDED, end_time=datetime.now(UTC), end_error=error
            )
            with contextlib.suppress(SessionNotFoundError, RunsElsewhereError):
                await self._store.update(ended)
                try:
                    await self._end_folder(ended, is_deleted=False)
                except Exception as defect:  # noqa: BLE001 - the other sessions have to end too
                    log_defect(self._log, defect)
