"""Reads the forms by which functions are made and changed."""

import hashlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from jupyter_exec_ext.core.errors import MalformedRequestError
from jupyter_exec_ext.dialects.qinling.functions import METADATA, notebook_in
from jupyter_exec_ext.dialects.qinling.options import QinlingOptions
from jupyter_exec_ext.dialects.qinling.requests import FORM
from jupyter_exec_ext.services.notebook_files import Content, notebook_of
from jupyter_exec_ext.web.forms import MULTIPART, FormField, FormFile, FormReader

SOURCE = "package"
MAX_FIELD_BYTES = 65_536
MAX_FIELDS = 100
MAX_NUMBER = 2**53


@dataclass(frozen=True, kw_only=True)
class FunctionForm:
    """What a client wants a function to be; ``None`` where it does not say.

    Attributes:
        package: The name and the content of the notebook in the package.
        settings: What goes into the metadata of the notebook.
    """

    name: str | None
    runtime_id: str | None
    package: tuple[str, Content] | None
    settings: dict[str, str | int]


def read_function(
    body: bytes, content_type: str, options: QinlingOptions, *, is_new: bool, max_bytes: int
) -> FunctionForm:
    """Return what a form asks for; takes as long as its package is large.

    Args:
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
    found = None
    if package is not None:
        name, text = notebook_in(package, max_bytes=max_bytes)
        found = (name, notebook_of(text))
    return FunctionForm(
        name=fields.get("name") or None,
        runtime_id=fields.get("runtime_id") or None,
        package=found,
        settings=_settings_of(fields, options),
    )


def apply(form: FunctionForm, notebook: Content, kernelspec: dict[str, str] | None) -> Content:
    """Return *notebook*, or that of the form's package, with what the form says."""
    kept = notebook["metadata"].get(METADATA)
    settings = {**(kept if isinstance(kept, dict) else {}), **form.settings}
    if form.package is not None and notebook is not form.package[1]:
        old, notebook = notebook, form.package[1]
        if kernelspec is None and "kernelspec" not in notebook["metadata"]:
            kernelspec = old["metadata"].get("kernelspec")
    if settings:
        notebook["metadata"][METADATA] = settings
    if kernelspec is not None:
        notebook["metadata"]["kernelspec"] = kernelspec
    return notebook


def _read_form(body: bytes, content_type: str) -> tuple[dict[str, str], bytes | None]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind != MULTIPART:
        if kind not in (FORM, "") and body:
            raise MalformedRequestError(f"the body is {MULTIPART} or {FORM}")
        try:
            pairs = parse_qsl(
                body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
            )
        except ValueError as error:
            raise MalformedRequestError("the form is broken") from error
        return dict(pairs), None
    fields: dict[str, bytearray] = {}
    package: bytearray | None = None
    current = bytearray()
    reader = FormReader(content_type, takes_fields=True)
    for found in reader.feed(body):
        if isinstance(found, bytes):
            current += found
        elif isinstance(found, FormFile):
            current = package = bytearray()
        else:
            assert isinstance(found, FormField)
            current = fields[found.name] = bytearray()
    if not reader.is_complete or len(fields) > MAX_FIELDS:
        raise MalformedRequestError("the form is broken")
    try:
        texts = {name: bytes(value[:MAX_FIELD_BYTES]).decode() for name, value in fields.items()}
    except UnicodeDecodeError as error:
        raise MalformedRequestError("the form is broken") from error
    return texts, None if package is None else bytes(package)


def _md5sum_of(code: str) -> str:
    try:
        value: Any = msgspec.json.decode(code)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise MalformedRequestError("code is not in valid JSON format") from error
    if not isinstance(value, dict) or value.get("source") != SOURCE:
        raise _no_source()
    md5sum = value.get("md5sum")
    return md5sum if isinstance(md5sum, str) else ""


def _no_source() -> MalformedRequestError:
    return MalformedRequestError(f"Invalid code source specified, available sources: {SOURCE}")


def _settings_of(fields: dict[str, str], options: QinlingOptions) -> dict[str, str | int]:
    settings: dict[str, str | int] = {
        name: fields[name] for name in ("description", "entry") if fields.get(name)
    }
    ranges = {
        "cpu": (0, MAX_NUMBER),
        "memory_size": (0, MAX_NUMBER),
        "timeout": (options.min_function_timeout_seconds, options.max_function_timeout_seconds),
    }
    for name, (lowest, highest) in ranges.items():
        text = fields.get(name)
        if not text:
            continue
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
        if not lowest <= number <= highest:
            raise MalformedRequestError(
                f"{name} resource limitation not within the allowable range: {lowest} ~ {highest}."
            )
        settings[name] = number
    return settings
