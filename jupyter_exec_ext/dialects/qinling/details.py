"""What a notebook says of the function that it is, in its metadata."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from jupyter_exec_ext.dialects.qinling.packages import package_of
from jupyter_exec_ext.dialects.qinling.wire import METADATA, STAMP_FORMAT, notebook_path, stamp
from jupyter_exec_ext.services.checks import is_variable_name
from jupyter_exec_ext.services.notebook_format import Content


@dataclass(frozen=True, kw_only=True)
class Details:
    """What a notebook itself says of the function that it is; ``None`` where it does not.

    Attributes:
        md5sum: Of the package that a download gives.
        name: The name that the function was created with, where that is not its path.
        created_at: When that was, in Qinling's form.
        module: The Python module that the notebook was made of.
        outputs: The variables that are the output of a run.
        aliases: The function's aliases, and what is said of each.
    """

    md5sum: str | None = None
    kernel_name: str | None = None
    name: str | None = None
    description: str | None = None
    entry: str | None = None
    cpu: int | None = None
    memory_size: int | None = None
    timeout: int | None = None
    created_at: str | None = None
    module: str | None = None
    outputs: list[str] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)


def details_of(text: str, path: str) -> Details:
    """Return what the notebook with this *text* says; what is not as it should be is left out."""
    md5sum = hashlib.md5(package_of(text, path), usedforsecurity=False).hexdigest()
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        return Details(md5sum=md5sum)
    metadata = _object(_object(notebook).get("metadata"))
    told = _object(metadata.get(METADATA))
    name = _text(told.get("name"))
    outputs = told.get("outputs")
    names = outputs if isinstance(outputs, list) else []
    return Details(
        md5sum=md5sum,
        kernel_name=_text(_object(metadata.get("kernelspec")).get("name")) or None,
        # A copy, or a notebook that was renamed, has a name of its own.
        name=name if name and notebook_path(name) == path else None,
        description=_text(told.get("description")),
        entry=_text(told.get("entry")),
        cpu=_number(told.get("cpu")),
        memory_size=_number(told.get("memory_size")),
        timeout=_number(told.get("timeout")),
        created_at=_moment(told.get("created_at")),
        module=_text(told.get("module")) or None,
        outputs=list(
            dict.fromkeys(
                name for name in names if isinstance(name, str) and is_variable_name(name)
            )
        ),
        aliases={
            alias: _text(description) or ""
            for alias, description in _object(told.get("aliases")).items()
            if alias and _text(alias) == alias
        },
    )


def settings_of(notebook: Content) -> dict[str, Any]:
    """Return what *notebook* says under `METADATA`, to be changed in place."""
    metadata = notebook["metadata"]
    if not isinstance(metadata.get(METADATA), dict):
        metadata[METADATA] = {}
    settings: dict[str, Any] = metadata[METADATA]
    return settings


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value < 2**63 else None


def _moment(value: Any) -> str | None:
    try:
        moment = datetime.strptime(str(value), STAMP_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    return stamp(moment)
