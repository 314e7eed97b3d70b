"""Threads for what blocks: what is called here has to end by itself, and soon.

The process waits for it when it ends. anyio's own threads end with the task that was the first to
need one. Of a request that is the server's task for the connection, which never ends while the
client keeps that open.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import is_dataclass
from functools import partial
from typing import TypeVar, TypeVarTuple

import anyio
import msgspec

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_THREADS = 40

LARGE_BYTES = 1_000_000
"""What is larger takes longer to encode, decode or hash than the event loop may wait."""

_VALUE_BYTES = 64
"""What each part of a value counts at least for."""

# It starts no thread before the first is needed, and the interpreter ends those that are idle.
_EXECUTOR = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="jupyter_exec_ext")


async def run_sync(
    function: Callable[[*Ts], T],
    *args: *Ts,
    limiter: anyio.CapacityLimiter | None = None,
    abandon_on_cancel: bool = False,
) -> T:
    """Return what ``function(*args)`` returns, which runs in a thread.

    Args:
        limiter: How many such calls there are at once; ``None`` for as many as there are threads.
        abandon_on_cancel: Whether a cancellation leaves the thread to itself; else it waits.
    """
    call = partial(contextvars.copy_context().run, function, *args)
    async with limiter or nullcontext():
        done = asyncio.get_running_loop().run_in_executor(_EXECUTOR, call)
        if abandon_on_cancel:
            return await done
        with anyio.CancelScope(shield=True):
            await asyncio.wait({done})
        return done.result()


async def run_if_large(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Return what ``function(*args)`` returns; runs it in a thread when *args* are large.

    A thread takes longer to begin than a small value takes to encode.
    """
    return await run_sync(function, *args) if is_large(*args) else function(*args)


def is_large(*values: object, max_bytes: int = LARGE_BYTES) -> bool:
    """Whether texts, bytes, JSON, dataclasses or structs have more than *max_bytes* together."""
    left = max_bytes
    rest: list[object] = [*values]
    while rest and left >= 0:
        value = rest.pop()
        left -= _VALUE_BYTES
        if isinstance(value, (str, bytes)):
            left -= len(value)
        elif isinstance(value, msgspec.Raw):
            left -= memoryview(value).nbytes
        elif isinstance(value, msgspec.Struct):
            rest.extend(msgspec.structs.astuple(value))
        elif isinstance(value, dict):
            rest.extend(value.values())
        elif isinstance(value, (list, tuple)):
            rest.extend(value)
        elif is_dataclass(value) and not isinstance(value, type):
            rest.extend(vars(value).values())
    return left < 0
