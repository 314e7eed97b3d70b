"""URLs in every spelling that a client may send."""

import re
from urllib.parse import unquote_to_bytes


def pattern_of_base(base_url: str) -> str:
    """Return a regular expression without groups that matches every spelling of *base_url*.

    Equivalent spellings of a URL are one URL (RFC 3986, section 6.2.2): clients escape characters
    that need no escape, send ``@`` as it is where the server has ``%40``, and write the digits of
    an escape in either case. A slash within a segment is always escaped.
    """
    return "/".join(map(_pattern_of_segment, base_url.split("/")))


def _pattern_of_segment(segment: str) -> str:
    return "".join(map(_pattern_of_byte, unquote_to_bytes(segment)))


def _pattern_of_byte(value: int) -> str:
    digits = (digit if digit.isdigit() else f"[{digit.lower()}{digit}]" for digit in f"{value:02X}")
    escaped = f"%{''.join(digits)}"
    character = chr(value)
    can_stand_alone = character.isascii() and character.isprintable() and character not in "/%?#"
    return f"(?:{re.escape(character)}|{escaped})" if can_stand_alone else escaped
