"""Reads what clients send to create an execution, with Qinling's words for what is wrong."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from jupyter_exec_ext.core.errors import MalformedRequestError
from jupyter_exec_ext.dialects.qinling.errors import (
    bad_field,
    not_a_uuid,
    unknown_argument,
    wrong_type,
)
from jupyter_exec_ext.dialects.qinling.wire import is_path, is_uuid

FORM = "application/x-www-form-urlencoded"
MAX_DESCRIPTION_LENGTH = 255
MAX_VERSION = 2**31 - 1

_KNOWN = (
    "id",
    "function_id",
    "function_version",
    "function_alias",
    "description",
    "sync",
    "input",
)
_READ_ONLY = ("status", "result", "project_id", "created_at", "updated_at")
_TRUE = ("t", "true", "on", "y", "yes", "1")
_FALSE = ("f", "false", "off", "n", "no", "0")


@dataclass(frozen=True, kw_only=True)
class ExecutionRequest:
    """What a client asks to have executed.

    Attributes:
        id: The id that the client chose; ``None`` for one of ours.
        function: The id or the path; ``None`` only beside an alias.
        version: 0 is the notebook as it is.
    """

    id: str | None
    function: str | None
    version: int
    alias: str | None
    description: str | None
    sync: bool
    input: str | None


def read_execution(body: bytes, content_type: str) -> ExecutionRequest:
    """Return what the body asks for.

    Raises:
        MalformedRequestError: It is none that Qinling takes.
    """
    fields = _read_object(body, content_type)
    for name in fields:
        if name in _READ_ONLY:
            value = None if name == "result" else fields[name]
            raise bad_field(name, value, "Cannot set read only field.")
        if name not in _KNOWN:
            raise MalformedRequestError(f"Unknown attribute for argument body: {name[:200]}")
    given_id = _text(fields, "id")
    function, alias = _text(fields, "function_id"), _text(fields, "function_alias")
    description = _text(fields, "description")
    if description is not None and len(description) > MAX_DESCRIPTION_LENGTH:
        raise bad_field("description", "...", "Value should have a maximum character requirement")
    if given_id is not None and not is_uuid(given_id):
        raise not_a_uuid(given_id)
    if function is not None and not is_uuid(function) and not is_path(function):
        raise not_a_uuid(function)
    request = ExecutionRequest(
        id=given_id,
        function=function,
        version=_version(fields.get("function_version")),
        alias=alias,
        description=description,
        sync=_flag(fields.get("sync")),
        input=_text(fields, "input"),
    )
    if not request.function and not request.alias:
        raise MalformedRequestError("Either function_alias or function_id must be provided.")
    return request


def _read_object(body: bytes, content_type: str) -> dict[str, Any]:
    if content_type.partition(";")[0].strip().lower() == FORM:
        pairs = parse_qsl(body.decode("utf-8", "replace")[:1_000], keep_blank_values=True)
        if pairs:
            raise unknown_argument(pairs[0][0])
    if not body.strip():
        raise MalformedRequestError('Missing argument: "body"')
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise MalformedRequestError("Request is not in valid JSON format") from error
    if not isinstance(value, dict):
        raise MalformedRequestError("Request is not in valid JSON format")
    return value


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise wrong_type(name, value, str)


def _version(value: object) -> int:
    if value is None:
        return 0
    number = value
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 12:
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise wrong_type("function_version", value, int)
    if not 0 <= number <= MAX_VERSION:
        raise bad_field("function_version", number, "Value should be greater or equal to 0")
    return number


def _flag(value: object) -> bool:
    if value is None or isinstance(value, bool):
        return value is not False
    text = str(value).strip().lower() if isinstance(value, (str, int)) else ""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise bad_field("sync", value, "Value not an unambiguous boolean")
