"""One kernel of the server: start it, know what becomes of its process, interrupt it, end it."""

import contextlib
import logging
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import anyio
from jupyter_server.utils import ensure_async
from tornado.web import HTTPError

from jupyter_exec_ext.core.errors import (
    KernelDiedError,
    KernelRestartedError,
    KernelStartFailedError,
    RunError,
)
from jupyter_exec_ext.engine.channels import Channel, KernelChannels, Message, ZmqChannels

LIVENESS_SECONDS = 0.25
"""How often a waiting run looks whether the kernel's process is still there."""

READY_RETRY_SECONDS = 0.5
"""How long to wait for an answer of a starting kernel before asking again."""

RESTART_POLL_SECONDS = 0.1

CLOSE_SECONDS = 8
"""How long the end of a kernel may take: Jupyter gives a kernel 5 s before it kills it."""


class Signal:
    """Wakes everybody who waits for a change; who looks first and then waits misses nothing."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def fire(self) -> None:
        """Wake all that wait now."""
        self._event.set()
        self._event = anyio.Event()

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after *seconds* without one."""
        with anyio.move_on_after(seconds):
            await self._event.wait()


@dataclass(frozen=True, kw_only=True)
class ServerHost:
    """The managers of the Jupyter Server that the engine works on."""

    kernel_manager: Any
    session_manager: Any
    kernel_spec_manager: Any
    log: logging.Logger


