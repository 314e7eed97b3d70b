"""A server extension that notes when the steps of a request begin and end; see `bench.steps`."""

import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_server.serverapp import ServerApp

from jupyter_exec_ext.engine.channels import ZmqChannels
from jupyter_exec_ext.engine.runner import Runner
from jupyter_exec_ext.services.executions import ExecutionService
from jupyter_exec_ext.store.store import Store
from jupyter_exec_ext.web.handler import ExecHandler

FILE_VARIABLE = "BENCH_STAMPS"


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "bench.stamps"}]


def _load_jupyter_server_extension(_: ServerApp) -> None:
    stamps: list[tuple[str, float]] = []
    path = Path(os.environ[FILE_VARIABLE])

    def note(name: str) -> None:
        stamps.append((name, time.perf_counter()))

    def write_out() -> None:
        with path.open("a") as file:
            file.write(f"{json.dumps(stamps)}\n")
        stamps.clear()

    _around(ExecHandler, "prepare", note, is_async=True)
    _around(ExecutionService, "create", note, is_async=True)
    _around(Store, "insert", note, is_async=True)
    _around(ZmqChannels, "send", note)
    _around(Runner, "_run_once", note, is_async=True)
    _around(Store, "finish", note, is_async=True)
    _around(ExecutionService, "wait", note, is_async=True)
    _around(ExecHandler, "write_value", note)
    _after(ExecHandler, "write_value", write_out)


def _after(owner: type, name: str, then: Callable[[], None]) -> None:
    method = getattr(owner, name)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        then()
        return result

    setattr(owner, name, call)


def _around(owner: type, name: str, note: Callable[[str], None], *, is_async: bool = False) -> None:
    """Let a method of *owner* note when it begins and ends."""
    method = getattr(owner, name)
    label = f"{owner.__name__}.{name}"

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        note(f"{label} begins")
        result = method(*args, **kwargs)
        note(f"{label} ends")
        return result

    @functools.wraps(method)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        note(f"{label} begins")
        result = await method(*args, **kwargs)
        note(f"{label} ends")
        return result

    setattr(owner, name, call_async if is_async else call)
