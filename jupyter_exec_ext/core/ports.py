"""What a layer hands down to the one below it, as protocols."""

from typing import Any, Protocol

from jupyter_exec_ext.core.models import EventType


class Sink(Protocol):
    """Takes what a run publishes, in order. Never blocks and never fails."""

    def emit(
        self,
        event_type: EventType,
        content: dict[str, Any],
        *,
        cell_index: int,
    ) -> None:
        """Take one event; *content* is not changed by the caller afterwards."""
