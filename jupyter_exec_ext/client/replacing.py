"""Files of this machine that are replaced whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """Give a new file beside *path*, which takes its place when all went well.

    Whatever goes wrong, what was there before is untouched and nothing is left beside it. Links
    at *path* are followed. What is no file, as ``/dev/null``, is written to instead.

    Raises:
        OSError: It cannot be written.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as device:
            yield device
        return
    target = path.resolve()
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:32]}-", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        _copy_mode(target, temporary)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _copy_mode(target: Path, temporary: Path) -> None:
    """Give the new file the rights of the one it replaces, else those of any new file."""
    if target.exists():
        mode = target.stat().st_mode & 0o777
    else:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    temporary.chmod(mode)
