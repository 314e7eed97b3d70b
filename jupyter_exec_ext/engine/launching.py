"""Starts kernels on the server, as JupyterLab would for a document."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import zmq
from jupyter_server.utils import ensure_async
from tornado.web import HTTPError

from jupyter_exec_ext.core.errors import KernelStartFailedError
from jupyter_exec_ext.engine.stderr import KernelStderr

T = TypeVar("T")

CLOSE_SECONDS = 8
"""How long the end of a kernel may take: Jupyter gives a kernel 5 s before it kills it."""


@dataclass(frozen=True, kw_only=True)
class ServerHost:
    """The managers of the Jupyter Server that the engine works on."""

    kernel_manager: Any
    session_manager: Any
    kernel_spec_manager: Any
    log: logging.Logger


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start a kernel.

    Attributes:
        path: API path of the document it is for; tells the kernel's ``JPY_SESSION_NAME``.
        kernel_path: API path that decides the working directory.
        environment: Set on top of the server's own environment; ``None`` takes one out of it.
        session_path: Path of the server session it is registered under; not *path*, or
            JupyterLab would attach the open document to this kernel.
        display_name: How JupyterLab's Running panel shows it.
        prepare_folder: Called before each start and restart, since Jupyter starts a kernel whose
            working directory is missing in the next one above it. Raises `NoWorkingFolderError`.
            ``None`` where nothing has to be checked.
    """

    kernel_name: str
    path: str
    kernel_path: str
    environment: Mapping[str, str | None]
    session_path: str
    display_name: str
    timeout_seconds: float
    prepare_folder: Callable[[], Awaitable[None]] | None = None


async def launch_kernel(
    host: ServerHost, kernel_id: str, launch: Launch, stderr: KernelStderr
) -> None:
    """Let the server start a kernel; shielded, since a start cut in the middle leaves a process.

    Args:
        stderr: Where its processes write standard error. A provisioner may ignore it.

    Raises:
        KernelStartFailedError: The server could not start it.
        TimeoutError: It took too long.
    """
    manager = host.kernel_manager
    document = launch.path.rpartition("/")[2]
    env = {**host.session_manager.get_kernel_env(launch.path, document), **launch.environment}

    async def start_it(**popen_arguments: Any) -> None:
        await ensure_async(
            manager.start_kernel(
                kernel_id=kernel_id,
                kernel_name=launch.kernel_name,
                path=launch.kernel_path,
                env={name: value for name, value in env.items() if value is not None},
                **popen_arguments,
            )
        )

    async def start_with_stderr() -> None:
        try:
            await start_it(stderr=stderr)
        except TypeError:
            # A provisioner may refuse arguments of `Popen`, or set this one itself.
            _forget_start(manager, kernel_id)
            await start_it()

    start = uncut(start_with_stderr())
    if not await is_done(start, seconds=launch.timeout_seconds):
        await is_done(uncut(_end_late(manager, kernel_id, start)), seconds=CLOSE_SECONDS)
        raise TimeoutError
    try:
        await start
    except (OSError, RuntimeError, KeyError, ValueError, HTTPError, zmq.ZMQError) as error:
        _forget_start(manager, kernel_id)
        raise KernelStartFailedError(
            f"the kernel {launch.kernel_name!r} could not be started ({_reason(error)})"
        ) from error


def _forget_start(manager: Any, kernel_id: str) -> None:
    """Let Jupyter stop waiting for a start that failed, which can keep the server from stopping."""
    getattr(manager, "_pending_kernels", {}).pop(kernel_id, None)


def _reason(error: Exception) -> str:
    """Return why a start failed; never the error's message, which can hold the environment."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return f"{os.strerror(error.errno)}: {os.fsdecode(error.filename)}"
    return type(error).__name__


async def _end_late(manager: Any, kernel_id: str, start: asyncio.Task[Any]) -> None:
    """End a kernel whose start took too long, once it is over."""
    await asyncio.wait({start})
    if kernel_id in manager:
        await ensure_async(manager.shutdown_kernel(kernel_id, now=True))


_uncut: set[asyncio.Task[Any]] = set()


def uncut(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Return a task that goes on to its end, whoever stops waiting for it.

    A kernel manager of Jupyter whose start or end of a kernel is cancelled half-way never comes
    to an end with that kernel: it stays in the list, and the server does not stop.
    """
    task = asyncio.ensure_future(work)
    _uncut.add(task)
    task.add_done_callback(_forget)
    return task


def _forget(task: asyncio.Task[Any]) -> None:
    _uncut.discard(task)
    if not task.cancelled():
        # Who waited no longer has no use for it, and asyncio would log it with its message.
        task.exception()


async def outlast_uncut(*, seconds: float) -> None:
    """Wait so long for all that `uncut` began: a server that stops in the middle of it does not."""
    loop = asyncio.get_running_loop()
    tasks = {task for task in _uncut if task.get_loop() is loop}
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)


async def is_done(task: asyncio.Task[Any], *, seconds: float) -> bool:
    """Wait for a task so long, whatever is cancelled meanwhile; return whether it is over."""
    with anyio.CancelScope(shield=True):
        await asyncio.wait({task}, timeout=seconds)
    return task.done()
