"""What goes wrong around code in a session: the store, the output, other clients, the client."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.store.store import Store
from tests.api.following import FollowingClient, text_of
from tests.api.test_hostile_code import FORGE
from tests.conftest import ExecApi
from tests.store.builders import locked

GATE = "import pathlib, time\nwhile not pathlib.Path({0!r}).exists(): time.sleep(0.005)\n"
LONG = "x" * 100_000
"""More than the free room in a database that is full."""


# The store.


@contextlib.contextmanager
def full(path: Path) -> Iterator[None]:
    """Let SQLite find no room for more pages than there are."""

    def limit_pages(pages: int, connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def shut(*args: Any) -> None:
        limit_pages(1, *args)

    def open_again(*args: Any) -> None:
        limit_pages(1_000_000_000, *args)

    event.listen(Pool, "checkout", shut)
    yield
    event.remove(Pool, "checkout", shut)
    event.listen(Pool, "checkout", open_again)


@pytest.fixture
def impatient_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server's store wait for a lock as long as a test can."""
    monkeypatch.setitem(Store.__init__.__kwdefaults__ or {}, "busy_timeout_seconds", 0.2)


@pytest.mark.usefixtures("impatient_store")
@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [(full, 507, "StoreFull"), (locked, 503, "StoreUnavailable")],
    ids=["full", "locked"],
)
async def test_a_store_that_fails_for_a_while_loses_nothing(
    exec_api: ExecApi,
    exec_app: ExecApp,
    echo_kernel_name: str,
    tmp_path: Path,
    trouble: Any,
    status: int,
    code: str,
) -> None:
    """New work is refused with the reason; what runs ends in memory, and is stored later."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    running = await exec_api.start_code(f"!ask {LONG}", session_id=session["id"])
    waiting = await exec_api.start_code(f"next {LONG}", session_id=session["id"])
    await exec_api.until(running, lambda shown: "input_request" in shown)

    with trouble(tmp_path / "store" / "executions.sqlite"):
        refused = await exec_api.request(
            "POST", "executions", json={"code": LONG, "session_id": session["id"]}
        )
        answered = await exec_api.request(
            "POST", "executions", running["id"], "input", json={"value": "Ada"}
        )
        in_memory = await exec_api.final(running)
        shown = await exec_api.session(session["id"])

    assert (refused.status, refused.json["code"]) == (status, code)
    assert answered.status == 200
    assert in_memory["state"] == "succeeded"
    assert in_memory["result"]["stdout"].endswith("Ada\n")
    assert shown["id"] == session["id"]
    assert (await exec_api.final(waiting))["state"] == "succeeded"
    async with asyncio.timeout(20):
        while list(exec_app.turns.all()):
            await exec_app.turns.store_unstored()  # as upkeep does
    assert await exec_api.get(running) == in_memory
    assert (await exec_api.run_code("after", session_id=session["id"]))["state"] == "succeeded"


@pytest.mark.parametrize("exec_config", [{"sqlite_journal_mode": "delete"}], ids=["no WAL"])
async def test_a_store_that_is_damaged_ends_no_session(
    exec_api: ExecApi, exec_app: ExecApp, echo_kernel_name: str, tmp_path: Path
) -> None:
    """The damaged file is put aside; the session and what runs in it go on, and can be ended."""
    path = tmp_path / "store" / "executions.sqlite"
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    running = await exec_api.start_code("!ask", session_id=session["id"])
    await exec_api.until(running, lambda shown: "input_request" in shown)
    path.write_bytes(b"nonsense" * 10_000)

    async with asyncio.timeout(20):
        while (await exec_api.request("GET", "executions")).status != 200:
            await asyncio.sleep(0.02)
    await exec_api.request("POST", "executions", running["id"], "input", json={"value": "Ada"})
    final = await exec_api.final(running)
    after = await exec_api.run_code("after", session_id=session["id"])
    async with asyncio.timeout(20):
        while list(exec_app.turns.all()):
            await exec_app.turns.store_unstored()  # as upkeep does
    listed = (await exec_api.request("GET", "executions")).json["executions"]
    deleted = await exec_api.request("DELETE", "sessions", session["id"])

    assert (final["state"], after["state"]) == ("succeeded", "succeeded")
    assert {record["id"] for record in listed} == {final["id"], after["id"]}
    assert deleted.status == 204
    assert len(list(path.parent.glob("*.corrupt-*"))) == 1


# What the code does.

ODD = "nul\0 esc\x1b[31m bell\x07 del\x7f c1\x85 line\u2028 bom\ufeff none\uffff moon\U0001f319"
PRINT_ODD = f"""{FORGE}
odd, lone = {ODD!r}, {{'lone': ['\\ud800']}}
print(odd)
print('y' * 2_000_000)
# As kernels of other languages can; Python's own waits for ever when it is printed.
forge('stream', br'{{"name": "stderr", "text": "lone \\ud800 end"}}', parent)
forge('display_data', br'{{"data": {{"a/json": ["\\udfff"]}}, "metadata": {{}}}}', parent)
{{'odd': odd}}
"""


async def test_odd_characters_arrive_everywhere(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """In streams, values, variables, errors, events and the log; all of it valid JSON and UTF-8."""
    session = await exec_api.new_session()

    record = await exec_api.run_code(
        PRINT_ODD, session_id=session["id"], variable_names=["odd", "lone"]
    )
    failed = await exec_api.run_code("raise ValueError(odd)", session_id=session["id"])
    lone = await exec_api.run_code("lone", session_id=session["id"])

    result = record["result"]
    assert record["state"] == "succeeded"
    assert result["stdout"].split("\n")[0] == ODD
    assert result["stdout"].split("\n")[1] == "y" * 2_000_000
    assert result["stderr"] == "lone ? end"
    assert {"a/json": ["?"]} in [output.get("data") for output in result["outputs"]]
    assert result["value"] == {"odd": ODD}
    assert result["variables"]["odd"]["json"] == ODD
    assert "json" not in result["variables"]["lone"]
    assert failed["error"]["evalue"] == ODD
    assert "value" not in lone["result"]
    assert "text/plain" in lone["result"]["value_data"]
    assert ODD in await exec_api.log(record)
    for accept in ("text/event-stream", "application/x-ndjson"):
        events = await following.events(record, headers={"Accept": accept})
        assert text_of(events).split("\n")[0] == ODD
        assert text_of(events, "stderr") == result["stderr"]
    for answer in (record, failed, lone):
        json.dumps(answer, ensure_ascii=False).encode()


async def test_code_that_takes_all_leaves_the_session_usable(exec_api: ExecApi) -> None:
    """No memory is an error of the code; a loop without end meets its limit; variables stay."""
    session = await exec_api.new_session()

    no_memory = await exec_api.run_code("x = 5; bytearray(10**16)", session_id=session["id"])
    endless = await exec_api.run_code(
        "while True: pass", session_id=session["id"], timeout_seconds=0.5
    )
    deep = await exec_api.run_code("def f(): f()\nf()", session_id=session["id"])
    after = await exec_api.run_code("x", session_id=session["id"])

    assert (no_memory["state"], no_memory["error"]["ename"]) == ("failed", "MemoryError")
    assert (endless["state"], endless["error"]["code"]) == ("failed", "Timeout")
    assert deep["error"]["ename"] == "RecursionError"
    assert after["result"]["value"] == 5


@pytest.mark.parametrize("is_attached", [False, True], ids=["own", "attached"])
async def test_another_clients_error_costs_ours_nothing(
    exec_api: ExecApi, exec_app: ExecApp, is_attached: bool
) -> None:
    """What the kernel aborts for it runs again, once; it never succeeds without having run."""
    server: Any = exec_app.serverapp
    manager = server.kernel_manager
    kernel_id = await manager.start_kernel(kernel_name="python3") if is_attached else None
    session = await exec_api.new_session(**({"kernel_id": kernel_id} if kernel_id else {}))
    first = await exec_api.start_code(
        f"count = 0\nprint('here', flush=True)\n{GATE.format(str(exec_api.root / 'go'))}",
        session_id=session["id"],
    )
    second = await exec_api.start_code("count += 1; count", session_id=session["id"])
    shown = await exec_api.until_printed(first, "here")
    client = manager.get_kernel(shown["kernel_id"]).client()
    client.start_channels(iopub=False, stdin=False, hb=False)
    try:
        client.execute("import time; time.sleep(0.3); 1/0", stop_on_error=True)
        (exec_api.root / "go").touch()
        finals = [await exec_api.final(record) for record in (first, second)]
    finally:
        client.stop_channels()

    assert [record["state"] for record in finals] == ["succeeded", "succeeded"]
    assert finals[1]["result"]["value"] == 1


# What clients do.


async def test_deleting_twice_while_it_runs_and_is_followed(
    exec_api: ExecApi, following: FollowingClient, echo_kernel_name: str
) -> None:
    """Not without force; then it is cancelled first, who follows is let go, and 404 after."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    record = await exec_api.start_code("!sleep 60", session_id=session["id"])
    path = ("executions", record["id"])

    async with following.stream(record) as stream:
        await stream.until("stream")
        refused = await exec_api.request("DELETE", *path)
        deleted = await asyncio.gather(
            *(exec_api.request("DELETE", *path, params={"force": "true"}) for _ in range(3))
        )
        await stream.rest()
    late = await exec_api.request("DELETE", *path, params={"force": "true"})
    after = await exec_api.run_code("after", session_id=session["id"])

    assert (refused.status, refused.json["code"]) == (409, "NotFinal")
    assert sorted(answer.status for answer in deleted) == [204, 404, 404]
    assert late.status == 404
    async with following.stream(record) as stream:
        assert stream.response.status_code == 404
    assert after["state"] == "succeeded"
    assert "kernel_lost" not in after


