"""What a new session is made of: its kernel, its folder, its environment."""

from datetime import UTC, datetime
from uuid import uuid4

from jupyter_exec_ext.core.errors import InvalidArgumentError, KernelNotFoundError
from jupyter_exec_ext.core.inputs import environment_of
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.sessions import NewSession, Session, SessionState
from jupyter_exec_ext.engine.launching import ServerHost
from jupyter_exec_ext.services.folders import Folders
from jupyter_exec_ext.services.kernelspecs import Kernelspecs
from jupyter_exec_ext.services.launches import Launches
from jupyter_exec_ext.services.live import LiveSession
from jupyter_exec_ext.services.notebooks import Notebooks
from jupyter_exec_ext.services.session_log import SessionLog


class SessionOpener:
    """Makes sessions, which nobody knows of yet and whose kernels have not started."""

    def __init__(
        self,
        *,
        host: ServerHost,
        kernelspecs: Kernelspecs,
        notebooks: Notebooks,
        folders: Folders,
        launches: Launches,
        limits: Limits,
    ) -> None:
        self._host = host
        self._kernelspecs = kernelspecs
        self._notebooks = notebooks
        self._folders = folders
        self._launches = launches
        self._limits = limits

    async def open(self, new: NewSession, owner: str) -> LiveSession:
        """Return a session as *new* asks for.

        Raises:
            ExecError: There can be none.
        """
        if new.kernel_id is not None:
            return await self._attach(new, new.kernel_id, owner)
        environment = environment_of(
            new.environment, max_inputs=self._limits.max_inputs, target="environment"
        )
        path = None if new.path is None else new.path.strip("/")
        if path is not None and not await self._notebooks.is_folder(path):
            raise InvalidArgumentError("no folder is at this path", target="path")
        kernel_name = await self._kernelspecs.choose(new.kernel_name, None)
        await self._kernelspecs.check_environment(kernel_name, environment, target="environment")
        record = self._record(
            new,
            owner,
            kernel_name=kernel_name,
            path=await self._folders.make(new.name) if path is None else path,
            has_own_folder=path is None,
            works_in_folder=self._folders.hold_kernels,
            environment_names=sorted(environment),
        )
        kernels = await self._launches.for_session(record, environment)
        return LiveSession(record, kernels, self._new_log())

    async def _attach(self, new: NewSession, kernel_id: str, owner: str) -> LiveSession:
        if new.environment or new.path is not None:
            raise InvalidArgumentError(
                "the kernel runs already, where and with what it was started", target="kernel_id"
            )
        if kernel_id not in self._host.kernel_manager:
            raise KernelNotFoundError(kernel_id)
        kernel_name = str(self._host.kernel_manager.get_kernel(kernel_id).kernel_name)
        if new.kernel_name not in (None, kernel_name):
            raise InvalidArgumentError(f"this kernel is a {kernel_name!r}", target="kernel_name")
        path = await self._folders.path_of_kernel(kernel_id)
        record = self._record(
            new,
            owner,
            kernel_name=kernel_name,
            kernel_id=kernel_id,
            is_attached=True,
            path=path,
            works_in_folder=path is not None,
        )
        return LiveSession(record, self._launches.for_kernel(kernel_id), self._new_log())

    def _new_log(self) -> SessionLog:
        return SessionLog(max_bytes=self._limits.max_session_log_bytes)

    def _record(self, new: NewSession, owner: str, **facts: object) -> Session:
        seconds = new.idle_timeout_seconds
        if seconds is None:
            seconds = self._limits.session_idle_timeout_seconds
        now = datetime.now(UTC)
        return Session(
            id=str(uuid4()),
            name=new.name,
            state=SessionState.STARTING,
            owner=owner,
            description=new.description,
            labels=new.labels,
            annotations=new.annotations,
            idle_timeout_seconds=seconds or None,
            keep_files=new.keep_files,
            created_time=now,
            last_activity_time=now,
            **facts,  # type: ignore[arg-type]
        )