class Kernel:
    """A running kernel that was started for one session of ours, and is ended by `close`."""

    def __init__(self, host: ServerHost, kernel_id: str, kernel_name: str) -> None:
        self._host = host
        self.kernel_id = kernel_id
        self.kernel_name = kernel_name
        self.language_info: dict[str, Any] = {}
        self.changed = Signal()
        self._fate: RunError | None = None
        self._is_ready = False
        self._is_closing = False
        self._server_session_id: str | None = None
        self._manager = host.kernel_manager.get_kernel(kernel_id)
        self._callbacks = ((self._on_restart, "restart"), (self._on_dead, "dead"))
        for callback, event in self._callbacks:
            host.kernel_manager.add_restart_callback(kernel_id, callback, event)
        # Counts as a connection, so that the kernel culler leaves it alone.
        host.kernel_manager.notify_connect(kernel_id)
        self.channels: KernelChannels = ZmqChannels(
            self._manager, on_lifecycle=self._on_lifecycle, log=host.log
        )

    @classmethod
    async def start(
        cls,
        host: ServerHost,
        *,
        kernel_name: str,
        path: str,
        kernel_path: str,
        environment: Mapping[str, str | None],
        session_path: str,
        display_name: str,
        timeout_seconds: float,
    ) -> "Kernel":
        """Start a kernel as JupyterLab would for the document at *path*, and wait until it answers.

        Args:
            path: API path of the document; tells the kernel's ``JPY_SESSION_NAME``.
            kernel_path: API path that decides the working directory.
            environment: Set on top of the server's own environment; ``None`` takes one out of it.
            session_path: Path of the server session it is registered under; not *path*, or
                JupyterLab would attach the open document to this kernel.
            display_name: How JupyterLab's Running panel shows it.

        Raises:
            KernelStartFailedError: It did not start, or does not answer in time.
        """
        document = path.rpartition("/")[2]
        env = {**host.session_manager.get_kernel_env(path, document), **environment}
        env = {name: value for name, value in env.items() if value is not None}
        kernel_id = str(uuid4())
        kernel = None
        try:
            with anyio.fail_after(timeout_seconds):
                await _launch(
                    host,
                    kernel_id=kernel_id,
                    kernel_name=kernel_name,
                    path=kernel_path,
                    env=env,
                    timeout_seconds=timeout_seconds,
                )
                kernel = cls(host, kernel_id, kernel_name)
                await kernel._register(session_path, display_name)
                await kernel._wait_until_ready()
        except BaseException as error:
            if kernel is not None:
                await kernel.close(now=True)
            if isinstance(error, TimeoutError):
                raise KernelStartFailedError(
                    f"the kernel {kernel_name!r} did not answer within {timeout_seconds:g} s"
                ) from None
            raise
        return kernel

    async def _register(self, path: str, display_name: str) -> None:
        model = await ensure_async(
            self._host.session_manager.create_session(
                path=path, name=display_name, type="console", kernel_id=self.kernel_id
            )
        )
        self._server_session_id = model["id"]

    async def _wait_until_ready(self) -> None:
        """Wait for a reply on shell and for any message on IOPub, whose subscription takes time."""
        replied = published = False

        def note(channel: Channel, message: Message) -> None:
            nonlocal replied, published
            if channel == "iopub":
                published = True
            elif message["header"]["msg_type"] == "kernel_info_reply":
                replied = True
                self.language_info = message["content"].get("language_info") or {}
            self.changed.fire()

        asked: list[str] = []
        while not (replied and published):
            asked.append(self.channels.send("kernel_info_request", {}, channel="shell"))
            self.channels.subscribe(asked[-1], note)
            with anyio.move_on_after(READY_RETRY_SECONDS):
                while not (replied and published):
                    await self.check()
                    await self.changed.wait(LIVENESS_SECONDS)
        for msg_id in asked:
            self.channels.unsubscribe(msg_id)
        self._is_ready = True

    async def check(self) -> None:
        """Raise what became of the kernel, if it is not there any more.

        Raises:
            KernelDiedError: Its process ended.
            KernelRestartedError: Somebody restarted it or shut it down.
            KernelStartFailedError: Either of these before it was ready.
        """
        if self._fate is None:
            if self.kernel_id not in self._host.kernel_manager:
                self._set_fate(KernelRestartedError("the kernel was shut down"))
            elif getattr(self._manager, "shutting_down", False):
                self._set_fate(KernelRestartedError("the kernel is being shut down or restarted"))
            elif not await ensure_async(self._manager.is_alive()):
                self._set_fate(self._death())
        if self._fate is not None:
            raise self._fate

    async def interrupt(self) -> None:
        """Interrupt what runs in the kernel; a kernel that is gone is left alone."""
        if self._fate is None and self.kernel_id in self._host.kernel_manager:
            await ensure_async(self._host.kernel_manager.interrupt_kernel(self.kernel_id))

    def abandon(self) -> None:
        """Let go of the kernel without ending it: its server is about to do that."""
        self._is_closing = True
        self.channels.close()
        manager = self._host.kernel_manager
        for callback, event in self._callbacks:
            if self.kernel_id in manager:
                manager.remove_restart_callback(self.kernel_id, callback, event)

    async def kill(self, reason: str) -> None:
        """Kill the kernel's process; from then on `check` raises a `KernelDiedError`."""
        self._fate = self._fate or KernelDiedError(reason)
        await self.close(now=True)

    async def close(self, *, now: bool = False) -> None:
        """End the kernel and its server session; shielded from cancellation and bounded.

        Args:
            now: Kill it instead of asking it to shut down.
        """
        self.abandon()
        manager = self._host.kernel_manager
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await self._outlast_restart()
            try:
                if self.kernel_id in manager:
                    manager.notify_disconnect(self.kernel_id)
                    await ensure_async(manager.shutdown_kernel(self.kernel_id, now=now))
            except (HTTPError, KeyError, RuntimeError, OSError) as error:
                # Somebody else was faster; what matters is that it is gone.
                self._host.log.info(
                    "kernel %s ended by itself: %s", self.kernel_id, type(error).__name__
                )
            if self._server_session_id is not None:
                # Answers 404, since the kernel is gone, and drops the row; `delete_session`
                # would raise before it does.
                with contextlib.suppress(HTTPError):
                    await self._host.session_manager.get_session(session_id=self._server_session_id)

    async def _outlast_restart(self) -> None:
        """Wait while somebody restarts the kernel: ended in the middle of it, it would come back.

        That somebody is another client, or the server itself after the kernel died.
        """
        if self._fate is not None and hasattr(self._manager, "stop_restarter"):
            self._manager.stop_restarter()
            # A look that the restarter began before is over after this.
            await anyio.sleep(RESTART_POLL_SECONDS)
        while self.kernel_id in self._host.kernel_manager and (  # noqa: ASYNC110 - no event tells
            self._manager.shutting_down or not self._manager.ready.done()
        ):
            await anyio.sleep(RESTART_POLL_SECONDS)

    def _set_fate(self, fate: KernelDiedError | KernelRestartedError) -> None:
        if self._fate is None and not self._is_closing:
            if self._is_ready:
                self._fate = fate
            else:
                self._fate = KernelStartFailedError(
                    f"while it started, {fate}",
                    exit_code=getattr(fate, "exit_code", None),
                    signal=getattr(fate, "signal", None),
                )
            self.changed.fire()

    def _death(self) -> KernelDiedError:
        """Describe the end of the process by its exit code, where the provisioner knows it."""
        process = getattr(getattr(self._manager, "provisioner", None), "process", None)
        code = process.poll() if process is not None else None
        if code is None:
            return KernelDiedError("the kernel's process ended")
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = f"signal {-code}"
            hint = "; the machine may have run out of memory" if name == "SIGKILL" else ""
            return KernelDiedError(f"the kernel's process was ended by {name}{hint}", signal=name)
        return KernelDiedError(f"the kernel's process ended with exit code {code}", exit_code=code)

    def _on_restart(self) -> None:
        # The restarter calls this after it saw the death and before it replaces the process.
        self._set_fate(self._death())

    def _on_dead(self) -> None:
        self._set_fate(self._death())

    def _on_lifecycle(self, message: Message) -> None:
        # A fresh kernel tells `starting` of itself; only after it was ready it is news.
        if self._is_ready:
            what = message["content"].get("execution_state")
            if what == "dead":
                self._set_fate(self._death())
            else:
                self._set_fate(KernelRestartedError("the kernel was restarted or shut down"))


async def _launch(
    host: ServerHost, *, kernel_id: str, kernel_name: str, timeout_seconds: float, **kwargs: Any
) -> None:
    """Let the server start a kernel; shielded, since a start cut in the middle leaves a process."""
    manager = host.kernel_manager
    with anyio.move_on_after(timeout_seconds, shield=True) as scope:
        try:
            await ensure_async(
                manager.start_kernel(kernel_id=kernel_id, kernel_name=kernel_name, **kwargs)
            )
        except (OSError, RuntimeError, KeyError, ValueError, HTTPError) as error:
            # Only the kind: the message of a failed start can hold the environment.
            raise KernelStartFailedError(
                f"the kernel {kernel_name!r} could not be started ({type(error).__name__})"
            ) from error
    if scope.cancelled_caught:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            if kernel_id in manager:
                await ensure_async(manager.shutdown_kernel(kernel_id, now=True))
        raise TimeoutError