async def test_deleting_a_session_twice_while_it_is_followed(
    exec_api: ExecApi, exec_app: ExecApp, following: FollowingClient, echo_kernel_name: str
) -> None:
    """Once, with what runs and what waits in it; all who follow are told why; no kernel is left."""
    server: Any = exec_app.serverapp
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    running, waiting = [
        await exec_api.start_code("!sleep 60", session_id=session["id"]) for _ in range(2)
    ]

    async with following.stream(running) as first, following.stream(waiting) as second:
        await first.until("stream")
        deleted = await asyncio.gather(
            *(exec_api.request("DELETE", "sessions", session["id"]) for _ in range(3))
        )
        ends = [await stream.rest() for stream in (first, second)]

    assert {204} <= {answer.status for answer in deleted} <= {204, 404}
    for events in ends:
        assert events[-2]["error"]["code"] == "SessionLost"
        assert events[-1]["state"] == "failed"
    assert server.kernel_manager.list_kernel_ids() == []


async def test_one_key_is_one_execution_in_a_session(
    exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """Sent at the same moment, while it runs and later; also where a busy session refuses."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    body = {"code": "!ask", "session_id": session["id"], "on_busy": "reject"}
    headers = {"Idempotency-Key": "k"}

    at_once = await asyncio.gather(
        *(exec_api.request("POST", "executions", json=body, headers=headers) for _ in range(10))
    )
    record = await exec_api.until(at_once[0].json, lambda shown: "input_request" in shown)
    while_it_runs = await exec_api.request("POST", "executions", json=body, headers=headers)
    others = [
        await exec_api.request("POST", "executions", json={**body, **other}, headers=headers)
        for other in ({"code": "!ask more"}, {"stdin": ["a"]}, {"on_busy": "queue"})
    ]
    await exec_api.request("POST", "executions", record["id"], "input", json={"value": "Ada"})
    final = await exec_api.final(record)
    late = await exec_api.request("POST", "executions", json=body, headers=headers)

    assert {answer.status for answer in [*at_once, while_it_runs]} == {202}
    assert {answer.json["id"] for answer in [*at_once, while_it_runs, late]} == {record["id"]}
    assert {answer.status for answer in others} == {409}
    assert {answer.json["code"] for answer in others} == {"IdempotencyConflict"}
    assert (late.status, late.json) == (200, final)
    assert final["result"]["stdout"] == "!ask\nAda\n"
    assert len((await exec_api.request("GET", "executions")).json["executions"]) == 1


async def test_a_wait_that_is_cut_off_can_be_asked_again(
    exec_api: ExecApi,
    following: FollowingClient,
    echo_kernel_name: str,
) -> None:
    """The execution goes on; with its key the same request waits for the same one."""
    body = {"code": "!ask", "session_name": "s", "kernel_name": echo_kernel_name}
    headers = {"Idempotency-Key": "k"}

    async def ask() -> Any:
        params = {"wait": 60}
        return await following.http.post("executions", json=body, headers=headers, params=params)

    cut_off = asyncio.create_task(ask())
    async with asyncio.timeout(20):
        while not (listed := (await exec_api.request("GET", "executions")).json["executions"]):
            await asyncio.sleep(0.01)
    await exec_api.until(listed[0], lambda shown: "input_request" in shown)
    cut_off.cancel()
    again = asyncio.create_task(ask())
    answered = await exec_api.request(
        "POST", "executions", listed[0]["id"], "input", json={"value": "Ada"}
    )
    answer = await again
    after = await exec_api.run_code("after", session_name="s")

    assert answered.status == 200
    assert (answer.status_code, answer.json()["id"]) == (200, listed[0]["id"])
    assert answer.json()["result"]["stdout"] == "!ask\nAda\n"
    assert after["state"] == "succeeded"


DEEP = b"[" * 100_000
BAD_BODIES = (
    b"",
    b"[]",
    b"null",
    b'"x"',
    b"{",
    b'{"value":"\xff"}',
    b'{"labels":NaN}',
    DEEP,
    b'{"labels":' + DEEP + b"]" * 100_000 + b"}",
    b'{"idle_timeout_seconds":1e400}',
    b'{"value":"\\ud800"}',
    b'{"unknown":1}',
)


async def test_bad_bodies_change_nothing(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """400 for what is no JSON, or no object of ours, wherever a body is taken."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    record = await exec_api.start_code("!ask", session_id=session["id"])
    await exec_api.until(record, lambda shown: "input_request" in shown)
    places = (
        ("POST", "sessions"),
        ("PUT", "sessions", session["id"]),
        ("POST", "executions", record["id"], "input"),
    )

    answers = [
        (place, body, await exec_api.request(*place, body=body))
        for place in places
        for body in BAD_BODIES
    ]
    too_large = [await exec_api.request(*place, body=b" " * 9_000_000) for place in places]
    too_much = await exec_api.request(
        "POST", "sessions", json={"environment": {"BIG": "x" * 300_000}}
    )

    for place, body, answer in answers:
        assert answer.status == 400, (place, body[:40], answer.body)
    assert {answer.status for answer in too_large} == {413}
    assert (too_much.status, too_much.json["target"]) == (422, "environment.BIG")
    assert "input_request" in await exec_api.get(record)
    assert len((await exec_api.request("GET", "sessions")).json["sessions"]) == 1
    assert (await exec_api.session(session["id"]))["labels"] == {}
