"""What a kernel's language needs: the environment set and restored, variables and values read.

Pure functions: they make the requests and understand the replies; the caller sends and collects.
"""

from jupyter_exec_ext.engine.languages.bash import Bash
from jupyter_exec_ext.engine.languages.exchange import (
    Language,
    Reading,
    Reply,
    Request,
    unread_variables,
)
from jupyter_exec_ext.engine.languages.javascript import JavaScript
from jupyter_exec_ext.engine.languages.julia import Julia
from jupyter_exec_ext.engine.languages.python import Python
from jupyter_exec_ext.engine.languages.r import R

__all__ = [
    "Language",
    "Reading",
    "Reply",
    "Request",
    "known_languages",
    "language_of",
    "unread_variables",
]

_LANGUAGES: tuple[Language, ...] = (Python(), R(), Julia(), JavaScript(), Bash())

_BY_NAME = {
    alias: language for language in _LANGUAGES for alias in (language.name, *language.aliases)
}


def language_of(name: str) -> Language | None:
    """Return the language that ``kernel_info`` calls *name* (any case), ``None`` if not known."""
    return _BY_NAME.get(name.strip().lower())


def known_languages() -> tuple[str, ...]:
    """Return the names of the languages, without their aliases."""
    return tuple(language.name for language in _LANGUAGES)
