"""How a run of a command is one of an execution: its progress, its exit codes, its error."""

from dataclasses import replace
from functools import partial

from jupyter_exec_ext.core.errors import RunError
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import CommandSource, CommandStep, EventType, Progress
from jupyter_exec_ext.engine.cells import CellsRun, error_of
from jupyter_exec_ext.engine.commands.run import CommandRun
from jupyter_exec_ext.services.events import facts_of
from jupyter_exec_ext.services.live import Live


async def run_command(
    live: Live, source: CommandSource, run: CellsRun, *, limits: Limits, deadline: float
) -> None:
    """Run the steps of *source* in the kernel of *run*, whose ``error`` tells of a time-out's step.

    Args:
        deadline: By `time.monotonic`.

    Raises:
        RunError: A step failed, or the run could not go on.
    """
    command = CommandRun(
        runner=run.runner,
        language=await run.find_language(),
        unsupported=run.unsupported,
        sink=run.sink,
        interrupt_grace_seconds=limits.interrupt_grace_seconds,
        max_text_bytes=limits.max_stream_bytes,
        on_step=partial(_show_progress, live, len(source.steps)),
    )
    live.exit_codes = command.exit_codes
    try:
        await command.run(source, stdin=live.answers, deadline=deadline)
    except RunError as failure:
        error = error_of(failure)
        step = live.execution.progress.current_step if live.execution.progress else None
        run.error = replace(error, step=error.step or step)
        raise


def _show_progress(live: Live, total: int, step: CommandStep | None, done: int) -> None:
    progress = Progress(done=done, total=total, current_step=step)
    live.change(progress=progress)
    if live.journal is not None:
        live.journal.tell(EventType.PROGRESS, facts_of(progress))
