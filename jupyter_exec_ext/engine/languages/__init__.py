"""What a kernel's language needs: the environment set and restored, variables and values read.

Pure functions: they make the requests and understand the replies; the caller sends and collects.
"""

from collections.abc import Sequence
from pathlib import PurePath

from jupyter_exec_ext.engine.languages.bash import Bash
from jupyter_exec_ext.engine.languages.exchange import (
    READING_MIME,
    Language,
    Reading,
    Reply,
    Request,
    unread_variables,
)
from jupyter_exec_ext.engine.languages.guarding import Guarding
from jupyter_exec_ext.engine.languages.javascript import JavaScript
from jupyter_exec_ext.engine.languages.julia import Julia
from jupyter_exec_ext.engine.languages.python import Python
from jupyter_exec_ext.engine.languages.r import R

__all__ = [
    "READING_MIME",
    "Guarding",
    "Language",
    "Reading",
    "Reply",
    "Request",
    "command_languages",
    "is_tested",
    "known_languages",
    "language_of",
    "runs_commands",
    "unread_variables",
]

_LANGUAGES: tuple[Language, ...] = (Python(), R(), Julia(), JavaScript(), Bash())

_BY_NAME = {
    alias: language for language in _LANGUAGES for alias in (language.name, *language.aliases)
}


def language_of(name: str) -> Language | None:
    """Return the language that ``kernel_info`` calls *name* (any case), ``None`` if not known."""
    return _BY_NAME.get(name.strip().lower())


def is_tested(language: Language, argv: Sequence[str]) -> bool:
    """Whether *argv*, the command of a kernelspec, starts a kernel that is tested."""
    return any(PurePath(word).stem in language.programs for word in argv)


def known_languages() -> tuple[str, ...]:
    """Return the names of the languages, without their aliases."""
    return tuple(language.name for language in _LANGUAGES)


def runs_commands(name: str) -> bool:
    """Whether kernels of the language that ``kernel_info`` calls *name* can run commands."""
    language = language_of(name)
    return language is not None and language.guarding is not None


def command_languages() -> tuple[str, ...]:
    """Return the names of the languages whose kernels can run commands."""
    return tuple(language.name for language in _LANGUAGES if language.guarding is not None)
