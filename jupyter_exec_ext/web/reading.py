"""Reads what clients send, and names the field that is at fault."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import TypeVar, get_type_hints

import msgspec

from jupyter_exec_ext.core.errors import MalformedRequestError

T = TypeVar("T")

MAX_POSITION = 2**53 - 1
"""No event has a larger number."""

_PATH = re.compile(r" - at `(?:key in )?\$?\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<name>.*)`", re.DOTALL)


def decode_body(body: bytes, kind: type[T]) -> T:
    """Return *body*, which is JSON, as a *kind*; the last of duplicate keys wins.

    Raises:
        MalformedRequestError: It is not JSON in UTF-8, or has not the shape of *kind*.
    """
    if not body.strip():
        raise MalformedRequestError("the request has no body")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _malformed(str(error), kind) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequestError(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise MalformedRequestError("the body is nested too deeply") from error


def convert_value(value: object, kind: type[T]) -> T:
    """Return *value*, which was decoded already, as a *kind*.

    Raises:
        MalformedRequestError: It has not the shape of *kind*.
    """
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise _malformed(str(error), kind) from error


def _malformed(message: str, kind: type) -> MalformedRequestError:
    """Make an error of msgspec's message, which ends with the path of the value."""
    found = _PATH.search(message)
    path = found["path"].replace("[...]", "") if found else ""
    text = message[: found.start()] if found else message
    named = _UNKNOWN.search(text) or _MISSING.search(text)
    if named:
        path = f"{path}.{named['name']}".strip(".")
    if text.startswith("Invalid enum value"):
        choices = get_type_hints(kind).get(path)
        if isinstance(choices, type) and issubclass(choices, Enum):
            text = f"{text}; it is one of {', '.join(choice.value for choice in choices)}"
    return MalformedRequestError(text[:300], target=path[:200] or None)


def read_number(
    name: str, text: str | None, *, default: float, minimum: float, maximum: float
) -> float:
    """Return a number of the query string; above *maximum* it is *maximum*.

    Raises:
        MalformedRequestError: It is not a number, or below *minimum*.
    """
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not number >= minimum:
        raise MalformedRequestError(f"{name} is a number from {minimum:g} on", target=name)
    return min(number, maximum)


def read_count(name: str, text: str | None, *, default: int, maximum: int) -> int:
    """Return a whole number of the query string; 0 is *default*, above *maximum* it is *maximum*.

    Raises:
        MalformedRequestError: It is not a whole number, or below 0.
    """
    text = "0" if text is None else text
    # Not `isdecimal`, which takes digits of all scripts; and Python refuses to read very long ones.
    if not re.fullmatch("[0-9]+", text):
        raise MalformedRequestError(f"{name} is a whole number from 0 on", target=name)
    number = int(text) if len(text) < 19 else maximum
    return min(number or default, maximum)


def read_position(name: str, text: str | None) -> int | None:
    """Return a whole number of the request, no larger than `MAX_POSITION`; ``None`` without one.

    Raises:
        MalformedRequestError: It is not a whole number, or below 0.
    """
    if not text:
        return None
    return read_count(name, text, default=0, maximum=MAX_POSITION)


def read_choice(name: str, text: str, choices: Mapping[str, T]) -> T:
    """Return what *text* stands for among *choices*.

    Raises:
        MalformedRequestError: It is none of them.
    """
    if text not in choices:
        raise MalformedRequestError(f"{name} is one of {', '.join(choices)}", target=name)
    return choices[text]


def read_flag(name: str, text: str | None) -> bool:
    """Return whether a flag of the query string is set.

    Raises:
        MalformedRequestError: It is neither ``true`` nor ``false``.
    """
    # Python's own spelling too: many a client writes it.
    given = "false" if text is None else text.lower()
    if given not in ("true", "false", "1", "0"):
        raise MalformedRequestError(f"{name} is true or false", target=name)
    return given in ("true", "1")


def read_time(name: str, text: str | None) -> datetime | None:
    """Return a moment of the query string, in RFC 3339; without an offset it is UTC.

    Raises:
        MalformedRequestError: It is not one.
    """
    if text is None:
        return None
    try:
        # In a query string an unescaped + arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedRequestError(f"{name} is a time as in RFC 3339", target=name) from error
