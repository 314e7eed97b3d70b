"""Runs over a WebSocket: frames as they come, input as text, and an end with the socket."""

import json
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError

from tests.conftest import ExecApi
from tests.dialects.backendai.conftest import BackendClient, messages, statuses, text_of


async def test_a_socket_is_one_run(client: BackendClient) -> None:
    """Output in several frames, the end in the last; then the server closes."""
    created = await client.create()
    socket = await client.stream(created["sessionId"])
    code = "import time\nprint('one', flush=True)\ntime.sleep(1)\nprint('two')\n1/0"

    await socket.write_message(json.dumps({"mode": "query", "code": code, "options": {}}))
    frames = await messages(socket)

    assert text_of(frames) == "one\ntwo\n"
    assert "ZeroDivisionError" in text_of(frames, "stderr")
    assert statuses(frames) == [("finished", 0)]
    assert len(frames) >= 2
    assert sorted(frames[0]) == ["console", "exitCode", "files", "options", "runId", "status"]


async def test_input_goes_as_plain_text(client: BackendClient) -> None:
    """A question is told once, and what nobody asked for goes nowhere."""
    await client.create()
    socket = await client.stream("demo-01")
    await socket.write_message(json.dumps({"mode": "query", "code": "print(input('? '))\ninput()"}))
    asked = json.loads(str(await socket.read_message()))

    await socket.write_message("Bob")
    frames: list[Any] = []
    while not frames or frames[-1]["status"] != "waiting-input":
        frames.append(json.loads(str(await socket.read_message())))
    await socket.write_message("x")
    frames += await messages(socket)

    assert (asked["status"], asked["console"]) == ("waiting-input", [["stdout", "? "]])
    assert asked["options"] == {"is_password": False}
    assert text_of(frames) == "Bob\n'x'\n"
    assert [one["status"] for one in frames].count("waiting-input") == 1
    assert statuses(frames)[-1] == ("finished", 0)


async def test_a_batch_tells_its_steps(client: BackendClient) -> None:
    """Each end in a frame of its own."""
    await client.create()
    socket = await client.stream("demo-01")
    options = {"clean": "echo c", "build": "echo b", "exec": "echo e; exit 3", "buildLog": False}

    await socket.write_message(json.dumps({"mode": "batch", "code": "", "options": options}))
    frames = await messages(socket)

    assert statuses(frames) == [("clean-finished", 0), ("build-finished", 0), ("finished", 3)]
    assert text_of(frames) == "c\nb\ne\n"


async def test_a_socket_that_closes_cancels_its_run(
    client: BackendClient, exec_api: ExecApi
) -> None:
    """Exactly its own; what waits in the session has its turn then."""
    await client.create()
    socket = await client.stream("demo-01")
    code = "print('on')\nimport time; time.sleep(600)"
    await socket.write_message(json.dumps({"mode": "query", "code": code}))
    assert "on" in text_of([json.loads(str(await socket.read_message()))])
    (record,) = (await exec_api.request("GET", "executions")).json["executions"]

    socket.close()

    assert (await exec_api.final(record))["state"] == "cancelled"
    assert text_of(await client.run("query", "print('next')")) == "next\n"


@pytest.mark.parametrize("message", ["no JSON", "[]", '{"mode": "continue"}', "{}", b"\xff\x00"])
async def test_a_bad_first_message_ends_the_socket(
    client: BackendClient, exec_api: ExecApi, message: Any
) -> None:
    """With an error in words, since clients do not stop by themselves; nothing is run."""
    await client.create()
    socket = await client.stream("demo-01")

    await socket.write_message(message, binary=isinstance(message, bytes))
    frames = await messages(socket)

    assert [one["status"] for one in frames] == ["error"]
    assert frames[0]["msg"]
    assert (await exec_api.request("GET", "executions")).json["executions"] == []


async def test_refusals_come_before_the_upgrade(client: BackendClient) -> None:
    """As the service's own errors."""
    await client.create()

    with pytest.raises(HTTPClientError) as unknown:
        await client.stream("none")
    with pytest.raises(HTTPClientError) as unsigned:
        await client.stream("demo-01", secret="wrong")
    plain = await client.request("GET", "/stream/session/demo-01/execute")

    assert (unknown.value.code, unsigned.value.code, plain.status) == (404, 401, 400)
    assert plain.json["type"].endswith("/invalid-api-params")


@pytest.mark.parametrize(
    "wrong",
    [
        {"Sec-WebSocket-Version": "7"},
        {"Sec-WebSocket-Version": ""},
        {"Sec-WebSocket-Key": ""},
        {"Connection": "keep-alive"},
        {"Upgrade": "h2c"},
    ],
)
async def test_a_failed_handshake_is_an_error_of_the_service(
    client: BackendClient, wrong: dict[str, str]
) -> None:
    """As every other one."""
    await client.create()
    path = "/stream/session/demo-01/execute"
    right = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    headers = {"Host": client.host, **client.headers("GET", path, None), **right, **wrong}

    answer = await client.send("GET", f"backendai{path}", headers)

    assert answer.status == 400
    assert answer.json["type"].endswith("/invalid-api-params")
