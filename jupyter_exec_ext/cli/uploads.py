"""Files of this machine that go into the folder of a session: which, where to, and how."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_exec_ext.cli.arguments import UsageError
from jupyter_exec_ext.cli.render import counted
from jupyter_exec_ext.client import ExecClient, RefusedError
from jupyter_exec_ext.client.sessions import fits_form
from jupyter_exec_ext.core.paths import is_hidden, is_plain

SMALL_BYTES = 4_000_000
"""A larger file is sent by itself; smaller ones together, since each request takes a moment."""

FORM_BYTES = 32_000_000


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A file of this machine.

    Attributes:
        remote: Its path in the session's folder.
    """

    local: Path
    remote: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Uploads:
    """What is sent.

    Attributes:
        left_out: What is not, by what it is: how many of these.
    """

    files: Sequence[LocalFile] = ()
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def size_bytes(self) -> int:
        """How many bytes all files have together."""
        return sum(file.size_bytes for file in self.files)

    @property
    def remark(self) -> str:
        """What is not sent, for people; empty if that is nothing."""
        if not self.left_out:
            return ""
        parts = [counted(count, what) for what, count in sorted(self.left_out.items())]
        return f"left out of the upload: {', '.join(parts)}"

    def outside(self, folder: Path) -> "Uploads":
        """Return those that are not below *folder*."""
        folder = folder.resolve()
        kept = [file for file in self.files if not file.local.is_relative_to(folder)]
        left_out = Counter(self.left_out)
        if len(kept) < len(self.files):
            left_out["file of other sessions"] += len(self.files) - len(kept)
        return Uploads(files=kept, left_out=left_out)


def find_uploads(texts: Sequence[str]) -> Uploads:
    """Return what the values of ``--upload`` name.

    Raises:
        UsageError: One names nothing, or two files would be at one path.
    """
    files: dict[str, LocalFile] = {}
    left_out: Counter[str] = Counter()
    for text in texts:
        local, remote = split_upload(text)
        for file in _files_at(local, remote, left_out):
            if file.remote in files:
                raise UsageError(f"--upload: two files would be at {file.remote}")
            files[file.remote] = file
    for path in files:
        for end, letter in enumerate(path):
            if letter == "/" and path[:end] in files:
                raise UsageError(f"--upload: {path[:end]} would be a file and a folder")
    return Uploads(files=list(files.values()), left_out=left_out)


def split_upload(text: str) -> tuple[Path, str | None]:
    """Return what ``LOCAL`` or ``LOCAL=REMOTE`` names here and there.

    The last ``=`` is what separates them, but what exists here under the whole name is meant.
    ``None`` leaves the place there to the name of what is here; otherwise it is a path without
    slashes around it, empty for the session's folder, or that of the file in a folder.

    Raises:
        UsageError: Nothing is there, or it would go elsewhere than into the session's folder.
    """
    name, equals, remote = text.rpartition("=")
    if not equals or os.path.lexists(text):
        name, remote = text, ""
        equals = ""
    local = Path(name)
    if not name or not local.exists():
        raise UsageError(f"--upload: no file or folder {name or text}")
    if not equals or remote == "":
        return local, None
    into_folder = remote.endswith("/") or remote in (".", "./")
    remote = remote.removeprefix("./").rstrip("/")
    remote = "" if remote == "." else remote
    if remote and not is_plain(remote):
        raise UsageError(f"--upload: {remote} is no path in the folder of a session")
    if into_folder and not local.is_dir():
        remote = f"{remote}/{_name_of(local)}".lstrip("/")
    return local, remote


def send(
    client: ExecClient,
    session_id: str,
    uploads: Uploads,
    limits: Mapping[str, Any],
    on_progress: Callable[[int], None],
) -> None:
    """Put the files in their places, over what is there.

    Args:
        on_progress: Is told of bytes as they are sent.

    Raises:
        UsageError: The server takes no file of that size.
        ClientError: The server refuses one, or cannot be reached.
        OSError: One cannot be read.
    """
    most = limits.get("max_file_bytes")
    for file in uploads.files:
        if most is not None and file.size_bytes > most:
            raise UsageError(
                f"--upload: {file.local} has {file.size_bytes} bytes, and the server takes {most}"
            )
    for group in _groups(uploads.files, int(limits.get("max_files_per_request", 1))):
        try:
            if len(group) == 1:
                file = group[0]
                client.upload_file(session_id, file.remote, file.local, on_progress=on_progress)
            else:
                pairs = [(file.remote, file.local) for file in group]
                client.upload_files(session_id, pairs, on_progress=on_progress)
        except RefusedError as error:
            if error.target not in ("path", "filename"):
                raise
            which = group[0].remote if len(group) == 1 else f"one of {len(group)} files"
            raise UsageError(f"--upload: {which}: {error.message}") from error


def _groups(files: Sequence[LocalFile], most: int) -> Iterator[list[LocalFile]]:
    """Yield the files of each request."""
    group: list[LocalFile] = []
    size = 0
    for file in files:
        is_odd = is_hidden(tuple(file.remote.split("/"))) or not fits_form(file.remote)
        if file.size_bytes > SMALL_BYTES or is_odd:
            yield [file]
            continue
        if group and (len(group) >= most or size + file.size_bytes > FORM_BYTES):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size_bytes
    if group:
        yield group


def _files_at(local: Path, remote: str | None, left_out: Counter[str]) -> Iterator[LocalFile]:
    """Yield the file, or what is in the folder."""
    if not local.is_dir():
        if not local.is_file():
            raise UsageError(f"--upload: {local} is neither a file nor a folder")
        path = _name_of(local) if remote is None else remote
        yield _local_file(local.resolve(), path)
        return
    # What was named may be a link; below it none is followed.
    top = local.resolve()
    folders = [top]
    while folders:
        # One level at a time: before Python 3.12, `os.walk` nests a call for each.
        folder, names, file_names = next(os.walk(folders.pop(), onerror=_refuse))
        inside = Path(folder).relative_to(top).parts
        names = [name for name in sorted(names) if _is_taken(Path(folder, name), left_out)]
        folders += [Path(folder, name) for name in reversed(names)]
        if not names and not file_names and inside:
            left_out["empty folder"] += 1
        for name in sorted(file_names):
            file = Path(folder, name)
            if not _is_taken(file, left_out):
                continue
            path = "/".join((*([remote] if remote else []), *inside, name))
            if is_plain(path):
                yield _local_file(file, path)
            else:
                left_out["name that cannot be sent"] += 1


def _is_taken(path: Path, left_out: Counter[str]) -> bool:
    if path.name.startswith("."):
        left_out["hidden one"] += 1
    elif path.is_symlink():
        left_out["link"] += 1
    elif not path.is_file() and not path.is_dir():
        left_out["device"] += 1
    else:
        return True
    return False


def _local_file(local: Path, remote: str) -> LocalFile:
    try:
        size = local.stat().st_size
        readable = os.access(local, os.R_OK)
    except OSError as error:
        raise UsageError(f"--upload: cannot read {local}: {error.strerror}") from error
    if not readable:
        raise UsageError(f"--upload: cannot read {local}")
    return LocalFile(local=local, remote=remote, size_bytes=size)


def _name_of(local: Path) -> str:
    return local.name or local.resolve().name


def _refuse(error: OSError) -> None:
    raise UsageError(f"--upload: cannot read {error.filename}: {error.strerror}") from error
