"""Finds what holds up the event loop: calls that block, and work on more than a megabyte."""

import asyncio
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from blockbuster import blockbuster_ctx

import jupyter_exec_ext

PACKAGE = str(Path(jupyter_exec_ext.__file__).parent)
LARGE_BYTES = 1_100_000
"""More than `threads.LARGE_BYTES`, since JSON is larger than the texts in it."""

CONTENTS = "Jupyter's contents manager looks at files on the event loop"
KERNELSPECS = "Jupyter's kernelspec manager reads kernelspecs on the event loop"
KERNELS = "Jupyter's kernel manager starts processes and writes connection files on the event loop"

MAY_BLOCK = {
    "jupyter_server/services/contents/manager.py": CONTENTS,
    "jupyter_server/services/contents/filemanager.py": CONTENTS,
    "jupyter_server/services/contents/fileio.py": CONTENTS,
    "jupyter_client/kernelspec.py": KERNELSPECS,
    "jupyter_client/manager.py": KERNELS,
    "jupyter_client/multikernelmanager.py": KERNELS,
    "jupyter_client/connect.py": KERNELS,
    "jupyter_client/provisioning/local_provisioner.py": KERNELS,
    "jupyter_server/services/kernels/kernelmanager.py": KERNELS,
    "jupyter_server/services/sessions/sessionmanager.py": "Its SQLite database is in memory",
    "nbformat/sign.py": "The database of signatures is for the event loop's thread only",
}
"""Files of Jupyter whose functions may block when the package calls them, and why."""


class _Everything:
    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())


_WATCHED: tuple[tuple[ModuleType, str], ...] = (
    (json, "dumps"),
    (json, "loads"),
    (msgspec.json, "encode"),
    (msgspec.json, "decode"),
    (hashlib, "sha256"),
    (hashlib, "md5"),
)


@contextmanager
def guarded_loop() -> Iterator[None]:
    """Raise where code of the package blocks the event loop, or works on it on too much at once.

    Raises:
        AssertionError: Something large was encoded, decoded or hashed on the event loop.
    """
    found: list[str] = []
    with blockbuster_ctx("jupyter_exec_ext") as guard:
        for function in guard.functions.values():
            for file in MAY_BLOCK:
                function.can_block_in(file, _Everything())
        originals = [(module, name, getattr(module, name)) for module, name in _WATCHED]
        for module, name, original in originals:
            setattr(module, name, _watched(original, f"{module.__name__}.{name}", found))
        try:
            yield
        finally:
            for module, name, original in originals:
                setattr(module, name, original)
    assert not found, found


def _watched(function: Callable[..., Any], name: str, found: list[str]) -> Callable[..., Any]:
    def watch(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        sizes = [len(value) for value in (*args, result) if isinstance(value, (str, bytes))]
        if sizes and max(sizes) > LARGE_BYTES and asyncio._get_running_loop() is not None:
            caller = sys._getframe(1).f_code
            if caller.co_filename.startswith(PACKAGE):
                found.append(f"{name} of {max(sizes)} bytes in {caller.co_qualname}")
        return result

    return watch
