"""Parts of a resource, as the header ``Range`` asks for them (RFC 9110, section 14)."""

import re

from jupyter_exec_ext.core.errors import RangeNotSatisfiableError

# Possessive quantifiers: with backtracking a header full of blanks takes quadratic time.
_ONE_RANGE = re.compile(r"\s*+bytes\s*+=\s*+([0-9]{0,18})\s*+-\s*+([0-9]{0,18})\s*+", re.IGNORECASE)


def read_range(header: str | None, size: int) -> range | None:
    """Return the positions that are asked for of *size* bytes; ``None`` for all of them.

    More than one range, or what is none, is all, as the standard allows.

    Raises:
        RangeNotSatisfiableError: None of them is there.
    """
    found = _ONE_RANGE.fullmatch(header or "")
    if found is None:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        wanted = range(max(0, size - int(last)), size)
    elif last and int(last) < int(first):
        return None
    else:
        wanted = range(int(first), min(int(last) + 1, size) if last else size)
    if not wanted:
        raise RangeNotSatisfiableError(size)
    return wanted


def read_start(header: str | None) -> int | None:
    """Return where a range without an end begins; ``None`` when something else is asked for."""
    found = _ONE_RANGE.fullmatch(header or "")
    return int(found[1]) if found is not None and found[1] and not found[2] else None
