"""What clients send: fields in either spelling, in the body or in the query string."""

from collections.abc import Mapping
from typing import Any

import msgspec

from jupyter_exec_ext.core.errors import InvalidArgumentError, MalformedRequestError, NotFoundError
from jupyter_exec_ext.core.models import NotebookSource

STORAGE_PREFIX = "/home/jupyter/datasphere/project/"
"""Where the service's JupyterLab has the files of a project."""

CELL_MARK = "/cell/"
CHECKPOINT_MARK = "/checkpoint/"

MAX_EXACT = 2**53
"""Up to this a double that is a whole number is that very number."""


class Message(msgspec.Struct, rename="camel", kw_only=True):
    """A request; ``None`` in a field is the same as leaving it out."""


class ExecuteRequest(Message, kw_only=True):
    """A request to run a notebook or one cell of it; `spec` and below are of v2 only."""

    notebook_id: str | None = None
    cell_id: str | None = None
    input_variables: dict[str, Any] | None = None
    output_variable_names: list[str] | None = None
    spec: str | None = None
    spark_connector_id: str | None = None

    @property
    def target(self) -> str:
        """What is to run, as the client calls it.

        Raises:
            InvalidArgumentError: It is not told, or told twice.
        """
        given = [one for one in (self.notebook_id, self.cell_id) if one is not None]
        if len(given) != 1:
            raise InvalidArgumentError(
                "exactly one of notebookId and cellId must be given",
                target="target",
                details=("two members set" if given else "no member set",),
            )
        return given[0]


class StateVariablesRequest(Message, kw_only=True):
    """A request for variables that a run left."""

    notebook_id: str | None = None
    variable_names: list[str] | None = None
    checkpoint_id: str | None = None


class NotebookMetadataRequest(Message, kw_only=True):
    """A request for what a notebook consists of."""

    notebook_path: str | None = None


class CellOutputsRequest(Message, kw_only=True):
    """A request for what a cell put out."""

    cell_id: str | None = None
    checkpoint_id: str | None = None
    start_at: str | None = None


class ListProjectsRequest(Message, kw_only=True):
    """A request for projects."""

    page_size: int | float | str | None = None
    page_token: str | None = None
    project_name_pattern: str | None = None


def named_fields(kind: type[Message], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of *kind* that *given* has, by their JSON names.

    Others are ignored, and so is ``null``.

    Raises:
        MalformedRequestError: A field is there in both spellings.
    """
    names: dict[str, str] = {}
    for field in msgspec.structs.fields(kind):
        names[field.name] = names[field.encode_name] = field.encode_name
    known: dict[str, Any] = {}
    for name, value in given.items():
        field_name = names.get(name)
        if field_name is None or value is None:
            continue
        if field_name in known:
            raise MalformedRequestError("this is given twice", target=field_name)
        known[field_name] = value
    return known


def check_length(text: str, *, limit: int, field: str) -> str:
    """Return *text*, or raise `InvalidArgumentError` when it is longer than the service takes."""
    if len(text) > limit:
        raise InvalidArgumentError(f"{field} has at most {limit} characters", target=field)
    return text


def is_match(name: str, pattern: str) -> bool:
    """Whether *pattern* is a part of *name*, or all of it with ``*`` for any text, in any case."""
    name = name.lower()
    first, *parts = pattern.lower().split("*")
    if not parts:
        return first in name
    last = parts.pop()
    position = len(first)
    for part in parts:
        found = name.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return name.startswith(first) and name[position:].endswith(last)


def path_of(notebook_id: str, folder: str) -> str:
    """Return the API path of a notebook of the project in *folder*; it may be one of nothing."""
    return f"{folder}/{notebook_id.removeprefix(STORAGE_PREFIX).strip('/')}".strip("/")


def split_cell_id(cell_id: str) -> tuple[str, str]:
    """Return the notebook's id and the cell's own.

    Raises:
        NotFoundError: No cell can have this id.
    """
    notebook_id, mark, own_id = cell_id.rpartition(CELL_MARK)
    if not mark:
        raise NotFoundError(
            "no cell has this id; one is the notebookId, /cell/ and the id that the cell has in it",
            target="cellId",
        )
    return notebook_id, own_id


def source_of(request: ExecuteRequest, folder: str) -> NotebookSource:
    """Return what *request* runs."""
    if request.cell_id is None:
        return NotebookSource(path=path_of(request.target, folder))
    notebook_id, own_id = split_cell_id(request.target)
    return NotebookSource(path=path_of(notebook_id, folder), cells=[own_id])


def inputs_of(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return *variables* as inputs; numbers are doubles to the service, so 3.0 is 3.

    Raises:
        InvalidArgumentError: A value is nested too deeply.
    """
    try:
        return {name: _plain(value) for name, value in variables.items()}
    except RecursionError as error:
        raise InvalidArgumentError("this is nested too deeply", target="inputs") from error


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT:
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
