"""Reads the JSON that clients send, with Qinling's words for what is wrong."""

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
from jupyter_exec_ext.dialects.qinling.wire import canonical_id, is_deep, is_uuid

FORM = "application/x-www-form-urlencoded"
MAX_TEXT_LENGTH = 255
MAX_VERSION = 2**31 - 1

_OF_EXECUTIONS = (
    "id",
    "function_id",
    "function_version",
    "function_alias",
    "description",
    "sync",
    "input",
)
_OF_ALIASES = ("name", "function_id", "function_version", "description")
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


@dataclass(frozen=True, kw_only=True)
class AliasRequest:
    """What a client wants an alias to be; ``None`` where it does not say.

    Attributes:
        name: Known of each new alias.
        version: 0 is the notebook as it is.
    """

    name: str | None
    function: str | None
    version: int
    description: str | None


def read_execution(body: bytes, content_type: str) -> ExecutionRequest:
    """Return what the body asks for.

    Raises:
        MalformedRequestError: It is none that Qinling takes.
    """
    fields = _read_object(body, content_type, _OF_EXECUTIONS)
    given_id, given_input = _text(fields, "id"), _text(fields, "input")
    if given_id is not None and not is_uuid(given_id):
        raise not_a_uuid(given_id)
    if given_input is not None and is_deep(given_input):
        raise bad_field("input", "...", "Value is nested too deeply.")
    request = ExecutionRequest(
        id=None if given_id is None else canonical_id(given_id),
        function=_text(fields, "function_id") or None,
        version=_version(fields.get("function_version")),
        alias=_text(fields, "function_alias") or None,
        description=_description(fields),
        sync=_flag(fields.get("sync")),
        input=given_input,
    )
    if not request.function and not request.alias:
        raise MalformedRequestError("Either function_alias or function_id must be provided.")
    return request


def read_alias(body: bytes, content_type: str, *, is_new: bool) -> AliasRequest:
    """Return what the body asks for.

    Raises:
        MalformedRequestError: It is none that Qinling takes.
    """
    fields = _read_object(body, content_type, _OF_ALIASES)
    name, function = _text(fields, "name"), _text(fields, "function_id")
    if is_new and not (name and function):
        raise MalformedRequestError("Required param is missing. Required: {'name', 'function_id'}")
    if name is not None and len(name) > MAX_TEXT_LENGTH:
        raise _too_long("name")
    return AliasRequest(
        name=name,
        function=function or None,
        version=_version(fields.get("function_version")),
        description=_description(fields),
    )


def is_true(text: str) -> bool:
    """Whether a parameter is set; what is no boolean is not."""
    return text.strip().lower() in _TRUE


def _read_object(body: bytes, content_type: str, known: tuple[str, ...]) -> dict[str, Any]:
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
    for name in value:
        if name in _READ_ONLY:
            shown = None if name == "result" else value[name]
            raise bad_field(name, shown, "Cannot set read only field.")
        if name not in known:
            raise MalformedRequestError(f"Unknown attribute for argument body: {name[:200]}")
    return value


def _description(fields: dict[str, Any]) -> str | None:
    description = _text(fields, "description")
    if description is not None and len(description) > MAX_TEXT_LENGTH:
        raise _too_long("description")
    return description


def _too_long(name: str) -> MalformedRequestError:
    why = f"Value should have a maximum character requirement of {MAX_TEXT_LENGTH}"
    return bad_field(name, "...", why)


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
