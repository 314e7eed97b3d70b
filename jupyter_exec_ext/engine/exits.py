"""Detects code that ends its own run, as by ``sys.exit()`` or ``exit()``, and ends its kernel."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_exec_ext.core.errors import RunError
from jupyter_exec_ext.engine.asking import ask
from jupyter_exec_ext.engine.kernels import LIVENESS_SECONDS, Keeping, Kernel
from jupyter_exec_ext.engine.languages import Language
from jupyter_exec_ext.engine.payloads import payloads_of

EXIT_SECONDS = 1.0
"""How long a kernel of another client gets to end by itself; ipykernel does so after 0.1 s."""

UNKNOWN_STATUS = 1
"""The exit status for what is not an integer, as Python has it for ``sys.exit("a message")``."""


@dataclass(frozen=True, kw_only=True)
class Exit:
    """A request of the code to end its run.

    Attributes:
        exit_code: 0 to 255, as a process would have it; ``None`` when the kernel reports none.
        ends_kernel: Whether the kernel is to end too.
    """

    exit_code: int | None
    ends_kernel: bool


def exit_of(reply: Mapping[str, Any], language: Language | None) -> Exit | None:
    """Return how the code of a request ended its run; ``None`` when it did not.

    Args:
        reply: The content of the ``execute_reply``.
    """
    asked = [payload for payload in payloads_of(reply) if payload["source"] == "ask_exit"]
    # ipykernel's `exit(3)` comes as `keepkernel: 3`: its only parameter is `keep_kernel`.
    keep = asked[-1].get("keepkernel") if asked else None
    ends_kernel = bool(asked) and not keep
    if reply.get("status") == "error":
        exception = language and language.exit_exception
        if exception is not None and reply.get("ename") == exception:
            return Exit(exit_code=_status_of(reply.get("evalue")), ends_kernel=ends_kernel)
        return Exit(exit_code=None, ends_kernel=True) if ends_kernel else None
    if not asked:
        return None
    exit_code = None if keep is None or isinstance(keep, bool) else _status_of(str(keep))
    return Exit(exit_code=exit_code, ends_kernel=ends_kernel)


def _status_of(text: object) -> int:
    if text in ("", "False"):
        return 0
    try:
        status = int(str(text))
    except ValueError:
        return UNKNOWN_STATUS
    # CPython exits with -1 for a number that no C long can hold.
    return status & 0xFF if -(2**63) <= status < 2**63 else 0xFF


async def end_kernel(kernel: Kernel) -> bool:
    """End a kernel whose code requested that, and return whether it has ended.

    ipykernel ends by itself, IRkernel leaves it to its client. A kernel of another client's that
    does not end by itself is left as it is.
    """
    if kernel.keeping is not Keeping.FOREIGN:
        await kernel.shut_down("the code ended the kernel")
        return True
    deadline = time.monotonic() + EXIT_SECONDS
    try:
        while time.monotonic() < deadline:
            await kernel.check()
            await kernel.changed.wait(LIVENESS_SECONDS)
        await ask(kernel, "kernel_info_request", {})
    except RunError:
        return True
    return False
