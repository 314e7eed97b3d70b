"""An execution service for Jupyter Server: notebooks run as durable, observable executions."""

from typing import Any

__version__ = "0.1.0"


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Tell Jupyter Server what to load; the import waits, so that the CLI starts quickly."""
    from jupyter_exec_ext.app import ExecApp

    return [{"module": "jupyter_exec_ext.app", "app": ExecApp}]
