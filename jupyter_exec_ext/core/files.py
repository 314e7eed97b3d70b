"""The values that describe the files of a session."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from jupyter_exec_ext.core.errors import PreconditionFailedError


class FileType(StrEnum):
    """What stands at a path. A link is shown and never followed; ``other`` is a pipe, say."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file, or something else, in the folder of a session.

    Attributes:
        name: The last part of the path.
        path: From the folder of the session on, with slashes.
        type: What it is.
        size_bytes: ``None`` for what is no file, or where it is not known.
        modified_time: When its content was changed last; ``None`` where it is not known.
        mime_type: As the name tells it; ``None`` for what is no file.
        etag: Another one once the content has changed, as in the header ``ETag``; ``None`` for
            what is no file, or where only the content would tell.
    """

    name: str
    path: str
    type: FileType
    size_bytes: int | None = None
    modified_time: datetime | None = None
    mime_type: str | None = None
    etag: str | None = None


@dataclass(frozen=True, kw_only=True)
class FilePage:
    """A page of a list of files, in the order of the names along their paths.

    Attributes:
        files: What is in the folder, or on this page of it.
        next_page_token: Gets the next page; ``None`` on the last.
    """

    files: list[FileEntry]
    next_page_token: str | None = None


@dataclass(frozen=True, kw_only=True)
class FilePolicy:
    """What becomes of the folders of sessions, where a request does not say.

    Attributes:
        sessions_folder: API path of the folder that holds those made for sessions.
        keep_when_deleted: Whether such a folder stays when its session is deleted.
        keep_when_ended: Whether it stays when its session ends by itself.
    """

    sessions_folder: str = "exec-sessions"
    keep_when_deleted: bool = False
    keep_when_ended: bool = True


@dataclass(frozen=True, kw_only=True)
class Precondition:
    """How a file has to be for a request to go on (RFC 9110, section 13).

    Attributes:
        if_match: It has one of these tags, or ``*``: it is there. ``None``: it need not.
        if_none_match: It has none of these, or ``*``: it is not there. ``None``: it may.
    """

    if_match: frozenset[str] | None = None
    if_none_match: frozenset[str] | None = None

    def check(self, etag: str | None) -> None:
        """Raise `PreconditionFailedError` unless a file with this tag is as it has to be.

        Args:
            etag: ``None`` when nothing is there.
        """
        if self.if_match is not None and not _has(self.if_match, etag):
            raise PreconditionFailedError("the file is another one by now", target="If-Match")
        if self.if_none_match is not None and _has(self.if_none_match, etag):
            raise PreconditionFailedError("the file is there", target="If-None-Match")


NO_PRECONDITION = Precondition()


def _has(tags: frozenset[str], etag: str | None) -> bool:
    return etag is not None and ("*" in tags or etag in tags)
