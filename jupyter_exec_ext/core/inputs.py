"""Input variables: which names and values are taken, and how a JSON value becomes a string."""

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from jupyter_exec_ext.core.errors import InvalidArgumentError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

MAX_ENTRY_BYTES = 128 * 1024 - 2
"""Name and value together: Linux holds ``NAME=VALUE`` and its NUL in 128 KiB (MAX_ARG_STRLEN)."""

MAX_TOTAL_BYTES = 1_000_000
"""All together: Linux starts no program with arguments and environment over 2 MiB (ARG_MAX)."""

DENIED_NAMES = frozenset({"PATH", "HOME", "SHELL", "IFS", "ENV", "BASH_ENV", "TMPDIR"})
"""Names that decide which program runs, not what it computes."""

DENIED_PREFIXES = ("LD_", "DYLD_", "PYTHON", "JUPYTERHUB_", "JUPYTER_", "JPY_", "KERNEL_")
"""Loader and interpreter settings, and names under which the server and hub keep secrets."""


Environment: TypeAlias = dict[str, str | None]
"""Values by name; ``None`` means that the variable must not be set."""


def environment_of(
    inputs: Mapping[str, Any], *, max_inputs: int, target: str = "inputs"
) -> Environment:
    """Return *inputs* as environment variables.

    Strings stay as they are; numbers, booleans, lists and objects become compact JSON; ``None``
    stays ``None``.

    Args:
        target: The field of the request that has them.

    Raises:
        InvalidArgumentError: A name or value cannot be an environment variable, or the name is
            reserved. Names the input, never its value.
    """
    if len(inputs) > max_inputs:
        raise InvalidArgumentError(f"at most {max_inputs} inputs are taken", target=target)
    environment: Environment = {}
    for name, value in inputs.items():
        entry = f"{target}.{name[:64]}"
        _check_name(name, entry)
        if value is None:
            environment[name] = None
            continue
        text = value if isinstance(value, str) else _compact_json(value, entry)
        if "\0" in text:
            raise InvalidArgumentError("the value has a NUL character", target=entry)
        if len(name) + _byte_count(text, entry) > MAX_ENTRY_BYTES:
            raise InvalidArgumentError(
                f"name and value take more than {MAX_ENTRY_BYTES} bytes together;"
                " pass large data as a file",
                target=entry,
            )
        environment[name] = text
    if size_of(environment) > MAX_TOTAL_BYTES:
        raise InvalidArgumentError(
            f"the inputs take more than {MAX_TOTAL_BYTES} bytes together;"
            " pass large data as a file",
            target=target,
        )
    return environment


def size_of(environment: Environment) -> int:
    """Return about how many bytes of memory *environment* takes."""
    return sum(len(name) + len(value or "") for name, value in environment.items())


def _check_name(name: str, target: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidArgumentError(
            "an input's name is letters, digits and underscores and does not start with a digit",
            target=target,
        )
    upper = name.upper()
    if upper in DENIED_NAMES or upper.startswith(DENIED_PREFIXES):
        raise InvalidArgumentError(f"the name {name} is reserved", target=target)


def _byte_count(text: str, target: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgumentError("the value is not Unicode text", target=target) from error


def _compact_json(value: object, target: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidArgumentError("the value is not JSON", target=target) from error
