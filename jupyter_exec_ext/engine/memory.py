"""Gives back to the system the memory that messages took."""

import asyncio
import ctypes
import sys
from typing import Any

CALM_SECONDS = 3.0
"""How long after a large message memory is given back; what was made of it is free by then."""

KEPT_BYTES = 4_000_000
"""Of free memory, for each thread."""

SEPARATE_BYTES = 1_000_000
"""From this size on memory is asked of the system, and goes back there, piece by piece."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class FreedMemory:
    """What large messages leave behind in the process.

    The GNU C library keeps free memory for later, and the more of it the larger the pieces were
    that it saw: hundreds of megabytes, for ever, after one program that printed without end.
    With any other C library this does nothing.
    """

    def __init__(self) -> None:
        libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._libc = libc if hasattr(libc, "malloc_trim") else None
        self._is_due = self._is_expected = self._is_set = False

    def expect(self) -> None:
        """Give back what is free `CALM_SECONDS` later, since a message above some kB came in."""
        if self._libc is None:
            return
        if not self._is_set:
            # From these calls on the library no longer keeps ever more.
            self._libc.mallopt(_M_MMAP_THRESHOLD, SEPARATE_BYTES)
            self._libc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
            self._is_set = True
        self._is_expected = True
        self._plan()

    def _plan(self) -> None:
        if self._is_expected and not self._is_due:
            self._is_due, self._is_expected = True, False
            asyncio.get_running_loop().call_later(CALM_SECONDS, self._give_back)

    def _give_back(self) -> None:
        self._is_due = False
        assert self._libc is not None
        # It takes some milliseconds, in which the event loop should not stand still.
        asyncio.get_running_loop().run_in_executor(None, self._libc.malloc_trim, 0)
        self._plan()
