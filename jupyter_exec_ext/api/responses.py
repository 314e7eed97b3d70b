"""The shapes of answers that are no value of the core; they serve to describe the contract."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import Execution, MimeBundle, Output, Truncation


@dataclass(frozen=True, kw_only=True)
class VariableView:
    """One output variable: ``json`` where its value is JSON, else ``data``, else ``error``."""

    type: str | None = None
    json: Any = None
    data: MimeBundle | None = None
    truncated: bool = False
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class ResultView:
    """What the run left; partial while it runs."""

    stdout: str
    stderr: str
    outputs: list[Output]
    variables: dict[str, VariableView]
    notebook_path: str | None = None
    save_conflict: str | None = None
    save_error: str | None = None
    truncated: Truncation | None = None


@dataclass(frozen=True, kw_only=True)
class ExecutionRecord(Execution):
    """An execution and, in the full view, what it left."""

    result: ResultView | None = None


@dataclass(frozen=True, kw_only=True)
class ExecutionPage:
    """A page of a list.

    Attributes:
        next_page_token: Gets the next page; absent on the last.
    """

    executions: list[Execution]
    next_page_token: str | None = None


@dataclass(frozen=True, kw_only=True)
class DeletedCount:
    """How many executions a bulk delete removed."""

    deleted: int


@dataclass(frozen=True, kw_only=True)
class KernelspecView:
    """A kernel that executions can use.

    Attributes:
        reads_variables: Whether output variables can be gathered in its language.
    """

    name: str
    display_name: str
    language: str
    reads_variables: bool


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What this service can do.

    Attributes:
        store: ``ok``, or why records cannot be kept now.
        time: The server's clock.
    """

    version: str
    features: list[str]
    default_kernel_name: str
    kernelspecs: list[KernelspecView]
    limits: Limits
    dialects: list[str] = field(default_factory=list)
    time: datetime
