"""The log of a session: what its kernel prints after the executions that started it ended."""

import asyncio
import json
from typing import Any

import pytest

from jupyter_exec_ext.app import ExecApp
from tests.api.following import FollowingClient, Stream
from tests.conftest import ExecApi

THREAD = """
import pathlib, sys, threading, time
def work():
    while not pathlib.Path({gate!r}).exists(): time.sleep(0.005)
    {body}
    pathlib.Path({gate!r} + '.done').touch()
threading.Thread(target=work).start()
print('now')
"""

TASK = """
import asyncio, pathlib
async def work():
    while not pathlib.Path({gate!r}).exists(): await asyncio.sleep(0.005)
    print('of task', {gate!r})
    pathlib.Path({gate!r} + '.done').touch()
task = asyncio.get_running_loop().create_task(work())
"""


async def lines_of(api: ExecApi, session: dict[str, Any], **params: Any) -> list[dict[str, Any]]:
    """Return the log of a session as lines of JSON."""
    answer = await api.request(
        "GET",
        "sessions",
        session["id"],
        "log",
        params=params,
        headers={"Accept": "application/x-ndjson"},
    )
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines()]


async def until_printed(api: ExecApi, session: dict[str, Any], text: str) -> list[dict[str, Any]]:
    """Return the lines of the log once they have *text*."""
    async with asyncio.timeout(60):
        while True:
            lines = await lines_of(api, session)
            if text in "".join(line.get("text", "") for line in lines):
                return lines
            await asyncio.sleep(0.02)


def open_gate(api: ExecApi, session: dict[str, Any], gate: str) -> None:
    (api.root / session.get("path", "") / gate).touch()


async def test_late_output_is_in_the_log_of_the_session(exec_api: ExecApi) -> None:
    """With the execution that the kernel names: that of a task, or that which ran last."""
    session = await exec_api.new_session()
    run = {"session_id": session["id"]}
    first = await exec_api.run_code(
        THREAD.format(gate="thread", body="print('of a thread'); 1 / 0"), **run
    )

    open_gate(exec_api, session, "thread")
    await until_printed(exec_api, session, "of a thread\n")
    lines = await until_printed(exec_api, session, "ZeroDivisionError: division by zero\n")

    assert {line["execution_id"] for line in lines} == {first["id"]}
    assert {line["name"] for line in lines} == {"stdout", "stderr"}
    text = await exec_api.request("GET", "sessions", session["id"], "log")
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "of a thread\n" in text.body.decode()
    assert text.body.decode() == "".join(line["text"] for line in lines)
    assert await exec_api.log(first) == "now\n"

    second = await exec_api.run_code(TASK.format(gate="task"), **run)
    other = await exec_api.start_code(
        "while not pathlib.Path('end').exists(): await asyncio.sleep(0.005)\nprint('mine')", **run
    )
    open_gate(exec_api, session, "task")
    lines = await until_printed(exec_api, session, "of task task\n")
    open_gate(exec_api, session, "end")
    ended = await exec_api.final(other)

    assert lines[-1] | {"time": ""} == {
        "id": len(lines),
        "type": "stream",
        "time": "",
        "name": "stdout",
        "text": "of task task\n",
        "execution_id": second["id"],
    }
    assert ended["result"]["stdout"] == "mine\n"
    assert await lines_of(exec_api, session, after=lines[-2]["id"]) == lines[-1:]


async def test_parts_of_it(exec_api: ExecApi) -> None:
    """By ``Range``, as of the log of an execution."""
    session = await exec_api.new_session()
    await exec_api.run_code(
        THREAD.format(gate="g", body="print('0123456789', end='')"), session_id=session["id"]
    )
    where = ("sessions", session["id"], "log")
    empty = await exec_api.request("GET", *where)
    open_gate(exec_api, session, "g")
    await until_printed(exec_api, session, "9")

    part = await exec_api.request("GET", *where, headers={"Range": "bytes=2-4"})
    beyond = await exec_api.request("GET", *where, headers={"Range": "bytes=10-"})

    assert (empty.status, empty.body) == (200, b"")
    assert (part.status, part.body) == (206, b"234")
    assert part.headers["Content-Range"] == "bytes 2-4/10"
    assert (beyond.status, beyond.json["code"]) == (416, "RangeNotSatisfiable")


