"""Notebooks in the server's contents: read one, choose its cells, save what became of it."""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import anyio
import msgspec
import nbformat
from jupyter_server.services.contents.filemanager import FileContentsManager
from jupyter_server.utils import ensure_async
from tornado.web import HTTPError

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    InvalidArgumentError,
    InvalidNotebookError,
    NotebookNotFoundError,
    TooLargeError,
    UnknownCellError,
)
from jupyter_exec_ext.core.models import (
    STEPS,
    CodeSource,
    CommandSource,
    CommandStep,
    Execution,
    NotebookSource,
    Result,
    Source,
    Variable,
)
from jupyter_exec_ext.core.paths import is_plain
from jupyter_exec_ext.engine.cells import Cell
from jupyter_exec_ext.services.notebook_format import FIELD, open_notebook
from jupyter_exec_ext.store.store import Store

IN_PLACE = "in_place"

CONTENT_FIELD = "notebook.content"
"""The field of a request that has a notebook itself."""

SKIP_TAG = "skip-execution"
MAY_FAIL_TAG = "raises-exception"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A notebook as it was when its execution was accepted.

    Attributes:
        notebook: In the current nbformat; the cells that will run have no outputs any more.
        digest: Tells whether the file changed since; see `save_notebook`.
        cell_indexes: The code cells that will run, in document order.
        warnings: One sentence for each thing in the file that was not valid; they are stored with
            the record only.
    """

    notebook: dict[str, Any]
    digest: str
    cell_indexes: list[int] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def cells(self) -> list[Cell]:
        """The cells that will run."""
        return [_cell(self.notebook["cells"][index], index) for index in self.cell_indexes]

    @property
    def cell_count(self) -> int:
        """How many cells of any type the notebook has."""
        return len(self.notebook["cells"])

    @property
    def kernel_name(self) -> str | None:
        """The kernelspec that the notebook names; ``None`` when it names none."""
        spec = self.notebook["metadata"].get("kernelspec")
        name = spec.get("name") if isinstance(spec, dict) else None
        return name if isinstance(name, str) and name else None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file or folder of the contents, without what is in it.

    Attributes:
        created_time: ``None`` where the contents manager does not tell.
        modified_time: The same.
        size_bytes: The same; folders have none.
    """

    is_folder: bool
    created_time: datetime | None
    modified_time: datetime | None
    size_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Where an executed notebook went; the fields are those of `core.models.Result`."""

    notebook_path: str | None = None
    save_conflict: str | None = None
    save_error: str | None = None


class Notebooks:
    """The notebooks of the server's contents manager.

    Reading a notebook and saving it exclude each other: a file that is half written is no
    notebook, and of two runs that save in place only one finds it unchanged.
    """

    def __init__(self, contents_manager: Any) -> None:
        self._contents_manager = contents_manager
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
        # Several at once would be no faster, and a server that stops waits for their threads.
        self._large_notebooks = anyio.CapacityLimiter(1)

    def lock(self, path: str) -> anyio.Lock:
        """Return what is held while the notebook at *path* is read or written."""
        return self._locks.setdefault(path, anyio.Lock())

    async def kernel_path(self, path: str) -> str:
        """Return the API path that decides where the kernel of the notebook at *path* works."""
        answer: str = await ensure_async(self._contents_manager.get_kernel_path(path=path))
        return answer

    async def is_folder(self, path: str) -> bool:
        """Whether *path* is a folder that the caller may see; empty is the root."""
        manager = self._contents_manager
        if path and not is_plain(path):
            return False
        try:
            if not await ensure_async(manager.dir_exists(path)):
                return False
            return bool(manager.allow_hidden or not await ensure_async(manager.is_hidden(path)))
        except (HTTPError, OSError, ValueError):
            return False

    async def entry(self, path: str) -> Entry | None:
        """Return what the caller may see at *path*, empty for the root; ``None`` for nothing."""
        manager = self._contents_manager
        if path and not is_plain(path):
            return None
        try:
            model = await ensure_async(manager.get(path, content=False))
            if path and not manager.allow_hidden and await ensure_async(manager.is_hidden(path)):
                return None
        except (HTTPError, OSError, ValueError):
            return None
        created, modified = model.get("created"), model.get("last_modified")
        return Entry(
            is_folder=model["type"] == "directory",
            created_time=created if isinstance(created, datetime) else None,
            modified_time=modified if isinstance(modified, datetime) else None,
            size_bytes=await self._size_of(path, model),
        )

    async def _size_of(self, path: str, model: Mapping[str, Any]) -> int | None:
        """Return the size of a file; Jupyter's own model has that of a link, not of its target."""
        if isinstance(self._contents_manager, FileContentsManager) and model["type"] != "directory":
            file = Path(self._contents_manager.root_dir, path)
            with suppress(OSError):
                return (await threads.run_sync(file.stat)).st_size
        size: int | None = model.get("size")
        return size

    async def read(self, source: NotebookSource, *, max_bytes: int) -> Snapshot:
        """Read the notebook of *source* and choose its cells.

        Raises:
            NotebookNotFoundError: Nothing is there, or nothing that the caller may see.
            InvalidNotebookError: The file is not a notebook that can be run.
            TooLargeError: The notebook has more than *max_bytes*, or too many cells.
            UnknownCellError: The notebook lacks a chosen cell.
        """
        path = source.path.strip("/")
        async with self.lock(path):
            text = await self.text(path, max_bytes=max_bytes)
        return await self._snapshot(source, text)

    async def read_content(
        self, source: NotebookSource, content: bytes, *, max_bytes: int
    ) -> Snapshot:
        """Choose the cells of *content*, a notebook as JSON in UTF-8, as if it were in the file.

        The file at the path of *source* need not exist, but its folder must.

        Raises:
            InvalidArgumentError: No notebook can be at the path.
            InvalidNotebookError: The content is not a notebook that can be run.
            TooLargeError: It has more than *max_bytes*, or too many cells.
            UnknownCellError: It lacks a chosen cell.
        """
        path = source.path.strip("/")
        if not await self._has_place(path):
            raise InvalidArgumentError(
                "the path must be that of a file in an existing folder; the file need not exist",
                target=FIELD,
            )
        if len(content) > max_bytes:
            raise TooLargeError(f"a notebook has at most {max_bytes} bytes", target=CONTENT_FIELD)
        try:
            text = await threads.run_if_large(bytes.decode, content)
            snapshot = await self._snapshot(source, text)
        except UnicodeDecodeError as error:
            raise InvalidNotebookError("this is not text in UTF-8", target=CONTENT_FIELD) from error
        except (InvalidNotebookError, TooLargeError) as error:
            error.target = CONTENT_FIELD
            raise
        if source.save_to != IN_PLACE:
            return snapshot
        # What must not change until it is replaced is the file, not the content.
        return replace(snapshot, digest=await self._digest_of_file(path))

    async def _digest_of_file(self, path: str) -> str:
        """Return the digest of the notebook at *path*; empty for what is not a notebook."""
        try:
            async with self.lock(path):
                text = await self.text(path, max_bytes=sys.maxsize)
            return await threads.run_sync(_digest_of_text, text)
        except (NotebookNotFoundError, InvalidNotebookError, TooLargeError):
            return ""

    async def _snapshot(self, source: NotebookSource, text: str) -> Snapshot:
        notary: Any = self._contents_manager.notary if source.save_to is not None else None
        # Text that is deeply nested takes ten times as long as other text.
        is_large = threads.is_large(text, max_bytes=threads.LARGE_BYTES // 10)
        limiter = self._large_notebooks if is_large else None
        snapshot, signature = await threads.run_sync(
            _snapshot_of, text, source.cells, notary, limiter=limiter
        )
        # The notary's store is for the event loop's thread only.
        if signature is not None and notary.store.check_signature(signature, notary.algorithm):
            for cell in snapshot.notebook["cells"]:
                cell["metadata"]["trusted"] = True
        return snapshot

    async def text(self, path: str, *, max_bytes: int) -> str:
        """Return the JSON text of the notebook at *path*, whose `lock` the caller holds.

        The text is read as it is, since the contents manager validates a notebook, and hashes it on
        the event loop.

        Raises:
            NotebookNotFoundError: Nothing is there, or nothing that the caller may see.
            InvalidNotebookError: The file is not text.
            TooLargeError: The file has more than *max_bytes*.
        """
        manager = self._contents_manager
        if not is_plain(path):
            raise NotebookNotFoundError
        try:
            if not await ensure_async(manager.file_exists(path)):
                raise NotebookNotFoundError
            if not manager.allow_hidden and await ensure_async(manager.is_hidden(path)):
                raise NotebookNotFoundError
            stat = await ensure_async(manager.get(path, content=False))
            if (await self._size_of(path, stat) or 0) > max_bytes:
                raise TooLargeError(f"a notebook has at most {max_bytes} bytes", target=FIELD)
            # Other managers may make notebooks of other files, as Jupytext's does.
            if not type(manager).__module__.startswith("jupyter_server."):
                with suppress(HTTPError):
                    model = await ensure_async(manager.get(path, type="notebook", content=True))
                    return await threads.run_sync(json.dumps, model["content"])
            model = await ensure_async(manager.get(path, type="file", format="text", content=True))
        except HTTPError as error:
            if error.status_code in (403, 404):
                raise NotebookNotFoundError from error
            raise InvalidNotebookError("the file is not text in UTF-8", target=FIELD) from error
        except UnicodeError as error:
            raise InvalidNotebookError("the file is not text in UTF-8", target=FIELD) from error
        except (OSError, ValueError) as error:
            raise NotebookNotFoundError from error
        return str(model["content"])

    async def check_save_target(self, save_to: str | None) -> None:
        """Raise `InvalidArgumentError` when nothing can be written to *save_to*."""
        if save_to is None or save_to == IN_PLACE:
            return
        path = save_to.strip("/")
        target = "notebook.save_to"
        if not is_plain(path) or not path.endswith(".ipynb"):
            raise InvalidArgumentError("this is not the path of a notebook", target=target)
        if not await self._has_place(path):
            raise InvalidArgumentError("no notebook can be saved here", target=target)

    async def _has_place(self, path: str) -> bool:
        """Whether *path* can be that of a notebook which the caller may see and save."""
        try:
            return is_plain(path) and await self._can_save(path)
        except (HTTPError, OSError, ValueError):
            return False

    async def _can_save(self, path: str) -> bool:
        """Whether *path* is a file, or nothing yet, in a folder, and not hidden.

        Anything else, such as a pipe, would keep the writer waiting for ever.
        """
        manager = self._contents_manager
        if not await ensure_async(manager.dir_exists(path.rpartition("/")[0])):
            return False
        if not manager.allow_hidden and await ensure_async(manager.is_hidden(path)):
            return False
        return bool(
            await ensure_async(manager.file_exists(path))
            or not await ensure_async(manager.exists(path))
        )

    async def save(
        self, source: NotebookSource, snapshot: Snapshot, notebook: dict[str, Any]
    ) -> Saved:
        """Save *notebook* as *source* asks; a failure is told in the answer, not raised.

        The contents manager validates and signs it, as when a user saves. Saved in place, it does
        not overwrite a file that changed since it was read: then a copy is saved beside it.
        """
        is_in_place = source.save_to == IN_PLACE
        path = (source.path if is_in_place else source.save_to or "").strip("/")
        # In JupyterLab a cell that the user ran is trusted; its outputs were made here.
        for index in snapshot.cell_indexes:
            notebook["cells"][index]["metadata"]["trusted"] = True
        content = await threads.run_sync(nbformat.from_dict, notebook)
        model = {"type": "notebook", "format": "json", "content": content}
        is_conflict = False
        try:
            async with self.lock(path):
                if is_in_place and not await self._is_unchanged(path, snapshot.digest):
                    is_conflict = True
                    path = await self._name_of_copy(path)
                if not await self._can_save(path):
                    return Saved(save_error="no notebook can be saved there any more")
                saved = await ensure_async(self._contents_manager.save(model, path))
        except HTTPError as error:
            why = f"the contents manager refused it with status {error.status_code}"
            return Saved(save_error=why)
        except (OSError, ValueError) as error:
            return Saved(save_error=f"it could not be written: {type(error).__name__}")
        if saved.get("message"):
            return Saved(notebook_path=path, save_error="the saved notebook does not validate")
        return Saved(notebook_path=path, save_conflict=path if is_conflict else None)

    async def _name_of_copy(self, path: str) -> str:
        folder, _, name = path.rpartition("/")
        name = f"{name.removesuffix('.ipynb')}-executed.ipynb"
        name = await ensure_async(self._contents_manager.increment_filename(name, folder))
        return f"{folder}/{name}".strip("/")

    async def _is_unchanged(self, path: str, digest: str) -> bool:
        """Whether the file is as it was read; one that is gone may be written again."""
        try:
            # The limit on the size is for what is run.
            text = await self.text(path, max_bytes=sys.maxsize)
        except NotebookNotFoundError:
            return True
        except InvalidNotebookError:
            return False
        return await threads.run_sync(_has_digest, text, digest)


def _snapshot_of(
    text: str, chosen: list[str | int] | dict[str, str | int] | None, notary: Any
) -> tuple[Snapshot, str | None]:
    """Return a notebook as it will run; takes as long as the notebook is large.

    Returns:
        With it the signature of the file by *notary*; ``None`` when the outputs in the file do not
        matter, since all are replaced.
    """
    opened = open_notebook(text)
    digest = _digest(opened.content)
    cells = opened.content["cells"]
    indexes = select_cells(cells, chosen)
    signature = None
    if notary is not None and any(
        cell.get("outputs") for index, cell in enumerate(cells) if index not in set(indexes)
    ):
        with suppress(nbformat.ValidationError, ValueError, LookupError, TypeError, AttributeError):
            # Not of what was completed: only what is unchanged can have been signed.
            signature = notary.compute_signature(nbformat.reader.reads(text))
    notebook, warnings = opened.complete(indexes)
    snapshot = Snapshot(notebook=notebook, digest=digest, cell_indexes=indexes, warnings=warnings)
    return snapshot, signature


def _digest_of_text(text: str) -> str:
    return _digest(open_notebook(text).content)


def _has_digest(text: str, digest: str) -> bool:
    try:
        return _digest_of_text(text) == digest
    except (InvalidNotebookError, TooLargeError):
        return False


def select_cells(
    cells: list[dict[str, Any]], chosen: list[str | int] | dict[str, str | int] | None
) -> list[int]:
    """Return the indexes of the code cells to run, in document order.

    Cells without code or with the tag ``skip-execution`` never run.

    Raises:
        UnknownCellError: A chosen cell or tag is not there.
        InvalidArgumentError: The choice itself makes no sense.
    """
    selected: Iterable[int]
    match chosen:
        case None:
            selected = range(len(cells))
        case list() if chosen:
            selected = sorted(
                {
                    _index_of(cells, cell, target=f"notebook.cells.{number}")
                    for number, cell in enumerate(chosen)
                }
            )
        case {"from": start, **rest} if not rest:
            selected = range(_index_of(cells, start, target="notebook.cells.from"), len(cells))
        case {"up_to": end, **rest} if not rest:
            selected = range(_index_of(cells, end, target="notebook.cells.up_to") + 1)
        case {"tag": str(tag), **rest} if not rest:
            selected = [i for i, cell in enumerate(cells) if tag in _tags(cell)]
            if not selected:
                raise UnknownCellError(
                    f"no cell has the tag {tag[:64]!r}", target="notebook.cells.tag"
                )
        case _:
            raise InvalidArgumentError(
                'choose cells by a list that is not empty or by one of {"from": cell},'
                ' {"up_to": cell} and {"tag": name}',
                target="notebook.cells",
            )
    runnable = [index for index in selected if _is_runnable(cells[index])]
    if chosen is not None and not runnable:
        raise InvalidArgumentError(
            "none of the chosen cells is a code cell that can run", target="notebook.cells"
        )
    return runnable


def _index_of(cells: list[dict[str, Any]], cell: str | int, *, target: str) -> int:
    if isinstance(cell, int):
        if 0 <= cell < len(cells):
            return cell
    else:
        for index, candidate in enumerate(cells):
            if candidate.get("id") == cell:
                return index
    shown = cell if isinstance(cell, int) else repr(cell[:64])
    raise UnknownCellError(f"the notebook has no cell {shown}", target=target)


def _tags(cell: dict[str, Any]) -> list[str]:
    tags = cell["metadata"].get("tags")
    return tags if isinstance(tags, list) else []


def _is_runnable(cell: dict[str, Any]) -> bool:
    return (
        cell["cell_type"] == "code" and bool(cell["source"].strip()) and SKIP_TAG not in _tags(cell)
    )


def _cell(cell: dict[str, Any], index: int) -> Cell:
    return Cell(
        index=index,
        cell_id=cell.get("id"),
        source=cell["source"],
        may_fail=MAY_FAIL_TAG in _tags(cell),
    )


def code_snapshot(source: CodeSource, kernel_name: str) -> Snapshot:
    """Return a piece of code as a notebook of one cell, without cell ids (nbformat 4.4)."""
    cell: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": source.code,
    }
    kernelspec = {"name": kernel_name, "display_name": kernel_name}
    metadata = {"kernelspec": kernelspec}
    return Snapshot(
        notebook={"nbformat": 4, "nbformat_minor": 4, "metadata": metadata, "cells": [cell]},
        digest="",
        cell_indexes=[0],
    )


