"""Notebooks as functions: found by id or name, described, changed, put into packages."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import anyio

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import ExecError, NotebookNotFoundError, TooManyError
from jupyter_exec_ext.dialects.qinling.details import Details, details_of, settings_of
from jupyter_exec_ext.dialects.qinling.errors import not_found
from jupyter_exec_ext.dialects.qinling.options import QinlingOptions
from jupyter_exec_ext.dialects.qinling.packages import package_of
from jupyter_exec_ext.dialects.qinling.wire import (
    FunctionView,
    canonical_id,
    function_id_of,
    is_uuid,
    notebook_path,
    runtime_id_of,
    stamp,
)
from jupyter_exec_ext.services.doors import Services
from jupyter_exec_ext.services.kernelspecs import Kernelspec
from jupyter_exec_ext.services.notebook_files import NotebookFile
from jupyter_exec_ext.services.notebook_format import Content


class Functions:
    """The functions of one server.

    Attributes:
        upload_count: How many packages come at this moment.
        reading: Held while one is read, which goes on when its sender has left.
    """

    def __init__(self, services: Services, options: QinlingOptions) -> None:
        self._files = services.notebook_files
        self._executions = services.executions
        self._kernelspecs = services.kernelspecs
        self._options = options
        self._paths: dict[str, str] = {}
        self._details: dict[str, tuple[NotebookFile, Details]] = {}
        self._walk = anyio.Lock()
        self.upload_count = 0
        self.reading = anyio.CapacityLimiter(options.max_packages)

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """Count a package that comes.

        Raises:
            TooManyError: There are as many as may be.
        """
        if self.upload_count >= self._options.max_packages:
            raise TooManyError(
                f"there are {self.upload_count} packages being uploaded already",
                retry_after_seconds=5,
            )
        self.upload_count += 1
        try:
            yield
        finally:
            self.upload_count -= 1

    async def files(self) -> list[NotebookFile]:
        """Return all notebooks, in the order of their paths."""
        async with self._walk:
            return await self._find()

    async def _find(self) -> list[NotebookFile]:
        files = await self._files.list(
            max_notebooks=self._options.max_functions, max_folders=self._options.max_folders
        )
        self._paths = {function_id_of(file.path): file.path for file in files}
        self._details = {
            file.path: self._details[file.path] for file in files if file.path in self._details
        }
        return sorted(files, key=lambda file: file.path)

    async def find(self, function: str) -> NotebookFile:
        """Return the notebook that a function is.

        Args:
            function: Its id, or the path of the notebook, with ``.ipynb`` or without.

        Raises:
            NotFoundError: There is no such function.
        """
        path = await self._path_of(function) if is_uuid(function) else notebook_path(function)
        try:
            if path is not None:
                return await self._files.stat(path)
        except NotebookNotFoundError:
            pass
        raise not_found("Function", id=function)

    async def _path_of(self, function_id: str) -> str | None:
        wanted = canonical_id(function_id)
        if wanted not in self._paths:
            async with self._walk:
                if wanted not in self._paths:
                    await self._find()
        return self._paths.get(wanted)

    async def change(
        self, file: NotebookFile, change: Callable[[Content], Content]
    ) -> NotebookFile:
        """Save what *change* makes of a notebook, and keep in it when its function was created.

        Raises:
            ExecError: It cannot be read, or not be saved.
        """
        created, _ = times_of(file, await self.details(file))

        def change_it(notebook: Content) -> Content:
            changed = change(notebook)
            settings_of(changed).setdefault("created_at", created)
            return changed

        return await self._files.change(file.path, change_it)

    async def delete(self, file: NotebookFile) -> None:
        """Delete a notebook.

        Raises:
            ExecError: It is not there, or cannot be deleted.
        """
        await self._files.delete(file.path)

    async def details(self, file: NotebookFile) -> Details:
        """Return what the notebook says; nothing of one that cannot be read."""
        known = self._known(file)
        if known is not None:
            return known
        try:
            text = await self._files.text(file.path)
            details = await threads.run_sync(details_of, text, file.path)
        except ExecError:
            details = Details()
        if file.path in self._details or len(self._details) < self._options.max_functions:
            self._details[file.path] = (file, details)
        return details

    def _known(self, file: NotebookFile) -> Details | None:
        seen, details = self._details.get(file.path, (None, None))
        return details if seen == file else None

    async def view(self, file: NotebookFile) -> FunctionView:
        """Return the function that a notebook is."""
        counts = await self._executions.counts([file.path])
        return self._view(file, await self.details(file), counts[file.path])

    async def views(self, files: Sequence[NotebookFile]) -> list[FunctionView]:
        """Return the same of many as a list has it, with as little reading as is allowed."""
        counts = await self._executions.counts([file.path for file in files])
        left = self._options.max_listed_bytes
        views = []
        for file in files:
            details = self._known(file)
            size = file.size_bytes or 0
            if details is None and size <= left:
                left -= size
                details = await self.details(file)
            view = self._view(file, details, counts[file.path])
            view.code = json.dumps(view.code)
            views.append(view)
        return views

    def _view(self, file: NotebookFile, details: Details | None, count: int) -> FunctionView:
        options = self._options
        runtime_id = None
        if details is not None:
            runtime_id = runtime_id_of(details.kernel_name or self._kernelspecs.default_name)
        told = details or Details()
        code = {"source": "package"}
        if told.md5sum is not None:
            code["md5sum"] = told.md5sum
        created, changed = times_of(file, told)
        return FunctionView(
            id=function_id_of(file.path),
            name=told.name or file.path,
            description=told.description,
            cpu=options.default_cpu if told.cpu is None else told.cpu,
            memory_size=options.default_memory_size
            if told.memory_size is None
            else told.memory_size,
            timeout=int(self.timeout_of(told)) or 1,
            runtime_id=runtime_id,
            code=code,
            entry=told.entry,
            count=count,
            project_id=options.project_id,
            created_at=created,
            updated_at=changed,
        )

    def timeout_of(self, details: Details) -> float:
        """Return how many seconds a function may run: what its notebook says, within the limits."""
        options = self._options
        if not details.timeout:
            return options.function_timeout_seconds
        longest = min(details.timeout, options.max_function_timeout_seconds)
        return float(max(longest, options.min_function_timeout_seconds))

    async def runtime(self, runtime: str) -> Kernelspec:
        """Return the kernelspec that a runtime is.

        Args:
            runtime: Its id or its name.

        Raises:
            NotFoundError: There is no such runtime.
        """
        wanted = canonical_id(runtime)
        for spec in await self._kernelspecs.list():
            if wanted in (spec.name, runtime_id_of(spec.name)):
                return spec
        raise not_found("Runtime", id=runtime)

    async def package(self, file: NotebookFile) -> bytes:
        """Return the package of a function: a ZIP file with its notebook."""
        text = await self._files.text(file.path)
        return await threads.run_sync(package_of, text, file.path)


def times_of(file: NotebookFile, details: Details) -> tuple[str, str | None]:
    """Return when a function was created, and when changed; ``None`` if it was not, or who knows.

    The notebook tells the first, once it was changed here; before that the file system.
    """
    changed = stamp(file.modified_time)
    created = min(details.created_at or stamp(file.created_time), changed)
    return created, None if changed == created and details.created_at is None else changed
