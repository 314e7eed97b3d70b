"""The settings of the dialect: what the names that clients send mean on this server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from traitlets import Bool, Dict, Integer, TraitError, Unicode, validate
from traitlets.config import Configurable

from jupyter_exec_ext.core.errors import ExecError
from jupyter_exec_ext.core.inputs import environment_of
from jupyter_exec_ext.core.paths import is_plain

MAX_VARIABLES = 256
"""How many environment variables one entry may have."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a computing configuration is here.

    Attributes:
        kernel_name: ``None`` for the one that the notebook names.
        environment: Variables its kernels start with.
    """

    kernel_name: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class DataSphere(Configurable):
    """What projects, specs and Spark connectors of DataSphere are on this server."""

    projects = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        default_value={"default": ""},
        help="The folder of each project by the project's id, relative to the server's root;"
        " empty is the root itself.",
    ).tag(config=True)
    specs = Dict(
        key_trait=Unicode(),
        help="What a `spec` means: the name of a kernelspec, or {'kernel_name': …, 'env': {…}}."
        " The name of a kernelspec need not stand here.",
    ).tag(config=True)
    strict_spec = Bool(
        True,
        help="Whether a `spec` that is neither in `specs` nor a kernelspec is refused. If not, the"
        " notebook's own kernelspec is used for it.",
    ).tag(config=True)
    spark_connectors = Dict(
        key_trait=Unicode(),
        value_trait=Dict(key_trait=Unicode(), value_trait=Unicode()),
        help="The environment variables that a `sparkConnectorId` means, for example"
        " {'my-cluster': {'SPARK_REMOTE': 'sc://host:15002'}}.",
    ).tag(config=True)
    max_id_length = Integer(
        200,
        min=1,
        help="Longest notebookId, cellId, sparkConnectorId or projectNamePattern, and in v1"
        " projectId, in characters.",
    ).tag(config=True)
    max_project_id_length = Integer(
        50, min=1, help="Longest projectId in v2, and id in `projects`, in characters."
    ).tag(config=True)
    max_page_token_length = Integer(100, min=1, help="Longest pageToken, in characters.").tag(
        config=True
    )
    max_output_variables_bytes = Integer(
        4_000_000,
        min=0,
        help="How large the values in one answer are together; those that do not fit are left out"
        " of it, and are in the native record.",
    ).tag(config=True)
    max_page_size = Integer(
        1_000,
        min=1,
        help="Most projects on one page of a list; without a pageSize it has as many.",
    ).tag(config=True)
    max_runs_read = Integer(
        100,
        min=1,
        help="How many runs of a notebook, the newest first, are looked through for one that left"
        " the variables, or ran the cell, that a client asks for.",
    ).tag(config=True)

    @validate("projects")
    def _check_projects(self, proposal: Any) -> Any:
        limit = min(self.max_project_id_length, self.max_id_length)
        for project_id, folder in proposal["value"].items():
            if not 0 < len(project_id) <= limit or not {"/", ":"}.isdisjoint(project_id):
                raise TraitError(
                    f"the id {project_id!r} in projects has 1 to {limit} characters, none of them"
                    " a slash or a colon"
                )
            if folder.strip("/") and not is_plain(folder.strip("/")):
                raise TraitError(f"projects[{project_id!r}] is no folder below the server's root")
        return proposal["value"]

    @validate("specs")
    def _check_specs(self, proposal: Any) -> Any:
        for name, entry in proposal["value"].items():
            if not isinstance(entry, (str, dict)):
                raise TraitError(f"specs[{name!r}] is the name of a kernelspec, or a dict")
            if isinstance(entry, dict):
                if entry.keys() - {"kernel_name", "env"}:
                    raise TraitError(f"specs[{name!r}] has only 'kernel_name' and 'env'")
                if not isinstance(entry.get("kernel_name", ""), str):
                    raise TraitError(f"the kernel_name of specs[{name!r}] is a text")
                _check_environment(entry.get("env", {}), f"specs[{name!r}]")
        return proposal["value"]

    @validate("spark_connectors")
    def _check_spark_connectors(self, proposal: Any) -> Any:
        for name, environment in proposal["value"].items():
            _check_environment(environment, f"spark_connectors[{name!r}]")
        return proposal["value"]

    def spec_of(self, name: str) -> Spec | None:
        """Return what `specs` says of *name*; ``None`` when it says nothing."""
        entry = self.specs.get(name)
        if entry is None:
            return None
        if isinstance(entry, str):
            return Spec(kernel_name=entry or None)
        return Spec(kernel_name=entry.get("kernel_name") or None, environment=entry.get("env", {}))


def _check_environment(environment: object, name: str) -> None:
    if not isinstance(environment, dict):
        raise TraitError(f"the variables of {name} are a dict")
    try:
        environment_of(environment, max_inputs=MAX_VARIABLES)
    except ExecError as error:
        raise TraitError(f"{name}: {error.message} ({error.target})") from error
