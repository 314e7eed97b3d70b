"""Executions in the folder of a session, with kernels of their own."""

import asyncio
from typing import Any

import pytest

from tests.conftest import ExecApi

READ = "import os\n[open('a').read(), 'x' in globals(), os.environ.get('E'), os.environ.get('I')]"
HOLD = "open('here', 'w').close()\nimport time\ntime.sleep(300)"


async def new_session(exec_api: ExecApi) -> dict[str, Any]:
    """Return a session whose kernel has a variable and whose folder has a file."""
    session = await exec_api.new_session(name="mine", environment={"E": "of session"})
    await exec_api.run_code("x = 1\nopen('a', 'w').write('text')", session_id=session["id"])
    return session


async def until_here(api: ExecApi, session: dict[str, Any]) -> None:
    """Wait until `HOLD` runs in a session."""
    async with asyncio.timeout(60):
        while not (api.root / session["path"] / "here").exists():
            await asyncio.sleep(0.02)


async def test_it_has_the_files_and_not_the_variables(exec_api: ExecApi, jp_serverapp: Any) -> None:
    """And the environment with its inputs on top; the kernel ends, the session's goes on."""
    session = await new_session(exec_api)
    ran = await exec_api.run_code(
        READ, session_name="mine", fresh_kernel=True, inputs={"I": "of run"}
    )
    shown = await exec_api.until_session(session["id"], lambda shown: shown["state"] == "idle")
    after = await exec_api.run_code("x", session_id=session["id"])

    assert ran["result"]["value"] == ["text", False, "of session", "of run"]
    assert ran["fresh_kernel"] is True
    assert ran["session_id"] == session["id"]
    assert ran["kernel_id"] != shown["kernel_id"]
    assert jp_serverapp.kernel_manager.list_kernel_ids() == [shown["kernel_id"]]
    assert after["result"]["value"] == 1
    assert after["fresh_kernel"] is False


async def test_it_waits_for_none_of_the_others(exec_api: ExecApi) -> None:
    """The session may be busy for long; with such an execution it is busy too."""
    session = await new_session(exec_api)
    held = await exec_api.start_code(HOLD, session_id=session["id"])
    await until_here(exec_api, session)

    ran = await exec_api.run_code("1", session_id=session["id"], fresh_kernel=True)

    assert ran["state"] == "succeeded"
    assert (await exec_api.get(held))["state"] == "running"
    (exec_api.root / session["path"] / "here").unlink()
    await exec_api.request("POST", "executions", held["id"], "cancel")
    await exec_api.final(held)
    beside = await exec_api.start_code(HOLD, session_id=session["id"], fresh_kernel=True)
    await until_here(exec_api, session)
    assert (await exec_api.session(session["id"]))["state"] == "busy"
    await exec_api.request("POST", "executions", beside["id"], "cancel")
    assert (await exec_api.final(beside))["state"] == "cancelled"
    await exec_api.until_session(session["id"], lambda shown: shown["state"] == "idle")


@pytest.mark.parametrize("exec_config", [{"max_running": 1}])
async def test_they_end_with_the_session(exec_api: ExecApi) -> None:
    """What runs and what waits for a place, before the folder goes."""
    session = await new_session(exec_api)
    runs = await exec_api.start_code(HOLD, session_id=session["id"], fresh_kernel=True)
    waits = await exec_api.start_code(HOLD, session_id=session["id"], fresh_kernel=True)
    await until_here(exec_api, session)
    pending = await exec_api.get(waits)

    deleted = await exec_api.request("DELETE", "sessions", session["id"])

    assert (pending["state"], pending["position"]) == ("pending", 0)
    assert deleted.status == 204
    assert not (exec_api.root / session["path"]).exists()
    for record, has_started in ((runs, True), (waits, False)):
        ended = await exec_api.final(record)
        assert (ended["state"], ended["error"]["code"]) == ("failed", "SessionLost")
        assert ended["started"] is has_started


async def test_the_same_request_at_once_is_one(exec_api: ExecApi) -> None:
    """With an idempotency key, however often it is sent."""
    session = await new_session(exec_api)
    body = {"code": "6 * 7", "session_id": session["id"], "fresh_kernel": True}

    answers = await asyncio.gather(
        *(
            exec_api.request(
                "POST",
                "executions",
                params={"wait": 60},
                json=body,
                headers={"Idempotency-Key": "k"},
            )
            for _ in range(4)
        )
    )

    assert [answer.status for answer in answers] == [200] * 4
    assert len({answer.json["id"] for answer in answers}) == 1
    assert answers[0].json["result"]["value"] == 42


async def test_what_has_no_such_kernel_is_refused(exec_api: ExecApi, jp_serverapp: Any) -> None:
    """No session, a subshell, or a session on somebody else's kernel."""
    session = await new_session(exec_api)
    kernel_id = await jp_serverapp.kernel_manager.start_kernel()
    attached = await exec_api.new_session(kernel_id=kernel_id, name="attached")

    for fields in (
        {},
        {"session_id": session["id"], "on_busy": "subshell"},
        {"session_id": session["id"], "on_busy": "reject"},
        {"session_name": "attached"},
        {"session_id": attached["id"]},
    ):
        body = {"code": "1", "fresh_kernel": True, **fields}
        answer = await exec_api.request("POST", "executions", json=body)
        assert (answer.status, answer.json["target"]) == (422, "fresh_kernel")
