"""How the kernels of executions and sessions are started: with which environment, and where."""

import os
from dataclasses import replace
from functools import partial

import anyio

from jupyter_exec_ext.core.errors import ExecError, NoWorkingFolderError
from jupyter_exec_ext.core.inputs import Environment
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import Execution, NotebookSource
from jupyter_exec_ext.core.sessions import Session
from jupyter_exec_ext.engine.kernels import Keeping
from jupyter_exec_ext.engine.launching import Launch, ServerHost
from jupyter_exec_ext.engine.sessions import KernelSession
from jupyter_exec_ext.services.folders import Folders
from jupyter_exec_ext.services.notebooks import Notebooks

MIN_STARTS = 4
"""How many kernels may start at the same time on a small machine."""


class Launches:
    """Makes the way to a kernel for each execution of its own and each session."""

    def __init__(
        self, *, host: ServerHost, notebooks: Notebooks, folders: Folders, limits: Limits
    ) -> None:
        self._host = host
        self._notebooks = notebooks
        self._folders = folders
        self._limits = limits
        # A start takes a processor for a second; more at once only get into each other's way.
        self._start_limiter = anyio.CapacityLimiter(max(MIN_STARTS, os.cpu_count() or 1))

    async def for_execution(
        self, execution: Execution, environment: Environment, beside: Launch | None
    ) -> KernelSession:
        """Return the way to the kernel of an execution that has one of its own.

        A notebook's kernel works where JupyterLab would have it, that of code in the root folder.

        Args:
            beside: How the kernels of the session are started whose folder it works in instead.
        """
        if beside is not None:
            launch = replace(
                beside,
                environment={**beside.environment, **environment},
                session_path=f"exec-{execution.id}",
                display_name=f"{beside.display_name}, {execution.type}",
            )
            return self._kernel_session(launch, Keeping.ONCE)
        name = f"exec-{execution.session_id}"
        path = name
        prepare_folder = None
        if isinstance(execution.source, NotebookSource):
            path = execution.source.path.strip("/")
        kernel_path = await self._notebooks.kernel_path(path)
        if isinstance(execution.source, NotebookSource) and self._folders.hold_kernels:
            prepare_folder = partial(self._check_folder, kernel_path)
        return self._kernel_session(
            Launch(
                kernel_name=execution.kernel_name,
                path=path,
                kernel_path=kernel_path,
                environment=environment,
                session_path=name,
                display_name=f"exec: {path.rpartition('/')[2] if path != name else execution.type}",
                timeout_seconds=self._limits.kernel_start_timeout_seconds,
                prepare_folder=prepare_folder,
            ),
            Keeping.ONCE,
        )

    async def for_session(self, session: Session, environment: Environment) -> KernelSession:
        """Return the way to the kernels of a session that are its own."""
        name = f"exec-{session.id}"
        folder = (session.path or "").strip("/")
        real_path = await self._folders.real_path_of(session)
        return self._kernel_session(
            Launch(
                kernel_name=session.kernel_name,
                path=f"{folder}/{name}".strip("/"),
                kernel_path=await self._notebooks.kernel_path(folder),
                environment=environment,
                session_path=name,
                display_name=f"exec: {session.name or session.id[:8]}",
                timeout_seconds=self._limits.kernel_start_timeout_seconds,
                prepare_folder=partial(self._prepare_folder, session, real_path)
                if session.works_in_folder
                else None,
            ),
            Keeping.LASTING,
        )

    async def _prepare_folder(self, session: Session, real_path: str | None) -> None:
        """Make the folder of a session again if it was made for it; check it otherwise.

        Args:
            real_path: Where a folder of the user's was when the session was created, without
                links; ``None`` where the contents are not on the server's disk.
        """
        if not session.has_own_folder:
            await self._check_folder(session.path or "")
            if await self._folders.real_path_of(session) != real_path:
                raise NoWorkingFolderError(
                    f"the folder {session.path!r}, in which the kernel works, was replaced by a"
                    " link; put the folder back"
                )
            return
        try:
            await self._folders.restore(session)
        except ExecError as error:
            raise NoWorkingFolderError(
                f"the session's folder {session.path!r} cannot be used: {error.message}"
            ) from error

    async def _check_folder(self, path: str) -> None:
        if not await self._notebooks.is_folder(path):
            raise NoWorkingFolderError(
                f"the folder {path!r}, in which the kernel works, is missing; create it again"
            )

    def for_kernel(self, kernel_id: str) -> KernelSession:
        """Return the way to a kernel that is somebody else's."""
        return self._kernel_session(None, Keeping.FOREIGN, kernel_id=kernel_id)

    def _kernel_session(
        self, launch: Launch | None, keeping: Keeping, kernel_id: str | None = None
    ) -> KernelSession:
        return KernelSession(
            self._host,
            launch=launch,
            kernel_id=kernel_id,
            keeping=keeping,
            timeout_seconds=self._limits.kernel_start_timeout_seconds,
            start_limiter=self._start_limiter,
        )
