"""One kernel of the server: start or join it, know what becomes of it, interrupt it, end it."""

import contextlib
import signal
from enum import Enum, auto
from pathlib import Path
from typing import Any, Literal
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
from jupyter_exec_ext.engine.languages import Language, language_of
from jupyter_exec_ext.engine.launching import (
    CLOSE_SECONDS,
    Launch,
    ServerHost,
    is_done,
    launch_kernel,
    uncut,
)
from jupyter_exec_ext.engine.signals import Signal
from jupyter_exec_ext.engine.stderr import KernelStderr, hidden_module

LIVENESS_SECONDS = 0.25
"""How often a waiting run looks whether the kernel's process is still there."""

READY_RETRY_SECONDS = 0.5
"""How long to wait for an answer of a starting kernel before asking again."""

STDIN_SECONDS = 2.0
"""How long to wait for the channel on which a kernel asks."""

STDIN_POLL_SECONDS = 0.005
"""How often to look whether the last of a starting kernel's channels is there."""

RESTART_POLL_SECONDS = 0.1

RESTARTER_SECONDS = 10.0
"""How long to wait until the server restarts somebody's kernel that died; it looks each 3 s."""

SUBSHELLS = "kernel subshells"
"""What ``kernel_info`` calls the ability to run something beside what runs (JEP 91)."""

RESTART_SECONDS = 30.0
"""How long a restart may take."""

INTERRUPT_SECONDS = 5.0
"""How long the server may take to interrupt a kernel, which may run on another machine."""

ALIVE_SECONDS = 10.0
"""How long the server may take to report whether a kernel's process is there."""

XEUS = "xeus"
"""How the `Kernel.implementation` of kernels that are based on xeus begins."""


class Keeping(Enum):
    """What becomes of a kernel when its work is done, or when it has to be stopped by force."""

    ONCE = auto()
    """It ends with its only work."""
    LASTING = auto()
    """It is kept, and restarted where force is needed."""
    FOREIGN = auto()
    """It is somebody else's, and is never ended or restarted without being asked."""


