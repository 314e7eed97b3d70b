"""Notebooks and results of tens of megabytes hold up nobody else: the event loop stays free."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conftest import ExecApi
from tests.imperfect import code, notebook

pytestmark = pytest.mark.usefixtures("free_loop")

MEGABYTE = 1_000_000


@asynccontextmanager
async def longest_gap() -> AsyncIterator[list[float]]:
    """Measure for how long the event loop does not come round; the list gets the longest time."""
    gaps = [0.0]

    async def tick() -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            gaps[0] = max(gaps[0], now - before)
            before = now

    task = asyncio.ensure_future(tick())
    try:
        yield gaps
    finally:
        task.cancel()


async def fetch(exec_api: ExecApi, *parts: str) -> int:
    """Return the size of an answer; the client itself decodes nothing."""
    answer: Any = await exec_api._fetch("exec", *parts, request_timeout=60)
    return len(answer.body)


@pytest.mark.serial
async def test_a_large_notebook_holds_up_nobody(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """It is read, stored, loaded, shown and compared in threads."""
    output = {"output_type": "stream", "name": "stdout", "text": ["x" * 99 + "\n"] * 10_000}
    skipped = [
        code("0", id=f"s{number}", outputs=[output], metadata={"tags": ["skip-execution"]})
        for number in range(30)
    ]
    path = exec_api.root / "nb.ipynb"
    path.write_text(json.dumps(notebook(*skipped, code())))
    started = time.perf_counter()
    json.dumps(json.loads(path.read_text()))
    once_seconds = time.perf_counter() - started

    async with longest_gap() as gaps:
        # The second one waits for its turn, and its notebook comes from the store again.
        session = await exec_api.new_session(kernel_name=echo_kernel_name)
        first = await exec_api.start_code("!sleep 1", session_id=session["id"])
        record = await exec_api.run("nb.ipynb", session_id=session["id"])
        await exec_api.final(first)
        size = await fetch(exec_api, "executions", record["id"], "notebook")

    assert (record["state"], size > 30 * MEGABYTE) == ("succeeded", True)
    assert gaps[0] < max(1, 2 * once_seconds), (gaps[0], once_seconds)


@pytest.mark.serial
async def test_a_large_result_holds_up_nobody(exec_api: ExecApi) -> None:
    """It is stored, loaded and shown in threads."""
    shows = "for _ in range(30): display({'text/plain': 'x' * 900_000}, raw=True)"

    async with longest_gap() as gaps:
        record = await exec_api.start_code(shows)
        deadline = time.monotonic() + 60
        while True:
            record = await exec_api.get(record, view="basic", wait=1)
            if record["state"] == "succeeded":
                break
            assert time.monotonic() < deadline, record
        sizes = [await fetch(exec_api, "executions", record["id"]) for _ in range(2)]

    assert min(sizes) > 27 * MEGABYTE
    assert gaps[0] < 1, gaps[0]
