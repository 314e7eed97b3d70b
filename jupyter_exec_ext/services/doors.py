"""What every door - the native API, and each dialect - works with."""

from dataclasses import dataclass

from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.services.executions import ExecutionService
from jupyter_exec_ext.services.files import FileService
from jupyter_exec_ext.services.following import Following
from jupyter_exec_ext.services.kernelspecs import Kernelspecs
from jupyter_exec_ext.services.merging import MergedStreams
from jupyter_exec_ext.services.notebook_files import NotebookFiles
from jupyter_exec_ext.services.notebooks import Notebooks
from jupyter_exec_ext.services.sessions import SessionService
from jupyter_exec_ext.services.supervisor import Supervisor


@dataclass(frozen=True, kw_only=True)
class Services:
    """The services of one server."""

    executions: ExecutionService
    sessions: SessionService
    files: FileService
    following: Following
    merged: MergedStreams
    kernelspecs: Kernelspecs
    notebooks: Notebooks
    notebook_files: NotebookFiles
    supervisor: Supervisor
    limits: Limits
