"""The verbs on notebooks as files of the server's contents: list, read, create, change, delete."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import nbformat
from jupyter_server.utils import ensure_async
from tornado.web import HTTPError

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    ConflictError,
    FileForbiddenError,
    InvalidArgumentError,
    NotebookNotFoundError,
)
from jupyter_exec_ext.core.paths import is_plain
from jupyter_exec_ext.services.notebook_format import Content, open_notebook
from jupyter_exec_ext.services.notebooks import Notebooks


@dataclass(frozen=True, kw_only=True)
class NotebookFile:
    """A notebook of the server.

    Attributes:
        path: API path, relative to the server root.
        size_bytes: ``None`` when the contents manager does not say.
    """

    path: str
    size_bytes: int | None
    created_time: datetime
    modified_time: datetime


class NotebookFiles:
    """The notebooks of the server's contents manager, which decides what may be seen and changed.

    Changing one, and reading it for a run, exclude each other.
    """

    def __init__(self, contents_manager: Any, notebooks: Notebooks, *, max_bytes: int) -> None:
        self._manager = contents_manager
        self._notebooks = notebooks
        self.max_bytes = max_bytes

    async def list(self, *, max_notebooks: int, max_folders: int) -> list[NotebookFile]:
        """Return the notebooks, those near the root first, no more than *max_notebooks*.

        Args:
            max_folders: How many folders are looked into.
        """
        found: list[NotebookFile] = []
        folders = deque([""])
        for _ in range(max_folders):
            if not folders:
                break
            models = await self._models_in(folders.popleft())
            for model in sorted(models, key=lambda model: str(model["name"])):
                if model["type"] == "directory":
                    folders.append(model["path"])
                elif model["type"] == "notebook" and is_plain(model["path"].strip("/")):
                    found.append(_file_of(model))
                if len(found) == max_notebooks:
                    return found
        return found

    async def _models_in(self, folder: str) -> Iterable[dict[str, Any]]:
        """Return what is in a folder; nothing when it cannot be read, or is gone."""
        try:
            model = await ensure_async(self._manager.get(folder, type="directory", content=True))
        except (HTTPError, OSError, ValueError):
            return []
        content: Iterable[dict[str, Any]] = model["content"]
        return content

    async def stat(self, path: str) -> NotebookFile:
        """Return what is known of the notebook at *path* without reading it.

        Raises:
            NotebookNotFoundError: Nothing is there, or nothing that the caller may see.
        """
        manager = self._manager
        if not (is_plain(path) and path.endswith(".ipynb")):
            raise NotebookNotFoundError
        try:
            if not await ensure_async(manager.file_exists(path)):
                raise NotebookNotFoundError
            if not manager.allow_hidden and await ensure_async(manager.is_hidden(path)):
                raise NotebookNotFoundError
            return _file_of(await ensure_async(manager.get(path, content=False)))
        except (HTTPError, OSError, ValueError) as error:
            raise NotebookNotFoundError from error

    async def text(self, path: str) -> str:
        """Return the text of the notebook at *path*.

        Raises:
            ExecError: See `Notebooks.text`.
        """
        async with self._notebooks.lock(path):
            return await self._text(path)

    async def _text(self, path: str) -> str:
        if not path.endswith(".ipynb"):
            raise NotebookNotFoundError
        return await self._notebooks.text(path, max_bytes=self.max_bytes)

    async def create(self, path: str, notebook: Content) -> NotebookFile:
        """Save *notebook* at *path*, where nothing is yet.

        Raises:
            ConflictError: Something is there.
            ExecError: It cannot be saved there.
        """
        await self._notebooks.check_save_target(path)
        async with self._notebooks.lock(path):
            with _refusals():
                if await ensure_async(self._manager.exists(path)):
                    raise ConflictError("a notebook is at this path")
            return await self._save(path, notebook)

    async def change(self, path: str, change: Callable[[Content], Content]) -> NotebookFile:
        """Save what *change* makes of the notebook at *path*.

        Raises:
            ExecError: It cannot be read, or not be saved.
        """
        async with self._notebooks.lock(path):
            text = await self._text(path)
            notebook = await threads.run_sync(notebook_of, text)
            return await self._save(path, await threads.run_sync(change, notebook))

    async def _save(self, path: str, notebook: Content) -> NotebookFile:
        content = await threads.run_sync(nbformat.from_dict, notebook)
        with _refusals():
            model = {"type": "notebook", "format": "json", "content": content}
            saved = await ensure_async(self._manager.save(model, path))
        return _file_of(saved)

    async def delete(self, path: str) -> None:
        """Delete the notebook at *path* as a user of JupyterLab does: into the trash, if any.

        Raises:
            ExecError: It is not there, or cannot be deleted.
        """
        async with self._notebooks.lock(path):
            await self.stat(path)
            with _refusals():
                await ensure_async(self._manager.delete(path))


def notebook_of(text: str) -> Content:
    """Return the notebook that *text* is, as valid nbformat and without marks of trust.

    Raises:
        InvalidNotebookError: The text is not a notebook that can be run.
        TooLargeError: The notebook has too many cells.
    """
    content, _ = open_notebook(text).complete()
    return content


@contextmanager
def _refusals() -> Iterator[None]:
    """Make what the contents manager refuses an error of ours, which names no path on the disk."""
    try:
        yield
    except HTTPError as error:
        if error.status_code == 403:
            raise FileForbiddenError from error
        if error.status_code == 404:
            raise NotebookNotFoundError from error
        raise InvalidArgumentError("the server's contents manager refused it") from error
    except (OSError, ValueError) as error:
        raise InvalidArgumentError("the notebook cannot be changed or saved here") from error


def _file_of(model: dict[str, Any]) -> NotebookFile:
    return NotebookFile(
        path=model["path"].strip("/"),
        size_bytes=model.get("size"),
        created_time=model["created"],
        modified_time=model["last_modified"],
    )
