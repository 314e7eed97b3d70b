"""The owner of every task in the package."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio.abc import TaskGroup


class Supervisor:
    """One host task that holds one task group; each piece of background work is its child.

    A child records its own failure. When one raises all the same, it is logged, without its
    message, which may quote user data, and its siblings go on.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._host: asyncio.Task[None] | None = None
        self._group: TaskGroup | None = None
        self._has_started = asyncio.Event()
        self._is_stopping = False

    @property
    def is_stopping(self) -> bool:
        """Whether `close` was called: no new work is taken."""
        return self._is_stopping

    async def start(self) -> None:
        """Start the host task, if it does not run yet."""
        if self._host is None:
            self._host = asyncio.create_task(self._hold(), name="jupyter_exec_ext")
        await self._has_started.wait()

    def spawn(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run ``function(*args)`` as a child; `start` must have returned before."""
        assert self._group is not None
        self._group.start_soon(self._guard, function, *args)

    async def close(self, *, timeout_seconds: float) -> None:
        """Cancel all children and wait for them, but no longer than *timeout_seconds*."""
        self._is_stopping = True
        if self._host is None or self._group is None:
            return
        self._group.cancel_scope.cancel()
        done, _ = await asyncio.wait({self._host}, timeout=timeout_seconds)
        if not done:
            self._log.warning("background work did not end in time and is left behind")
            self._host.cancel()

    async def _hold(self) -> None:
        async with anyio.create_task_group() as group:
            self._group = group
            self._has_started.set()
            await anyio.sleep_forever()

    async def _guard(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            await function(*args)
        except Exception as error:  # noqa: BLE001 - a child must not take its siblings with it
            log_defect(self._log, error)


def log_defect(log: logging.Logger, error: BaseException) -> None:
    """Log where *error* was raised, but not its message, which may quote user data."""
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{code.co_filename}:{traceback.tb_lineno} in {code.co_qualname}")
        traceback = traceback.tb_next
    log.error("a defect: %s at %s", type(error).__name__, " > ".join(frames))
