"""Sessions under load: many executions, many sessions, much output, and a loop that is held up."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.engine import channels
from tests.conftest import WAIT_SECONDS, ExecApi


@dataclass
class Latency:
    """The slowest answer to somebody else's request."""

    worst_seconds: float = 0.0


@contextlib.asynccontextmanager
async def others(exec_api: ExecApi) -> AsyncIterator[Latency]:
    """Be somebody else, who asks for a list all the time."""
    latency = Latency()

    async def ask() -> None:
        while True:
            began = time.monotonic()
            answer = await exec_api.request("GET", "executions", params={"page_size": 1})
            assert answer.status == 200
            latency.worst_seconds = max(latency.worst_seconds, time.monotonic() - began)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(ask())
    try:
        yield latency
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def echo_kernels() -> list[psutil.Process]:
    """Return the processes of this server's echo kernels."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "echo_kernel" in " ".join(child.cmdline())]


@pytest.mark.serial
async def test_a_thousand_executions_wait_their_turns(
    exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """Over ten sessions: none is lost or doubled, each session keeps its order, others go on."""
    sessions = [(await exec_api.new_session(kernel_name=echo_kernel_name))["id"] for _ in range(10)]

    async def submit(session_id: str) -> list[dict[str, Any]]:
        return [await exec_api.start_code(f"{n}", session_id=session_id) for n in range(100)]

    async with others(exec_api) as latency:
        accepted = await asyncio.gather(*map(submit, sessions))
        for records in accepted:
            await exec_api.final(records[-1])
    listed = await exec_api.request("GET", "executions", params={"page_size": 1_000})

    assert latency.worst_seconds < 1
    finals = sorted(listed.json["executions"], key=lambda record: record["start_time"])
    assert {record["state"] for record in finals} == {"succeeded"}
    assert {r["id"] for r in finals} == {r["id"] for records in accepted for r in records}
    for session_id in sessions:
        codes = [r["source"]["code"] for r in finals if r["session_id"] == session_id]
        assert codes == [f"{n}" for n in range(100)]
        last = await exec_api.run_code("last", session_id=session_id)
        assert last["result"]["outputs"][-1]["execution_count"] == 101


@pytest.mark.parametrize("exec_config", [{"max_sessions": 8}], ids=["eight"])
async def test_two_hundred_sessions_are_too_many(
    exec_api: ExecApi, exec_app: ExecApp, echo_kernel_name: str
) -> None:
    """All above the limit are refused before any kernel starts; of deleted ones nothing is left."""
    server: Any = exec_app.serverapp
    body = {"kernel_name": echo_kernel_name}

    answers = await asyncio.gather(
        *(exec_api.request("POST", "sessions", json=body) for _ in range(200))
    )
    created = [answer.json["id"] for answer in answers if answer.status == 201]
    by_name = await exec_api.request("POST", "executions", json={"code": "1", "session_name": "x"})
    records = await asyncio.gather(*(exec_api.run_code("1", session_id=id_) for id_ in created))
    alive = echo_kernels()
    await asyncio.gather(*(exec_api.request("DELETE", "sessions", id_) for id_ in created))

    assert len(created) == len(alive) == 8
    assert {record["state"] for record in records} == {"succeeded"}
    for answer in (by_name, *(answer for answer in answers if answer.status != 201)):
        assert (answer.status, answer.json["code"]) == (429, "TooMany")
        assert int(answer.headers["Retry-After"]) > 0
    assert server.kernel_manager.list_kernel_ids() == []
    assert await server.session_manager.list_sessions() == []
    assert not any(process.is_running() for process in alive)


@pytest.mark.serial
async def test_a_million_lines_are_all_there(exec_api: ExecApi) -> None:
    """Ten megabytes but a few bytes: nothing is missing, it is soon over, others go on."""
    session = await exec_api.new_session()
    await exec_api.run_code("1", session_id=session["id"])
    began = time.monotonic()

    async with others(exec_api) as latency:
        record = await exec_api.run_code(
            "for n in range(1_000_000): print(f'{n:08}')", session_id=session["id"]
        )

    assert time.monotonic() - began < 30
    assert latency.worst_seconds < 1
    assert "truncated" not in record["result"]
    expected = "".join(f"{n:08}\n" for n in range(1_000_000))
    assert record["result"]["stdout"] == expected
    assert await exec_api.log(record) == expected


async def test_a_flood_while_the_loop_is_held_up_is_not_lost_silently(
    exec_api: ExecApi, exec_app: ExecApp, echo_kernel_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The execution ends, and is marked where displays, and even its last word, were dropped."""
    server: Any = exec_app.serverapp
    monkeypatch.setattr(channels, "MAX_QUEUED_MESSAGES", 1_000)
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    record = await exec_api.start_code("!show 30000", session_id=session["id"])
    shown = await exec_api.until(record, lambda shown: bool(shown["result"]["outputs"]))
    manager = server.kernel_manager.get_kernel(shown["kernel_id"])

    # The kernel answers this when it is done with the flood; the loop does nothing meanwhile.
    with zmq.Context() as context, context.socket(zmq.REQ) as heartbeat:
        heartbeat.setsockopt(zmq.RCVTIMEO, 1000 * WAIT_SECONDS)
        heartbeat.connect(f"tcp://{manager.ip}:{manager.hb_port}")
        heartbeat.send(b"ping")
        heartbeat.recv()
    final = await exec_api.final(record)
    after = await exec_api.run_code("after", session_id=session["id"])

    displays = [o for o in final["result"]["outputs"] if o["output_type"] == "display_data"]
    assert final["state"] == after["state"] == "succeeded"
    assert len(displays) < 30_000
    assert final["result"]["truncated"]["has_uncounted"] is True


