"""Notebook files on this machine: reading, writing, and what a cell is called on the screen.

nbformat is not used: its import takes longer than everything else that the command line does.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_exec_ext.client.replacing import replaced


@dataclass(frozen=True, kw_only=True)
class CellText:
    """What the screen shows of a cell: its source, and the language of a code cell."""

    source: str
    language: str


class CellTexts:
    """Finds the cells of a notebook by what a record says of them: an id, or an index."""

    def __init__(self, notebook: dict[str, Any] | None = None) -> None:
        self._cells: list[dict[str, Any]] = []
        self._language = "python"
        if notebook:
            self._cells = [cell for cell in notebook.get("cells", []) if isinstance(cell, dict)]
            metadata = notebook.get("metadata", {})
            info = metadata.get("language_info", {})
            spec = metadata.get("kernelspec", {})
            self._language = info.get("name") or spec.get("language") or self._language

    def find(self, cell_id: str | None, cell_index: int | None) -> CellText | None:
        """Return the cell, or ``None`` when the notebook has no such cell."""
        for index, cell in enumerate(self._cells):
            if cell.get("id") == cell_id if cell_id is not None else index == cell_index:
                return CellText(source=_joined(cell.get("source", "")), language=self._language)
        return None

    def title(self, cell_id: str | None, cell_index: int | None) -> str:
        """Return the first line of the cell's source, else its id, else its index."""
        cell = self.find(cell_id, cell_index)
        lines = (line.strip() for line in cell.source.split("\n")) if cell else iter(())
        first = next((line for line in lines if line), None)
        if first:
            return first
        return cell_id or ("" if cell_index is None else f"cell {cell_index}")


def read_notebook(path: Path) -> str:
    """Return the text of the notebook in the file; the server checks whether it can run.

    Raises:
        OSError: The file cannot be read.
        ValueError: The text is not a JSON object.
    """
    text = path.read_text("utf-8-sig")
    if isinstance(json.loads(text), dict):
        return text
    raise ValueError("not a notebook")


def write_notebook(path: Path, notebook: dict[str, Any]) -> None:
    """Write *notebook* as nbformat would, so that the file is replaced whole or not at all.

    Raises:
        OSError: It cannot be written; what was there before is untouched.
    """
    content = _encoded(_split(notebook))
    with replaced(path) as file:
        file.write(content)


def _encoded(notebook: dict[str, Any]) -> bytes:
    text = json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only escapes can write
        return (json.dumps(notebook, indent=1, sort_keys=True) + "\n").encode()


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _split(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return *notebook* with long texts as lists of lines, as notebooks are on disk."""
    return {**notebook, "cells": [_split_cell(cell) for cell in notebook.get("cells", [])]}


def _split_cell(cell: dict[str, Any]) -> dict[str, Any]:
    split = {**cell, "source": _lines(cell.get("source", ""))}
    metadata = cell.get("metadata", {})
    # Whether outputs are trusted is a matter of one server, not of a file.
    split["metadata"] = {name: value for name, value in metadata.items() if name != "trusted"}
    if "attachments" in cell:
        split["attachments"] = {
            name: _split_bundle(bundle) for name, bundle in cell["attachments"].items()
        }
    if cell.get("cell_type") == "code":
        split["outputs"] = [_split_output(output) for output in cell.get("outputs", [])]
    return split


def _split_output(output: dict[str, Any]) -> dict[str, Any]:
    if output.get("output_type") == "stream":
        return {**output, "text": _lines(output.get("text", ""))}
    if "data" in output:
        return {**output, "data": _split_bundle(output["data"])}
    return output


def _split_bundle(bundle: dict[str, Any]) -> dict[str, Any]:
    return {mime: _lines(value) if _is_text(mime) else value for mime, value in bundle.items()}


def _is_text(mime: str) -> bool:
    return mime.startswith("text/") or mime in ("application/javascript", "image/svg+xml")


def _lines(text: str | Iterable[str]) -> Any:
    return text.splitlines(keepends=True) if isinstance(text, str) else text