def snapshot_of_source(source: Source, kernel_name: str) -> Snapshot | None:
    """Return what *source* runs as a notebook; ``None`` for one that is stored as it was.

    A command has an empty cell for each step, which takes the output.
    """
    if isinstance(source, CodeSource):
        return code_snapshot(source, kernel_name)
    if isinstance(source, CommandSource):
        empty: dict[str, Any] = {"cell_type": "code", "source": "", "metadata": {}}
        cells = [{**empty, "outputs": [], "execution_count": None} for _ in STEPS]
        return Snapshot(
            notebook={"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells},
            digest="",
            cell_indexes=[STEPS.index(step) for step in source.steps],
        )
    return None


async def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return *snapshot* for the store."""
    return await threads.run_if_large(_encode_snapshot, snapshot)


def _encode_snapshot(snapshot: Snapshot) -> bytes:
    return json.dumps(
        {
            "notebook": snapshot.notebook,
            "digest": snapshot.digest,
            "cell_indexes": snapshot.cell_indexes,
        }
    ).encode()


async def load_snapshot(execution: Execution, store: Store) -> Snapshot:
    """Return what *execution* runs, as it was accepted.

    Raises:
        ExecutionNotFoundError: The record is not in the store.
        StoreUnavailableError: The store cannot be read.
    """
    snapshot = snapshot_of_source(execution.source, execution.kernel_name)
    if snapshot is not None:
        return snapshot
    data = await store.get_notebook(execution.id)
    return await threads.run_if_large(_decode_snapshot, data)


def _decode_snapshot(data: bytes) -> Snapshot:
    return Snapshot(**json.loads(data))


def executed_notebook(snapshot: Snapshot, result: Result) -> dict[str, Any]:
    """Return the notebook with what its run left so far; changes *snapshot*'s own."""
    notebook = snapshot.notebook
    notebook["metadata"].update(result.metadata)
    for cell in result.cells:
        node = notebook["cells"][cell.cell_index]
        node["outputs"] = cell.outputs
        node["execution_count"] = cell.execution_count
    return notebook


EMPTY_SNAPSHOT = Snapshot(
    notebook={"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}, digest=""
)


def _digest(notebook: dict[str, Any]) -> str:
    """Return what identifies *notebook*: not trust, nor ids, which may be made while reading."""
    cells = [{**without_trust(cell), "id": None} for cell in notebook["cells"]]
    text = json.dumps({**notebook, "cells": cells}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def without_trust(cell: dict[str, Any]) -> dict[str, Any]:
    """Return *cell* without the mark that the server keeps in memory, but in no file."""
    return {**cell, "metadata": {k: v for k, v in cell["metadata"].items() if k != "trusted"}}


async def encode_result(result: Result) -> bytes:
    """Return *result* for the store."""
    return await threads.run_if_large(msgspec.json.encode, result)


async def decode_result(data: bytes) -> Result:
    """Return the result of a stored record."""
    return await threads.run_if_large(_decode_result, data)


def _decode_result(data: bytes) -> Result:
    return msgspec.json.decode(data, type=Result)


@dataclass(frozen=True, kw_only=True)
class _Values:
    exit_codes: dict[CommandStep, int] | None = None
    value_json: str | None = None
    variables: dict[str, Variable] = field(default_factory=dict)


async def decode_values(data: bytes) -> Result:
    """Return the result of a stored record without what was published, which is skipped."""
    return await threads.run_if_large(_decode_values, data)


def _decode_values(data: bytes) -> Result:
    values = msgspec.json.decode(data, type=_Values)
    return Result(
        exit_codes=values.exit_codes, value_json=values.value_json, variables=values.variables
    )
