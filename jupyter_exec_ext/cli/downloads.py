"""Files of a session that come to this machine: which, where to, and never anywhere else."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from jupyter_exec_ext.cli.arguments import UsageError
from jupyter_exec_ext.client import ExecClient, RefusedError
from jupyter_exec_ext.core.errors import (
    FileConflictError,
    InvalidArgumentError,
    NoSuchFileError,
)
from jupyter_exec_ext.core.paths import Parts, is_hidden, parts_of

_WILD = re.compile(r"[*?\[]")


class MissingError(Exception):
    """Nothing is where a download names something."""


class OutsideError(Exception):
    """What the server calls a file would be written outside the chosen folder."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """What a value of ``--download`` names.

    Attributes:
        text: As it was typed, without where to.
        remote: The path there, or a pattern; empty for the session's folder itself.
        local: Where to; ``None`` for the current folder, under the name that it has there.
    """

    text: str
    remote: Parts
    local: str | None

    @property
    def is_pattern(self) -> bool:
        """Whether it may name many files."""
        return any(map(_WILD.search, self.remote))


@dataclass(kw_only=True)
class Fetched:
    """What came of a download.

    Attributes:
        place: The file, or the folder that holds the files.
        left_out: What was not taken, by what it is: how many of these.
    """

    place: Path
    file_count: int = 0
    size_bytes: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def parse_download(text: str) -> Download:
    """Return what ``REMOTE`` or ``REMOTE=LOCAL`` names there and here.

    The last ``=`` is what separates them; nothing after it is as if it were not there.

    Raises:
        UsageError: It leads out of the session's folder, or cannot be written here.
    """
    name, equals, local = text.rpartition("=")
    if not equals:
        name, local = text, ""
    inside = name.removeprefix("./").rstrip("/")
    try:
        remote = () if inside == "." and name else parts_of(inside, is_windows=False)
    except InvalidArgumentError as error:
        raise UsageError(f"--download: {name}: {error}") from error
    if not name or (not remote and inside != "."):
        raise UsageError("--download: name a file, a folder or a pattern")
    if not remote and not local:
        raise UsageError("--download: say where to put all there is, as in .=FOLDER")
    download = Download(text=name, remote=remote, local=local or None)
    _check_destination(Path(local or "."))
    return download


def fetch(
    client: ExecClient, session_id: str, download: Download, on_progress: Callable[[int], None]
) -> Fetched:
    """Write what *download* names to where it belongs.

    Raises:
        MissingError: There is no such thing.
        OutsideError: The server names something that would be elsewhere.
        ClientError: The server refuses it, or cannot be reached.
        OSError: It cannot be written.
    """
    if download.is_pattern:
        depth = next(i for i, part in enumerate(download.remote) if _WILD.search(part))
        base, place = download.remote[:depth], Path(download.local or ".")
    else:
        if download.local is None and Path(download.remote[-1]).is_symlink():
            raise OutsideError(f"{download.remote[-1]} is a link here, which may lead elsewhere")
        if download.remote:
            file = _fetch_file(client, session_id, download, on_progress)
            if file is not None:
                return file
        base, place = download.remote, Path(download.local or download.remote[-1])
    fetched = Fetched(place=place)
    for entry, parts in _entries(client, session_id, download, base):
        inside = parts[len(base) :]
        if is_hidden(inside) and not _names_hidden(download):
            fetched.left_out["hidden one"] += 1
        elif entry.get("type") == "directory":
            if not download.is_pattern:
                _make_folder(_place_of(place, inside))
        elif entry.get("type") != "file":
            fetched.left_out["link"] += 1
        else:
            target = _place_of(place, inside)
            _make_folder(target.parent)
            size = client.download_file(
                session_id, "/".join(parts), target, on_progress=on_progress
            )
            fetched.file_count += 1
            fetched.size_bytes += size
    if download.is_pattern and not fetched.file_count:
        raise MissingError(f"nothing matches {download.text}")
    _make_folder(place)
    return fetched


def matches(pattern: Parts, parts: Parts) -> bool:
    """Return whether *pattern* matches the path *parts*, or a folder that the path is in.

    ``**`` matches any number of folders, also none. Only a pattern that begins with a dot matches
    a hidden name.
    """
    if pattern[-1:] == ("**",):
        pattern = (*pattern, "*")
    places = _places_from({0}, pattern)
    for part in parts:
        if len(pattern) in places:
            return True
        reached = set()
        for place in places:
            wanted = pattern[place]
            if part.startswith(".") and not wanted.startswith("."):
                continue
            if wanted == "**":
                reached.add(place)
            elif fnmatchcase(part, wanted):
                reached.add(place + 1)
        places = _places_from(reached, pattern)
    return len(pattern) in places


def _places_from(places: set[int], pattern: Parts) -> set[int]:
    """Return *places* in the pattern with those behind a ``**``, which may match no folder."""
    found = set(places)
    for place in places:
        while pattern[place : place + 1] == ("**",):
            place += 1
            found.add(place)
    return found


def _fetch_file(
    client: ExecClient, session_id: str, download: Download, on_progress: Callable[[int], None]
) -> Fetched | None:
    """Write the one file that *download* names; ``None`` when it is a folder."""
    name = download.remote[-1]
    target = Path(name)
    if download.local is not None:
        target = Path(download.local)
        if download.local.endswith("/") or target.is_dir():
            target /= name
    path = "/".join(download.remote)
    try:
        try:
            size = client.download_file(session_id, path, target, on_progress=on_progress)
        except FileNotFoundError:
            # Only now: for a file that is missing there, no folder is made here.
            _make_folder(target.parent)
            size = client.download_file(session_id, path, target, on_progress=on_progress)
    except RefusedError as error:
        if error.code == NoSuchFileError.code:
            raise MissingError(f"no file or folder {download.text}") from error
        if error.code == FileConflictError.code:
            return None
        raise
    return Fetched(place=target, file_count=1, size_bytes=size)


def _entries(
    client: ExecClient, session_id: str, download: Download, base: Parts
) -> Iterator[tuple[dict[str, Any], Parts]]:
    """Yield what is in the folder *base* and meant, with the names along its path.

    Raises:
        MissingError: There is no such folder.
        OutsideError: The server sends a path that is not in that folder.
    """
    entries = client.list_files(session_id, path="/".join(base), recursive=True)
    try:
        for entry in entries:
            path = entry.get("path")
            parts = _checked(path, base)
            if not download.is_pattern or matches(download.remote, parts):
                yield entry, parts
    except RefusedError as error:
        if error.code != NoSuchFileError.code:
            raise
        raise MissingError(f"no file or folder {download.text}") from error


def _checked(path: Any, base: Parts) -> Parts:
    try:
        parts = parts_of(path) if isinstance(path, str) else ()
    except InvalidArgumentError:
        parts = ()
    if len(parts) <= len(base) or parts[: len(base)] != base:
        raise OutsideError(f"the server calls a file {path!r}: nothing is written there")
    return parts


def _place_of(place: Path, inside: Parts) -> Path:
    """Return where a file belongs; neither names nor links that are here lead out of *place*."""
    try:
        top, target = place.resolve(), place.joinpath(*inside).resolve()
    except RuntimeError as error:  # a loop of links
        raise OutsideError(f"{place.joinpath(*inside)} leads nowhere") from error
    if not target.is_relative_to(top) or target == top:
        raise OutsideError(f"{place.joinpath(*inside)} leads out of {place}: it is not written")
    return target


def _make_folder(path: Path) -> None:
    """Make the folder and those that it is in; `Path.mkdir` would nest a call for each level.

    Raises:
        OSError: One cannot be made, or something else is there.
    """
    missing = []
    for folder in (path, *path.parents):
        try:
            folder.mkdir(exist_ok=True)
            break
        except FileNotFoundError:
            missing.append(folder)
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)


def _names_hidden(download: Download) -> bool:
    return any(part.startswith(".") for part in download.remote)


def _check_destination(path: Path) -> None:
    """Refuse what can never be written, before anything runs.

    Raises:
        UsageError: A file is where a folder is needed.
    """
    for folder in path.absolute().parents:
        if folder.is_dir():
            return
        if folder.exists():
            raise UsageError(f"--download: {folder} is no folder")
