"""Notebooks as JSON text: what Jupyter opens becomes valid nbformat 4, and warnings name the rest.

Other tools write notebooks that the schema of nbformat does not allow. Validation is advice here:
only what cannot be run is refused.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

import nbformat
from nbformat.v4.convert import upgrade_cell, upgrade_output
from nbformat.validator import isvalid

from jupyter_exec_ext.core.errors import InvalidNotebookError, TooLargeError
from jupyter_exec_ext.engine.sizes import container_levels

Content = dict[str, Any]
"""A notebook, as nbformat has it."""

MAX_CELLS = 10_000
"""nbformat takes about 5 kB of memory and 0.1 ms for each cell, however small the cell is."""

MAX_CONTAINERS = 500_000
"""How many objects and lists the JSON of a notebook may have: each takes at least 56 bytes."""

MAX_DEPTH_SUM = 5_000_000
"""The largest sum of the depths of all objects and lists. Jupyter signs a notebook through a
generator for each level, and indents each line by its depth."""

FIELD = "notebook.path"
"""The field of a request that a notebook is read for."""

MAX_WARNINGS = 20
MAX_WARNING_LENGTH = 200
MAX_NAMED_CELLS = 5

MAJOR, NEWEST_MINOR = nbformat.current_nbformat, nbformat.current_nbformat_minor
MINOR_WITHOUT_IDS = 4

_CODE_FIELDS = ("cell_type", "id", "metadata", "source", "outputs", "execution_count")
_TEXT_FIELDS = ("cell_type", "id", "metadata", "source", "attachments")
_CELL_FIELDS = {"code": _CODE_FIELDS, "markdown": _TEXT_FIELDS, "raw": _TEXT_FIELDS}
_OUTPUT_DEFAULTS: dict[str, dict[str, Any]] = {
    "stream": {"name": "stdout", "text": ""},
    "display_data": {"data": {}, "metadata": {}},
    "execute_result": {"data": {}, "metadata": {}, "execution_count": None},
    "error": {"ename": "", "evalue": "", "traceback": []},
}
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_ID_LENGTH = 64


class OpenedNotebook:
    """A notebook whose cells can be chosen and run.

    Attributes:
        content: The notebook in nbformat 4. The outputs of code cells are a list, but each output
            is as in the file.
    """

    def __init__(self, content: Content, findings: "_Findings", *, is_unicode: bool) -> None:
        self.content = content
        self._findings = findings
        self._is_unicode = is_unicode

    def complete(self, replaced: Collection[int] = ()) -> tuple[Content, list[str]]:
        """Return the notebook as valid nbformat, and a sentence for each thing that was not valid.

        Args:
            replaced: Indexes of the cells that will run; their outputs are dropped unseen.

        Raises:
            InvalidNotebookError: The notebook cannot be run.
        """
        content, findings = self.content, self._findings
        for index in replaced:
            content["cells"][index].update(outputs=[], execution_count=None)
        try:
            if not _is_valid(content):
                _repair_details(content, findings)
            if not self._is_unicode:
                content = _with_unicode_text(content, findings)
            completed: Content = nbformat.versions[MAJOR].to_notebook_json(content)
        except RecursionError as error:
            raise _too_deep() from error
        return completed, findings.sentences()


def open_notebook(text: str) -> OpenedNotebook:
    """Return the notebook that *text* is.

    Raises:
        InvalidNotebookError: The text is not a notebook that can be run.
        TooLargeError: The notebook has too many cells, or too much JSON in it.
    """
    findings = _Findings()
    content = _as_version_4(_decode(text, findings), findings)
    cells = content.get("cells")
    if not isinstance(cells, list):
        raise _refusal("the notebook has no list of cells")
    _check_count(len(cells))
    _repair_notebook(content, findings)
    is_unicode = _SURROGATE_ESCAPE.search(text) is None
    return OpenedNotebook(content, findings, is_unicode=is_unicode)


def _refusal(reason: str) -> InvalidNotebookError:
    return InvalidNotebookError(reason, target=FIELD)


def _too_deep() -> InvalidNotebookError:
    return _refusal("the JSON of the file is nested too deeply")


def _check_count(cell_count: int) -> None:
    if cell_count > MAX_CELLS:
        raise TooLargeError(
            f"the notebook has {cell_count} cells; at most {MAX_CELLS} are allowed",
            target=FIELD,
        )


def _decode(text: str, findings: "_Findings") -> dict[str, Any]:
    def replace_constant(_: str) -> None:
        findings.add("NaN and Infinity are not JSON and were replaced by null")

    if text.count("{") + text.count("[") > MAX_CONTAINERS:
        raise TooLargeError(
            f"the JSON of a notebook has at most {MAX_CONTAINERS} objects and lists", target=FIELD
        )
    # Inside of a string the quotes would have backslashes.
    _check_count(text.count('"cell_type"'))
    try:
        data = json.loads(text.removeprefix("\ufeff"), parse_constant=replace_constant)
    except RecursionError as error:
        raise _too_deep() from error
    except json.JSONDecodeError as error:
        raise _refusal(f"the file is not JSON at line {error.lineno}") from error
    except ValueError as error:
        raise _refusal("the file is not JSON: a number has too many digits") from error
    if not isinstance(data, dict):
        raise _refusal("the file is not a notebook: its JSON is not an object")
    _check_depths(data)
    return data


def _check_depths(data: dict[str, Any]) -> None:
    depth_sum = 0
    for depth, containers in enumerate(container_levels(data), 1):
        depth_sum += depth * len(containers)
        if depth_sum > MAX_DEPTH_SUM:
            raise TooLargeError(
                "the JSON of the notebook is nested too deeply for its size: the depths of its"
                f" objects and lists add up to more than {MAX_DEPTH_SUM}",
                target=FIELD,
            )


class _Findings:
    """What was not valid: texts, each with the indexes of the cells that it is about."""

    def __init__(self) -> None:
        self._cells: dict[str, list[int]] = {}

    def add(self, text: str, cell_index: int | None = None) -> None:
        """Note *text* of a cell, or of the whole notebook."""
        indexes = self._cells.setdefault(text, [])
        if cell_index is not None and cell_index not in indexes[-1:]:
            indexes.append(cell_index)

    def sentences(self) -> list[str]:
        """Return one sentence for each text, no more than `MAX_WARNINGS`."""
        found = [_sentence(text, indexes) for text, indexes in self._cells.items()]
        if len(found) > MAX_WARNINGS:
            rest = len(found) - MAX_WARNINGS + 1
            found[MAX_WARNINGS - 1 :] = [f"There are {rest} more warnings about this notebook."]
        return found


def _sentence(text: str, indexes: list[int]) -> str:
    if not indexes:
        where = "Notebook"
    elif len(indexes) == 1:
        where = f"Cell {indexes[0]}"
    else:
        where = f"Cells {', '.join(map(str, indexes[:MAX_NAMED_CELLS]))}"
        if len(indexes) > MAX_NAMED_CELLS:
            where += f" and {len(indexes) - MAX_NAMED_CELLS} more"
    return f"{where}: {text}."[:MAX_WARNING_LENGTH]


def _shown(names: Collection[Any]) -> str:
    """Return *names*, which the file has, as a short text without control characters."""
    shown = ", ".join(ascii(str(name)[:40]) for name in list(names)[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _as_version_4(data: dict[str, Any], findings: _Findings) -> Content:
    major = data.get("nbformat")
    if (isinstance(major, float) and major.is_integer()) or major in ("3", "4"):
        findings.add(f"'nbformat' was {_shown([major])}, which is not an integer")
        major = int(major)
        data = {**data, "nbformat": major}
    if major is None and isinstance(data.get("cells"), list):
        findings.add(f"'nbformat' is missing; {MAJOR} is assumed")
        return {**data, "nbformat": MAJOR}
    if type(major) is not int or major not in nbformat.versions:
        if major is None:
            raise _refusal("the file is not a notebook: it has no list of cells")
        raise _refusal(f"nbformat {_shown([major])} is not supported")
    if major == MAJOR:
        return data
    findings.add(f"nbformat {major} was converted to nbformat {MAJOR}")
    try:
        return _converted(data, major, findings)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _refusal(f"the notebook is not valid nbformat {major}") from error
    except nbformat.ValidationError as error:
        raise _refusal(f"the notebook is not valid nbformat {major}") from error


def _converted(data: dict[str, Any], major: int, findings: _Findings) -> Content:
    """Return a notebook of nbformat 1 to 3 in version 4.

    Not `nbformat.convert` for the last step: it writes what is not valid, and so code, to the log.
    """
    old_cells = [cell for sheet in data.get("worksheets", [data]) for cell in sheet["cells"]]
    _check_count(len(old_cells))
    # Old outputs take no part in the conversion, which ends at the first that is not valid.
    outputs = [cell.pop("outputs", None) or [] for cell in old_cells]
    for cell in old_cells:
        cell["outputs"] = []
    notebook = nbformat.versions[major].to_notebook_json(data)
    if major < 3:
        notebook = nbformat.convert(notebook, 3)
    cells: list[dict[str, Any]] = []
    for cell in (cell for sheet in notebook["worksheets"] for cell in sheet["cells"]):
        upgraded = upgrade_cell(cell)
        # The ids that `upgrade_cell` makes up differ each time.
        del upgraded["id"]
        if upgraded["cell_type"] == "code":
            index = len(cells)
            upgraded["outputs"] = [*_upgraded_outputs(outputs[index], findings, index)]
        else:
            del upgraded["outputs"]
        cells.append(upgraded)
    metadata = notebook.get("metadata", {})
    metadata.pop("name", None)
    return {
        "nbformat": MAJOR,
        "nbformat_minor": MINOR_WITHOUT_IDS,
        "metadata": metadata,
        "cells": cells,
    }


def _upgraded_outputs(outputs: Any, findings: _Findings, index: int) -> Iterator[Any]:
    for output in outputs:
        try:
            yield upgrade_output(nbformat.from_dict(output))
        except (ValueError, LookupError, TypeError, AttributeError):
            findings.add("an output was not valid and was dropped", index)


def _repair_notebook(content: Content, findings: _Findings) -> None:
    """Make *content* a notebook whose cells have the fields of their types."""
    cells = content["cells"]
    for index, cell in enumerate(cells):
        if not isinstance(cell, dict):
            findings.add("not an object; an empty raw cell replaced it", index)
            cells[index] = {"cell_type": "raw", "metadata": {}, "source": ""}
    minor = _repair_minor(content, findings)
    unknown = content.keys() - {"nbformat", "nbformat_minor", "metadata", "cells"}
    if unknown and minor <= NEWEST_MINOR:
        findings.add(f"unknown properties were dropped: {_shown(sorted(unknown))}")
        for name in unknown:
            del content[name]
    metadata = content.get("metadata")
    if not isinstance(metadata, dict):
        findings.add("'metadata' was missing or not an object")
        content["metadata"] = {}
    _repair_kernelspec(content["metadata"], findings)
    for index, cell in enumerate(cells):
        _repair_cell(cell, index, minor, findings)
    if minor > MINOR_WITHOUT_IDS:
        _repair_ids(cells, findings)


def _repair_minor(content: Content, findings: _Findings) -> int:
    minor = content.get("nbformat_minor")
    have_ids = [index for index, cell in enumerate(content["cells"]) if cell.get("id") is not None]
    if type(minor) is not int or minor < 0:
        minor = NEWEST_MINOR if have_ids else MINOR_WITHOUT_IDS
        findings.add(f"'nbformat_minor' was missing or not valid; {minor} is assumed")
    elif minor <= MINOR_WITHOUT_IDS and have_ids:
        for index in have_ids:
            findings.add(
                f"nbformat {MAJOR}.{minor} has no cell ids; {MAJOR}.{NEWEST_MINOR} is assumed",
                index,
            )
        minor = NEWEST_MINOR
    elif minor > NEWEST_MINOR:
        findings.add(
            f"nbformat {MAJOR}.{minor} is newer than {MAJOR}.{NEWEST_MINOR}, the newest that this"
            " server supports"
        )
    content["nbformat_minor"] = minor
    return minor


def _repair_kernelspec(metadata: dict[str, Any], findings: _Findings) -> None:
    spec = metadata.get("kernelspec", {"name": "", "display_name": ""})
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        findings.add("'kernelspec' was not valid and was dropped")
        del metadata["kernelspec"]
    elif not isinstance(spec.get("display_name"), str):
        findings.add("'kernelspec' had no 'display_name'")
        metadata["kernelspec"] = {**spec, "display_name": spec["name"]}


def _repair_cell(cell: dict[str, Any], index: int, minor: int, findings: _Findings) -> None:
    if not isinstance(cell.get("metadata"), dict):
        findings.add("'metadata' was missing or not an object", index)
        cell["metadata"] = {}
    _repair_tags(cell["metadata"], index, findings)
    kind = cell.get("cell_type")
    if not (isinstance(kind, str) and kind in _CELL_FIELDS):
        if isinstance(kind, str) and minor > NEWEST_MINOR:
            return
        findings.add(f"unknown cell type {_shown([kind])}; it is kept as raw text", index)
        cell["cell_type"] = kind = "raw"
    _repair_source(cell, index, findings)
    if kind == "code":
        count = cell.get("execution_count", -1)
        if count is not None and (type(count) is not int or count < 0):
            findings.add("'execution_count' was missing or not valid", index)
            cell["execution_count"] = None
        if not isinstance(cell.get("outputs"), list):
            findings.add("'outputs' was missing or not a list", index)
            cell["outputs"] = []
    if minor <= MINOR_WITHOUT_IDS and "id" in cell:
        findings.add("'id' was null and was dropped", index)
        del cell["id"]
    unknown = cell.keys() - set(_CELL_FIELDS[kind])
    if unknown and minor <= NEWEST_MINOR:
        names = _shown(sorted(unknown))
        findings.add(f"properties that a {kind} cell cannot have were dropped: {names}", index)
        for name in unknown:
            del cell[name]


def _repair_tags(metadata: dict[str, Any], index: int, findings: _Findings) -> None:
    tags = metadata.get("tags", [])
    given = tags if isinstance(tags, list) else []
    valid = list(
        dict.fromkeys(tag for tag in given if isinstance(tag, str) and tag and "," not in tag)
    )
    if tags != valid:
        findings.add("'tags' were not valid; those that are were kept", index)
        metadata["tags"] = valid


def _repair_source(cell: dict[str, Any], index: int, findings: _Findings) -> None:
    source = cell.get("source")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    elif source is None:
        findings.add("'source' was missing", index)
        source = ""
    elif not isinstance(source, str):
        if cell["cell_type"] == "code":
            raise _refusal(f"the source of cell {index} is not text")
        findings.add("'source' was not text", index)
        source = json.dumps(source)
    cell["source"] = source


def _repair_ids(cells: list[dict[str, Any]], findings: _Findings) -> None:
    """Give each cell an id of its own; the same notebook always gets the same ids."""
    owners: dict[str, int] = {}
    for index, cell in enumerate(cells):
        given = cell.get("id")
        if isinstance(given, str) and given == _as_id(given):
            owners.setdefault(given, index)
    number = len(cells)
    for index, cell in enumerate(cells):
        given = cell.get("id")
        wanted = _as_id(given) if isinstance(given, str) else ""
        if given is None:
            findings.add("'id' was missing; it was made from the index", index)
        elif wanted != given or not wanted:
            findings.add("'id' was not valid; it was changed", index)
        elif owners[wanted] == index:
            continue
        else:
            findings.add("'id' was that of an earlier cell; it was changed", index)
        wanted = wanted or f"cell-{index}"
        made = wanted
        while made in owners:
            made = f"{wanted[: _MAX_ID_LENGTH - 20]}-{number}"
            number += 1
        owners[made] = index
        cell["id"] = made


def _as_id(text: str) -> str:
    return _NOT_IN_IDS.sub("-", text)[:_MAX_ID_LENGTH]


def _repair_details(content: Content, findings: _Findings) -> None:
    """Drop what is not valid inside metadata, attachments and outputs."""
    minor = content["nbformat_minor"]
    _drop_invalid(
        content["metadata"], lambda part: _is_valid(_notebook(minor, metadata=part)), findings
    )
    for index, cell in enumerate(content["cells"]):
        if _is_valid(_notebook(minor, cell)):
            continue
        bare = {**cell, "metadata": {}}
        bare.pop("attachments", None)
        if cell["cell_type"] == "code":
            bare["outputs"] = []
            cell["outputs"] = [*_valid_outputs(cell, bare, minor, index, findings)]
        if "attachments" in cell and not isvalid(
            _notebook(minor, {**bare, "attachments": cell["attachments"]})
        ):
            findings.add("'attachments' were not valid and were dropped", index)
            del cell["attachments"]

        def has_valid_metadata(part: dict[str, Any], bare: dict[str, Any] = bare) -> bool:
            return _is_valid(_notebook(minor, {**bare, "metadata": part}))

        _drop_invalid(cell["metadata"], has_valid_metadata, findings, index)


def _is_valid(content: Content) -> bool:
    # nbformat compiles, and keeps, a validator for each minor version that it is given.
    minor = min(content["nbformat_minor"], NEWEST_MINOR + 1)
    return bool(isvalid(content, version=MAJOR, version_minor=minor))


def _notebook(minor: int, *cells: dict[str, Any], metadata: Any = None) -> Content:
    return {
        "nbformat": MAJOR,
        "nbformat_minor": minor,
        "metadata": metadata or {},
        "cells": [*cells],
    }


def _drop_invalid(
    metadata: dict[str, Any],
    is_valid: Callable[[dict[str, Any]], bool],
    findings: _Findings,
    index: int | None = None,
) -> None:
    if is_valid(metadata):
        return
    invalid = [name for name, value in metadata.items() if not is_valid({name: value})]
    findings.add(f"metadata that was not valid was dropped: {_shown(invalid)}", index)
    for name in invalid:
        del metadata[name]


def _valid_outputs(
    cell: dict[str, Any], bare: dict[str, Any], minor: int, index: int, findings: _Findings
) -> Iterator[Any]:
    for output in cell["outputs"]:
        if _is_valid(_notebook(minor, {**bare, "outputs": [output]})):
            yield output
            continue
        fixed = _completed_output(output)
        if fixed is not None and _is_valid(_notebook(minor, {**bare, "outputs": [fixed]})):
            findings.add("an output was not valid; it was completed", index)
            yield fixed
        else:
            findings.add("an output was not valid and was dropped", index)


def _completed_output(output: Any) -> dict[str, Any] | None:
    kind = output.get("output_type") if isinstance(output, dict) else None
    defaults = _OUTPUT_DEFAULTS.get(kind) if isinstance(kind, str) else None
    if defaults is None:
        return None
    given = {name: output[name] for name in defaults if output.get(name) is not None}
    return {"output_type": kind, **defaults, **given}


def _with_unicode_text(content: Content, findings: _Findings) -> Content:
    """Return *content* without halves of surrogate pairs, which no file in UTF-8 can have."""
    for index, cell in enumerate(content["cells"]):
        if cell["cell_type"] == "code" and not _is_unicode(cell["source"]):
            raise _refusal(f"the source of cell {index} is not Unicode text")
    text = json.dumps(content, ensure_ascii=False)
    if _is_unicode(text):
        return content
    findings.add("text that is not Unicode was replaced by question marks")
    clean: Content = json.loads(text.encode("utf-8", "replace"))
    return clean


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
