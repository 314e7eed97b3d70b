"""What a layer hands down to the one below it, or gets from there, as protocols."""

from collections.abc import Sequence
from typing import Any, Protocol

from jupyter_exec_ext.core.files import FileEntry, Precondition
from jupyter_exec_ext.core.models import EventType
from jupyter_exec_ext.core.paths import Parts


class Sink(Protocol):
    """Takes what a run publishes, in order. Never blocks and never fails."""

    def emit(
        self,
        event_type: EventType,
        content: dict[str, Any],
        *,
        cell_index: int,
    ) -> None:
        """Take one event; *content* is not changed by the caller afterwards."""


class OpenFile(Protocol):
    """A file that is being read.

    Attributes:
        entry: As it was when it was opened, with its size and its tag.
    """

    entry: FileEntry

    async def read(self, start: int, size: int) -> bytes:
        """Return at most *size* bytes from *start* on; nothing at the end."""

    def close(self) -> None:
        """Close it; doing so twice is allowed."""


class Upload(Protocol):
    """A file that is being written, and that nobody sees before `commit`."""

    async def write(self, data: bytes) -> None:
        """Add *data*."""

    async def complete(self) -> None:
        """Bring all of it to the disk: nothing is added any more."""

    async def commit(self, precondition: Precondition) -> tuple[FileEntry, bool]:
        """Put it in its place, where missing folders are made; return it, and whether it is new.

        What is there is replaced whole or, when this raises, not at all.
        """

    async def discard(self) -> None:
        """Leave nothing of it, unless it is committed."""


class Folder(Protocol):
    """The folder of one session; *parts* are the names along a path from it on.

    Every method raises an `ExecError` that says what is wrong: `NoSuchFileError`,
    `LinkRefusedError`, `FileConflictError`, `FileForbiddenError`, `DiskFullError` and others.
    """

    async def stat(self, parts: Parts) -> FileEntry:
        """Return what is at *parts*."""

    async def list(
        self, parts: Parts, *, is_recursive: bool, after: Parts | None, limit: int
    ) -> Sequence[FileEntry]:
        """Return what is in the directory at *parts*, by the order of the names along the paths.

        Args:
            is_recursive: Whether also what is in the directories in it.
            after: Only what comes behind this; ``None`` for all.
            limit: How many at most.
        """

    async def open(self, parts: Parts) -> OpenFile:
        """Open a file to read."""

    async def create(self, parts: Parts) -> Upload:
        """Begin to write a file; what can be known to hinder it is raised here."""

    async def delete(self, parts: Parts, *, is_recursive: bool, precondition: Precondition) -> None:
        """Remove a file, or a directory, which is empty unless *is_recursive*."""

    async def make(self) -> None:
        """Make the folder itself; `FileConflictError` when it is there already."""

    async def remove(self) -> None:
        """Remove the folder itself with all that is in it, for good."""
