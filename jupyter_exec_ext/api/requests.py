"""The bodies that clients send; unknown fields are refused, so that a typing error shows."""

from typing import Annotated, Any

import msgspec

from jupyter_exec_ext.core.models import NewExecution, NotebookSource, OnError


class NotebookBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to run: a notebook of the server, whole or some of its cells."""

    path: Annotated[str, msgspec.Meta(description="API path, relative to the server's root.")]
    cells: Annotated[
        list[str | int] | dict[str, str | int] | None,
        msgspec.Meta(
            description="Ids or 0-based indexes in any order (run in document order), or one of"
            ' `{"from": cell}`, `{"up_to": cell}` and `{"tag": name}`. Absent: all cells.'
        ),
    ] = None
    save_to: Annotated[
        str | None,
        msgspec.Meta(
            description='Where the executed notebook is written: a path, or `"in_place"`.'
            " Absent: it stays with the record."
        ),
    ] = None


class ExecutionBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A request to execute something."""

    notebook: Annotated[NotebookBody, msgspec.Meta(description="What to run.")]
    kernel_name: Annotated[
        str | None,
        msgspec.Meta(description="A kernelspec. Absent: the notebook's own, else the default."),
    ] = None
    inputs: Annotated[
        dict[str, Any],
        msgspec.Meta(
            description="Environment variables of the kernel: strings as they are, other JSON"
            " values as compact JSON, null leaves one unset. Kept in memory only."
        ),
    ] = {}
    variable_names: Annotated[
        list[str], msgspec.Meta(description="Variables to gather after the run.")
    ] = []
    timeout_seconds: Annotated[
        float | None,
        msgspec.Meta(
            description="For the whole run, above 0; waiting does not count. Absent:"
            " `max_execution_seconds`."
        ),
    ] = None
    cell_timeout_seconds: Annotated[
        float | None, msgspec.Meta(description="For each cell, above 0. Absent: no limit.")
    ] = None
    on_error: Annotated[
        OnError, msgspec.Meta(description="What to do after a cell that failed.")
    ] = OnError.STOP
    labels: Annotated[
        dict[str, str], msgspec.Meta(description="Names and values to find it by.")
    ] = {}
    description: Annotated[str, msgspec.Meta(description="For people.")] = ""

    def to_domain(self) -> NewExecution:
        """Return the request as the service takes it."""
        return NewExecution(
            notebook=NotebookSource(
                path=self.notebook.path, cells=self.notebook.cells, save_to=self.notebook.save_to
            ),
            **{name: getattr(self, name) for name in self.__struct_fields__ if name != "notebook"},
        )
