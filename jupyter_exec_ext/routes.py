"""The only table of URLs."""

from dataclasses import dataclass
from typing import Any

from jupyter_exec_ext.api.executions import (
    CancelHandler,
    ExecutionHandler,
    ExecutionsHandler,
    NotebookHandler,
)
from jupyter_exec_ext.api.openapi import Route, build_document
from jupyter_exec_ext.api.service import CapabilitiesHandler, ContractHandler, UnknownHandler
from jupyter_exec_ext.api.streams import EventsHandler, LogHandler
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.services.executions import ExecutionService
from jupyter_exec_ext.services.following import Following

ROUTES = (
    Route("exec/", CapabilitiesHandler),
    Route("exec/openapi.json", ContractHandler),
    Route("exec/executions", ExecutionsHandler),
    Route("exec/executions/{execution_id}", ExecutionHandler),
    Route("exec/executions/{execution_id}/cancel", CancelHandler),
    Route("exec/executions/{execution_id}/events", EventsHandler),
    Route("exec/executions/{execution_id}/log", LogHandler),
    Route("exec/executions/{execution_id}/notebook", NotebookHandler),
)


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the handlers work with."""

    executions: ExecutionService
    following: Following
    limits: Limits


def handlers(services: Services) -> list[tuple[str, type, dict[str, Any]]]:
    """Return the table for Tornado, relative to the base URL."""
    arguments: dict[type, dict[str, Any]] = {
        CapabilitiesHandler: {},
        ContractHandler: {"document": build_document(ROUTES)},
    }
    of_executions = {"executions": services.executions}
    of_streams = {**of_executions, "following": services.following}
    arguments.update({EventsHandler: of_streams, LogHandler: of_streams})
    return [
        *(
            (
                route.pattern,
                route.handler,
                {"limits": services.limits, **arguments.get(route.handler, of_executions)},
            )
            for route in ROUTES
        ),
        (r"exec(?:/.*)?", UnknownHandler, {"limits": services.limits}),
    ]