LOSSY_FLOOD = """\
import pathlib, time
for _ in range(4_000):
    print('y' * 9_999, flush=True)
pathlib.Path({done!r}).touch()
while not pathlib.Path({seen!r}).exists():
    print('.', flush=True)
    time.sleep(0.01)
"""


async def test_lost_text_is_marked_also_when_the_end_of_the_code_arrives(
    exec_api: ExecApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The kernel drops text while the loop is held up; the numbers of its messages show that."""
    monkeypatch.setattr(channels, "MAX_QUEUED_MESSAGES", 10)
    done, seen = tmp_path / "done", tmp_path / "seen"
    session = await exec_api.new_session()
    code = LOSSY_FLOOD.format(done=str(done), seen=str(seen))
    record = await exec_api.start_code(code, session_id=session["id"])
    await exec_api.until(record, lambda shown: bool(shown["result"]["stdout"]))

    deadline = time.monotonic() + WAIT_SECONDS
    while not done.exists():
        assert time.monotonic() < deadline, "the flood does not end"
    await exec_api.until(record, lambda shown: shown["result"]["stdout"].endswith(".\n"))
    seen.touch()
    final = await exec_api.final(record)
    after = await exec_api.run_code("print('after')", session_id=session["id"])

    assert final["state"] == after["state"] == "succeeded"
    assert final["result"]["truncated"]["total_bytes"] < 40_000_000
    assert final["result"]["truncated"]["has_uncounted"] is True
    assert "truncated" not in after["result"]


@pytest.mark.serial
async def test_half_requests_hold_up_nobody(
    exec_api: ExecApi, echo_kernel_name: str, jp_http_port: int, jp_auth_header: dict[str, str]
) -> None:
    """With 150 clients in the middle of their headers or bodies, others are served."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    head = "POST /user/a%40b/exec/executions HTTP/1.1\r\nHost: localhost\r\n"
    half_body = (
        f"{head}Authorization: {jp_auth_header['Authorization']}\r\nContent-Length: 99\r\n\r\n{{"
    )
    writers = []
    for number in range(150):
        _, writer = await asyncio.open_connection("localhost", jp_http_port)
        writer.write((head if number % 2 else half_body).encode())
        await writer.drain()
        writers.append(writer)

    async with others(exec_api) as latency:
        record = await exec_api.run_code("1", session_id=session["id"])

    assert record["state"] == "succeeded"
    assert latency.worst_seconds < 1
    for writer in writers:
        writer.transport.abort()
