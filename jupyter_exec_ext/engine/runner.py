"""Runs one request in a kernel: sends it, hands on what it publishes, waits until it is over."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio

from jupyter_exec_ext.core.errors import (
    KernelDiedError,
    KernelStartFailedError,
    RunError,
    RunTimeoutError,
)
from jupyter_exec_ext.engine.channels import Channel, Message
from jupyter_exec_ext.engine.kernels import LIVENESS_SECONDS, Kernel
from jupyter_exec_ext.engine.languages import language_of
from jupyter_exec_ext.engine.numbering import MAX_MISSING
from jupyter_exec_ext.engine.stdin import Stdin
from jupyter_exec_ext.engine.subshells import Subshell, interrupt_blocked

DRAIN_SECONDS = 2.0
"""How long after the reply to wait for more output; ``idle`` ends it at once, but can be lost."""

LAST_WORDS_SECONDS = 0.2
"""The same after a kernel died, when no ``idle`` will come."""

MAX_DRAIN_SECONDS = 60.0
"""The same while output goes on coming."""

DROPPED_SECONDS = 1.0
"""How long a kernel that seems to have dropped a request may take to answer the next one."""

MAX_ABORTED = 5
"""How often a request that the kernel aborted, for another client's error, is sent again."""


@dataclass(frozen=True, kw_only=True)
class ExecuteRequest:
    """What to execute; the fields of the protocol's ``execute_request``."""

    code: str
    silent: bool = False
    store_history: bool = True
    allow_stdin: bool = False
    user_expressions: dict[str, str] = field(default_factory=dict)


@dataclass
class _Pending:
    """A request in flight.

    Attributes:
        missing_count: How many messages were missing before it began; see `KernelChannels`.
    """

    missing_count: int
    reply: Message | None = None
    has_begun: bool = False
    is_idle: bool = False
    must_interrupt: bool = False
    last_message_time: float = field(default_factory=time.monotonic)

    def note_status(self, state: object) -> None:
        """Note what the kernel says of this request: it is ``busy`` with it, or ``idle`` again."""
        self.has_begun |= state == "busy"
        self.is_idle |= state == "idle"


