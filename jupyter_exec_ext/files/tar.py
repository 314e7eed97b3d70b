"""A tar stream (POSIX.1-2001, pax) of files of a folder, made while it is sent.

Only files and directories are in it. A link is left out, or refused where it is chosen itself: what
unpacks it could be led elsewhere.
"""

import tarfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import closing

from jupyter_exec_ext.core.errors import ConflictError, ExecError, NoSuchFileError
from jupyter_exec_ext.core.files import FileEntry, FileType
from jupyter_exec_ext.core.paths import Parts
from jupyter_exec_ext.core.ports import Folder

LIST_AT_ONCE = 5_000
"""How many entries of a directory are in memory."""

READ_BYTES = 1024 * 1024

_END = bytes(2 * tarfile.BLOCKSIZE)


async def stream(
    folder: Folder, chosen: Sequence[Parts], *, has_whole_paths: bool = True
) -> AsyncGenerator[bytes]:
    """Yield the pieces of a tar file of what is at *chosen*, directories with all in them.

    What cannot be read in a directory, or is gone when its turn comes, is not in it.

    Args:
        has_whole_paths: Whether the names in it are paths from *folder* on; else they begin with
            the last part of what was chosen, as of a copy.

    Raises:
        ExecError: The first of *chosen* that is not there, or neither a file nor a directory,
            before anything is yielded; or a file became shorter while it was read.
    """
    tops = []
    for parts in _without_nested(chosen):
        try:
            entry = await folder.stat(parts)
            if entry.type not in (FileType.FILE, FileType.DIRECTORY):
                # It says what is wrong.
                (await folder.open(parts)).close()
            tops.append((parts, entry))
        except ExecError as error:
            error.details = ("/".join(parts)[:200],)
            raise
    for parts, entry in tops:
        prefix = "" if has_whole_paths else "".join(f"{part}/" for part in parts[:-1])
        if parts:
            async for piece in _member(folder, parts, entry, prefix):
                yield piece
        if entry.type is FileType.DIRECTORY:
            async for piece in _below(folder, parts, prefix):
                yield piece
    yield _END


async def _below(folder: Folder, parts: Parts, prefix: str) -> AsyncGenerator[bytes]:
    after: Parts | None = None
    while True:
        try:
            entries = await folder.list(parts, is_recursive=True, after=after, limit=LIST_AT_ONCE)
        except NoSuchFileError:
            return
        for entry in entries:
            after = tuple(entry.path.split("/"))
            async for piece in _member(folder, after, entry, prefix):
                yield piece
        if len(entries) < LIST_AT_ONCE:
            return


async def _member(
    folder: Folder, parts: Parts, entry: FileEntry, prefix: str
) -> AsyncGenerator[bytes]:
    """Yield one entry, whose name is its path without *prefix*."""
    if entry.type is FileType.DIRECTORY:
        yield _header(entry, prefix)
    if entry.type is not FileType.FILE:
        return
    try:
        file = await folder.open(parts)
    except ExecError:
        return
    with closing(file):
        size = file.entry.size_bytes or 0
        yield _header(file.entry, prefix)
        position = 0
        while position < size:
            data = await file.read(position, min(READ_BYTES, size - position))
            if not data:
                raise ConflictError("a file became shorter while it was read")
            position += len(data)
            yield data
        yield bytes(-size % tarfile.BLOCKSIZE)


def _header(entry: FileEntry, prefix: str) -> bytes:
    info = tarfile.TarInfo(entry.path.removeprefix(prefix))
    if entry.type is FileType.DIRECTORY:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    else:
        info.size = entry.size_bytes or 0
    if entry.modified_time is not None:
        info.mtime = int(entry.modified_time.timestamp())
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _without_nested(chosen: Sequence[Parts]) -> list[Parts]:
    """Return *chosen* in order, without what is in another of them already."""
    kept: list[Parts] = []
    for parts in sorted(set(chosen)):
        if not kept or parts[: len(kept[-1])] != kept[-1]:
            kept.append(parts)
    return kept