class Kernel:
    """A running kernel, until it is lost: after a restart the same one is another `Kernel`.

    Attributes:
        language_info: What the kernel says of its language; empty before it is ready.
        implementation: What the kernel calls itself, in lower case; empty before it is ready.
        language: How the kernel is spoken to, once that is known; see `CellsRun.find_language`.
        is_unsupported: Whether the kernel answered none of the test requests of its language.
        has_subshells: Whether it can run something beside what runs.
        changed: Fires when a reply came, or something became of the kernel.
    """

    def __init__(
        self,
        host: ServerHost,
        kernel_id: str,
        kernel_name: str,
        keeping: Keeping,
        stderr: KernelStderr | None = None,
    ) -> None:
        self._host = host
        self._stderr = stderr
        self.kernel_id = kernel_id
        self.kernel_name = kernel_name
        self.keeping = keeping
        self.language_info: dict[str, Any] = {}
        self.implementation = ""
        self.language: Language | None = None
        self.is_unsupported = False
        self.has_subshells = False
        self.changed = Signal()
        self._fate: RunError | None = None
        self._is_ready = False
        self._is_closing = False
        self._server_session_id: str | None = None
        self._manager = host.kernel_manager.get_kernel(kernel_id)
        self._pid = self._current_pid()
        self._callbacks = ((self._on_restart, "restart"), (self._on_dead, "dead"))
        for callback, event in self._callbacks:
            host.kernel_manager.add_restart_callback(kernel_id, callback, event)
        # Counts as a connection, so that the kernel culler leaves it alone.
        host.kernel_manager.notify_connect(kernel_id)
        self.channels: KernelChannels = ZmqChannels(
            self._manager, on_lifecycle=self._on_lifecycle, log=host.log
        )

    @classmethod
    async def start(cls, host: ServerHost, launch: Launch, keeping: Keeping) -> "Kernel":
        """Start a kernel as JupyterLab would for a document, and wait until it answers.

        Raises:
            KernelStartFailedError: It did not start, or does not answer in time.
        """
        kernel_id = str(uuid4())
        kernel = None
        stderr = KernelStderr(launch.environment)
        try:
            with anyio.fail_after(launch.timeout_seconds):
                await launch_kernel(host, kernel_id, launch, stderr)
                kernel = cls(host, kernel_id, launch.kernel_name, keeping, stderr)
                await kernel._register(launch.session_path, launch.display_name)
                await kernel._wait_until_ready()
        except BaseException as error:
            folder = None
            if kernel is not None:
                folder = kernel._folder()
                await kernel.close(now=True)
            if isinstance(error, TimeoutError):
                error = _not_answering(launch.kernel_name, launch.timeout_seconds)
            if isinstance(error, KernelStartFailedError):
                raise await _explained(error, stderr, folder) from None
            raise
        return kernel

    @classmethod
    async def join(
        cls,
        host: ServerHost,
        kernel_id: str,
        *,
        keeping: Keeping,
        timeout_seconds: float,
        stderr: KernelStderr | None = None,
    ) -> "Kernel":
        """Connect to a kernel that the server runs already, and wait until it answers.

        Args:
            stderr: What the kernel was started with; ``None`` where another client started it.

        Raises:
            KernelStartFailedError: It does not answer in time, or is gone meanwhile.
        """
        try:
            kernel_name = host.kernel_manager.get_kernel(kernel_id).kernel_name
            kernel = cls(host, kernel_id, kernel_name, keeping, stderr)
        except (HTTPError, KeyError) as error:
            raise KernelStartFailedError("the kernel is gone meanwhile") from error
        try:
            with anyio.fail_after(timeout_seconds):
                await kernel._wait_until_ready()
        except BaseException as error:
            kernel.detach()
            if isinstance(error, TimeoutError):
                error = _not_answering(kernel_name, timeout_seconds)
            if isinstance(error, KernelStartFailedError):
                raise await _explained(error, stderr, kernel._folder()) from None
            raise
        return kernel

    async def rejoin(self, *, timeout_seconds: float) -> "Kernel":
        """Return the same kernel as it is after what became of it, once it answers again.

        One that is kept is restarted where its process is gone; with one of somebody else's that
        is left to the server.

        Raises:
            KernelStartFailedError: It does not come back in time.
        """
        self.detach()
        with anyio.move_on_after(timeout_seconds):
            if self.keeping is Keeping.FOREIGN:
                await self._wait_for_restarter()
            else:
                await self._outlast_restart()
                if not await self._is_alive():
                    await self._restart(now=True)
                # The server can miss the word of the fresh kernel; the last one was `busy`.
                self._manager.execution_state = "starting"
        if hasattr(self._manager, "start_restarter"):
            self._manager.start_restarter()
        kernel = await Kernel.join(
            self._host,
            self.kernel_id,
            keeping=self.keeping,
            timeout_seconds=timeout_seconds,
            stderr=self._stderr,
        )
        kernel._server_session_id = self._server_session_id
        return kernel

    async def _register(self, path: str, display_name: str) -> None:
        model = await ensure_async(
            self._host.session_manager.create_session(
                path=path, name=display_name, type="console", kernel_id=self.kernel_id
            )
        )
        self._server_session_id = model["id"]

    async def _wait_until_ready(self) -> None:
        """Wait for a reply, for any message on IOPub, whose subscription takes time, and for stdin.

        A busy kernel, which can only be somebody else's, answers on the control channel.
        """
        replied = published = False
        request_channel: Literal["shell", "control"] = (
            "control" if self.keeping is Keeping.FOREIGN else "shell"
        )

        def note(channel: Channel, message: Message) -> None:
            nonlocal replied, published
            if channel == "iopub":
                published = True
            elif message["header"]["msg_type"] == "kernel_info_reply":
                replied = True
                info = message["content"].get("language_info")
                self.language_info = info if isinstance(info, dict) else {}
                self.implementation = str(message["content"].get("implementation", "")).lower()
                features = message["content"].get("supported_features")
                self.has_subshells = isinstance(features, list) and SUBSHELLS in features
            self.changed.fire()

        asked: list[str] = []
        while not (replied and published):
            asked.append(self.channels.send("kernel_info_request", {}, channel=request_channel))
            self.channels.subscribe(asked[-1], note)
            with anyio.move_on_after(READY_RETRY_SECONDS):
                while not (replied and published):
                    await self.check()
                    await self.changed.wait(LIVENESS_SECONDS)
        for msg_id in asked:
            self.channels.unsubscribe(msg_id)
        # A kernel that never asks anything need not have it.
        with anyio.move_on_after(STDIN_SECONDS):
            while not self.channels.can_be_asked:
                await self.check()
                await anyio.sleep(STDIN_POLL_SECONDS)
        if self.keeping is not Keeping.FOREIGN:
            self._prepare()
        self._is_ready = True
        if self._stderr is not None:
            self._stderr.release()

    def _prepare(self) -> None:
        """Send what a fresh kernel of a tested implementation must do before its first cell."""
        language = language_of(str(self.language_info.get("name", "")))
        if language is None or self.implementation not in language.implementations:
            return
        request = language.prepare_kernel()
        if request is not None:
            self.channels.send("execute_request", request.content(), channel="shell")

    @property
    def fate(self) -> RunError | None:
        """What became of the kernel, as far as it is known; ``None`` while it is there."""
        return self._fate

    @property
    def may_be_busy(self) -> bool:
        """Whether somebody else may have asked the kernel for something that is not done yet."""
        state = getattr(self._manager, "execution_state", None)
        return self.keeping is Keeping.FOREIGN or state == "busy"

    async def check(self) -> None:
        """Raise what became of the kernel, if it is not there any more.

        Raises:
            KernelDiedError: Its process ended.
            KernelRestartedError: Somebody restarted it or shut it down.
            KernelStartFailedError: Either of these before it was ready.
        """
        if self._fate is None and not self._is_closing:
            if self.kernel_id not in self._host.kernel_manager:
                self._set_fate(KernelRestartedError("the kernel was shut down"))
            elif getattr(self._manager, "shutting_down", False):
                self._set_fate(KernelRestartedError("the kernel is being shut down or restarted"))
            elif not await self._is_alive():
                self._set_fate(self._death())
            elif self._current_pid() != self._pid:
                # The messages that tell of it may still be on their way.
                self._set_fate(KernelRestartedError("the kernel was restarted"))
        if self._fate is not None:
            raise self._fate
        if self._is_closing:
            raise KernelRestartedError("the kernel was let go")

    async def interrupt(self) -> None:
        """Interrupt what runs in the kernel; a kernel that is gone is left alone."""
        if self._fate is None and self.kernel_id in self._host.kernel_manager:
            with anyio.move_on_after(INTERRUPT_SECONDS):
                await ensure_async(self._host.kernel_manager.interrupt_kernel(self.kernel_id))
            # xeus-python 0.19 answers nothing more on this connection after a message that comes
            # between the signal and the end of the code: its event loop misses that message.
            if not self._is_closing and not self.implementation.startswith(XEUS):
                # While code awaits, ipykernel's signal handler only schedules the cancellation
                # (`_cancel_on_sigint`), and its event loop sleeps on until a message wakes it.
                self.channels.send("kernel_info_request", {}, channel="shell")

    async def restart(self) -> None:
        """Restart the kernel, as a client asked; from now on `check` raises that.

        Raises:
            KernelStartFailedError: It did not come back.
        """
        self._set_fate(KernelRestartedError("a client restarted the kernel of the session"))
        await self._restart(now=False)

    async def kill(self, reason: str) -> None:
        """Stop by force what runs; from then on `check` raises a `KernelDiedError`.

        A kernel that is kept is restarted. One of somebody else's goes on with what it does.
        """
        if self.keeping is Keeping.FOREIGN:
            return
        self._fate = self._fate or KernelDiedError(reason)
        if self.keeping is Keeping.ONCE:
            await self.close(now=True)
            return
        with contextlib.suppress(KernelStartFailedError):
            await self._restart(now=True)

    async def shut_down(self, reason: str) -> None:
        """End the process in an orderly way; from then on `check` raises a `KernelDiedError`.

        A kernel that is kept is started again. One of another client's is left as it is.
        """
        if self.keeping is Keeping.FOREIGN:
            return
        self._fate = self._fate or KernelDiedError(reason)
        if self.keeping is Keeping.ONCE:
            await self.close()
            return
        # The server restarts it too, if it sees first that the process has ended.
        with anyio.move_on_after(RESTART_SECONDS):
            await self._outlast_restart()
        with contextlib.suppress(KernelStartFailedError):
            await self._restart(now=False)

    async def _restart(self, *, now: bool) -> None:
        manager = self._host.kernel_manager

        async def restart_it() -> None:
            await ensure_async(manager.restart_kernel(self.kernel_id, now=now))

        restart = uncut(restart_it())
        if not await is_done(restart, seconds=RESTART_SECONDS):
            raise KernelStartFailedError("the kernel could not be restarted in time")
        try:
            await restart
        except (HTTPError, KeyError, RuntimeError, OSError) as error:
            raise KernelStartFailedError(
                f"the kernel could not be restarted ({type(error).__name__})"
            ) from error

    def detach(self) -> None:
        """Let go of the kernel without ending it; doing it twice is allowed."""
        if self._is_closing:
            return
        self._is_closing = True
        self.channels.close()
        if self._stderr is not None:
            self._stderr.release()
        manager = self._host.kernel_manager
        if self.kernel_id in manager:
            manager.notify_disconnect(self.kernel_id)
            for callback, event in self._callbacks:
                manager.remove_restart_callback(self.kernel_id, callback, event)

    async def close(self, *, now: bool = False) -> None:
        """End the kernel and its server session; it is waited for, whatever is cancelled.

        What takes too long goes on by itself.

        One of somebody else's is only let go.

        Args:
            now: Kill it instead of asking it to shut down.
        """
        self.detach()
        if self.keeping is not Keeping.FOREIGN:
            end = uncut(self._end(now=now))
            if await is_done(end, seconds=CLOSE_SECONDS):
                await end

    async def _end(self, *, now: bool) -> None:
        manager = self._host.kernel_manager
        await self._outlast_restart()
        try:
            if self.kernel_id in manager:
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

    async def _wait_for_restarter(self) -> None:
        """Wait until the server restarted a kernel that died, as it does unless it gives up."""
        with anyio.move_on_after(RESTARTER_SECONDS):
            while self.kernel_id in self._host.kernel_manager and (  # noqa: ASYNC110 - no event tells
                self._manager.shutting_down
                or not self._manager.ready.done()
                or not await self._is_alive()
            ):
                await anyio.sleep(RESTART_POLL_SECONDS)

    async def _outlast_restart(self) -> None:
        """Wait while the kernel is being restarted: ended in the middle of it, it would come back.

        Another client restarts it, or the server itself after the kernel died. Callers set a time
        limit.
        """
        if self._fate is not None and hasattr(self._manager, "stop_restarter"):
            self._manager.stop_restarter()
            # A look that the restarter began before is over after this.
            await anyio.sleep(RESTART_POLL_SECONDS)
        while self.kernel_id in self._host.kernel_manager and (  # noqa: ASYNC110 - no event tells
            self._manager.shutting_down or not self._manager.ready.done()
        ):
            await anyio.sleep(RESTART_POLL_SECONDS)

    async def _is_alive(self) -> bool:
        """Whether the kernel's process is there; true while the server does not answer that."""
        with anyio.move_on_after(ALIVE_SECONDS):
            return bool(await ensure_async(self._manager.is_alive()))
        return True

    def _folder(self) -> Path | None:
        """Return the folder in which the kernel's process started; ``None`` if unknown."""
        folder = getattr(getattr(self._manager, "provisioner", None), "cwd", None)
        return Path(folder) if isinstance(folder, str | Path) else None

    def _current_pid(self) -> int | None:
        """Return the id of the process behind the kernel; ``None`` where it is not known."""
        return getattr(getattr(self._manager, "provisioner", None), "pid", None)

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
        if not self._is_ready:
            return
        state = message["content"].get("execution_state")
        if state == "dead":
            self._set_fate(self._death())
        elif state != "starting" or self._pid is None or self._current_pid() != self._pid:
            # Where one attaches at once, the kernel's first word can come late.
            self._set_fate(KernelRestartedError("the kernel was restarted or shut down"))


def _not_answering(kernel_name: str, seconds: float) -> KernelStartFailedError:
    return KernelStartFailedError(f"the kernel {kernel_name!r} did not answer within {seconds:g} s")


async def _explained(
    error: KernelStartFailedError, stderr: KernelStderr | None, folder: Path | None
) -> KernelStartFailedError:
    """Return *error* with what the process wrote to *stderr* before it ended.

    Args:
        folder: The kernel's working directory, which may hide modules; ``None`` if unknown.
    """
    lines = await stderr.last_lines() if stderr is not None else ()
    hidden = await hidden_module(lines, folder) if lines and folder is not None else None
    hint = ""
    if hidden is not None:
        hint = f"; {hidden} in the kernel's folder hides the Python module of that name: rename it"
    return KernelStartFailedError(
        f"{error}{hint}", exit_code=error.exit_code, signal=error.signal, details=lines
    )
