"""Reads the forms by which functions are made and changed."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from jupyter_exec_ext.core.errors import MalformedRequestError
from jupyter_exec_ext.dialects.qinling.details import settings_of
from jupyter_exec_ext.dialects.qinling.options import QinlingOptions
from jupyter_exec_ext.dialects.qinling.packages import notebook_in
from jupyter_exec_ext.dialects.qinling.requests import FORM
from jupyter_exec_ext.dialects.qinling.wire import METADATA
from jupyter_exec_ext.services.kernelspecs import Kernelspec
from jupyter_exec_ext.services.notebook_format import Content
from jupyter_exec_ext.web.forms import MULTIPART, FormField, FormReader

SOURCE = "package"
MAX_FIELD_BYTES = 65_536
MAX_FIELDS = 100
PIECE_BYTES = 65_536

_OF_MODULES = ("module", "entry", "outputs")
"""What a notebook says that was made of a module."""

_OF_ONE_NOTEBOOK = ("name", "aliases", "created_at")
"""What is not taken over from an uploaded notebook, which may be a copy."""


@dataclass(frozen=True, kw_only=True)
class FunctionForm:
    """What a client wants a function to be; ``None`` where it does not say.

    Attributes:
        name: What it is called; known of each new function.
        runtime: The id or the name of its runtime.
        notebook: What is in the package.
        settings: What goes into the metadata of the notebook.
    """

    name: str | None
    runtime: str | None
    notebook: Content | None
    settings: dict[str, str | int]


def read_function(
    body: bytes,
    content_type: str,
    options: QinlingOptions,
    *,
    is_new: bool,
    entry: str | None,
    max_bytes: int,
) -> FunctionForm:
    """Return what a form asks for; takes as long as its package is large.

    Args:
        entry: That of the function as it is.
        max_bytes: How large the notebook may be.

    Raises:
        ExecError: It cannot be made a function.
    """
    fields, package = _read_form(body, content_type)
    code = fields.get("code")
    if code is None and is_new:
        raise MalformedRequestError("Required param is missing. Required: {'code'}")
    md5sum = fields.get("md5sum")
    if code is not None:
        md5sum = _md5sum_of(code)
    elif fields.get("source", SOURCE) != SOURCE:
        raise _no_source()
    if package is None and is_new:
        raise MalformedRequestError("A function is made of a package.")
    if package is not None and md5sum:
        actual = hashlib.md5(package, usedforsecurity=False).hexdigest()
        if md5sum.lower() != actual:
            raise MalformedRequestError("Package md5 mismatch.")
    settings = _settings_of(fields, options)
    name, notebook = fields.get("name") or None, None
    if package is not None:
        entry = fields.get("entry") or entry
        file_name, notebook = notebook_in(package, entry=entry, max_bytes=max_bytes)
        name = name or (file_name if is_new else None)
        if settings_of(notebook).get("module"):
            settings.pop("entry", None)
    if is_new and name and not name.endswith(".ipynb"):
        settings["name"] = name.strip("/")
    return FunctionForm(
        name=name,
        runtime=fields.get("runtime_id") or None,
        notebook=notebook,
        settings=settings,
    )


def apply(form: FunctionForm, old: Content | None, spec: Kernelspec | None) -> Content:
    """Return the notebook of the form's package, else *old*, with what the form says.

    Args:
        old: The notebook that the function is; ``None`` for a new one.
        spec: The runtime that the form names.

    Raises:
        MalformedRequestError: A module cannot be run, or called, like that.
    """
    settings = {} if old is None else dict(settings_of(old))
    notebook = form.notebook or old
    assert notebook is not None
    metadata = notebook["metadata"]
    if form.notebook is not None:
        settings = _settings_after(settings, settings_of(form.notebook))
        if old is not None and "kernelspec" in old["metadata"]:
            metadata.setdefault("kernelspec", old["metadata"]["kernelspec"])
    elif "entry" in form.settings and settings.get("module"):
        raise MalformedRequestError("The entry of a module is changed with its package.")
    settings.update(form.settings)
    if settings.get("module") and spec is not None and spec.language.lower() != "python":
        raise MalformedRequestError(f"Runtime {spec.name} runs no Python modules.")
    metadata[METADATA] = settings
    if not settings:
        del metadata[METADATA]
    if spec is not None:
        names = {"name": spec.name, "display_name": spec.display_name, "language": spec.language}
        metadata["kernelspec"] = names
    return notebook


def _settings_after(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of a function once a notebook that says *new* takes its place."""
    if old.get("module") or new.get("module"):
        old = {name: value for name, value in old.items() if name not in _OF_MODULES}
    new = {name: value for name, value in new.items() if name not in _OF_ONE_NOTEBOOK}
    return {**old, **new}


def _read_form(body: bytes, content_type: str) -> tuple[dict[str, str], bytes | None]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in (MULTIPART, FORM, "") and body:
        raise MalformedRequestError(f"The body is {MULTIPART} or {FORM}.")
    try:
        if kind == MULTIPART:
            return _read_parts(body, content_type)
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except (MalformedRequestError, ValueError) as error:
        raise MalformedRequestError("The form is broken.") from error
    return dict(pairs), None


def _read_parts(body: bytes, content_type: str) -> tuple[dict[str, str], bytes | None]:
    fields: dict[str, bytearray] = {}
    package: bytearray | None = None
    current = bytearray()
    reader, count = FormReader(content_type, takes_fields=True), 0
    for start in range(0, len(body), PIECE_BYTES):
        for found in reader.feed(body[start : start + PIECE_BYTES]):
            if isinstance(found, bytes):
                current += found
                continue
            count += 1
            if count > MAX_FIELDS:
                raise ValueError(count)
            current = bytearray()
            if isinstance(found, FormField):
                fields[found.name] = current
            else:
                package = current
    if not reader.is_complete:
        raise ValueError(count)
    texts = {name: bytes(value[:MAX_FIELD_BYTES]).decode() for name, value in fields.items()}
    return texts, None if package is None else bytes(package)


def _md5sum_of(code: str) -> str:
    try:
        value: Any = msgspec.json.decode(code)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise MalformedRequestError("Code is not in valid JSON format.") from error
    if not isinstance(value, dict) or value.get("source") != SOURCE:
        raise _no_source()
    md5sum = value.get("md5sum")
    return md5sum if isinstance(md5sum, str) else ""


def _no_source() -> MalformedRequestError:
    return MalformedRequestError(f"Invalid code source specified, available sources: {SOURCE}")


def _settings_of(fields: dict[str, str], options: QinlingOptions) -> dict[str, str | int]:
    settings: dict[str, str | int] = {
        name: fields[name] for name in ("description", "entry") if name in fields
    }
    ranges = {
        "cpu": (options.min_cpu, options.max_cpu),
        "memory_size": (options.min_memory_size, options.max_memory_size),
        "timeout": (options.min_function_timeout_seconds, options.max_function_timeout_seconds),
    }
    for name, (lowest, highest) in ranges.items():
        text = fields.get(name)
        if text is None:
            continue
        if not re.fullmatch("-?[0-9]{1,19}", text):
            raise MalformedRequestError(
                f"Invalid {name} resource specified. An integer is required."
            )
        if not lowest <= int(text) <= highest:
            raise MalformedRequestError(
                f"{name} resource limitation not within the allowable range: {lowest} ~ {highest}."
            )
        settings[name] = int(text)
    return settings
