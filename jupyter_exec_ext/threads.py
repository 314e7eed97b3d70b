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
from functools import partial
from typing import TypeVar, TypeVarTuple

import anyio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_THREADS = 40

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
