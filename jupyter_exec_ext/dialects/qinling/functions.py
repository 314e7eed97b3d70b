"""Notebooks as functions: found by id, described, made of packages and put into them."""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    ExecError,
    MalformedRequestError,
    NotebookNotFoundError,
    TooLargeError,
    TooManyError,
)
from jupyter_exec_ext.dialects.qinling.errors import not_found
from jupyter_exec_ext.dialects.qinling.options import QinlingOptions
from jupyter_exec_ext.dialects.qinling.wire import (
    FunctionView,
    function_id_of,
    is_path,
    runtime_id_of,
    stamp,
)
from jupyter_exec_ext.services.doors import Services
from jupyter_exec_ext.services.notebook_files import NotebookFile

METADATA = "qinling"
"""The key of a notebook's metadata under which it says what only Qinling asks of a function."""

MAX_OUTPUTS = 256
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Details:
    """What a notebook itself says of the function that it is; ``None`` where it does not.

    Attributes:
        md5sum: Of the package that a download gives.
        outputs: The variables that are the output of a run.
    """

    md5sum: str | None = None
    kernel_name: str | None = None
    description: str | None = None
    entry: str | None = None
    cpu: int | None = None
    memory_size: int | None = None
    timeout: int | None = None
    outputs: list[str] = field(default_factory=list)


class Functions:
    """The functions of one server.

    Attributes:
        upload_count: How many packages come at this moment.
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

    async def path_of(self, function: str) -> str:
        """Return the path of the notebook that a function is; whether it is there is not said.

        Args:
            function: An id, or the path itself.

        Raises:
            NotFoundError: No notebook has this id.
        """
        if is_path(function):
            return function.strip("/")
        wanted = function.lower()
        if wanted not in self._paths:
            async with self._walk:
                if wanted not in self._paths:
                    await self._find()
        if wanted not in self._paths:
            raise not_found("Function", id=function)
        return self._paths[wanted]

    async def find(self, function: str) -> NotebookFile:
        """Return the notebook that a function is.

        Raises:
            NotFoundError: There is no such function.
        """
        try:
            return await self._files.stat(await self.path_of(function))
        except NotebookNotFoundError:
            raise not_found("Function", id=function) from None

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
        changed = stamp(file.modified_time)
        created = min(stamp(file.created_time), changed)
        return FunctionView(
            id=function_id_of(file.path),
            name=file.path,
            description=told.description,
            cpu=options.default_cpu if told.cpu is None else told.cpu,
            memory_size=options.default_memory_size
            if told.memory_size is None
            else told.memory_size,
            timeout=told.timeout or int(options.function_timeout_seconds) or 1,
            runtime_id=runtime_id,
            code=code,
            entry=told.entry,
            count=count,
            project_id=options.project_id,
            created_at=created,
            updated_at=None if changed == created else changed,
        )

    async def kernelspec_of(self, runtime_id: str) -> dict[str, str]:
        """Return the kernelspec that a runtime is, as a notebook names it.

        Raises:
            NotFoundError: There is no such runtime.
        """
        for spec in await self._kernelspecs.list():
            if runtime_id_of(spec.name) == runtime_id.lower():
                return {
                    "name": spec.name,
                    "display_name": spec.display_name,
                    "language": spec.language,
                }
        raise not_found("Runtime", id=runtime_id)

    async def package(self, file: NotebookFile) -> bytes:
        """Return the package of a function: a ZIP file with its notebook."""
        text = await self._files.text(file.path)
        return await threads.run_sync(package_of, text, file.path)


def package_of(text: str, path: str) -> bytes:
    """Return a ZIP file with the notebook: the same text gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        name = path.rpartition("/")[2].encode("utf-8", "replace").decode()
        package.writestr(zipfile.ZipInfo(name, _FIRST_DAY), text.encode("utf-8", "replace"))
    return buffer.getvalue()


def notebook_in(package: bytes, *, max_bytes: int) -> tuple[str, str]:
    """Return the name and the text of the only notebook in a package.

    Raises:
        MalformedRequestError: It is no ZIP file, or has none, or several.
        TooLargeError: It has more than *max_bytes*.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            names = [name for name in archive.namelist() if _is_notebook(name)]
            if len(names) != 1:
                raise MalformedRequestError(
                    f"A package has exactly one notebook (.ipynb), and this one has {len(names)}."
                )
            with archive.open(names[0]) as member:
                data = member.read(max_bytes + 1)
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        LookupError,
    ) as error:
        raise MalformedRequestError("Package is not a valid ZIP file.") from error
    if len(data) > max_bytes:
        raise TooLargeError(f"a notebook has at most {max_bytes} bytes")
    try:
        return names[0].rpartition("/")[2], data.decode()
    except UnicodeDecodeError as error:
        raise MalformedRequestError("The notebook is not UTF-8.") from error


def _is_notebook(name: str) -> bool:
    is_aside = name.startswith("__MACOSX/") or ".ipynb_checkpoints/" in name
    return name.endswith(".ipynb") and not is_aside


def details_of(text: str, path: str) -> Details:
    """Return what the notebook with this *text* says; what is not as it should be is left out."""
    md5sum = hashlib.md5(package_of(text, path), usedforsecurity=False).hexdigest()
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        return Details(md5sum=md5sum)
    metadata = _object(_object(notebook).get("metadata"))
    told = _object(metadata.get(METADATA))
    outputs = told.get("outputs")
    names = outputs if isinstance(outputs, list) else []
    return Details(
        md5sum=md5sum,
        kernel_name=_text(_object(metadata.get("kernelspec")).get("name")),
        description=_text(told.get("description")),
        entry=_text(told.get("entry")),
        cpu=_number(told.get("cpu")),
        memory_size=_number(told.get("memory_size")),
        timeout=_number(told.get("timeout")),
        outputs=list(dict.fromkeys(name for name in names if _text(name)))[:MAX_OUTPUTS],
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    return value.encode("utf-8", "replace").decode()


def _number(value: Any) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value < 2**63 else None
