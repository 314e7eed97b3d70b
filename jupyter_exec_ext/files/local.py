"""A folder of files on the server's own disk: bytes go through descriptors, never through memory.

A file is replaced whole or not at all: it is written beside the place under a name that nobody is
shown, and then moved there.
"""

import contextlib
import heapq
import mimetypes
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    ExecError,
    FileConflictError,
    InvalidArgumentError,
    LinkRefusedError,
    NoFolderError,
    NoSuchFileError,
)
from jupyter_exec_ext.core.files import FileEntry, FileType, Precondition
from jupyter_exec_ext.core.paths import MAX_PATH_BYTES, Parts, is_hidden
from jupyter_exec_ext.files.directories import (
    OWN_PREFIX,
    READ_FLAGS,
    Directory,
    new_name,
    refusals,
)

CHUNK_BYTES = 1024 * 1024
"""How much of an upload is in memory before it is written."""

REMOVE_SECONDS = 10.0
"""How long the removal of a folder goes on into which somebody still writes."""


class LocalFolder:
    """The folder at *parts* below a root, which is a path of the operating system.

    Args:
        shows_hidden: Whether what is hidden is there at all.
    """

    def __init__(self, root: Path, parts: Parts, *, shows_hidden: bool) -> None:
        self._root = root
        self._parts = parts
        self._shows_hidden = shows_hidden

    async def stat(self, parts: Parts) -> FileEntry:
        """Return what is at *parts*."""
        self._check_shown(parts)
        return await threads.run_sync(self._stat, parts)

    async def list(
        self, parts: Parts, *, is_recursive: bool, after: Parts | None, limit: int
    ) -> Sequence[FileEntry]:
        """Return what is in the directory at *parts*; see `core.ports.Folder`."""
        self._check_shown(parts)
        return await threads.run_sync(self._list, parts, is_recursive, after, limit)

    async def open(self, parts: Parts) -> "LocalFile":
        """Open a file to read."""
        self._check_shown(parts)
        return await threads.run_sync(self._open, parts)

    async def create(self, parts: Parts) -> "LocalUpload":
        """Begin to write a file."""
        self._check_shown(parts)
        return await threads.run_sync(LocalUpload, self, parts)

    async def delete(self, parts: Parts, *, is_recursive: bool, precondition: Precondition) -> None:
        """Remove a file, or a directory; see `core.ports.Folder`."""
        self._check_shown(parts)
        await threads.run_sync(self._delete, parts, is_recursive, precondition)

    async def make(self) -> None:
        """Make the folder itself."""
        await threads.run_sync(self._make)

    async def remove(self) -> None:
        """Remove the folder itself with all that is in it, for good."""
        await threads.run_sync(self._remove)

    @contextmanager
    def opened(self) -> Iterator[Directory]:
        """Open the folder, without following a link below the root."""
        with refusals():
            try:
                with Directory.open(str(self._root)) as root:
                    top = root.descend(self._parts)
            except FileNotFoundError:
                raise NoFolderError("the folder of the session is gone") from None
            with top:
                yield top

    def _check_shown(self, parts: Parts) -> None:
        if any(part.startswith(OWN_PREFIX) for part in parts):
            raise NoSuchFileError
        if not self._shows_hidden and is_hidden(parts):
            raise InvalidArgumentError("this server keeps hidden files to itself", target="path")

    def _stat(self, parts: Parts) -> FileEntry:
        with self.opened() as top:
            if not parts:
                return FileEntry(name="", path="", type=FileType.DIRECTORY)
            with top.descend(parts[:-1]) as parent:
                return entry_of(parts, parent.stat(parts[-1]))

    def _list(
        self, parts: Parts, is_recursive: bool, after: Parts | None, limit: int
    ) -> Sequence[FileEntry]:
        with self.opened() as top:
            return [*islice(self._walk(top, parts, is_recursive, after, limit), limit)]

    def _walk(
        self, top: Directory, parts: Parts, is_recursive: bool, after: Parts | None, limit: int
    ) -> Iterator[FileEntry]:
        """Yield what is below *parts*; of a directory no more than *limit* names are in memory."""
        left = [iter(self._entries_of(top, parts, after, limit))]
        while left:
            entry = next(left[-1], None)
            if entry is None:
                left.pop()
                continue
            at = tuple(entry.path.split("/"))
            if after is None or at > after:
                yield entry
            if (
                is_recursive
                and entry.type is FileType.DIRECTORY
                and len(os.fsencode(entry.path)) < MAX_PATH_BYTES
            ):
                # It may be gone, or something else, by now.
                with contextlib.suppress(OSError):
                    left.append(iter(self._entries_of(top, at, after, limit)))

    def _entries_of(
        self, top: Directory, parts: Parts, after: Parts | None, limit: int
    ) -> Sequence[FileEntry]:
        """Return the first entries of a directory that come behind *after*, or lead there."""
        depth = len(parts)
        leads_there = after is not None and after[:depth] == parts and len(after) > depth
        first = after[depth] if after is not None and leads_there else ""
        with top.descend(parts) as directory:
            names = (
                entry.name
                for entry in directory.entries()
                if entry.name >= first and (self._shows_hidden or entry.name[0] != ".")
            )
            entries = []
            for name in heapq.nsmallest(limit + 1, names):
                with contextlib.suppress(FileNotFoundError):
                    entries.append(entry_of((*parts, name), directory.stat(name)))
        return entries

    def _open(self, parts: Parts) -> "LocalFile":
        if not parts:
            raise FileConflictError("this is a folder")
        with self.opened() as top, top.descend(parts[:-1]) as parent:
            descriptor = parent.file(parts[-1], READ_FLAGS)
            entry = entry_of(parts, os.fstat(descriptor))
            if entry.type is not FileType.FILE:
                os.close(descriptor)
                if entry.type is FileType.DIRECTORY:
                    raise FileConflictError("this is a folder: list it, or get it as an archive")
                raise FileConflictError("this is no file that can be read")
            return LocalFile(entry, descriptor)

    def _delete(self, parts: Parts, is_recursive: bool, precondition: Precondition) -> None:
        if not parts:
            raise FileConflictError("the folder itself goes with its session")
        name = parts[-1]
        with self.opened() as top, top.descend(parts[:-1]) as parent:
            entry = entry_of(parts, parent.stat(name))
            precondition.check(entry.etag)
            if entry.type is not FileType.DIRECTORY:
                parent.unlink(name)
            elif is_recursive:
                _remove_directory(parent, name)
            else:
                parent.remove(name)

    def _make(self) -> None:
        *above, name = self._parts
        with (
            refusals(),
            Directory.open(str(self._root)) as root,
            root.descend(tuple(above), make=True) as parent,
        ):
            parent.make(name, exist_ok=False)

    def _remove(self) -> None:
        *above, name = self._parts
        with (
            refusals(),
            Directory.open(str(self._root)) as root,
            root.descend(tuple(above)) as parent,
        ):
            if stat.S_ISDIR(parent.stat(name).st_mode):
                _remove_directory(parent, name)
            else:
                # Somebody put it there in place of the folder.
                parent.unlink(name)


