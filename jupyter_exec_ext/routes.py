"""The only table of URLs."""

from collections.abc import Mapping
from typing import Any

from traitlets.config import Configurable

from jupyter_exec_ext.api.executions import (
    CancelHandler,
    ExecutionHandler,
    ExecutionsHandler,
    InputHandler,
    NotebookHandler,
)
from jupyter_exec_ext.api.files import ArchiveHandler, FilesHandler, OneFileHandler
from jupyter_exec_ext.api.openapi import Route, build_document
from jupyter_exec_ext.api.service import (
    CapabilitiesHandler,
    ContractHandler,
    DocsHandler,
    UnknownHandler,
)
from jupyter_exec_ext.api.sessions import (
    CompleteHandler,
    InterruptHandler,
    RestartHandler,
    SessionHandler,
    SessionsHandler,
)
from jupyter_exec_ext.api.streams import (
    EventsHandler,
    LogHandler,
    MergedEventsHandler,
    SessionLogHandler,
)
from jupyter_exec_ext.dialects.azure import AZURE
from jupyter_exec_ext.dialects.backendai import BACKENDAI
from jupyter_exec_ext.dialects.base import Dialect
from jupyter_exec_ext.dialects.datasphere import DATASPHERE
from jupyter_exec_ext.dialects.qinling import QINLING
from jupyter_exec_ext.services.doors import Services

ROUTES = (
    Route("exec/", CapabilitiesHandler),
    Route("exec/openapi.json", ContractHandler),
    Route("exec/docs", DocsHandler),
    Route("exec/events", MergedEventsHandler),
    Route("exec/executions", ExecutionsHandler),
    Route("exec/executions/{execution_id}", ExecutionHandler),
    Route("exec/executions/{execution_id}/cancel", CancelHandler),
    Route("exec/executions/{execution_id}/events", EventsHandler),
    Route("exec/executions/{execution_id}/input", InputHandler),
    Route("exec/executions/{execution_id}/log", LogHandler),
    Route("exec/executions/{execution_id}/notebook", NotebookHandler),
    Route("exec/sessions", SessionsHandler),
    Route("exec/sessions/{session_id}", SessionHandler),
    Route("exec/sessions/{session_id}/archive", ArchiveHandler),
    Route("exec/sessions/{session_id}/complete", CompleteHandler),
    Route("exec/sessions/{session_id}/files", FilesHandler),
    Route("exec/sessions/{session_id}/files/{path}", OneFileHandler),
    Route("exec/sessions/{session_id}/interrupt", InterruptHandler),
    Route("exec/sessions/{session_id}/log", SessionLogHandler),
    Route("exec/sessions/{session_id}/restart", RestartHandler),
)


DIALECTS: tuple[Dialect, ...] = (AZURE, BACKENDAI, DATASPHERE, QINLING)
"""The wire formats of other services; `ExecApp.dialects` names those that are served."""


def handlers(
    services: Services, dialects: Mapping[Dialect, Configurable]
) -> list[tuple[str, type, dict[str, Any]]]:
    """Return the table for Tornado, relative to the base URL.

    Args:
        dialects: Those that are served, with their settings.
    """
    contract = {"document": build_document(ROUTES)}
    arguments: dict[type, dict[str, Any]] = {
        CapabilitiesHandler: {
            "kernelspecs": services.kernelspecs,
            "dialects": sorted(dialect.name for dialect in dialects),
        },
        ContractHandler: contract,
        DocsHandler: contract,
    }
    of_executions = {"executions": services.executions}
    of_streams = {**of_executions, "following": services.following}
    arguments |= {EventsHandler: of_streams, LogHandler: of_streams}
    arguments[MergedEventsHandler] = {**of_streams, "merged": services.merged}
    of_sessions = {"sessions": services.sessions}
    arguments[SessionLogHandler] = {**of_streams, **of_sessions}
    arguments |= dict.fromkeys(
        (SessionsHandler, SessionHandler, CompleteHandler, InterruptHandler, RestartHandler),
        of_sessions,
    )
    of_files = {"files": services.files}
    arguments |= dict.fromkeys((ArchiveHandler, FilesHandler, OneFileHandler), of_files)
    return [
        *(
            (
                route.pattern,
                route.handler,
                {"limits": services.limits, **arguments.get(route.handler, of_executions)},
            )
            for route in ROUTES
        ),
        *(
            entry
            for dialect, options in dialects.items()
            for entry in dialect.handlers(services, options)
        ),
        (r"exec(?:/.*)?", UnknownHandler, {"limits": services.limits}),
    ]
