"""Paths as clients write them: relative, with slashes, and never out of where they start."""

import os
import re
import unicodedata

from jupyter_exec_ext.core.errors import InvalidArgumentError

MAX_NAME_BYTES = 255
"""In UTF-8, of one name: what the file systems of today hold."""

MAX_PATH_BYTES = 4_096
"""In UTF-8, of a path."""

MAX_SLUG_LENGTH = 40

Parts = tuple[str, ...]
"""The names along a path; empty for the folder in which it starts."""

_WINDOWS_NAME = re.compile(
    r"(?:con|prn|aux|nul|clock\$|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(?:\..*)?",
    re.IGNORECASE | re.DOTALL,
)
_WINDOWS_CHARACTER = re.compile(r'[<>:"|?*\x00-\x1f]')


def parts_of(path: str, *, target: str = "path", is_windows: bool = os.name == "nt") -> Parts:
    """Return the names along *path*; none for an empty one.

    Args:
        target: The field of the request that has it.
        is_windows: Whether names that mean something else on Windows are refused too.

    Raises:
        InvalidArgumentError: It is absolute or leads elsewhere, however that is spelt, or no
            file system takes it. What is refused on one system is refused on all, but for what
            only Windows lacks.
    """
    if not path:
        return ()
    if _size_of(path, target) > MAX_PATH_BYTES:
        raise InvalidArgumentError(f"a path has at most {MAX_PATH_BYTES} bytes", target=target)
    parts = tuple(path.split("/"))
    for part in parts:
        _check_name(part, target, is_windows=is_windows)
    return parts


def _check_name(name: str, target: str, *, is_windows: bool) -> None:
    if name in ("", ".", ".."):
        raise InvalidArgumentError(
            "a path is relative, and no part of it is empty, '.' or '..'", target=target
        )
    if "\\" in name or "\0" in name:
        raise InvalidArgumentError("a path has no backslash and no NUL", target=target)
    if _size_of(name, target) > MAX_NAME_BYTES:
        raise InvalidArgumentError(
            f"a name in a path has at most {MAX_NAME_BYTES} bytes", target=target
        )
    if is_windows and (
        _WINDOWS_NAME.fullmatch(name) or _WINDOWS_CHARACTER.search(name) or name[-1] in ". "
    ):
        raise InvalidArgumentError("no file can have this name on Windows", target=target)


def _size_of(text: str, target: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgumentError("the path is not Unicode text", target=target) from error


def is_plain(path: str) -> bool:
    """Whether *path* stays where it starts; ``False`` for that place itself."""
    try:
        parts = parts_of(path)
    except InvalidArgumentError:
        return False
    return bool(parts) and parts[0][1:] != ":"


def is_hidden(parts: Parts) -> bool:
    """Whether a name along the path begins with a dot, which servers do not show by default."""
    return any(part.startswith(".") for part in parts)


def slug_of(name: str) -> str:
    """Return what of *name* every file system takes: lower-case letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_SLUG_LENGTH].strip("-")
