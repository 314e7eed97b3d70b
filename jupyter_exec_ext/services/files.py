"""The verbs on the files of sessions."""

import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from weakref import WeakValueDictionary

import anyio

from jupyter_exec_ext.core.errors import (
    FileConflictError,
    InvalidArgumentError,
    MalformedRequestError,
    ServerStoppingError,
    TooLargeError,
)
from jupyter_exec_ext.core.files import NO_PRECONDITION, FileEntry, FilePage, Precondition
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.paths import Parts, parts_of
from jupyter_exec_ext.core.ports import Folder, OpenFile, Upload
from jupyter_exec_ext.core.sessions import Session
from jupyter_exec_ext.engine.contents import clean_text
from jupyter_exec_ext.files import tar
from jupyter_exec_ext.services.folders import Folders
from jupyter_exec_ext.services.sessions import SessionService
from jupyter_exec_ext.services.shares import Shares
from jupyter_exec_ext.services.supervisor import Supervisor

RETRY_AFTER_SECONDS = 5

MAX_LISTS = 4
"""How many folders are read at once: each takes a processor."""


class FileService:
    """Moves files in and out of the folders of sessions.

    The files of a session that has ended can be read while they are there, but not changed.

    Attributes:
        transfer_count: How many uploads and downloads go on.
    """

    def __init__(
        self,
        *,
        sessions: SessionService,
        folders: Folders,
        supervisor: Supervisor,
        limits: Limits,
    ) -> None:
        self._sessions = sessions
        self._folders = folders
        self._supervisor = supervisor
        self._limits = limits
        self.transfer_count = 0
        self._shares = Shares(
            limits.max_transfers, "transfers of files", retry_after_seconds=RETRY_AFTER_SECONDS
        )
        self._lists = anyio.CapacityLimiter(MAX_LISTS)
        self._is_closing = False
        self._receivers: set[Receiver] = set()
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def list(
        self,
        session_id: str,
        path: str,
        *,
        is_recursive: bool,
        page_size: int,
        page_token: str | None,
    ) -> FilePage:
        """Return a page of what is in a folder of the session.

        Raises:
            ExecError: It cannot be listed; see `core.ports.Folder`.
        """
        parts = parts_of(path.strip("/"))
        after = None if page_token is None else _decode_token(page_token)
        folder = self._folders.of(await self._sessions.get(session_id))
        async with self._lists:
            entries = await folder.list(
                parts, is_recursive=is_recursive, after=after, limit=page_size + 1
            )
        shown = entries[:page_size]
        return FilePage(
            files=[_presentable(entry) for entry in shown],
            next_page_token=_encode_token(shown[-1].path) if len(entries) > page_size else None,
        )

    async def stat(self, session_id: str, path: str) -> FileEntry:
        """Return what is at a path of the session.

        Raises:
            ExecError: Nothing is there that is shown; see `core.ports.Folder`.
        """
        parts = parts_of(path)
        folder = self._folders.of(await self._sessions.get(session_id))
        return _presentable(await folder.stat(parts))

    def place_of(self, session: Session) -> str | None:
        """Return where the kernel of a session finds its files, as a path of the system.

        ``None`` where it does not work in its folder.
        """
        return self._folders.place_of(session)

    @asynccontextmanager
    async def open(self, session_id: str, path: str, *, user: str = "") -> AsyncIterator[OpenFile]:
        """Give a file to read.

        Args:
            user: Whose share of the transfers it counts in.

        Raises:
            ExecError: It cannot be read; see `core.ports.Folder`.
            TooManyError: The user has a share of the transfers already, or all are in use.
        """
        parts = parts_of(path)
        async with self._transfer(session_id, is_writing=False, user=user) as session:
            file = await self._folders.of(session).open(parts)
            try:
                yield file
            finally:
                file.close()

    async def archive(
        self,
        session_id: str,
        paths: Sequence[str],
        *,
        has_whole_paths: bool = True,
        user: str = "",
    ) -> AsyncGenerator[bytes]:
        """Yield the pieces of a tar file of what is at *paths*; of all there is without any.

        Args:
            has_whole_paths: Whether names in it are paths from the folder of the session on; else
                each begins with the last part of the path that was asked for.
            user: Whose share of the transfers it counts in.

        Raises:
            ExecError: It cannot be read, before anything is yielded; see `core.ports.Folder`.
        """
        if len(paths) > self._limits.max_files_per_request:
            raise InvalidArgumentError(
                f"at most {self._limits.max_files_per_request} paths", target="path"
            )
        chosen = [parts_of(path.strip("/")) for path in paths] or [()]
        async with self._transfer(session_id, is_writing=False, user=user) as session:
            async for piece in tar.stream(
                self._folders.of(session), chosen, has_whole_paths=has_whole_paths
            ):
                yield piece

    async def delete(
        self,
        session_id: str,
        path: str,
        *,
        is_recursive: bool,
        precondition: Precondition,
        user: str = "",
    ) -> None:
        """Remove a file, or a folder, which is empty unless *is_recursive*, for good.

        Args:
            user: Whose share of the transfers it counts in.

        Raises:
            ExecError: It cannot be removed; see `core.ports.Folder`.
        """
        parts = parts_of(path)
        async with self._transfer(session_id, is_writing=True, user=user) as session:
            async with self.lock_of(session_id):
                await self._folders.of(session).delete(
                    parts, is_recursive=is_recursive, precondition=precondition
                )
            self.tell("delete", session, parts)

    async def receive(self, session_id: str, *, user: str = "") -> "Receiver":
        """Return what takes the files of one request; close it, or use `close_soon`.

        Args:
            user: Whose share of the transfers it counts in.

        Raises:
            ExecError: The session takes no files.
            TooManyError: The user has a share of the transfers already, or all are in use.
        """
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(
                self._transfer(session_id, is_writing=True, user=user)
            )
            receiver = Receiver(
                self,
                session,
                self._folders.of(session),
                max_files=self._limits.max_files_per_request,
                max_file_bytes=self._folders.max_file_bytes,
                resources=stack.pop_all(),
            )
        self._receivers.add(receiver)
        return receiver

    def close_soon(self, receiver: "Receiver") -> None:
        """Close *receiver* in the background: its client is gone."""
        if not self._is_closing:
            self._supervisor.spawn(receiver.close)

    def forget(self, receiver: "Receiver") -> None:
        """Note that *receiver* is closed."""
        self._receivers.discard(receiver)

    async def close(self, *, timeout_seconds: float) -> None:
        """Leave nothing of the uploads that go on, since the server stops."""
        self._is_closing = True
        with anyio.move_on_after(timeout_seconds):
            for receiver in list(self._receivers):
                await receiver.close()

    @asynccontextmanager
    async def _transfer(
        self, session_id: str, *, is_writing: bool, user: str
    ) -> AsyncIterator[Session]:
        """Hold a session for as long as its files are used: it does not end for being idle."""
        if self._is_closing:
            raise ServerStoppingError("the server is stopping")
        with self._shares.hold(user):
            self.transfer_count += 1
            try:
                async with self._sessions.used(
                    session_id, may_have_ended=not is_writing
                ) as session:
                    yield session
            finally:
                self.transfer_count -= 1

    def lock_of(self, session_id: str) -> anyio.Lock:
        """Return what is held between a look at a file of a session and its replacement."""
        return self._locks.setdefault(session_id, anyio.Lock())

    def tell(self, action: str, session: Session, parts: Parts) -> None:
        """Tell the server's event bus of a change; see `Folders.tell`."""
        self._folders.tell(action, "/".join((session.path or "", *parts)).strip("/"))


