"""The filters of Qinling's lists: ``name=operator:value``, and-ed, with SQL's rules for null."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jupyter_exec_ext.core.errors import MalformedRequestError

MAX_LENGTH = 4_096
"""Maximum number of characters of one filter."""

_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda value, wanted: value == wanted,
    "neq": lambda value, wanted: value != wanted,
    "gt": lambda value, wanted: value > wanted,
    "gte": lambda value, wanted: value >= wanted,
    "lt": lambda value, wanted: value < wanted,
    "lte": lambda value, wanted: value <= wanted,
    "in": lambda value, wanted: value in wanted.split(","),
    "nin": lambda value, wanted: value not in wanted.split(","),
    "has": lambda value, wanted: is_like(value, wanted),
}


@dataclass(frozen=True)
class Filter:
    """One condition on one field.

    Attributes:
        operator: How it compares.
        wanted: What it compares with.
    """

    operator: str
    wanted: str

    @classmethod
    def of(cls, text: str) -> "Filter":
        """Return the filter that *text* describes; without a known operator all of it is the value.

        Raises:
            MalformedRequestError: *text* is longer than `MAX_LENGTH`.
        """
        if len(text) > MAX_LENGTH:
            raise MalformedRequestError(f"A filter must have at most {MAX_LENGTH} characters.")
        operator, colon, wanted = text.partition(":")
        if colon and operator in _COMPARE:
            return cls(operator, wanted)
        return cls("eq", text)

    def map(self, change: Callable[[str], str]) -> "Filter":
        """Return the same with each value that it compares with changed."""
        if self.operator in ("in", "nin"):
            return Filter(self.operator, ",".join(map(change, self.wanted.split(","))))
        return Filter(self.operator, change(self.wanted))

    def takes(self, value: str | None) -> bool:
        """Whether a field with *value* fits; one without never does."""
        return value is not None and _COMPARE[self.operator](value, self.wanted)


def take(filters: Mapping[str, Filter], values: Mapping[str, str | None]) -> bool:
    """Whether *values*, by field, fit all *filters*."""
    return all(condition.takes(values.get(name)) for name, condition in filters.items())


def is_like(value: str, part: str) -> bool:
    """Whether *part* is in *value* as SQL's ``LIKE`` has it: ``%`` is any text, ``_`` any letter.

    Letters of ASCII are the same in both cases. Each piece between two ``%`` is looked for once,
    from where the one before it ended, so that no pattern takes long.
    """
    pieces = [piece for piece in part.split("%") if piece]
    if sum(map(len, pieces)) > len(value):
        return False  # A compiled pattern must not be longer than the text that it is for.
    position = 0
    for piece in pieces:
        pattern = "".join("." if letter == "_" else re.escape(letter) for letter in piece)
        found = re.compile(pattern, re.ASCII | re.IGNORECASE | re.DOTALL).search(value, position)
        if found is None:
            return False
        position = found.end()
    return True
