"""Directories of the local disk, opened step by step so that no link is followed.

What a session's own code does meanwhile cannot lead a request out of the session's folder: each
name is looked up in a directory that is open already. Where the system lacks that (Windows) the
steps are checked one by one, which leaves such code a moment between the check and the use.
"""

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from jupyter_exec_ext.core.errors import (
    DiskFullError,
    FileConflictError,
    FileForbiddenError,
    InvalidArgumentError,
    LinkRefusedError,
    NoSuchFileError,
    TooLargeError,
    UnavailableError,
)
from jupyter_exec_ext.core.paths import Parts

HAS_DIR_FD = os.open in os.supports_dir_fd and os.scandir in os.supports_fd

OWN_PREFIX = ".~exec-"
"""Begins the names of what is not there yet, or not any more; nobody is shown it."""

_DIRECTORY_FLAGS = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | os.O_CLOEXEC
    if HAS_DIR_FD
    else os.O_RDONLY
)
# A pipe that nobody writes to would keep who opens it waiting.
READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)

_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Directory:
    """An open directory; use as a context manager, or close it. All names are single ones.

    Its methods block, and raise `OSError`; see `refusals`.
    """

    def __init__(self, path: str, descriptor: int | None) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: str) -> Self:
        """Open the directory at a path of the operating system, over links where there are any."""
        if not HAS_DIR_FD:
            return cls(path, None)
        return cls(path, os.open(path, _DIRECTORY_FLAGS & ~os.O_NOFOLLOW))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; doing so twice is allowed."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _at(self, name: str) -> tuple[str, dict[str, Any]]:
        if not HAS_DIR_FD:
            return os.path.join(self._path, name), {}  # noqa: PTH118 - not a path of ours alone
        assert self._descriptor is not None
        return name, {"dir_fd": self._descriptor}

    def child(self, name: str) -> "Directory":
        """Open a directory in this one; `OSError` for a link."""
        try:
            if HAS_DIR_FD:
                return Directory("", os.open(name, _DIRECTORY_FLAGS, dir_fd=self._descriptor))
        except NotADirectoryError:
            # Systems differ in what they say of a link; one that is a directory by now was one.
            mode = self.stat(name).st_mode
            if stat.S_ISLNK(mode) or stat.S_ISDIR(mode):
                raise OSError(errno.ELOOP, "a link") from None
            raise
        mode = self.stat(name).st_mode
        if not stat.S_ISDIR(mode):
            raise OSError(errno.ELOOP if stat.S_ISLNK(mode) else errno.ENOTDIR, "no directory")
        return Directory(self._at(name)[0], None)

    def descend(self, parts: Parts, *, make: bool = False) -> "Directory":
        """Open the directory *parts* below this one, in a new object.

        Args:
            make: Whether what is missing is made.
        """
        at = self._again()
        for name in parts:
            with at:
                if make:
                    at.make(name)
                at = at.child(name)
        return at

    def _again(self) -> "Directory":
        if not HAS_DIR_FD:
            return Directory(self._path, None)
        assert self._descriptor is not None
        return Directory("", os.dup(self._descriptor))

    def deepest(self, parts: Parts) -> tuple["Directory", int]:
        """Open as much of *parts* below this one as is there; return how many that are too."""
        at, count = self._again(), 0
        for name in parts:
            try:
                below = at.child(name)
            except FileNotFoundError:
                break
            except OSError:
                at.close()
                raise
            at.close()
            at, count = below, count + 1
        return at, count

    def make(self, name: str, *, exist_ok: bool = True) -> None:
        """Make a directory in this one."""
        path, where = self._at(name)
        try:
            os.mkdir(path, **where)  # noqa: PTH102 - relative to a descriptor
        except FileExistsError:
            if not exist_ok:
                raise

    def stat(self, name: str) -> os.stat_result:
        """Return what is known of *name* itself, which may be a link."""
        path, where = self._at(name)
        return os.stat(path, follow_symlinks=False, **where)  # noqa: PTH116

    def file(self, name: str, flags: int) -> int:
        """Open a file in this directory and return the descriptor; `OSError` for a link."""
        path, where = self._at(name)
        if not HAS_DIR_FD and not flags & os.O_CREAT and stat.S_ISLNK(self.stat(name).st_mode):
            raise OSError(errno.ELOOP, "a link")
        more = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        return os.open(path, flags | more, 0o666, **where)

    def new_file(self) -> tuple[str, int]:
        """Make a file that nobody is shown yet; return its name and its descriptor."""
        name = new_name()
        return name, self.file(name, CREATE_FLAGS)

    def entries(self) -> Iterator[os.DirEntry[str]]:
        """Yield what is in this directory, in no order, but for what is our own and unfinished."""
        with os.scandir(self._path if self._descriptor is None else self._descriptor) as found:
            for entry in found:
                if not entry.name.startswith(OWN_PREFIX):
                    yield entry

    def move(self, name: str, into: "Directory", new_name: str) -> None:
        """Move *name* into a directory, in place of what has the new name there."""
        path, where = self._at(name)
        new_path, new_where = into._at(new_name)
        os.replace(
            path,
            new_path,
            src_dir_fd=where.get("dir_fd"),
            dst_dir_fd=new_where.get("dir_fd"),
        )

    def unlink(self, name: str) -> None:
        """Remove a file or a link."""
        path, where = self._at(name)
        os.unlink(path, **where)

    def remove(self, name: str) -> None:
        """Remove an empty directory."""
        path, where = self._at(name)
        os.rmdir(path, **where)

    def remove_tree(self, name: str, *, deadline: float) -> None:
        """Remove a directory with all that is in it, however deep: it gets flatter step by step.

        Args:
            deadline: By `time.monotonic`; somebody may go on to fill it.
        """
        with self._opened(name) as top:
            while top._remove_content():
                if time.monotonic() > deadline:
                    raise OSError(errno.ENOTEMPTY, "somebody goes on to fill it")
        self.remove(name)

    def _remove_content(self) -> bool:
        """Remove all files, and of the directories the upper level; return whether some are left.

        What is below them moves up into this one.
        """
        has_moved = False
        with os.scandir(self._path if self._descriptor is None else self._descriptor) as found:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        for name, is_directory in entries:
            if not is_directory:
                self.unlink(name)
                continue
            with self._opened(name) as child:
                has_moved |= child._move_up(self)
            self.remove(name)
        return has_moved

    def _move_up(self, into: "Directory") -> bool:
        has_moved = False
        with os.scandir(self._path if self._descriptor is None else self._descriptor) as found:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        for name, is_directory in entries:
            if is_directory:
                # It has to be writable to find itself elsewhere.
                self._opened(name).close()
                self.move(name, into, new_name())
                has_moved = True
            else:
                self.unlink(name)
        return has_moved

    def _opened(self, name: str) -> "Directory":
        """Open a directory that is to be emptied, and may be for that."""
        try:
            child = self.child(name)
        except PermissionError:
            self._allow(name)
            return self.child(name)
        if child._descriptor is not None:
            os.fchmod(child._descriptor, 0o700)
        return child

    def _allow(self, name: str) -> None:
        """Let its owner read and change a directory, but no link in its place."""
        if not hasattr(os, "O_PATH"):
            path, where = self._at(name)
            os.chmod(path, 0o700, follow_symlinks=False, **where)  # noqa: PTH101
            return
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=self._descriptor)
        try:
            os.chmod(f"/proc/self/fd/{descriptor}", 0o700)  # noqa: PTH101
        finally:
            os.close(descriptor)


