"""Notebooks that are not valid nbformat but that Jupyter opens and runs, as other tools write them.

Each prints ``one`` in its first code cell.
"""

import json
from typing import Any

Notebook = dict[str, Any]


def code(source: Any = "print('one')", **fields: Any) -> dict[str, Any]:
    """Return a code cell of nbformat 4.5; fields that are ``...`` are left out."""
    cell = {
        "cell_type": "code",
        "id": "c0",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
        "source": source,
        **fields,
    }
    return {name: value for name, value in cell.items() if value is not ...}


def text(**fields: Any) -> dict[str, Any]:
    """Return a Markdown cell of nbformat 4.5; fields that are ``...`` are left out."""
    cell = {"cell_type": "markdown", "id": "m0", "metadata": {}, "source": "# Title", **fields}
    return {name: value for name, value in cell.items() if value is not ...}


def notebook(*cells: Any, **fields: Any) -> Notebook:
    """Return a notebook of nbformat 4.5; fields that are ``...`` are left out."""
    made = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [*cells], **fields}
    return {name: value for name, value in made.items() if value is not ...}


def nested(depth: int, count: int) -> list[Any]:
    """Return *count* lists, each of which has *depth* levels."""
    deep: list[Any] = []
    for _ in range(depth - 1):
        deep = [deep]
    return [deep] * count


def old(*outputs: Any) -> Notebook:
    """Return a notebook with old outputs in a cell that runs and in one that does not."""
    skipped = code("0", id="c1", outputs=[*outputs], metadata={"tags": ["skip-execution"]})
    return notebook(code(outputs=[*outputs]), skipped)


def version_3(*outputs: Any, **fields: Any) -> Notebook:
    cell = {
        "cell_type": "code",
        "collapsed": False,
        "input": ["print('one')"],
        "language": "python",
        "metadata": {},
        "outputs": [*outputs],
        "prompt_number": 1,
    }
    heading = {"cell_type": "heading", "level": 2, "metadata": {}, "source": ["Title"]}
    sheet = {"cells": [heading, {**cell, **fields}], "metadata": {}}
    return {"metadata": {"name": "old"}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [sheet]}


def version_2() -> Notebook:
    cell = {"cell_type": "code", "input": "print('one')", "language": "python", "outputs": []}
    sheet = {"cells": [{**cell, "collapsed": False}], "metadata": {}}
    return {"metadata": {"name": "old"}, "nbformat": 2, "worksheets": [sheet]}


