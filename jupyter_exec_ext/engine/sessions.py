"""The kernels of one session: one at a time, started when needed, and again when one was lost."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from jupyter_exec_ext.core.errors import KernelStartFailedError, RunError, SessionLostError
from jupyter_exec_ext.engine.channels import Handler
from jupyter_exec_ext.engine.kernels import Keeping, Kernel
from jupyter_exec_ext.engine.launching import Launch, ServerHost

START_ATTEMPTS = 3
"""How often a kernel is started whose process ends while it starts."""


class KernelSession:
    """One session's way to its kernel.

    Args:
        kernel_id: The kernel of a session on somebody else's.
        start_limiter: Held while a kernel starts, which takes a processor.

    Attributes:
        launch: How its own kernels are started; ``None`` for a session on somebody else's.
        kernel: The one it has, which may be lost by now; ``None`` before the first.
        late_handler: Takes what a kernel prints for requests that ended; ``None`` drops it.
        max_late_bytes: How much text of one message it can use.
    """

    def __init__(
        self,
        host: ServerHost,
        *,
        launch: Launch | None,
        kernel_id: str | None = None,
        keeping: Keeping,
        timeout_seconds: float,
        start_limiter: anyio.CapacityLimiter,
    ) -> None:
        self._host = host
        self.launch = launch
        self._kernel_id = kernel_id
        self._keeping = keeping
        self._timeout_seconds = timeout_seconds
        self._start_limiter = start_limiter
        self._lock = anyio.Lock(fast_acquire=True)
        self._scope: anyio.CancelScope | None = None
        self._is_closed = False
        self._last_activity: object = None
        self.kernel: Kernel | None = None
        self.late_handler: Handler | None = None
        self.max_late_bytes = 0

    async def is_ready(self) -> bool:
        """Whether a kernel is there that answers, so that `ready` need not wait for one."""
        return self.kernel is not None and await self.loss() is None

    async def ready(self) -> Kernel:
        """Return a kernel that answers: the one there is, or one that is started or joined now.

        Raises:
            KernelStartFailedError: There is none, and none could be had.
            NoWorkingFolderError: There is none, and its working folder is missing.
            SessionLostError: The kernel was somebody else's and is gone for good.
        """
        async with self._lock:
            with anyio.CancelScope() as self._scope:
                if self._is_closed:
                    raise SessionLostError("the session has ended")
                if self.kernel is None or await self.loss() is not None:
                    self.kernel = await self._regain(self.kernel)
                    self._listen(self.kernel)
                return self.kernel
        raise SessionLostError("the session ended while its kernel started")

    def _listen(self, kernel: Kernel) -> None:
        if self.late_handler is not None:
            kernel.channels.subscribe_late(
                self.late_handler,
                max_text_bytes=self.max_late_bytes,
                # In another client's kernel the cells of its notebook print too.
                takes_all=self._keeping is not Keeping.FOREIGN,
            )

    @property
    def is_changing(self) -> bool:
        """Whether a kernel is being started, joined or restarted."""
        return self._lock.locked()

    async def loss(self) -> RunError | None:
        """Return what became of the kernel; ``None`` while it is there, or before the first."""
        if self.kernel is None:
            return None
        try:
            await self.kernel.check()
        except RunError as error:
            return error
        return None

    @property
    def is_gone(self) -> bool:
        """Whether its kernel was somebody else's, and is shut down."""
        return self._kernel_id is not None and self._kernel_id not in self._host.kernel_manager

    def was_used(self) -> bool:
        """Whether anybody used the kernel since this was last asked, in JupyterLab for instance."""
        manager = self._host.kernel_manager
        kernel = self.kernel
        # Of one that was lost the server may go on to say that it is busy.
        if kernel is None or kernel.fate is not None or kernel.kernel_id not in manager:
            return False
        its_manager = manager.get_kernel(kernel.kernel_id)
        seen = getattr(its_manager, "last_activity", None)
        is_busy = getattr(its_manager, "execution_state", None) == "busy"
        was_used, self._last_activity = seen != self._last_activity, seen
        return was_used or is_busy

    async def _prepare_folder(self) -> None:
        if self.launch is not None and self.launch.prepare_folder is not None:
            await self.launch.prepare_folder()

    async def _regain(self, lost: Kernel | None) -> Kernel:
        await self._prepare_folder()
        manager = self._host.kernel_manager
        if lost is not None and lost.kernel_id in manager:
            try:
                rejoin = partial(lost.rejoin, timeout_seconds=self._timeout_seconds)
                return await _start_again(rejoin)
            except KernelStartFailedError:
                if self.launch is None and lost.kernel_id in manager:
                    raise
        if self.launch is None:
            if self._kernel_id not in manager:
                raise SessionLostError("the kernel that the session was attached to is gone")
            return await Kernel.join(
                self._host,
                str(self._kernel_id),
                keeping=self._keeping,
                timeout_seconds=self._timeout_seconds,
            )
        if lost is not None:
            await lost.close(now=True)
            self.kernel = None
        start = partial(Kernel.start, self._host, self.launch, self._keeping)
        async with self._start_limiter:
            return await _start_again(start)

    async def restart(self) -> None:
        """Restart the kernel, if it is there; `ready` returns it then.

        Raises:
            KernelStartFailedError: It did not come back.
            NoWorkingFolderError: Its working folder is missing; the kernel was not restarted.
        """
        async with self._lock:
            if self.kernel is not None and not self._is_closed and await self.is_ready():
                await self._prepare_folder()
                await self.kernel.restart()

    async def interrupt(self) -> None:
        """Interrupt what runs in the kernel, if there is one."""
        if self.kernel is not None:
            await self.kernel.interrupt()

    async def close(self) -> None:
        """End the kernel, if it is the session's own, and start none any more.

        Bounded, and shielded from cancellation.
        """
        self._is_closed = True
        if self._scope is not None:
            self._scope.cancel()
        with anyio.CancelScope(shield=True):
            async with self._lock:
                if self.kernel is not None:
                    await self.kernel.close()

    def detach(self) -> None:
        """Let go of the kernel without ending it: its server is about to do that."""
        self._is_closed = True
        if self.kernel is not None:
            self.kernel.detach()


async def _start_again(start: Callable[[], Awaitable[Kernel]]) -> Kernel:
    """Start a kernel, once more and again if its process ends at once.

    Jupyter chooses a kernel's ports some time before the kernel binds them. On a busy machine
    somebody else has one of them by then, and the kernel ends.
    """
    for _ in range(START_ATTEMPTS - 1):
        try:
            return await start()
        except KernelStartFailedError as error:
            if error.exit_code is None:
                raise
    return await start()