def new_name() -> str:
    """Return a name that nothing has, and that is shown to nobody."""
    return f"{OWN_PREFIX}{secrets.token_hex(8)}"


@contextmanager
def refusals(target: str = "path") -> Iterator[None]:
    """Raise the `ExecError` that an `OSError` of what is inside means.

    Args:
        target: The field of the request that has the path.
    """
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOENT:
                raise NoSuchFileError(target=target) from error
            case errno.ELOOP:
                raise LinkRefusedError(target=target) from error
            case code if code in _CONFLICTS:
                raise FileConflictError(_CONFLICTS[code], target=target) from error
            case errno.ENAMETOOLONG | errno.EINVAL | errno.EILSEQ:
                raise InvalidArgumentError(
                    "the file system takes no such name", target=target
                ) from error
            case errno.EFBIG:
                raise TooLargeError("the file system takes no larger file") from error
            case code if code in _NOT_ALLOWED:
                raise FileForbiddenError(target=target) from error
            case code if code in _FULL:
                raise DiskFullError from error
        reason = errno.errorcode.get(error.errno or 0, "unknown")
        raise UnavailableError(f"the file system failed ({reason})") from error


_CONFLICTS = {
    errno.ENOTDIR: "a part of the path is there and is no folder",
    errno.EISDIR: "a folder is at this path",
    errno.ENOTEMPTY: "the folder is not empty",
    errno.EEXIST: "something is at this path already",
    errno.ENXIO: "this is no file that can be read",
    errno.EAGAIN: "somebody keeps others from this file",
    errno.EBUSY: "somebody keeps others from this",
    errno.ETXTBSY: "this program runs",
}
