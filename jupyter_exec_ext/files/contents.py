"""A folder of files wherever the server's contents manager has them: a database, a bucket.

Such a manager hands over a file whole, so what goes through here has a limit.
"""

import base64
import binascii
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from jupyter_server.utils import ensure_async
from tornado.web import HTTPError

from jupyter_exec_ext.core.errors import (
    FileConflictError,
    FileForbiddenError,
    InvalidArgumentError,
    NoSuchFileError,
    TooLargeError,
    UnavailableError,
)
from jupyter_exec_ext.core.files import NO_PRECONDITION, FileEntry, FileType, Precondition
from jupyter_exec_ext.core.paths import Parts, is_hidden
from jupyter_exec_ext.files.local import mime_type_of


class ContentsFolder:
    """The folder at *parts* below the root of a contents manager.

    Args:
        max_bytes: Largest file that is read or written.
    """

    def __init__(self, manager: Any, parts: Parts, *, max_bytes: int) -> None:
        self._manager = manager
        self._parts = parts
        self.max_bytes = max_bytes

    async def stat(self, parts: Parts) -> FileEntry:
        """Return what is at *parts*."""
        return _entry_of(parts, await self._model(parts))

    async def list(
        self, parts: Parts, *, is_recursive: bool, after: Parts | None, limit: int
    ) -> Sequence[FileEntry]:
        """Return what is in the directory at *parts*; see `core.ports.Folder`."""
        found: list[FileEntry] = []
        async for entry in self._walk(parts, is_recursive, after):
            found.append(entry)
            if len(found) >= limit:
                break
        return found

    async def open(self, parts: Parts) -> "ContentsFile":
        """Read a file."""
        if not parts:
            raise FileConflictError("this is a folder")
        data, model = await self._content(parts)
        return ContentsFile(_entry_of(parts, model, data), data)

    async def create(self, parts: Parts) -> "ContentsUpload":
        """Begin to write a file."""
        if not parts:
            raise FileConflictError("this is a folder")
        self._check_shown(parts)
        for depth in range(1, len(parts)):
            if await self._type_of(parts[:depth]) == "file":
                raise FileConflictError("a part of the path is there and is no folder")
        if await self._type_of(parts) == "directory":
            raise FileConflictError("a folder is at this path")
        return ContentsUpload(self, parts)

    async def delete(self, parts: Parts, *, is_recursive: bool, precondition: Precondition) -> None:
        """Remove a file, or a directory; see `core.ports.Folder`."""
        if not parts:
            raise FileConflictError("the folder itself goes with its session")
        entry = await self.stat(parts)
        if precondition != NO_PRECONDITION:
            precondition.check(await self.etag(parts))
        if entry.type is FileType.DIRECTORY:
            await self._delete_directory(parts, is_recursive)
        else:
            await self._ask(self._manager.delete, self._path(parts))

    async def make(self) -> None:
        """Make the folder itself."""
        if await self._ask(self._manager.dir_exists, self._path()):
            raise FileConflictError("something is at this path already")
        await self.make_directories(())

    async def remove(self) -> None:
        """Remove the folder itself with all that is in it."""
        await self._delete_directory((), is_recursive=True)

    async def make_directories(self, parts: Parts) -> None:
        """Make what is missing of the folder and of the directories *parts* in it."""
        names = (*self._parts, *parts)
        for depth in range(1, len(names) + 1):
            path = "/".join(names[:depth])
            if not await self._ask(self._manager.dir_exists, path):
                await self._ask(self._manager.save, {"type": "directory"}, path)

    async def save(self, parts: Parts, data: bytes) -> FileEntry:
        """Write a file whole; its directory is there."""
        model = {
            "type": "file",
            "format": "base64",
            "content": base64.b64encode(data).decode("ascii"),
        }
        await self._ask(self._manager.save, model, self._path(parts))
        return _entry_of(parts, await self._model(parts), data)

    async def etag(self, parts: Parts) -> str | None:
        """Return the tag of a file; ``None`` when there is none."""
        if await self._type_of(parts) != "file":
            return None
        return _etag_of((await self._content(parts))[0])

    async def _delete_directory(self, parts: Parts, is_recursive: bool) -> None:
        """Remove a directory, from the bottom up: not every manager removes one with content."""
        below = await self.list(parts, is_recursive=True, after=None, limit=10**9)
        if below and not is_recursive:
            raise FileConflictError("the folder is not empty")
        for entry in reversed(below):
            await self._ask(self._manager.delete, self._path(tuple(entry.path.split("/"))))
        await self._ask(self._manager.delete, self._path(parts))

    async def _walk(
        self, parts: Parts, is_recursive: bool, after: Parts | None
    ) -> AsyncGenerator[FileEntry]:
        left: list[Iterator[FileEntry]] = [iter(await self._entries_of(parts))]
        while left:
            entry = next(left[-1], None)
            if entry is None:
                left.pop()
                continue
            at = tuple(entry.path.split("/"))
            if after is None or at > after:
                yield entry
            # A directory is passed over when all that is in it comes before.
            is_passed = after is not None and at < after and after[: len(at)] != at
            if is_recursive and entry.type is FileType.DIRECTORY and not is_passed:
                left.append(iter(await self._entries_of(at)))

    async def _entries_of(self, parts: Parts) -> Sequence[FileEntry]:
        model = await self._ask(
            self._manager.get, self._path(parts), content=True, type="directory"
        )
        shown = sorted(model["content"], key=lambda child: str(child["name"]))
        return [_entry_of((*parts, str(child["name"])), child) for child in shown]

    async def _type_of(self, parts: Parts) -> str | None:
        path = self._path(parts)
        if await self._ask(self._manager.dir_exists, path):
            return "directory"
        return "file" if await self._ask(self._manager.file_exists, path) else None

    async def _model(self, parts: Parts) -> dict[str, Any]:
        self._check_shown(parts)
        model: dict[str, Any] = await self._ask(self._manager.get, self._path(parts), content=False)
        return model

    async def _content(self, parts: Parts) -> tuple[bytes, dict[str, Any]]:
        """Return a file, and the manager's model of it."""
        model = await self._model(parts)
        if model["type"] == "directory":
            raise FileConflictError("this is no file that can be read")
        self.check_size(model.get("size") or 0)
        # A notebook too is read as the text that it is.
        model = await self._ask(
            self._manager.get, self._path(parts), content=True, type="file", format="base64"
        )
        try:
            data = base64.b64decode(model["content"])
        except (binascii.Error, TypeError, ValueError) as error:
            raise UnavailableError("the contents manager answers no bytes") from error
        self.check_size(len(data))
        return data, model

    def check_size(self, size: int) -> None:
        """Raise `TooLargeError` for a file of more than the limit."""
        if size > self.max_bytes:
            raise TooLargeError(f"here a file has at most {self.max_bytes} bytes", target="path")

    def _check_shown(self, parts: Parts) -> None:
        if not self._manager.allow_hidden and is_hidden(parts):
            raise InvalidArgumentError("this server keeps hidden files to itself", target="path")

    def _path(self, parts: Parts = ()) -> str:
        return "/".join((*self._parts, *parts))

    async def _ask(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        with _refusals():
            return await ensure_async(method(*args, **options))


class ContentsFile:
    """A file of a contents manager, which is in memory."""

    def __init__(self, entry: FileEntry, data: bytes) -> None:
        self.entry = entry
        self._data = data

    async def read(self, start: int, size: int) -> bytes:
        """Return at most *size* bytes from *start* on; nothing at the end."""
        return self._data[start : start + size]

    def close(self) -> None:
        """Let go of it."""
        self._data = b""


class ContentsUpload:
    """A file that is gathered in memory, up to the limit, and handed over at the end."""

    def __init__(self, folder: ContentsFolder, parts: Parts) -> None:
        self._folder = folder
        self._parts = parts
        self._data = bytearray()

    async def write(self, data: bytes) -> None:
        """Add *data*."""
        self._folder.check_size(len(self._data) + len(data))
        self._data += data

    async def complete(self) -> None:
        """Do nothing: it stays in memory until it is committed."""

    async def commit(self, precondition: Precondition) -> tuple[FileEntry, bool]:
        """Put it in its place; return it, and whether nothing was there."""
        etag = await self._folder.etag(self._parts)
        precondition.check(etag)
        await self._folder.make_directories(self._parts[:-1])
        return await self._folder.save(self._parts, bytes(self._data)), etag is None

    async def discard(self) -> None:
        """Forget it."""
        self._data.clear()


def _entry_of(parts: Parts, model: dict[str, Any], data: bytes | None = None) -> FileEntry:
    """Return what a manager's *model* tells; with the *data* of a file also its tag."""
    is_file = model["type"] != "directory"
    changed = model.get("last_modified")
    size = model.get("size") if data is None else len(data)
    return FileEntry(
        name=parts[-1] if parts else "",
        path="/".join(parts),
        type=FileType.FILE if is_file else FileType.DIRECTORY,
        size_bytes=size if is_file else None,
        modified_time=_aware(changed) if isinstance(changed, datetime) else None,
        mime_type=mime_type_of(parts[-1]) if is_file and parts else None,
        etag=None if data is None else _etag_of(data),
    )


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _etag_of(data: bytes) -> str:
    """Return a tag of the content: the times that managers tell can be too coarse."""
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


@contextmanager
def _refusals() -> Iterator[None]:
    """Raise the `ExecError` that a failure of the contents manager means."""
    try:
        yield
    except HTTPError as error:
        match error.status_code:
            case 404:
                raise NoSuchFileError from error
            case 401 | 403:
                raise FileForbiddenError from error
            case 409:
                raise FileConflictError("the contents manager refused it") from error
            case 413:
                raise TooLargeError("the contents manager takes no larger file") from error
            case code if 400 <= code < 500:
                raise InvalidArgumentError(
                    f"the contents manager refused it with status {code}", target="path"
                ) from error
        raise UnavailableError("the contents manager failed") from error
    except (OSError, ValueError) as error:
        raise UnavailableError(f"the contents manager failed ({type(error).__name__})") from error
