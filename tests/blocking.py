"""Finds what holds up the event loop: calls that block, and work on more than a megabyte."""

import asyncio
import hashlib
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import dropwhile
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import msgspec
from blockbuster import BlockBuster
from blockbuster.blockbuster import BlockBusterFunction

import jupyter_exec_ext

PACKAGE = str(Path(jupyter_exec_ext.__file__).parent)
TESTS = str(Path(__file__).parent)
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
    """Report where code of the package blocks the event loop, or works there on too much at once.

    The calls themselves take place: an error in their place could be handled and go unseen.

    Raises:
        AssertionError: A call blocked the event loop, or something large was encoded, decoded or
            hashed on it.
    """
    found: dict[str, None] = {}
    guard = BlockBuster()
    for function in guard.functions.values():
        function.can_block_predicate = _reporting(function, found)
    originals = [(module, name, getattr(module, name)) for module, name in _WATCHED]
    for module, name, original in originals:
        setattr(module, name, _watched(original, f"{module.__name__}.{name}", found))
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()
        for module, name, original in originals:
            setattr(module, name, original)
    assert not found, "\n".join(found)


def _reporting(function: BlockBusterFunction, found: dict[str, None]) -> Callable[..., bool]:
    """Return a predicate that lets each call block, and reports those of the package.

    A call is the package's unless a function that may block, or one of a test, lies between them.
    """
    is_harmless = function.can_block_predicate
    may_block = function.can_block_functions

    def report(*args: Any, **kwargs: Any) -> bool:
        if is_harmless(*args, **kwargs):
            return True
        caller = sys._getframe(2)
        for frame, _ in traceback.walk_stack(caller):
            file, name = frame.f_code.co_filename, frame.f_code.co_name
            if (
                file.endswith(tuple(MAY_BLOCK))
                or file.startswith(TESTS)
                or any(file.endswith(other) and name in names for other, names in may_block)
            ):
                break
            if file.startswith(PACKAGE):
                found[f"{function.full_name} blocks the event loop\n{_stack_of(caller)}"] = None
                break
        return True

    return report


def _watched(function: Callable[..., Any], name: str, found: dict[str, None]) -> Callable[..., Any]:
    def watch(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        sizes = [len(value) for value in (*args, result) if isinstance(value, (str, bytes))]
        if sizes and max(sizes) > LARGE_BYTES and asyncio._get_running_loop() is not None:
            caller = sys._getframe(1)
            if caller.f_code.co_filename.startswith(PACKAGE):
                found[f"{name} of {max(sizes)} bytes\n{_stack_of(caller)}"] = None
        return result

    return watch


def _stack_of(frame: FrameType) -> str:
    """Return the calls that led from the package to *frame*."""
    lines = traceback.format_stack(frame)
    return "".join(dropwhile(lambda line: PACKAGE not in line, lines))
