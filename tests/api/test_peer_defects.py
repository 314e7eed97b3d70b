"""What services of this kind are known to get wrong, where no other test says it already."""

import asyncio
from typing import Any

from tests.conftest import ExecApi

HARD_VALUES = {
    "QUOTES": 'it\'s "quoted"',
    "BREAKOUT": "'; import os; os._exit(1); '",
    "LINES": "a\nb\r\n\\",
    "PERCENT": "%d {x} $HOME `id`",
}


async def test_a_kernel_that_ends_itself_ends_no_later_request(exec_api: ExecApi) -> None:
    """The request is final at once, and so is each later one in the session: none hangs."""
    session = await exec_api.new_session()

    died = await exec_api.run_code("import os; os._exit(1)", session_id=session["id"])
    after = [await exec_api.run_code(f"{n}", session_id=session["id"]) for n in range(3)]

    assert (died["state"], died["error"]["code"]) == ("failed", "KernelDied")
    assert died["error"]["exit_code"] == 1
    assert [record["result"]["value"] for record in after] == [0, 1, 2]
    assert [record.get("kernel_lost", {}).get("code") for record in after] == [
        "KernelDied",
        None,
        None,
    ]


async def test_what_is_missing_or_unknown_is_the_clients_error(
    exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """4xx with the field or what was not found, never 202 without code, and never 500."""
    unknown = "00000000-0000-4000-8000-000000000000"
    session = await exec_api.new_session(kernel_name=echo_kernel_name)

    for body, status, code in (
        ({}, 400, "MalformedRequest"),
        ({"session_id": session["id"]}, 400, "MalformedRequest"),
        ({"notebook": {"path": "missing.ipynb"}}, 404, "NotebookNotFound"),
        ({"code": "1", "session_id": unknown}, 404, "SessionNotFound"),
    ):
        answer = await exec_api.request("POST", "executions", json=body)
        assert (answer.status, answer.json["code"]) == (status, code)
    for method, *parts in (
        ("GET", "executions", unknown),
        ("DELETE", "executions", unknown),
        ("POST", "executions", unknown, "cancel"),
        ("GET", "executions", unknown, "events"),
        ("GET", "sessions", unknown),
        ("DELETE", "sessions", unknown),
        ("POST", "sessions", unknown, "interrupt"),
        ("POST", "sessions", unknown, "restart"),
    ):
        answer = await exec_api.request(method, *parts)
        assert answer.status == 404, (method, parts)
    assert (await exec_api.request("GET", "executions")).json["executions"] == []


async def test_no_request_makes_the_server_connect_anywhere(exec_api: ExecApi) -> None:
    """An address of another server in a body is an unknown field, and nobody is called."""
    calls: list[Any] = []

    async def listen(reader: Any, writer: asyncio.StreamWriter) -> None:
        calls.append(reader)
        writer.close()

    listener = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"

    refused = [
        await exec_api.request("POST", what, json={**body, **more})
        for what, body in (("executions", {"code": "1"}), ("sessions", {}))
        for more in ({"server": {"url": url, "token": "t"}}, {"callback": url}, {"url": url})
    ]
    listener.close()
    await listener.wait_closed()

    assert {answer.status for answer in refused} == {400}
    assert {answer.json["target"] for answer in refused} == {"server", "callback", "url"}
    assert calls == []


async def test_inputs_are_data_and_leave_the_code_as_it_is(exec_api: ExecApi) -> None:
    """Quotes and line ends break out of nothing; magics of the first line and line numbers stay."""
    session = await exec_api.new_session()
    in_session = {"session_id": session["id"], "inputs": HARD_VALUES}
    names = sorted(HARD_VALUES)

    values = await exec_api.run_code(
        f"import os; {{name: os.environ[name] for name in {names}}}", **in_session
    )
    magic = await exec_api.run_code("%%capture caught\nprint('hidden')", **in_session)
    caught = await exec_api.run_code("caught.stdout", session_id=session["id"])
    failed = await exec_api.run_code("x = 1\n\n1 / 0", **in_session)
    known = await exec_api.run_code(
        "[name for name in dir() if not name.startswith('_')]", session_id=session["id"]
    )

    assert values["result"]["value"] == HARD_VALUES
    assert magic["state"] == "succeeded"
    assert magic["result"]["stdout"] == ""
    assert caught["result"]["value"] == "hidden\n"
    assert "line 3" in failed["error"]["traceback_text"]
    assert known["result"]["value"] == [
        *("In", "Out", "caught", "exit", "get_ipython", "open", "os", "quit", "x")
    ]
