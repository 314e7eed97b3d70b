"""What the events of a run, and its record at the end, are in an answer: no server, no state."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jupyter_exec_ext.core.models import (
    STEPS,
    CommandSource,
    CommandStep,
    Event,
    EventType,
    Execution,
)
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.dialects.backendai.console import STREAMS, Console, Item, item_of

CONTINUED = "continued"
WAITING = "waiting-input"
FINISHED = "finished"
STEP_STATUSES = ("clean-finished", "build-finished", FINISHED)

NOT_RUN = 127
INTERRUPTED = 130
OUT_OF_TIME = 124

_OF_CODE = {
    "CodeError": 0,
    "InputNotGiven": 0,
    "Timeout": OUT_OF_TIME,
    "KernelStartFailed": NOT_RUN,
    "CommandFailed": NOT_RUN,
    "InternalError": NOT_RUN,
}
"""The exit codes of runs that failed so; the kernel is gone in all other ways to fail."""

_TOLD = ("Timeout", "KernelStartFailed", "InternalError")
"""What nothing but a note tells."""


@dataclass(frozen=True)
class Place:
    """How far a run was handed out.

    Attributes:
        number: Of the last event that was handed out whole.
        chars: How much of the text of the next one was too.
        step: How many steps of a command are known to be over.
    """

    number: int = 0
    chars: int = 0
    step: int = 0


class Answer:
    """One answer, while events are read into it.

    Args:
        place: Where it begins.
        is_command: Whether the run has steps.
        max_chars: How much text of each stream it takes.

    Attributes:
        place: Where the next one begins.
        is_password: What its question asks for; ``None`` while it has none.
    """

    def __init__(self, place: Place, *, is_command: bool, max_chars: int) -> None:
        self.place = place
        self.console = Console(max_chars)
        self.is_password: bool | None = None
        self._is_command = is_command

    def take(self, event: Event) -> str | None:
        """Put what *event* tells on the console; return the status of the answer if it ends it."""
        if self._is_command and _steps_over(event) > self.place.step:
            self.place = replace(self.place, step=self.place.step + 1)
            return STEP_STATUSES[self.place.step - 1]
        if event.type is EventType.END:
            return FINISHED
        item = item_of(event)
        if item is not None and not self._put(item):
            return CONTINUED
        self.place = Place(event.number, 0, self.place.step)
        if event.type is not EventType.INPUT_REQUEST:
            return None
        self.is_password = bool(event.content.get("password"))
        return WAITING

    def _put(self, item: Item) -> bool:
        """Put what is left of *item* on the console; return whether all of it found room."""
        kind, data = item
        if kind not in STREAMS:
            self.console.add(kind, data)
            return True
        rest = data[self.place.chars :]
        taken = self.console.add(kind, rest)
        self.place = replace(self.place, chars=self.place.chars + taken)
        return taken == len(rest)


def answer_view(
    run_id: str | None,
    status: str,
    items: list[Item],
    *,
    exit_code: int | None = None,
    is_password: bool | None = None,
) -> dict[str, Any]:
    """Return the result object of one answer."""
    return {
        "runId": run_id,
        "status": status,
        "exitCode": exit_code,
        "console": items,
        "options": {"is_password": bool(is_password)} if status == WAITING else None,
        "files": [],
    }


def exit_code_of(execution: Execution, status: str, codes: Mapping[CommandStep, int]) -> int | None:
    """Return the exit code that goes with *status*; ``None`` for one that has none.

    Args:
        codes: Of the steps of a command that ran to their end.
    """
    source = execution.source
    if status not in STEP_STATUSES:
        return None
    if not isinstance(source, CommandSource):
        return _code_of_end(execution)
    last = _last_step(execution)
    is_out_of_time = execution.error is not None and execution.error.code == "Timeout"

    def code_of(step: CommandStep) -> int:
        if step in codes and not (is_out_of_time and step == last):
            return codes[step]
        # A step before the last has no code when there was nothing to do.
        is_over = last is not None and STEPS.index(step) < STEPS.index(last)
        return 0 if is_over or step not in source.steps else _code_of_end(execution)

    if status == FINISHED and code_of("build"):
        return NOT_RUN
    return code_of(STEPS[STEP_STATUSES.index(status)])


def note_of(execution: Execution) -> str:
    """Return why a run ended, where nothing else tells it; empty where something does."""
    error = execution.error
    if error is None:
        return ""
    is_unknown = error.code == "CommandFailed" and error.exit_code is None
    return f"{error.explanation}\n" if is_unknown or error.code in _TOLD else ""


def _steps_over(event: Event) -> int:
    """Return how many steps of a command are over by what *event* tells."""
    if event.type is EventType.END:
        return len(STEPS)
    step = event.content.get("current_step") if event.type is EventType.PROGRESS else None
    return STEPS.index(step) if step in STEPS else 0


def _last_step(execution: Execution) -> CommandStep | None:
    """Return the step of a command in which it ended; ``None`` where that is not known."""
    if execution.error is not None and execution.error.step is not None:
        return execution.error.step
    return execution.progress.current_step if execution.progress is not None else None


def _code_of_end(execution: Execution) -> int:
    """Return the exit code of what ended without one of its own."""
    if execution.state is State.CANCELLED:
        return INTERRUPTED
    if execution.error is None:
        return 0
    return _OF_CODE.get(execution.error.code, INTERRUPTED)
