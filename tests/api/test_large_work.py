"""Notebooks and results of tens of megabytes hold up nobody else: the event loop stays free."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conftest import ExecApi
from tests.imperfect import code, nested, notebook

MEGABYTE = 1_000_000


@asynccontextmanager
async def longest_gap(
    clock: Callable[[], float] = time.perf_counter,
) -> AsyncIterator[list[float]]:
    """Measure for how long the event loop does not come round; the list gets the longest time."""
    gaps = [0.0]

    async def tick() -> None:
        before = clock()
        while True:
            await asyncio.sleep(0.005)
            now = clock()
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
@pytest.mark.parametrize(("depth", "count"), [(90, 1_000), (1, 490_000)])
async def test_a_notebook_of_many_lists_holds_up_nobody(
    exec_api: ExecApi, echo_kernel_name: str, depth: int, count: int
) -> None:
    """Reading, running and sending what is just within the limits takes seconds, in threads."""
    data = {"application/json": nested(depth, count)}
    output = {"output_type": "display_data", "data": data, "metadata": {}}
    skipped = code("0", id="s", outputs=[output], metadata={"tags": ["skip-execution"]})
    (exec_api.root / "nb.ipynb").write_text(json.dumps(notebook(skipped, code())))
    start = time.process_time()

    async with longest_gap(time.process_time) as gaps:
        session = await exec_api.new_session(kernel_name=echo_kernel_name)
        record = await exec_api.run("nb.ipynb", session_id=session["id"])
        size = await fetch(exec_api, "executions", record["id"], "notebook")

    assert (record["state"], size > MEGABYTE) == ("succeeded", True)
    # Decoding so much is one call, which the garbage collector interrupts.
    assert gaps[0] < 3, gaps
    assert time.process_time() - start < 30


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


LARGE = """
from comm import create_comm

def show(data, **kwargs):
    return display(data, raw=True, **kwargs)

show({'application/json': [*range(400_000)], 'text/plain': 'numbers'})
show({'text/plain': 'x\\u2603' * 700_000}, metadata={'a': 'x' * 1_100_000})
show({'text/html': 'x' * 9_000_000, 'image/svg+xml': 'y' * 2_000_000, 'text/plain': 'left out'})
show({'text/plain': 'old'}, display_id='1')
show({'text/plain': 'new' * 700_000}, display_id='1', update=True)
state = {'_model_name': 'x' * 1_100_000}
buffers = [b'x' * 1_100_000]
create_comm(
    target_name='jupyter.widget', data={'state': state, 'buffer_paths': [['b']]}, buffers=buffers
)
page = {'source': 'page', 'data': {'text/plain': 'page' * 500_000}, 'start': 0}
get_ipython().payload_manager.write_payload(page, single=False)
get_ipython().set_next_input('next' * 500_000)
raise ValueError('x' * 1_100_000)
"""


@pytest.mark.parametrize("exec_config", [{"max_display_bytes": 10_000_000}])
async def test_large_outputs_of_all_kinds(exec_api: ExecApi) -> None:
    """They are checked, measured, reduced, stored, loaded and sent to who follows in threads."""
    started = await exec_api.start_code(LARGE)
    log = await fetch(exec_api, "executions", started["id"], "events")
    record = await exec_api.final(started)

    result = record["result"]
    shown = [output.get("data", {"error": output.get("evalue")}) for output in result["outputs"]]
    assert [{key: len(value) for key, value in data.items()} for data in shown] == [
        {"application/json": 400_000, "text/plain": 7},
        {"text/plain": 1_400_000},
        {"image/svg+xml": 2_000_000, "text/plain": 8},
        {"text/plain": 2_100_000},
        {"error": 1_100_000},
        {"text/plain": 2_000_000},
    ]
    assert len(result["payloads"][0]["payload"]["text"]) == 2_000_000
    assert log > 10 * MEGABYTE