class Runner:
    """Runs requests in one kernel, one at a time.

    Output that a request publishes after its end, from a thread it left behind, still reaches its
    handler until `close`, as in JupyterLab.

    Args:
        stdin: Answers what the code asks for.
        subshell: Where the requests run; ``None`` for the kernel's main shell.
        is_abandoned: Asked when a run is cancelled: if true, the kernel is left as it is.

    Attributes:
        has_lost_output: Whether ZeroMQ dropped messages while a request ran, which can also be
            those of another request: numbers of messages are missing, or the request ended without
            its ``idle``, which the kernel publishes last.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        stdin: Stdin,
        subshell: Subshell | None,
        interrupt_grace_seconds: float,
        is_abandoned: Callable[[], bool],
    ) -> None:
        self._kernel = kernel
        self._stdin = stdin
        self._subshell = subshell
        self._is_abandoned = is_abandoned
        self._grace_seconds = interrupt_grace_seconds
        self.has_lost_output = False
        self._msg_ids: list[str] = []

    async def run(
        self,
        request: ExecuteRequest,
        on_message: Callable[[Message], None],
        *,
        deadline: float | None = None,
        max_text_bytes: int | None = None,
        may_repeat: Callable[[], bool] = lambda: True,
    ) -> dict[str, Any]:
        """Run *request* and return the content of its ``execute_reply``.

        When cancelled, the kernel is interrupted and what it still publishes is handed on, before
        the cancellation goes on.

        Args:
            on_message: Gets each IOPub message of the request.
            deadline: By `time.monotonic`; ``None`` means none.
            max_text_bytes: How much text of one message *on_message* can use; see
                `KernelChannels.subscribe`.
            may_repeat: Whether to send again what the kernel says it aborted, which bash_kernel
                also says of what was interrupted.

        Raises:
            KernelDiedError: The process ended before it replied.
            KernelRestartedError: Somebody else restarted the kernel or shut it down.
            RunTimeoutError: The deadline passed. The kernel was interrupted, and if it did not
                react to that, killed.
        """
        for _ in range(MAX_ABORTED):
            reply = await self._run_once(request, on_message, deadline, max_text_bytes)
            is_aborted = reply["content"].get("status") in ("aborted", "abort")
            if not (is_aborted and may_repeat()):
                content: dict[str, Any] = reply["content"]
                return content
        raise KernelDiedError("the kernel aborts every request")

    async def _run_once(
        self,
        request: ExecuteRequest,
        on_message: Callable[[Message], None],
        deadline: float | None,
        max_text_bytes: int | None,
    ) -> Message:
        await self.knock(deadline)
        channels = self._kernel.channels
        pending = _Pending(missing_count=channels.missing_count)

        def receive(channel: Channel, message: Message) -> None:
            msg_type = message["header"]["msg_type"]
            pending.last_message_time = time.monotonic()
            if channel == "iopub":
                if msg_type == "status":
                    state = message["content"].get("execution_state")
                    if state == "busy":
                        pending.missing_count = channels.missing_count
                    pending.note_status(state)
                else:
                    on_message(message)
            elif msg_type == "execute_reply":
                pending.reply = message
            elif msg_type == "input_request":
                self._ask(pending, message["content"])
            if pending.reply is not None or channel == "stdin" or msg_type == "status":
                self._kernel.changed.fire()

        msg_id = channels.send(
            "execute_request",
            {
                "code": request.code,
                "silent": request.silent,
                "store_history": request.store_history,
                "user_expressions": request.user_expressions,
                # ipykernel has one switch for all its shells: what runs beside must not lose it.
                "allow_stdin": request.allow_stdin or self._subshell is not None,
                # An error must not abort what other clients of this kernel have queued.
                "stop_on_error": False,
            },
            channel="shell",
            subshell_id=self._subshell.subshell_id if self._subshell is not None else None,
        )
        channels.subscribe(msg_id, receive, max_text_bytes=max_text_bytes)
        self._msg_ids.append(msg_id)
        try:
            await self._wait_for_reply(pending, deadline)
        except anyio.get_cancelled_exc_class():
            if not self._is_abandoned():
                with anyio.CancelScope(shield=True):
                    await self._interrupt_and_drain(pending)
            raise
        except RunTimeoutError:
            await self._interrupt_and_drain(pending)
            raise
        except RunError:
            # What it published last may still be on its way.
            had_lost_output = self.has_lost_output
            await self._drain(pending, quiet_seconds=LAST_WORDS_SECONDS)
            self.has_lost_output = had_lost_output  # A dead kernel publishes no `idle`.
            raise
        finally:
            self._stdin.close()
            self._note_missing(pending)
        await self._drain(pending)
        self._note_missing(pending)
        assert pending.reply is not None
        if pending.reply["content"].get("status") == "error":
            # A restart interrupts the code first; then the restart is the truth, not the error.
            await self._kernel.check()
        return pending.reply

    def _note_missing(self, pending: _Pending) -> None:
        missing_count = self._kernel.channels.missing_count - pending.missing_count
        self.has_lost_output |= missing_count > MAX_MISSING

    def _ask(self, pending: _Pending, content: dict[str, Any]) -> None:
        """Take a question of the code; the end of its input is told as its language does."""
        language = language_of(str(self._kernel.language_info.get("name", "")))
        end_of_input = language and language.end_of_input

        def reply(text: str | None) -> None:
            if text is None and end_of_input is None:
                pending.must_interrupt = True
                return
            value = end_of_input if text is None else text
            self._kernel.channels.send("input_reply", {"value": value}, channel="stdin")

        self._stdin.ask(
            str(content.get("prompt", "")), password=bool(content.get("password")), reply=reply
        )

    async def _wait_for_reply(
        self,
        pending: _Pending,
        deadline: float | None,
        *,
        is_enough: Callable[[], bool] = lambda: False,
    ) -> None:
        while pending.reply is None and not is_enough():
            await self._kernel.check()
            due_seconds = self._stdin.tick()
            if pending.must_interrupt:
                pending.must_interrupt = False
                await self._interrupt()
            seconds = min(LIVENESS_SECONDS, due_seconds or LIVENESS_SECONDS)
            if deadline is not None:
                seconds = min(seconds, deadline - time.monotonic())
                if seconds <= 0:
                    raise RunTimeoutError("the time limit passed")
            await self._kernel.changed.wait(seconds)

    async def _drain(self, pending: _Pending, *, quiet_seconds: float = DRAIN_SECONDS) -> None:
        start = time.monotonic()
        while not pending.is_idle:
            now = time.monotonic()
            if self._kernel.channels.is_busy:
                pending.last_message_time = now
            quiet_until = max(start, pending.last_message_time) + quiet_seconds
            seconds = min(quiet_until, start + MAX_DRAIN_SECONDS) - now
            if seconds <= 0:
                self.has_lost_output = True
                return
            await self._kernel.changed.wait(seconds)

    async def _interrupt_and_drain(self, pending: _Pending) -> None:
        """Interrupt the request; when that does not end it in time, stop it by force."""
        try:
            if await self._ends_by_interrupt(pending):
                return
        except RunError:
            return  # The kernel is gone, so nothing runs any more.
        if self._subshell is not None:
            self._subshell.leave()
        else:
            await self._kernel.kill("the kernel did not react to an interrupt")

    async def _ends_by_interrupt(self, pending: _Pending) -> bool:
        """Interrupt the request, and return whether that ended it within the grace time.

        What has not begun is not interrupted: that would hit what somebody else runs. A kernel
        that has only just begun can lose an interrupt, so there is a second one, which also
        reaches code that blocks in a cell that awaits.
        """
        began = time.monotonic()
        deadline = began + self._grace_seconds
        with contextlib.suppress(RunTimeoutError):
            await self._wait_for_reply(pending, deadline, is_enough=lambda: pending.has_begun)
            for is_last, until in ((False, began + self._grace_seconds / 2), (True, deadline)):
                await self._interrupt()
                if is_last and self._subshell is None:
                    with (
                        anyio.move_on_after(until - time.monotonic()),
                        contextlib.suppress(KernelStartFailedError),
                    ):
                        await interrupt_blocked(self._kernel)
                with contextlib.suppress(RunTimeoutError):
                    await self._wait_for_reply(pending, until)
                    await self._drain(pending)
                    return True
        return pending.reply is not None or await self._was_dropped(pending)

    async def _was_dropped(self, pending: _Pending) -> bool:
        """Whether the kernel is done with a request that it never replied to.

        ipykernel drops a request when an interrupt comes between its own steps.
        """
        if self._subshell is not None or not pending.is_idle:
            return False
        # User code can publish `idle` too, but the shell channel replies only between requests.
        with contextlib.suppress(RunTimeoutError):
            await self._wait_for_shell(time.monotonic() + DROPPED_SECONDS)
            return True
        return False

    async def knock(self, deadline: float | None) -> None:
        """Wait until the kernel has done what others asked it for, if it is theirs too.

        A request that waits inside the kernel could not be taken back.

        Raises:
            RunTimeoutError: The deadline passed.
            RunError: The kernel is gone.
        """
        await self._kernel.check()
        if self._subshell is None and self._kernel.may_be_busy:
            await self._wait_for_shell(deadline)

    async def _wait_for_shell(self, deadline: float | None) -> None:
        """Wait until the kernel has processed what was sent on the shell channel before.

        Raises:
            RunTimeoutError: The deadline passed.
            RunError: The kernel is gone.
        """
        replies: list[Message] = []

        def receive(channel: Channel, message: Message) -> None:
            if channel == "shell":
                replies.append(message)
                self._kernel.changed.fire()

        msg_id = self._kernel.channels.send("kernel_info_request", {}, channel="shell")
        self._kernel.channels.subscribe(msg_id, receive)
        try:
            while not replies:
                await self._kernel.check()
                if deadline is not None and time.monotonic() >= deadline:
                    raise RunTimeoutError("the time limit passed while others used the kernel")
                await self._kernel.changed.wait(LIVENESS_SECONDS)
        finally:
            self._kernel.channels.unsubscribe(msg_id)

    async def _interrupt(self) -> None:
        await (self._subshell or self._kernel).interrupt()

    def close(self) -> list[str]:
        """Stop listening for late output; return the message ids of the requests."""
        for msg_id in self._msg_ids:
            self._kernel.channels.unsubscribe(msg_id)
        msg_ids, self._msg_ids = self._msg_ids, []
        return msg_ids
