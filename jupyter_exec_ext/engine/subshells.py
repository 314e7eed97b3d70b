"""Something beside what a kernel runs: its subshells (JEP 91), where it has them."""

import anyio

from jupyter_exec_ext.core.errors import KernelStartFailedError, RunError
from jupyter_exec_ext.engine.asking import ask
from jupyter_exec_ext.engine.kernels import Kernel
from jupyter_exec_ext.engine.languages import Request, language_of


class Subshell:
    """One more shell of a kernel, which runs its requests beside those of the others."""

    def __init__(self, kernel: Kernel, subshell_id: str) -> None:
        self._kernel = kernel
        self.subshell_id = subshell_id
        self._is_stuck = False

    @classmethod
    async def create(cls, kernel: Kernel) -> "Subshell":
        """Make a subshell.

        Raises:
            KernelStartFailedError: The kernel did not make one.
            RunError: The kernel is gone.
        """
        reply = await ask(kernel, "create_subshell_request", {}, channel="control")
        subshell_id = (reply or {}).get("subshell_id")
        if not isinstance(subshell_id, str):
            raise KernelStartFailedError("the kernel made no subshell")
        return cls(kernel, subshell_id)

    async def interrupt(self) -> None:
        """Interrupt what runs in this subshell and nothing else, from another one."""
        language = language_of(str(self._kernel.language_info.get("name", "")))
        request = language and language.interrupt_subshell(self.subshell_id)
        if request:
            await _run_aside(self._kernel, request)

    def leave(self) -> None:
        """Note that what runs in it cannot be stopped: to end it now would block the kernel."""
        self._is_stuck = True

    async def close(self) -> None:
        """End the subshell; bounded, shielded from cancellation, and without an error."""
        if self._is_stuck:
            return
        with anyio.CancelScope(shield=True):
            try:
                content = {"subshell_id": self.subshell_id}
                await ask(self._kernel, "delete_subshell_request", content, channel="control")
            except RunError:
                return  # The kernel is gone, and its subshells with it.


async def interrupt_blocked(kernel: Kernel) -> None:
    """Interrupt, from a subshell, code of the main shell that the kernel's own did not stop.

    Raises:
        KernelStartFailedError: The kernel did not make a subshell.
        RunError: The kernel is gone.
    """
    language = language_of(str(kernel.language_info.get("name", "")))
    request = language and language.interrupt_blocked()
    if request and kernel.has_subshells:
        await _run_aside(kernel, request)


async def _run_aside(kernel: Kernel, request: Request) -> None:
    """Run an internal request in a subshell that ends with it."""
    subshell = await Subshell.create(kernel)
    # ipykernel has one switch for all its shells: what runs must not lose it.
    content = request.content(allow_stdin=True)
    await ask(kernel, "execute_request", content, subshell_id=subshell.subshell_id)
    await subshell.close()
