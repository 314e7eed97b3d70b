"""A thin synchronous client of the native REST API."""

from jupyter_exec_ext.client.errors import (
    BusyError,
    ClientError,
    NoAnswerError,
    NoServiceError,
    NotAllowedError,
    RefusedError,
    ServiceFailedError,
)
from jupyter_exec_ext.client.executions import ExecClient, Record

__all__ = [
    "BusyError",
    "ClientError",
    "ExecClient",
    "NoAnswerError",
    "NoServiceError",
    "NotAllowedError",
    "Record",
    "RefusedError",
    "ServiceFailedError",
]