def _remove_directory(parent: Directory, name: str) -> None:
    """Remove a directory with all that is in it: nobody sees half of it, unless it fails.

    Then what is left of it is back in its place.
    """
    hidden = new_name()
    parent.move(name, parent, hidden)
    try:
        if stat.S_ISDIR(parent.stat(hidden).st_mode):
            parent.remove_tree(hidden, deadline=time.monotonic() + REMOVE_SECONDS)
        else:
            parent.unlink(hidden)
    except OSError:
        with contextlib.suppress(OSError):
            parent.move(hidden, parent, name)
        raise


class LocalFile:
    """A file of the disk that is being read."""

    def __init__(self, entry: FileEntry, descriptor: int) -> None:
        self.entry = entry
        self._descriptor: int | None = descriptor
        self._lock = threading.Lock()

    async def read(self, start: int, size: int) -> bytes:
        """Return at most *size* bytes from *start* on; nothing at the end."""
        return await threads.run_sync(self._read, start, size)

    def _read(self, start: int, size: int) -> bytes:
        # Whoever closes it waits: the number could be another file's in the middle of a read.
        with self._lock, refusals():
            if self._descriptor is None:
                return b""
            os.lseek(self._descriptor, start, os.SEEK_SET)
            return os.read(self._descriptor, size)

    def close(self) -> None:
        """Close it; doing so twice is allowed."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


class LocalUpload:
    """A file that is written beside the place where it will be. To make one blocks.

    Once it is complete it holds no descriptors: of one request there can be many.
    """

    def __init__(self, folder: LocalFolder, parts: Parts) -> None:
        if not parts:
            raise FileConflictError("this is a folder")
        self._folder = folder
        self._parts = parts
        self._buffer = bytearray()
        self._lock = threading.Lock()
        self._mode: int | None = None
        with folder.opened() as top:
            self._beside, depth = top.deepest(parts[:-1])
            self._beside_parts = parts[:depth]
            try:
                before = _current(self._beside, parts) if depth == len(parts) - 1 else None
                if before is not None:
                    self._mode = stat.S_IMODE(before.st_mode) & 0o777
                self._name, descriptor = self._beside.new_file()
                self._descriptor: int | None = descriptor
                self._identity = os.fstat(descriptor)
            except BaseException:
                self._beside.close()
                raise
        self._is_there = True

    async def write(self, data: bytes) -> None:
        """Add *data*."""
        self._buffer += data
        if len(self._buffer) >= CHUNK_BYTES:
            await threads.run_sync(self._flush)

    async def complete(self) -> None:
        """Bring all of it to the disk: nothing is added any more."""
        await threads.run_sync(self._complete)

    async def commit(self, precondition: Precondition) -> tuple[FileEntry, bool]:
        """Put it in its place; return it, and whether nothing was there."""
        return await threads.run_sync(self._commit, precondition)

    async def discard(self) -> None:
        """Leave nothing of it, unless it is committed."""
        await threads.run_sync(self._discard)

    def _flush(self) -> None:
        with self._lock, refusals():
            if self._descriptor is None:
                raise NoSuchFileError
            data, self._buffer = memoryview(self._buffer), bytearray()
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])

    def _complete(self) -> None:
        if self._descriptor is None:
            return
        self._flush()
        with self._lock, refusals():
            if self._descriptor is not None:
                if self._mode is not None and hasattr(os, "fchmod"):
                    os.fchmod(self._descriptor, self._mode)
                os.fsync(self._descriptor)
                self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        self._beside.close()
        if descriptor is not None:
            os.close(descriptor)

    def _commit(self, precondition: Precondition) -> tuple[FileEntry, bool]:
        *above, name = self._parts
        with self._lock, self._folder.opened() as top:
            if not self._is_there:
                raise NoSuchFileError
            before = self._before(top)
            precondition.check(None if before is None else etag_of(before))
            with (
                top.descend(self._beside_parts) as beside,
                top.descend(tuple(above), make=True) as parent,
            ):
                # The code of the session may have put something else there.
                if not os.path.samestat(beside.stat(self._name), self._identity):
                    raise FileConflictError("somebody took away what was uploaded")
                beside.move(self._name, parent, name)
                self._is_there = False
                return entry_of(self._parts, parent.stat(name)), before is None

    def _before(self, top: Directory) -> os.stat_result | None:
        """Return what the file is to replace; ``None`` when nothing is there."""
        parent, depth = top.deepest(self._parts[:-1])
        with parent:
            return _current(parent, self._parts) if depth == len(self._parts) - 1 else None

    def _discard(self) -> None:
        with self._lock:
            self._buffer = bytearray()
            self._close()
            if self._is_there:
                self._is_there = False
                with (
                    contextlib.suppress(OSError, ExecError),
                    self._folder.opened() as top,
                    top.descend(self._beside_parts) as beside,
                ):
                    beside.unlink(self._name)


def _current(parent: Directory, parts: Parts) -> os.stat_result | None:
    """Return the file that is to be replaced; ``None`` when nothing is there.

    Raises:
        ExecError: Something else is there.
    """
    try:
        found = parent.stat(parts[-1])
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        raise LinkRefusedError
    if not stat.S_ISREG(found.st_mode):
        raise FileConflictError("what is at this path is no file")
    return found


def entry_of(parts: Parts, found: os.stat_result) -> FileEntry:
    """Return what *found* tells of what is at *parts*."""
    kind = _TYPES.get(stat.S_IFMT(found.st_mode), FileType.OTHER)
    is_file = kind is FileType.FILE
    return FileEntry(
        name=parts[-1],
        path="/".join(parts),
        type=kind,
        size_bytes=found.st_size if is_file else None,
        modified_time=_time_of(found.st_mtime),
        mime_type=mime_type_of(parts[-1]) if is_file else None,
        etag=etag_of(found) if is_file else None,
    )


def etag_of(found: os.stat_result) -> str:
    """Return a tag that changes with the file, and when another one takes its place.

    The time of the last change of any kind is in it: nobody can set that back.
    """
    times = f"{found.st_mtime_ns:x}-{found.st_ctime_ns:x}"
    return f'"{found.st_ino:x}-{times}-{found.st_size:x}"'


def mime_type_of(name: str) -> str:
    """Return the MIME type that *name* tells."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _time_of(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


_TYPES = {
    stat.S_IFREG: FileType.FILE,
    stat.S_IFDIR: FileType.DIRECTORY,
    stat.S_IFLNK: FileType.LINK,
}
