"""The folders of sessions in the server's contents: made, found, removed."""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

import psutil
from jupyter_server.gateway.managers import GatewayMappingKernelManager
from jupyter_server.services.contents.filemanager import FileContentsManager

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    ExecError,
    FileConflictError,
    FileForbiddenError,
    InvalidArgumentError,
    LinkRefusedError,
    NoFolderError,
    NotFoundError,
    UnavailableError,
)
from jupyter_exec_ext.core.files import FilePolicy
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.paths import is_hidden, parts_of, slug_of
from jupyter_exec_ext.core.ports import Folder
from jupyter_exec_ext.core.sessions import Session
from jupyter_exec_ext.engine.launching import ServerHost
from jupyter_exec_ext.files.contents import ContentsFolder
from jupyter_exec_ext.files.local import LocalFolder

MAKE_ATTEMPTS = 3
"""How often a new folder is tried whose random name is taken."""


class Folders:
    """The folders of this server's sessions.

    Attributes:
        policy: Where they are made, and what becomes of them.
        hold_kernels: Whether kernels work in them: contents and kernels are on this machine's disk.
    """

    def __init__(
        self, *, contents_manager: Any, host: ServerHost, policy: FilePolicy, limits: Limits
    ) -> None:
        self._contents_manager = contents_manager
        self._host = host
        self._limits = limits
        self.policy = policy
        self._are_local = isinstance(contents_manager, FileContentsManager)
        # Resolved once, at the start of the server: the root may be on a slow network disk.
        # Where files are found it is not resolved, but absolute, as the contents manager takes it.
        self._root = Path(os.path.abspath(contents_manager.root_dir))  # noqa: PTH100
        self._resolved_root = self._root.resolve()
        self.hold_kernels = (
            self._are_local
            and not isinstance(host.kernel_manager, GatewayMappingKernelManager)
            and Path(host.kernel_manager.root_dir).resolve() == self._resolved_root
        )

    async def make(self, name: str | None) -> str:
        """Make a folder that no session had before, and return its API path.

        Args:
            name: Of the session; it shows in the name of the folder.

        Raises:
            UnavailableError: It cannot be made.
        """
        for _ in range(MAKE_ATTEMPTS):
            unique = f"{slug_of(name or '') or 'session'}-{secrets.token_hex(4)}"
            path = f"{self.policy.sessions_folder}/{unique}".strip("/")
            try:
                await self._at(path).make()
            except FileConflictError:
                continue
            except (FileForbiddenError, LinkRefusedError) as error:
                raise UnavailableError(
                    "no folder can be made for a new session; with 'path' it has one that is there"
                ) from error
            return path
        raise UnavailableError("no folder can be made for a new session")

    async def restore(self, session: Session) -> None:
        """Make the folder that was made for a session again, if it was deleted.

        Raises:
            ExecError: It cannot be made, or a link or a file has its path.
        """
        folder = self.of(session)
        try:
            await folder.stat(())
        except NoFolderError:
            with contextlib.suppress(FileConflictError):  # Another request made it first.
                await folder.make()

    def of(self, session: Session) -> Folder:
        """Return the folder of a session.

        Raises:
            NoFolderError: It has none that is below the root of the contents.
        """
        if session.path is None:
            raise NoFolderError("its kernel does not work below the root of this server")
        return self._at(session.path)

    def place_of(self, session: Session) -> str | None:
        """Return the system's path of a session's folder; ``None`` if no kernel works there."""
        if session.path is None or not session.works_in_folder or not self.hold_kernels:
            return None
        return str(self._root.joinpath(*parts_of(session.path)))

    async def real_path_of(self, session: Session) -> str | None:
        """Return the system's path of a session's folder without links; see `place_of`."""
        place = self.place_of(session)
        return None if place is None else await threads.run_sync(os.path.realpath, place)

    def _at(self, path: str) -> Folder:
        parts = parts_of(path)
        if self._are_local:
            shows_hidden = bool(self._contents_manager.allow_hidden)
            return LocalFolder(self._root, parts, shows_hidden=shows_hidden)
        return ContentsFolder(
            self._contents_manager, parts, max_bytes=self._limits.max_remote_file_bytes
        )

    @property
    def max_file_bytes(self) -> int:
        """The size of the largest file that they take."""
        limits = self._limits
        if self._are_local:
            return limits.max_file_bytes
        return min(limits.max_file_bytes, limits.max_remote_file_bytes)

    async def end(self, session: Session, *, is_deleted: bool) -> None:
        """Remove the folder of a session that ends, unless it stays; a failure is logged.

        Args:
            is_deleted: Whether a client asked for the end.
        """
        if self._keeps(session, is_deleted=is_deleted):
            return
        try:
            await self.of(session).remove()
        except NotFoundError:
            pass  # Somebody was faster.
        except ExecError as error:
            self._host.log.warning("the folder of session %s stays: %s", session.id, error.message)

    def _keeps(self, session: Session, *, is_deleted: bool) -> bool:
        if not session.has_own_folder:
            return True
        if session.keep_files is not None:
            return session.keep_files
        return self.policy.keep_when_deleted if is_deleted else self.policy.keep_when_ended

    def tell(self, action: str, path: str) -> None:
        """Tell the server's event bus what was done to a file on the disk, as its contents do."""
        if self._are_local:
            self._contents_manager.emit(data={"action": action, "path": path})

    async def path_of_kernel(self, kernel_id: str) -> str | None:
        """Return the API path of the folder where a kernel works now; ``None`` if it has none."""
        manager = self._host.kernel_manager.get_kernel(kernel_id)
        pid = getattr(getattr(manager, "provisioner", None), "pid", None)
        if pid is None or not self.hold_kernels:
            return None
        try:
            works_in = await threads.run_sync(_working_folder, pid)
            parts = works_in.relative_to(self._resolved_root).parts
            # What no request can name is no folder for files.
            parts_of("/".join(parts))
        except (psutil.Error, ValueError, OSError, InvalidArgumentError):
            return None
        if is_hidden(parts) and not self._contents_manager.allow_hidden:
            return None
        return "/".join(parts)


def _working_folder(pid: int) -> Path:
    return Path(psutil.Process(pid).cwd()).resolve()
