"""Checks a request by itself, before anything is looked up for it."""

from jupyter_exec_ext.core.errors import InvalidArgumentError
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import NewExecution

MAX_NAME_LENGTH = 256
"""In characters, of a variable's name and of an idempotency key."""


def check_request(new: NewExecution, limits: Limits) -> None:
    """Raise `InvalidArgumentError`, naming the field, when *new* breaks one of the *limits*."""
    for name, seconds in (
        ("timeout_seconds", new.timeout_seconds),
        ("cell_timeout_seconds", new.cell_timeout_seconds),
    ):
        if seconds is not None and not 0 < seconds <= limits.max_execution_seconds:
            raise InvalidArgumentError(
                f"a time limit is above 0 and at most {limits.max_execution_seconds:g} s",
                target=name,
            )
    key = new.idempotency_key
    if key is not None and not (0 < len(key) <= MAX_NAME_LENGTH and key.isprintable()):
        raise InvalidArgumentError(
            f"a key has 1 to {MAX_NAME_LENGTH} printable characters", target="Idempotency-Key"
        )
    if len(new.variable_names) > limits.max_variables:
        raise InvalidArgumentError(
            f"at most {limits.max_variables} variables are gathered", target="variable_names"
        )
    for name in new.variable_names:
        if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
            raise InvalidArgumentError(
                f"a name has 1 to {MAX_NAME_LENGTH} printable characters",
                target="variable_names",
            )
    if len(set(new.variable_names)) < len(new.variable_names):
        raise InvalidArgumentError("a name stands there twice", target="variable_names")
    if len(new.labels) > limits.max_labels:
        raise InvalidArgumentError(f"at most {limits.max_labels} labels", target="labels")
    for name, value in new.labels.items():
        is_short = len(name) <= limits.max_label_length >= len(value)
        if not (is_short and name and name.isprintable() and value.isprintable()):
            raise InvalidArgumentError(
                f"names and values have at most {limits.max_label_length} printable"
                " characters, and a name is not empty",
                target="labels",
            )
    if len(new.description) > limits.max_description_length:
        raise InvalidArgumentError(
            f"at most {limits.max_description_length} characters", target="description"
        )