async def test_it_is_followed_until_the_session_ends(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """Text comes as it is printed; the end of the session is the end of the answer."""
    session = await exec_api.new_session()
    await exec_api.run_code(THREAD.format(gate="g", body="print('late')"), session_id=session["id"])
    url = f"sessions/{session['id']}/log"
    params = {"follow": "true"}
    ndjson = {"Accept": "application/x-ndjson"}

    async with (
        following.http.stream("GET", url, params=params) as text,
        following.http.stream("GET", url, params=params, headers=ndjson) as answer,
    ):
        lines = Stream(answer)
        open_gate(exec_api, session, "g")
        chunks = text.aiter_text()
        first = await anext(chunks)
        line = await lines.next()
        deleted = await exec_api.request("DELETE", "sessions", session["id"])
        rest = [chunk async for chunk in chunks]
        end = await lines.next()

    assert first == "late\n"
    assert line is not None
    assert line["text"] == "late\n"
    assert deleted.status == 204
    assert rest == []
    assert end is None


@pytest.mark.parametrize("exec_config", [{"max_session_log_bytes": 20_000}])
async def test_it_keeps_the_beginning_and_the_end(exec_api: ExecApi, exec_app: ExecApp) -> None:
    """Its memory is bounded, whatever is printed; what is missing shows as a gap."""
    session = await exec_api.new_session()
    body = "[print(n, 'x' * 300, flush=True) for n in range(100)]; print('☃' * 400_000 + 'end')"
    await exec_api.run_code(THREAD.format(gate="g", body=body), session_id=session["id"])
    open_gate(exec_api, session, "g")

    lines = await until_printed(exec_api, session, "end\n")
    text = (await exec_api.request("GET", "sessions", session["id"], "log")).body.decode()

    assert [line["type"] for line in lines].count("gap") >= 1
    assert text.startswith("0 xxx")
    assert text.endswith("☃end\n")
    assert "\n[... output left out ...]\n" in text
    assert len(text.encode()) < 40_000


async def test_what_other_clients_run_is_not_in_it(exec_api: ExecApi, jp_serverapp: Any) -> None:
    """The cells of a notebook whose kernel the session is attached to print for themselves."""
    kernel_manager = jp_serverapp.kernel_manager
    kernel_id = await kernel_manager.start_kernel(kernel_name="python3", path="")
    session = await exec_api.new_session(kernel_id=kernel_id)
    ours = await exec_api.run_code(TASK.format(gate="ours"), session_id=session["id"])
    client = kernel_manager.get_kernel(kernel_id).client()
    client.start_channels()
    await client.wait_for_ready()
    client.execute("print('of a notebook')\n" + TASK.format(gate="theirs"))

    for gate in ("theirs", "ours"):
        open_gate(exec_api, session, gate)
        async with asyncio.timeout(60):
            while not (exec_api.root / f"{gate}.done").exists():
                await asyncio.sleep(0.02)
    lines = await until_printed(exec_api, session, "of task ours\n")
    client.stop_channels()

    assert [(line["text"], line["execution_id"]) for line in lines] == [
        ("of task ours\n", ours["id"])
    ]


async def test_who_has_no_log(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """A session that is not there, and one that ended: its log was in memory."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name, idle_timeout_seconds=0.1)
    await exec_api.until_session(session["id"], lambda shown: shown["state"] == "ended")

    gone = await exec_api.request("GET", "sessions", "x", "log")
    ended = await exec_api.request("GET", "sessions", session["id"], "log")

    assert (gone.status, gone.json["code"]) == (404, "SessionNotFound")
    assert (ended.status, ended.json["code"]) == (409, "SessionEnded")
