"""The states of an execution and the one function that moves between them."""

from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from jupyter_exec_ext.core.errors import StateConflictError

if TYPE_CHECKING:
    from jupyter_exec_ext.core.models import Execution


class State(StrEnum):
    """Where an execution is in its life; ``succeeded``, ``failed`` and ``cancelled`` are final."""

    PENDING = "pending"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether this state never changes again."""
        return self not in NEXT


FINAL_STATES = (State.SUCCEEDED, State.FAILED, State.CANCELLED)

NEXT: dict[State, tuple[State, ...]] = {
    State.PENDING: (State.RUNNING, State.CANCELLED, State.FAILED),
    State.RUNNING: (State.CANCELLING, *FINAL_STATES),
    State.CANCELLING: FINAL_STATES,
}
"""From each state that can be left to the states it can be left for."""


def advance(execution: "Execution", to: State, *, at: datetime | None = None) -> "Execution":
    """Return *execution* in state *to*; the only place where a state changes.

    Sets ``start_time`` when it begins to run and ``end_time`` when it ends.

    Args:
        at: The moment of the change, aware; ``None`` means now.

    Raises:
        StateConflictError: The move is not in the table, for instance out of a final state.
    """
    if to not in NEXT.get(execution.state, ()):
        raise StateConflictError(execution.id, execution.state, to)
    at = at or datetime.now(UTC)
    if to is State.RUNNING:
        return replace(execution, state=to, start_time=at)
    if to.is_final:
        return replace(execution, state=to, end_time=at)
    return replace(execution, state=to)
