"""What the tests of commands share: how to run one, and programs that do not want to end."""

import asyncio
import contextlib
import time
import uuid
from pathlib import Path
from typing import Any

import psutil

from tests.conftest import WAIT_SECONDS, ExecApi

STUBBORN = """
import os, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
def spawn(is_daemon):
    if os.fork():
        return
    if is_daemon:
        os.setsid()
        if os.fork():
            os._exit(0)
    time.sleep(600)
    os._exit(0)
spawn(False)
spawn(True)
print("ready", flush=True)
if sys.argv[2:] != ["leave"]:
    time.sleep(600)
"""
"""A process, a child, and a daemon in a session of its own, which all ignore what asks nicely."""

STUBBORN_COUNT = 3


class Tree:
    """The processes of one stubborn program, which are told from all others by a word."""

    def __init__(self, root: Path) -> None:
        self.word = f"stubborn-{uuid.uuid4().hex}"
        (root / "stubborn.py").write_text(STUBBORN)
        self.command = ["python3", "stubborn.py", self.word]

    def processes(self) -> list[psutil.Process]:
        """Return those that live."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if self.word in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    async def until_count(self, count: int, *, seconds: float = WAIT_SECONDS) -> None:
        """Wait until so many live."""
        deadline = time.monotonic() + seconds
        while len(self.processes()) != count:
            assert time.monotonic() < deadline, self.processes()
            await asyncio.sleep(0.02)

    def kill(self) -> None:
        """End what a failed test left."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()


async def start_command(exec_api: ExecApi, steps: Any, **fields: Any) -> dict[str, Any]:
    """Submit a command, of one step if it is no object, and return the accepted record."""
    command = steps if isinstance(steps, dict) else {"exec": steps}
    answer = await exec_api.request("POST", "executions", json={"command": command, **fields})
    assert answer.status == 202, answer.body
    record: dict[str, Any] = answer.json
    return record


async def run_command(exec_api: ExecApi, steps: Any, **fields: Any) -> dict[str, Any]:
    """Submit a command, of one step if it is no object, and return its final record."""
    return await exec_api.final(await start_command(exec_api, steps, **fields))
