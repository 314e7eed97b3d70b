"""Tells the server's event bus of each change of state; what code, values or outputs say, never."""

import logging
from pathlib import Path
from typing import Any

from jupyter_exec_ext.core.models import Execution, NotebookSource
from jupyter_exec_ext.core.sessions import Session

SCHEMAS = Path(__file__).parent / "event_schemas"
EXECUTION_SCHEMA_ID = "https://events.jupyter.org/jupyter_exec_ext/execution/v1"
SESSION_SCHEMA_ID = "https://events.jupyter.org/jupyter_exec_ext/session/v1"


class Announcer:
    """Emits on a `jupyter_events.EventLogger`, whose listeners decide nothing here."""

    def __init__(self, event_logger: Any, log: logging.Logger) -> None:
        self._event_logger = event_logger
        self._log = log
        for schema in sorted(SCHEMAS.glob("*.yaml")):
            event_logger.register_event_schema(schema)

    def execution(self, execution: Execution) -> None:
        """Tell that an execution is in the state it is in now."""
        source, origin = execution.source, execution.origin
        self._emit(
            EXECUTION_SCHEMA_ID,
            {
                "execution_id": execution.id,
                "type": execution.type,
                "state": execution.state.value,
                "session_id": execution.session_id,
                "session_name": execution.session_name,
                "kernel_name": execution.kernel_name,
                "path": source.path if isinstance(source, NotebookSource) else None,
                "origin_path": origin.path if origin is not None else None,
                "origin_cell_id": origin.cell_id if origin is not None else None,
                "owner": execution.owner,
                "error_code": execution.error.code if execution.error is not None else None,
            },
        )

    def session(self, session: Session) -> None:
        """Tell that a session is in the state it is in now."""
        error = session.end_error or session.kernel_error
        self._emit(
            SESSION_SCHEMA_ID,
            {
                "session_id": session.id,
                "name": session.name,
                "state": session.state.value,
                "kernel_name": session.kernel_name,
                "kernel_id": session.kernel_id,
                "owner": session.owner,
                "error_code": error.code if error is not None else None,
            },
        )

    def _emit(self, schema_id: str, data: dict[str, Any]) -> None:
        known = {name: value for name, value in data.items() if value is not None}
        try:
            self._event_logger.emit(schema_id=schema_id, data=known)
        except Exception as error:  # noqa: BLE001 - a listener's failure is none of an execution
            self._log.warning("an event could not be emitted: %s", type(error).__name__)
