"""Runs the steps of a command in a kernel, one request each."""

import base64
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import CommandFailedError, RunTimeoutError
from jupyter_exec_ext.core.models import STEPS, CommandSource, CommandStep, EventType
from jupyter_exec_ext.core.ports import Sink
from jupyter_exec_ext.engine.commands.defaults import DEFAULT, RULES, looked_for
from jupyter_exec_ext.engine.commands.frames import Ending, Frames
from jupyter_exec_ext.engine.commands.sending import blob_of
from jupyter_exec_ext.engine.languages import Guarding, Language, Reply
from jupyter_exec_ext.engine.runner import ExecuteRequest, Runner

MIN_TEXT_BYTES = 1_000_000
"""What the guard keeps at least of what the kernel does not take as fast as it comes."""


@dataclass(kw_only=True)
class CommandRun:
    """One run of a command. Tells its progress by a callback, its output through the sink.

    Attributes:
        language: How to speak to the kernel; ``None`` where that is not possible.
        unsupported: Why not.
        interrupt_grace_seconds: How long after an interrupt all has to have ended.
        max_text_bytes: How much of the output the sink keeps at most.
        on_step: Called with the step that begins and how many are done; with ``None`` at the end.
        exit_codes: Of the steps that ended so far, by step.
    """

    runner: Runner
    language: Language | None
    unsupported: str
    sink: Sink
    interrupt_grace_seconds: float
    max_text_bytes: int
    on_step: Callable[[CommandStep | None, int], None]
    exit_codes: dict[CommandStep, int] = field(default_factory=dict)

    async def run(self, source: CommandSource, *, stdin: list[str] | None, deadline: float) -> None:
        """Run the steps of *source* in order.

        Args:
            stdin: The lines that the step ``exec`` reads; ``None`` for none.
            deadline: By `time.monotonic`.

        Raises:
            CommandFailedError: A step failed whose failure matters.
            RunError: The run could not go on: a time-out, or the kernel died or was restarted.
        """
        if self.language is None:
            raise CommandFailedError(f"this kernel cannot run commands: {self.unsupported}")
        if self.language.guarding is None:
            raise CommandFailedError("a kernel of this language cannot run commands")
        steps = source.steps
        for done, (step, command) in enumerate(steps.items()):
            self.on_step(step, done)
            request = self._request(
                step,
                command,
                stdin=stdin if step == "exec" else None,
                guarding=self.language.guarding,
            )
            ending = await self._run_step(step, request, self.language, deadline)
            if ending.exit_code and step != "clean":
                self.on_step(None, done + 1)
                raise _failure(step, ending)
        self.on_step(None, len(steps))

    def _request(
        self,
        step: CommandStep,
        command: str | list[str],
        *,
        stdin: list[str] | None,
        guarding: Guarding,
    ) -> dict[str, Any]:
        """Return what the guard gets."""
        lines = "".join(f"{line}\n" for line in stdin or ()).encode("utf-8", "replace")
        is_default = command == DEFAULT
        return {
            "command": command,
            "rules": [asdict(rule) for rule in RULES[step]] if is_default else [],
            "looked_for": looked_for(step),
            "stdin": base64.b64encode(lines).decode() if lines else None,
            "grace_seconds": self.interrupt_grace_seconds,
            "max_text_bytes": max(self.max_text_bytes, MIN_TEXT_BYTES),
            "own_session": guarding.own_session,
            "watch_stdin": guarding.watch_stdin,
            "own_python": guarding.own_python,
            "chunk_bytes": guarding.chunk_bytes,
        }

    async def _run_step(
        self, step: CommandStep, request: dict[str, Any], language: Language, deadline: float
    ) -> Ending:
        index = STEPS.index(step)

        def emit(content: dict[str, Any]) -> None:
            self.sink.emit(EventType.STREAM, {**content, "step": step}, cell_index=index)

        # No other output can contain it.
        marker = f"jupyter-exec-{secrets.token_hex(16)}"
        frames = Frames(marker, emit)
        # Reads the guard's files the first time; the input of the command can be large.
        blob = await threads.run_sync(blob_of, {**request, "marker": marker})
        kernel_request = language.run_command(blob, marker=marker)
        try:
            content = await self.runner.run(
                ExecuteRequest(
                    code=kernel_request.code,
                    silent=kernel_request.silent,
                    store_history=False,
                    user_expressions=kernel_request.user_expressions,
                ),
                frames.take,
                deadline=deadline,
                may_repeat=lambda: not frames.has_begun,
            )
            if frames.ending is None:
                frames.take_text(language.command_text(Reply(content=content)))
        except RunTimeoutError as error:
            message = "the time limit of the execution passed"
            raise RunTimeoutError(message) from error
        finally:
            ending = frames.ending
            if ending is not None and ending.exit_code is not None:
                self.exit_codes[step] = ending.exit_code
        if ending is None:
            if not frames.has_begun:
                why = f" ({name})" if (name := content.get("ename")) else ""
                raise CommandFailedError(
                    f"the kernel did not start the {step} step{why}", step=step
                )
            raise CommandFailedError(
                f"the kernel did not report how the {step} step ended", step=step
            )
        return ending


def _failure(step: CommandStep, ending: Ending) -> CommandFailedError:
    how = f"ended with exit code {ending.exit_code}"
    if ending.signal is not None:
        how = f"was ended by {ending.signal}"
    return CommandFailedError(
        f"the {step} step {how}", step=step, exit_code=ending.exit_code, signal=ending.signal
    )
