"""What makes a request depend on the state of a file (RFC 9110, section 13)."""

import re
from collections.abc import Mapping

from jupyter_exec_ext.core.errors import MalformedRequestError
from jupyter_exec_ext.core.files import Precondition

MAX_LENGTH = 8_192
"""Maximum number of characters of ``If-Match`` and of ``If-None-Match``."""

_TAG = re.compile(r'(W/)?("[^"]*")')


def read_precondition(headers: Mapping[str, str]) -> Precondition:
    """Return what ``If-Match`` and ``If-None-Match`` say.

    A weak tag names no content, so it matches nothing in the first.

    Raises:
        MalformedRequestError: One of the headers is longer than `MAX_LENGTH`.
    """
    return Precondition(
        if_match=_tags(headers, "If-Match", with_weak=False),
        if_none_match=_tags(headers, "If-None-Match", with_weak=True),
    )


def range_applies(headers: Mapping[str, str], etag: str | None) -> bool:
    """Whether ``If-Range`` lets ``Range`` count; a date in it never does."""
    condition = headers.get("If-Range")
    return condition is None or condition.strip() == etag


def _tags(headers: Mapping[str, str], name: str, *, with_weak: bool) -> frozenset[str] | None:
    header = headers.get(name)
    if header is None:
        return None
    if len(header) > MAX_LENGTH:
        raise MalformedRequestError(
            f"the header must not be longer than {MAX_LENGTH} characters", target=name
        )
    if header.strip() == "*":
        return frozenset({"*"})
    return frozenset(tag for weak, tag in _TAG.findall(header) if with_weak or not weak)
