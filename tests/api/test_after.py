"""Executions that run after another one, if that has succeeded."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.store.store import Store
from tests.conftest import ExecApi
from tests.store.builders import new_instance

WAIT = "!sleep 300"
PYTHON_GATE = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"


async def cancel(exec_api: ExecApi, record: dict[str, Any]) -> dict[str, Any]:
    answer = await exec_api.request("POST", "executions", record["id"], "cancel", body="")
    assert answer.status == 200
    cancelled: dict[str, Any] = answer.json
    return cancelled


def assert_not_run(record: dict[str, Any], after: dict[str, Any], outcome: str) -> None:
    assert record["state"] == "cancelled"
    assert record["started"] is False
    assert record["error"] == {
        "code": "PredecessorNotSucceeded",
        "message": f"execution {after['id']}, after which this one should run, {outcome}",
    }


@pytest.fixture
def where(
    exec_api: ExecApi, echo_kernel_name: str, jp_asyncio_loop: asyncio.AbstractEventLoop
) -> dict[str, Any]:
    """A session whose kernel starts at once."""
    creating = exec_api.new_session(kernel_name=echo_kernel_name)
    return {"session_id": jp_asyncio_loop.run_until_complete(creating)["id"]}


async def test_a_chain_runs_in_its_order(
    exec_api: ExecApi, where: dict[str, Any], echo_kernel_name: str
) -> None:
    """In a session, in another one and in none; the record names the execution before."""
    exec_api.write_notebook("nb.ipynb", PYTHON_GATE)
    first = await exec_api.start("nb.ipynb")
    chain = [first]
    for fields in (where, {"session_name": "other"}, {}, where):
        fields = {"kernel_name": echo_kernel_name, **fields, "after": chain[-1]["id"]}
        chain.append(await exec_api.start_code("1", **fields))
    beside = await exec_api.run_code("beside", **where)

    assert beside["state"] == "succeeded"
    assert [record["after"] for record in chain[1:]] == [record["id"] for record in chain[:-1]]
    assert [(await exec_api.get(record))["state"] for record in chain[1:]] == ["pending"] * 4
    (exec_api.root / "go").touch()
    final = [await exec_api.final(record) for record in chain]
    assert [record["state"] for record in final] == ["succeeded"] * 5
    assert all(one["end_time"] <= two["start_time"] for one, two in pairwise(final))
    assert "error" not in final[1]


@pytest.mark.parametrize("how", ["fails", "cancelled", "cancelled while it waits"])
async def test_what_follows_is_cancelled(
    exec_api: ExecApi, where: dict[str, Any], echo_kernel_name: str, how: str
) -> None:
    """At once, in all sessions, with what should follow it; what does not depend on it runs."""
    blocker = await exec_api.start_code(WAIT, **where)
    first = await exec_api.start_code("!fail early" if how == "fails" else WAIT, **where)
    second = await exec_api.start_code("2", after=first["id"], **where)
    other = await exec_api.start_code("3", after=first["id"], kernel_name=echo_kernel_name)
    third = await exec_api.start_code("4", after=second["id"], kernel_name=echo_kernel_name)
    free = await exec_api.start_code("5", **where)

    if how != "cancelled while it waits":
        await cancel(exec_api, blocker)
    if how != "fails":
        if how == "cancelled":
            await exec_api.until(first, lambda record: record["state"] == "running")
        await cancel(exec_api, first)
    if how == "cancelled while it waits":
        # When the answer comes, all of them are final.
        assert (await exec_api.get(third))["state"] == "cancelled"
        await cancel(exec_api, blocker)

    outcome = "failed" if how == "fails" else "was cancelled"
    assert_not_run(await exec_api.final(second), first, outcome)
    assert_not_run(await exec_api.final(other), first, outcome)
    assert_not_run(await exec_api.final(third), second, "was cancelled")
    assert (await exec_api.final(free))["state"] == "succeeded"


async def test_the_reason_is_an_event(exec_api: ExecApi, where: dict[str, Any]) -> None:
    """Before the end, as that of a failure."""
    first = await exec_api.run_code("!fail early", **where)
    second = await exec_api.run_code("2", after=first["id"], **where)

    assert_not_run(second, first, "failed")
    answer = await exec_api.request(
        "GET", "executions", second["id"], "events", headers={"Accept": "application/x-ndjson"}
    )
    assert b'"type":"error"' in answer.body
    assert answer.body.splitlines()[-1].endswith(b'"state":"cancelled"}')


async def test_one_that_has_succeeded_already(exec_api: ExecApi, where: dict[str, Any]) -> None:
    """Then the next one runs as any other; with a key it is the same one, whatever became of it."""
    first = await exec_api.run_code("1", **where)
    body = {"code": "2", "after": first["id"], **where}
    headers = {"Idempotency-Key": "k"}

    answers = []
    for _ in range(2):
        answer = await exec_api.request("POST", "executions", json=body, headers=headers)
        answers.append(answer.json["id"])
        assert (await exec_api.final(answer.json))["state"] == "succeeded"
        await exec_api.request("DELETE", "executions", first["id"])

    assert answers[0] == answers[1]
    other = await exec_api.request(
        "POST", "executions", json=body | {"after": answers[0]}, headers=headers
    )
    assert other.status == 409


async def test_what_cannot_be_waited_for_is_refused(
    exec_api: ExecApi, where: dict[str, Any], exec_app: ExecApp
) -> None:
    """An unknown id, a deleted execution, and what would not wait for its session."""
    first = await exec_api.run_code("1", **where)
    for on_busy in ("reject", "subshell"):
        body = {"code": "1", "after": first["id"], "on_busy": on_busy, **where}
        answer = await exec_api.request("POST", "executions", json=body)
        assert (answer.status, answer.json["target"]) == (422, "on_busy")
    await exec_api.request("DELETE", "executions", first["id"])

    for after in (first["id"], "", "x" * 5_000, "\0"):
        body = {"code": "1", "after": after, **where}
        answer = await exec_api.request("POST", "executions", json=body)
        assert (answer.status, answer.json["target"]) == (422, "after")
    assert exec_app.turns.active_count == 0


async def test_a_waiting_execution_holds_nothing(exec_api: ExecApi, where: dict[str, Any]) -> None:
    """Its session is idle, takes others at once, also those that reject a busy one, and lasts."""
    await exec_api.until_session(where["session_id"], lambda record: record["state"] == "idle")
    blocker = await exec_api.start_code(WAIT, kernel_name="tiny-echo")
    waiting = await exec_api.start_code("1", after=blocker["id"], **where)

    session = await exec_api.session(where["session_id"])
    assert (session["state"], session["pending_count"]) == ("idle", 1)
    assert "expire_time" not in session
    other = await exec_api.run_code("2", on_busy="reject", **where)
    assert other["state"] == "succeeded"
    assert (await exec_api.get(waiting))["position"] == 0
    await exec_api.request("DELETE", "sessions", where["session_id"])
    assert (await exec_api.final(waiting))["error"]["code"] == "SessionLost"
    await cancel(exec_api, blocker)


async def test_the_death_of_the_kernel_stops_what_follows(
    exec_api: ExecApi, where: dict[str, Any]
) -> None:
    """What depends on the execution is cancelled; what only waits in the session fails."""
    blocker = await exec_api.start_code(WAIT, **where)
    first = await exec_api.start_code("!die", **where)
    second = await exec_api.start_code("2", after=first["id"], **where)
    third = await exec_api.start_code("3", **where)

    await cancel(exec_api, blocker)

    assert (await exec_api.final(first))["error"]["code"] == "KernelDied"
    assert_not_run(await exec_api.final(second), first, "failed")
    assert (await exec_api.final(third))["error"]["code"] == "SessionLost"


async def test_a_long_chain_is_cancelled_whole(exec_api: ExecApi, where: dict[str, Any]) -> None:
    """Longer than Python's stack; in the queue each has kept its place."""
    first = await exec_api.start_code(WAIT, **where)
    chain = [first]
    for _ in range(300):
        chain.append(await exec_api.start_code("1", after=chain[-1]["id"], **where))
    assert (await exec_api.get(chain[-1]))["position"] == 299

    await cancel(exec_api, first)

    assert_not_run(await exec_api.final(chain[-1]), chain[-2], "was cancelled")
    session = await exec_api.session(where["session_id"])
    assert session["pending_count"] == 0


async def test_the_stop_of_the_server_ends_a_chain(
    exec_api: ExecApi, where: dict[str, Any], exec_app: ExecApp
) -> None:
    """All of it is final afterwards."""
    first = await exec_api.start_code(WAIT, **where)
    second = await exec_api.start_code("2", after=first["id"], **where)
    third = await exec_api.start_code("3", after=second["id"], **where)
    await exec_api.until_printed(first, "sleep")

    await exec_app.stop_extension()

    instance = await asyncio.to_thread(new_instance, exec_app.store._rows.server_id)
    store = Store(exec_app.db_url, instance)
    states = [(await store.get(one["id"])).state for one in (first, second, third)]
    await store.close()

    assert states[0] == "failed"
    assert {*states[1:]} <= {"failed", "cancelled"}