KINDS: dict[str, tuple[Notebook, str]] = {
    "id in 4.4": (notebook(code(), nbformat_minor=4), "Cell 0: nbformat 4.4 has no cell ids"),
    "null id in 4.4": (notebook(code(id=None), nbformat_minor=4), "Cell 0: 'id' was null"),
    "ids twice": (notebook(code(), code("2"), text()), "Cell 1: 'id' was that of an earlier cell"),
    "no id": (notebook(text(id=...), code(id=...)), "Cells 0, 1: 'id' was missing"),
    "null id": (notebook(code(id=None)), "Cell 0: 'id' was missing"),
    "long id": (notebook(code(id="x" * 65)), "Cell 0: 'id' was not valid"),
    "empty id": (notebook(code(id="")), "Cell 0: 'id' was not valid"),
    "id with blanks": (notebook(code(id="cell 1!")), "Cell 0: 'id' was not valid"),
    "number as id": (notebook(code(id=7)), "Cell 0: 'id' was not valid"),
    "outputs on text": (notebook(text(outputs=[]), code()), "Cell 0: properties"),
    "count on text": (notebook(text(execution_count=None), code()), "'execution_count'"),
    "no outputs": (notebook(code(outputs=...)), "Cell 0: 'outputs' was missing"),
    "null outputs": (notebook(code(outputs=None)), "Cell 0: 'outputs' was missing"),
    "no count": (notebook(code(execution_count=...)), "Cell 0: 'execution_count' was missing"),
    "text as count": (notebook(code(execution_count="1")), "Cell 0: 'execution_count'"),
    "no cell metadata": (notebook(code(metadata=...), text(metadata=None)), "Cells 0, 1: 'meta"),
    "no metadata": (notebook(code(), metadata=...), "Notebook: 'metadata' was missing"),
    "list as metadata": (notebook(code(), metadata=[]), "Notebook: 'metadata' was missing"),
    "no display name": (
        notebook(code(), metadata={"kernelspec": {"name": "echo"}}),
        "Notebook: 'kernelspec' had no 'display_name'",
    ),
    "null kernelspec": (notebook(code(), metadata={"kernelspec": None}), "'kernelspec' was not"),
    "empty kernelspec": (notebook(code(), metadata={"kernelspec": {}}), "'kernelspec' was not"),
    "language without name": (
        notebook(code(), metadata={"language_info": {"version": "3"}}),
        "Notebook: metadata that was not valid was dropped: 'language_info'",
    ),
    "null language": (notebook(code(), metadata={"language_info": None}), "'language_info'"),
    "text as authors": (notebook(code(), metadata={"authors": "Ada"}), "'authors'"),
    "null source": (notebook(text(source=None), code()), "Cell 0: 'source' was missing"),
    "no source": (notebook(code(), code(source=..., id="c1")), "Cell 1: 'source' was missing"),
    "number as text": (notebook(text(source=5), code()), "Cell 0: 'source' was not text"),
    "unknown cell type": (notebook(text(cell_type="sql"), code()), "Cell 0: unknown cell type"),
    "no cell type": (notebook(text(cell_type=...), code()), "Cell 0: unknown cell type"),
    "cell is text": (notebook("print(0)", code()), "Cell 0: not an object"),
    "more fields": (notebook(code(prompt=1, collapsed=True)), "'collapsed', 'prompt'"),
    "more fields at top": (notebook(code(), signature="x", x=1), "Notebook: unknown properties"),
    "text as tags": (notebook(code(metadata={"tags": "a,b"})), "Cell 0: 'tags' were not valid"),
    "tags twice": (notebook(code(metadata={"tags": ["a", "a", 1, "b,c"]})), "Cell 0: 'tags'"),
    "text as collapsed": (notebook(code(metadata={"collapsed": "no"})), "'collapsed'"),
    "execution times": (
        notebook(code(metadata={"execution": {"iopub.status.busy": 1.5}})),
        "Cell 0: metadata that was not valid was dropped: 'execution'",
    ),
    "attachments": (notebook(text(attachments={"a.png": "x"}), code()), "Cell 0: 'attachments'"),
    "null attachments": (notebook(text(attachments=None), code()), "Cell 0: 'attachments'"),
    "attachments on code": (notebook(code(attachments={})), "Cell 0: properties"),
    "no output metadata": (
        old({"output_type": "display_data", "data": {"text/plain": "x"}}),
        "Cell 1: an output was not valid; it was completed",
    ),
    "no output data": (old({"output_type": "execute_result"}), "Cell 1: an output was not valid"),
    "stream without name": (old({"output_type": "stream", "text": "x"}), "Cell 1: an output"),
    "unknown output type": (old({"output_type": "pyout", "text": "x"}), "Cell 1: an output"),
    "null as output": (old(None), "Cell 1: an output was not valid and was dropped"),
    "number as text output": (
        old({"output_type": "stream", "name": "stdout", "text": 5}),
        "Cell 1: an output was not valid and was dropped",
    ),
    "no minor": (notebook(code(), nbformat_minor=...), "Notebook: 'nbformat_minor' was missing"),
    "newer minor": (notebook(code(), nbformat_minor=9), "Notebook: nbformat 4.9 is newer"),
    "no version": (notebook(code(), nbformat=...), "Notebook: 'nbformat' is missing"),
    "surrogate": (notebook(text(source="\ud800"), code()), "Notebook: text that is not Unicode"),
    "NaN": (notebook(code(metadata={"x": float("nan")})), "Notebook: NaN and Infinity"),
    "version in quotes": (notebook(code(), nbformat="4"), "Notebook: 'nbformat' was '4'"),
    "version with a fraction": (notebook(code(), nbformat=4.0), "Notebook: 'nbformat' was '4.0'"),
    "version 3": (version_3(), "Notebook: nbformat 3 was converted"),
    "version 3 with old outputs": (version_3({"output_type": "pyout"}, {}, None), "Cell 1: an out"),
    "version 2": (version_2(), "Notebook: nbformat 2 was converted"),
}

VALID: dict[str, Notebook] = {
    "4.5": notebook(text(), code()),
    "4.4": notebook(text(id=...), code(id=...), nbformat_minor=4),
    "4.0": notebook(text(id=...), code(id=...), nbformat_minor=0),
    "lines": notebook(code(["print('one')\n", "0"])),
    "old outputs": old({"output_type": "stream", "name": "stdout", "text": ["x\n", "y"]}),
}

REFUSED: dict[str, tuple[str, str]] = {
    "text": ("just text", "the file is not JSON at line 1"),
    "empty": ("", "the file is not JSON"),
    "half": ('{"nbformat": 4, "cells": [', "the file is not JSON"),
    "list": ("[]", "its JSON is not an object"),
    "no cells": (json.dumps(notebook(cells=...)), "the notebook has no list of cells"),
    "nothing": ("{}", "it has no list of cells"),
    "cells are an object": (json.dumps(notebook(cells={})), "the notebook has no list of cells"),
    "version 5": (json.dumps(notebook(code(), nbformat=5)), "nbformat '5' is not supported"),
    "text as version": (json.dumps(notebook(code(), nbformat="x")), "nbformat 'x' is not supp"),
    "source is a number": (json.dumps(notebook(code(5))), "the source of cell 0 is not text"),
    "surrogate": (json.dumps(notebook(code("'\ud800'"))), "the source of cell 0 is not Unicode"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "deep metadata": (
        json.dumps(notebook(code(), metadata={"x": 0})).replace(
            '"x": 0', f'"x": {"[" * 900}{"]" * 900}'
        ),
        "nested too deeply",
    ),
    "broken version 3": (json.dumps({**version_3(), "worksheets": [5]}), "not valid nbformat 3"),
}


def with_mark(text: str) -> bytes:
    """Return *text* in UTF-8 with a byte order mark, as some editors on Windows write it."""
    return text.encode("utf-8-sig")