class Receiver:
    """Takes the files of one request, one after the other, and puts them in place together.

    Attributes:
        max_file_bytes: Largest file that it takes.
    """

    def __init__(
        self,
        files: FileService,
        session: Session,
        folder: Folder,
        *,
        max_files: int,
        max_file_bytes: int,
        resources: AsyncExitStack,
    ) -> None:
        self._files = files
        self._session = session
        self._folder = folder
        self._max_files = max_files
        self.max_file_bytes = max_file_bytes
        self._resources = resources
        self._uploads: dict[Parts, Upload] = {}
        self._current: Upload | None = None
        self._size = 0
        self._is_closed = False

    async def begin(self, path: str, *, target: str = "path") -> None:
        """Begin a file; what is written from now on is its content.

        Raises:
            ExecError: It cannot be there; see `core.ports.Folder`.
        """
        parts = parts_of(path, target=target)
        if len(self._uploads) >= self._max_files:
            raise TooLargeError(f"one request has at most {self._max_files} files", target=target)
        if parts in self._uploads:
            raise InvalidArgumentError("two files have the same path", target=target)
        for other in self._uploads:
            depth = min(len(parts), len(other))
            if parts[:depth] == other[:depth]:
                raise FileConflictError("a file cannot be a folder too", target=target)
        if self._current is not None:
            await self._current.complete()
        self._size = 0
        upload = await self._folder.create(parts)
        if self._is_closed:
            await upload.discard()
            raise ServerStoppingError("the server is stopping, or the client is gone")
        self._current = self._uploads[parts] = upload

    def check_size(self, size: int) -> None:
        """Raise `TooLargeError` when no file may have so many bytes."""
        if size > self.max_file_bytes:
            raise TooLargeError(f"a file has at most {self.max_file_bytes} bytes", target="path")

    async def write(self, data: bytes) -> None:
        """Add *data* to the file that was begun last.

        Raises:
            TooLargeError: It has more bytes than a file may have.
            ExecError: It cannot be written.
        """
        assert self._current is not None
        self._size += len(data)
        self.check_size(self._size)
        await self._current.write(data)

    async def commit(
        self, precondition: Precondition = NO_PRECONDITION
    ) -> Sequence[tuple[FileEntry, bool]]:
        """Put all files in their places; return each, and whether nothing was there.

        Each takes the place of what is there whole or, when this raises, not at all.

        Raises:
            ExecError: A file cannot be there; those before it are in their places.
        """
        for upload in self._uploads.values():
            await upload.complete()
        done = []
        async with self._files.lock_of(self._session.id):
            for parts, upload in self._uploads.items():
                entry, is_new = await upload.commit(precondition)
                self._files.tell("save", self._session, parts)
                done.append((_presentable(entry), is_new))
        return done

    async def close(self) -> None:
        """Leave nothing of what is not committed; doing so twice is allowed."""
        if self._is_closed:
            return
        self._is_closed = True
        with anyio.CancelScope(shield=True):
            for upload in list(self._uploads.values()):
                await upload.discard()
            await self._resources.aclose()
        self._files.forget(self)


def _presentable(entry: FileEntry) -> FileEntry:
    """Return *entry* as JSON can have it: a name on a disk need not be Unicode text."""
    if entry.path.isascii():
        return entry
    return replace(entry, name=clean_text(entry.name), path=clean_text(entry.path))


def _encode_token(path: str) -> str:
    return base64.urlsafe_b64encode(path.encode("utf-8", "surrogateescape")).decode()


def _decode_token(token: str) -> Parts:
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        return tuple(raw.decode("utf-8", "surrogateescape").split("/"))
    except (ValueError, binascii.Error) as error:
        raise MalformedRequestError("this is no token of a page", target="page_token") from error
