"""An execution service for Jupyter Server: notebooks run as durable, observable executions."""

from typing import Any

from jupyter_exec_ext._version import __version__

__all__ = ["__version__"]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Tell Jupyter Server what to load; the import waits, so that the CLI starts quickly."""
    from jupyter_exec_ext.app import ExecApp

    return [{"module": "jupyter_exec_ext.app", "app": ExecApp}]
