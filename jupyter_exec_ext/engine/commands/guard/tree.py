"""The processes there are, and what a guard asks Linux for to keep hold of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator

GIVE_UP_SECONDS = 5.0

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


class Tree:
    """All that descends from this process, also what its own parent left behind.

    Attributes:
        is_reaper: Whether such orphans become children of this process; elsewhere than on Linux
            they are known by having been seen before, or by *group*.
        group: Of the command; 0 before it runs.
    """

    def __init__(self) -> None:
        self.is_reaper = prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.group = 0
        self.known: set[int] = set()

    def find(self) -> set[int]:
        """Return the ids of all processes that come from this one."""
        table = [row for row in processes() if row[3][0] not in "ZX"]
        living = {row[0] for row in table}
        found = {os.getpid()} | (self.known & living)
        size = 0
        while size < len(found):
            size = len(found)
            found |= {pid for pid, parent, _, _ in table if parent in found}
        if not self.is_reaper:
            found |= {pid for pid, _, group, _ in table if group == self.group}
            self.known = found
        return found - {os.getpid()}

    def signal_all(self, number: int) -> set[int]:
        """Send a signal to all of them; return their ids."""
        found = self.find()
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        return found

    def kill_round(self) -> None:
        """Kill all descendants; first they are stopped, so that none starts another meanwhile."""
        stopped: set[int] = set()
        for _ in range(20):
            found = self.signal_all(signal.SIGSTOP)
            if found <= stopped:
                break
            stopped |= found
        self.signal_all(signal.SIGKILL)

    def kill_all(self) -> None:
        """Kill until nothing is left, or only what may not be killed."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                if self.is_reaper:
                    return
            self.kill_round()
            if not self.find():
                return
            time.sleep(0.002)
