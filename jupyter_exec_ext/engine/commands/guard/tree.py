"""The processes there are, and what a guard asks Linux for to keep hold of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def prctl(option: int, value: int) -> bool:
    """Call the system call where there is one; return whether that worked."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def processes() -> Iterator[tuple[int, int, int, str]]:
    """Yield id, parent, group and state of each process there is."""
    if os.path.isdir("/proc/self"):
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, parent, group = file.read().rpartition(b")")[2].split()[:3]
            except OSError:
                continue
            yield int(name), int(parent), int(group), state.decode()
        return
    import subprocess

    listing = ["ps", "-axo", "pid=,ppid=,pgid=,stat="]
    ps = subprocess.Popen(listing, stdout=subprocess.PIPE)  # noqa: S603 - a fixed command
    for line in ps.communicate()[0].decode().splitlines():
        row = line.split()
        if int(row[0]) != ps.pid:
            yield int(row[0]), int(row[1]), int(row[2]), row[3]
