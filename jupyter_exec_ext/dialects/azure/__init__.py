"""Azure Container Apps dynamic sessions: both shapes of the data plane of a session pool."""

from jupyter_exec_ext.dialects.azure.base import NAME, UnknownCall
from jupyter_exec_ext.dialects.azure.executions import (
    CodeExecute,
    Executions,
    OneExecution,
    PythonExecute,
)
from jupyter_exec_ext.dialects.azure.files import Content, Files, OneFile, Upload
from jupyter_exec_ext.dialects.azure.options import AzureDialect
from jupyter_exec_ext.dialects.azure.pool import Metadata, OneSession, Sessions
from jupyter_exec_ext.dialects.base import Dialect

AZURE = Dialect(
    name=NAME,
    options=AzureDialect,
    routes=(
        (r"azure/code/execute", CodeExecute),
        (r"azure/python/execute", PythonExecute),
        (r"azure/executions", Executions),
        (r"azure/executions/([^/]+)", OneExecution),
        (r"azure/files", Files),
        (r"azure/files/upload", Upload),
        (r"azure/files/content/(.+)", Content),
        (r"azure/files/(.+)/content", Content),
        (r"azure/files/(.+)", OneFile),
        (r"azure/session", OneSession),
        (r"azure/listSessions", Sessions),
        (r"azure/metadata", Metadata),
        (r"azure(?:/.*)?", UnknownCall),
    ),
)
"""The dialect; route by path, since clients mix versions."""

__all__ = ["AZURE", "AzureDialect"]
