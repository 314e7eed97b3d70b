"""Asks a kernel something that runs nothing, and waits for its reply."""

import time
from typing import Any

from jupyter_exec_ext.core.errors import KernelBusyError
from jupyter_exec_ext.core.sessions import Completion
from jupyter_exec_ext.engine.channels import Channel, Message, RequestChannel
from jupyter_exec_ext.engine.contents import clean_text
from jupyter_exec_ext.engine.kernels import LIVENESS_SECONDS, Kernel

ANSWER_SECONDS = 10.0
"""How long a kernel may take to answer."""

COMPLETE_SECONDS = 30.0
"""How long it may take to complete code; IPython reads a lot the first time."""


async def ask(
    kernel: Kernel,
    msg_type: str,
    content: dict[str, Any],
    *,
    channel: RequestChannel = "shell",
    subshell_id: str | None = None,
    seconds: float = ANSWER_SECONDS,
) -> dict[str, Any] | None:
    """Return the content of the reply to a request; ``None`` when none comes in time.

    Raises:
        RunError: The kernel is gone.
    """
    await kernel.check()
    replies: list[dict[str, Any]] = []

    def receive(where: Channel, message: Message) -> None:
        if where != "iopub":
            replies.append(message["content"])
            kernel.changed.fire()

    msg_id = kernel.channels.send(msg_type, content, channel=channel, subshell_id=subshell_id)
    kernel.channels.subscribe(msg_id, receive)
    deadline = time.monotonic() + seconds
    try:
        while not replies and time.monotonic() < deadline:
            await kernel.check()
            await kernel.changed.wait(LIVENESS_SECONDS)
    finally:
        kernel.channels.unsubscribe(msg_id)
    return replies[0] if replies else None


async def complete(kernel: Kernel, code: str, cursor_pos: int) -> Completion:
    """Return what can stand at the cursor, as the kernel knows it; nothing if it knows nothing.

    Raises:
        KernelBusyError: It does not answer in time: somebody else runs something in it.
        RunError: The kernel is gone.
    """
    content = {"code": code, "cursor_pos": cursor_pos}
    reply = await ask(kernel, "complete_request", content, seconds=COMPLETE_SECONDS)
    if reply is None:
        raise KernelBusyError
    found = reply.get("matches")
    matches = found if isinstance(found, list) else []
    start, end = (
        value
        if isinstance(value := reply.get(name), int) and 0 <= value <= len(code)
        else cursor_pos
        for name in ("cursor_start", "cursor_end")
    )
    return Completion(
        matches=[clean_text(match) for match in matches if isinstance(match, str)],
        cursor_start=min(start, end),
        cursor_end=end,
    )
