"""Qinling's wire format: notebooks as functions, kernelspecs as runtimes."""

from typing import Any

from jupyter_exec_ext.dialects.base import Dialect
from jupyter_exec_ext.dialects.qinling import executions, resources
from jupyter_exec_ext.dialects.qinling.aliases import Aliases
from jupyter_exec_ext.dialects.qinling.functions import Functions
from jupyter_exec_ext.dialects.qinling.options import QinlingOptions
from jupyter_exec_ext.dialects.qinling.wire import NAME
from jupyter_exec_ext.services.doors import Services

__all__ = ["QINLING", "QinlingOptions"]

V1 = "qinling//?v1"
"""A client whose endpoint ends with a slash asks with two."""

FUNCTION = r"([^/]+|.+\.ipynb)"


def _shared(services: Services, options: QinlingOptions) -> dict[str, Any]:
    functions = Functions(services, options)
    return {"functions": functions, "aliases": Aliases(functions)}


QINLING = Dialect(
    name=NAME,
    options=QinlingOptions,
    shared=_shared,
    routes=(
        (r"qinling/?", resources.RootHandler),
        (rf"{V1}/?", resources.VersionRootHandler),
        (rf"{V1}/executions/?", executions.ExecutionsHandler),
        (rf"{V1}/executions/([^/]+)/?", executions.ExecutionHandler),
        (rf"{V1}/executions/([^/]+)/log/?", executions.LogHandler),
        (rf"{V1}/functions/?", resources.FunctionsHandler),
        (rf"{V1}/functions/{FUNCTION}/versions/?", resources.VersionsHandler),
        (rf"{V1}/functions/{FUNCTION}/versions/([^/]+)/?", resources.VersionHandler),
        (
            rf"{V1}/functions/{FUNCTION}/(?:workers|detach|scale_up|scale_down)/?",
            resources.ForbiddenHandler,
        ),
        (
            rf"{V1}/functions/{FUNCTION}/versions/[^/]+/(?:workers|detach|scale_up|scale_down)/?",
            resources.ForbiddenHandler,
        ),
        (rf"{V1}/functions/{FUNCTION}/?", resources.FunctionHandler),
        (rf"{V1}/aliases/?", resources.AliasesHandler),
        (rf"{V1}/aliases/(.+?)/?", resources.AliasHandler),
        (rf"{V1}/runtimes/?", resources.RuntimesHandler),
        (rf"{V1}/runtimes/([^/]+)/?", resources.RuntimeHandler),
        (rf"{V1}/runtimes/[^/]+/pool/?", resources.ForbiddenHandler),
        (rf"{V1}/(?:jobs|webhooks)(?:/.*)?", resources.MissingHandler),
        (r"qinling(?:/.*)?", resources.UnknownHandler),
    ),
)
