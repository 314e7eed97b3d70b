"""Sessions: one kernel and one queue for executions that share variables."""

import asyncio
import re
from datetime import datetime
from typing import Any

import pytest

from jupyter_exec_ext.app import ExecApp
from tests.conftest import WAIT_SECONDS, ExecApi

SLEEP = "import time; print('here', flush=True); time.sleep(60)"
WAIT_FOR_FILE = """
import pathlib, time
print('here', flush=True)
while not pathlib.Path('go').exists(): time.sleep(0.005)
"""


async def test_variables_last_from_one_execution_to_the_next(exec_api: ExecApi) -> None:
    """All executions of a session run in one kernel; the record names both."""
    session = await exec_api.new_session(name="mine")

    first = await exec_api.run_code("x = 20", session_id=session["id"])
    second = await exec_api.run_code("print(x + 1)", session_name="mine")

    assert second["result"]["stdout"] == "21\n"
    assert second["kernel_id"] == first["kernel_id"]
    assert {first["session_id"], second["session_id"]} == {session["id"]}
    assert second["session_name"] == "mine"
    assert "kernel_lost" not in second


async def test_a_name_finds_its_session(exec_api: ExecApi) -> None:
    """201 for a new name, 200 and the same session afterwards, and it is in the list."""
    created = await exec_api.request("POST", "sessions", json={"name": "a", "labels": {"k": "v"}})
    again = await exec_api.request("POST", "sessions", json={"name": "a"})
    listed = await exec_api.request("GET", "sessions", params={"name": "a"})

    assert (created.status, again.status) == (201, 200)
    assert created.headers["Location"] == f"/user/a%40b/exec/sessions/{created.json['id']}"
    assert again.json["id"] == created.json["id"]
    assert again.json["labels"] == {"k": "v"}
    assert [record["id"] for record in listed.json["sessions"]] == [created.json["id"]]


async def test_a_name_that_is_taken_by_another_kind_of_session_is_told(exec_api: ExecApi) -> None:
    """409 names what differs; what is not asked for may be anything."""
    (exec_api.root / "folder").mkdir()
    await exec_api.new_session(name="a", path="folder", environment={"A": "1"})

    for body, target in (
        ({"path": ""}, "path"),
        ({"environment": {"B": "1"}}, "environment"),
        ({"kernel_id": "other"}, "kernel_id"),
        ({"kernel_name": "other"}, "kernel_name"),
    ):
        answer = await exec_api.request("POST", "sessions", json={"name": "a", **body})
        assert (answer.status, answer.json["code"]) == (409, "SessionDiffers")
        assert answer.json["target"] == target
    same = await exec_api.request(
        "POST", "sessions", json={"name": "a", "path": "folder/", "environment": {"A": "1"}}
    )
    assert same.status == 200


async def test_an_execution_tells_that_it_created_its_session(exec_api: ExecApi) -> None:
    """A misspelt name, or one whose session has ended, gets a new session and says so."""
    first = await exec_api.run_code("1", session_name="mine")
    second = await exec_api.run_code("1", session_name="mine")
    await exec_api.request("DELETE", "sessions", first["session_id"])
    third = await exec_api.run_code("1", session_name="mine")

    created = [record["session_created"] for record in (first, second, third)]
    assert created == [True, False, True]


async def test_a_session_named_by_an_execution_is_created_once(exec_api: ExecApi) -> None:
    """Ten requests at once for a new name share one session."""
    records = await asyncio.gather(
        *(exec_api.run_code(f"print({n})", session_name="new") for n in range(10))
    )

    assert len({record["session_id"] for record in records}) == 1
    assert len({record["kernel_id"] for record in records}) == 1


async def test_executions_run_in_the_order_in_which_they_were_accepted(exec_api: ExecApi) -> None:
    """The queue of a session is visible, and each execution runs alone."""
    session = await exec_api.new_session(path="")
    first = await exec_api.start_code(WAIT_FOR_FILE + "order = []", session_id=session["id"])
    await exec_api.until_printed(first, "here")

    waiting = [
        await exec_api.start_code(f"order.append({n}); order", session_id=session["id"])
        for n in range(5)
    ]
    positions = [(await exec_api.get(record))["position"] for record in waiting]
    shown = await exec_api.session(session["id"])
    (exec_api.root / "go").touch()
    finals = [await exec_api.final(record) for record in waiting]

    assert positions == [0, 1, 2, 3, 4]
    assert (shown["state"], shown["pending_count"]) == ("busy", 5)
    assert finals[-1]["result"]["value"] == [0, 1, 2, 3, 4]
    assert all("position" not in record for record in finals)
    starts = [datetime.fromisoformat(record["start_time"]) for record in finals]
    assert starts == sorted(starts)


async def test_sessions_run_side_by_side(exec_api: ExecApi) -> None:
    """One session's execution does not wait for another's."""
    slow = await exec_api.start_code(SLEEP, session_name="slow")
    await exec_api.until_printed(slow, "here")

    record = await exec_api.run_code("print('quick')", session_name="quick")

    assert record["state"] == "succeeded"
    assert (await exec_api.get(slow))["state"] == "running"
    await exec_api.request("POST", "executions", slow["id"], "cancel")


async def test_a_hundred_executions_over_ten_sessions_run_once_each(exec_api: ExecApi) -> None:
    """Ten clients at once: none is lost or doubled, each session runs its own in order."""

    async def one_client(client: int) -> list[dict[str, Any]]:
        return [
            await exec_api.start_code(
                f"seen = globals().get('seen', []); seen.append(({client}, {n})); len(seen)",
                session_name=f"s{n}",
            )
            for n in range(10)
        ]

    started = await asyncio.gather(*map(one_client, range(10)))
    finals = [await exec_api.final(record) for records in started for record in records]
    seen = [
        (await exec_api.run_code("seen", session_name=f"s{n}"))["result"]["value"]
        for n in range(10)
    ]

    assert {record["state"] for record in finals} == {"succeeded"}
    assert len({record["id"] for record in finals}) == 100
    for number, order in enumerate(seen):
        mine = [record for record in finals if record["session_name"] == f"s{number}"]
        assert sorted(record["result"]["value"] for record in mine) == list(range(1, 11))
        assert sorted(client for client, _ in order) == list(range(10))
        accepted = sorted(mine, key=lambda record: record["created_time"])
        assert [record["result"]["value"] for record in accepted] == list(range(1, 11))


async def test_an_environment_is_there_from_the_start_and_after_a_restart(
    exec_api: ExecApi,
) -> None:
    """Values of a session's environment are shown nowhere, their names are."""
    session = await exec_api.new_session(environment={"GREETING": "secret-word", "LIST": [1]})
    code = "import os; os.environ['GREETING'] + os.environ['LIST']"

    first = await exec_api.run_code(code, session_id=session["id"])
    restarted = await exec_api.request("POST", "sessions", session["id"], "restart")
    second = await exec_api.run_code(code, session_id=session["id"])

    assert session["environment_names"] == ["GREETING", "LIST"]
    assert restarted.status == 200
    assert first["result"]["value"] == second["result"]["value"] == "secret-word[1]"
    assert b"secret-word" not in restarted.body


async def test_a_session_works_in_its_folder(exec_api: ExecApi) -> None:
    """The kernel's working directory is the folder that the session names, else one of its own."""
    (exec_api.root / "some" / "folder").mkdir(parents=True)
    code = "import os; os.getcwd()"

    inside = await exec_api.new_session(path="some/folder")
    record = await exec_api.run_code(code, session_id=inside["id"])
    at_root = await exec_api.run_code(code, session_id=(await exec_api.new_session(path=""))["id"])
    own = await exec_api.run_code(code, session_name="Großer Name!")
    session = await exec_api.session(own["session_id"])
    missing = await exec_api.request("POST", "sessions", json={"path": "no/folder"})
    outside = await exec_api.request("POST", "sessions", json={"path": "../.."})

    assert inside["path"] == "some/folder"
    assert record["result"]["value"] == str(exec_api.root / "some" / "folder")
    assert at_root["result"]["value"] == str(exec_api.root)
    assert own["result"]["value"] == str(exec_api.root / session["path"])
    assert re.fullmatch(r"exec-sessions/groer-name-[0-9a-f]{8}", session["path"])
    assert (missing.status, missing.json["target"]) == (422, "path")
    assert outside.json["message"] == missing.json["message"]


async def test_settings_change_and_the_rest_stays(exec_api: ExecApi) -> None:
    """PUT changes what it names."""
    session = await exec_api.new_session(description="old", labels={"a": "1"})

    answer = await exec_api.request(
        "PUT", "sessions", session["id"], json={"description": "new", "idle_timeout_seconds": 0}
    )

    assert answer.status == 200
    assert answer.json["description"] == "new"
    assert answer.json["labels"] == {"a": "1"}
    assert "idle_timeout_seconds" not in answer.json
    assert "expire_time" not in answer.json


async def test_inputs_are_there_for_one_execution_alone(exec_api: ExecApi) -> None:
    """They are restored after it, also after a failed one; null takes a variable away."""
    session = await exec_api.new_session(environment={"BOTH": "session", "GONE": "there"})
    show = "import os; [os.environ.get(n) for n in ('BOTH', 'NEW', 'GONE')]"

    during = await exec_api.run_code(
        show, session_id=session["id"], inputs={"BOTH": "input", "NEW": 5, "GONE": None}
    )
    after = await exec_api.run_code(show, session_id=session["id"])
    failed = await exec_api.run_code("1/0", session_id=session["id"], inputs={"NEW": "x"})
    cancelled = await exec_api.start_code(SLEEP, session_id=session["id"], inputs={"NEW": "x"})
    await exec_api.until_printed(cancelled, "here")
    await exec_api.request("POST", "executions", cancelled["id"], "cancel")
    finally_ = await exec_api.run_code(show, session_id=session["id"])

    assert during["result"]["value"] == ["input", "5", None]
    assert after["result"]["value"] == finally_["result"]["value"] == ["session", None, "there"]
    assert failed["state"] == "failed"
    assert during["input_names"] == ["BOTH", "GONE", "NEW"]


async def test_a_notebook_runs_in_a_session(exec_api: ExecApi) -> None:
    """It sees the variables that are there, and leaves its own."""
    session = await exec_api.new_session()
    await exec_api.run_code("x = 6", session_id=session["id"])
    path = exec_api.write_notebook("nb.ipynb", "y = x * 7", "print(y)")

    notebook = await exec_api.run(path, session_id=session["id"])
    after = await exec_api.run_code("y", session_id=session["id"])

    assert notebook["result"]["stdout"] == "42\n"
    assert after["result"]["value"] == 42


async def test_on_busy_reject_refuses_while_something_runs(exec_api: ExecApi) -> None:
    """409 and nothing is left of the request; an idle session takes it."""
    session = await exec_api.new_session()
    running = await exec_api.start_code(SLEEP, session_id=session["id"])
    await exec_api.until_printed(running, "here")
    body = {"code": "1", "session_id": session["id"], "on_busy": "reject"}

    refused = await exec_api.request("POST", "executions", json=body)
    await exec_api.request("POST", "executions", running["id"], "cancel", params={"wait": 20})
    taken = await exec_api.run_code("1", session_id=session["id"], on_busy="reject")

    assert (refused.status, refused.json["code"]) == (409, "SessionBusy")
    assert taken["state"] == "succeeded"
    listed = (await exec_api.request("GET", "executions")).json["executions"]
    assert len(listed) == 2


async def test_interrupting_a_session_is_the_codes_interrupt(exec_api: ExecApi) -> None:
    """Code that handles it goes on; code that does not, fails with its language's error."""
    session = await exec_api.new_session()
    tough = await exec_api.start_code(
        f"try:\n {SLEEP}\nexcept KeyboardInterrupt: print('handled')", session_id=session["id"]
    )
    await exec_api.until_printed(tough, "here")

    await exec_api.request("POST", "sessions", session["id"], "interrupt")
    handled = await exec_api.final(tough)
    weak = await exec_api.start_code(SLEEP, session_id=session["id"])
    await exec_api.until_printed(weak, "here")
    await exec_api.request("POST", "sessions", session["id"], "interrupt")
    failed = await exec_api.final(weak)

    assert handled["state"] == "succeeded"
    assert handled["result"]["stdout"].endswith("handled\n")
    assert (failed["state"], failed["error"]["ename"]) == ("failed", "KeyboardInterrupt")


async def test_a_deleted_session_ends_what_is_in_it(exec_api: ExecApi) -> None:
    """What runs and what waits ends as lost with its session; the records stay."""
    session = await exec_api.new_session(name="doomed")
    running = await exec_api.start_code(SLEEP, session_id=session["id"])
    waiting = await exec_api.start_code("1", session_id=session["id"])
    await exec_api.until_printed(running, "here")

    deleted = await exec_api.request("DELETE", "sessions", session["id"])
    finals = [await exec_api.final(record) for record in (running, waiting)]
    gone = await exec_api.request("GET", "sessions", session["id"])
    refused = await exec_api.request(
        "POST", "executions", json={"code": "1", "session_id": session["id"]}
    )
    again = await exec_api.request("DELETE", "sessions", session["id"])
    reborn = await exec_api.new_session(name="doomed")

    assert deleted.status == 204
    assert [record["state"] for record in finals] == ["failed", "failed"]
    assert [record["error"]["code"] for record in finals] == ["SessionLost", "SessionLost"]
    assert [record["started"] for record in finals] == [True, False]
    assert (gone.status, gone.json["code"]) == (404, "SessionNotFound")
    assert (refused.status, refused.json["code"]) == (404, "SessionNotFound")
    assert again.status == 404
    assert reborn["id"] != session["id"]


async def test_a_session_that_ends_while_it_accepts_lets_what_runs_end(
    exec_api: ExecApi, exec_app: ExecApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is accepted too late fails, and takes nobody's turn."""
    session = await exec_api.new_session()
    running = await exec_api.start_code(
        "import time\nprint('here', flush=True)\ntry: time.sleep(60)\n"
        "except KeyboardInterrupt: time.sleep(1); print('tidied up')",
        session_id=session["id"],
    )
    await exec_api.until_printed(running, "here")
    may_store = asyncio.Event()
    insert = exec_app.store.insert

    async def insert_late(*args: Any, **kwargs: Any) -> None:
        await may_store.wait()
        await insert(*args, **kwargs)

    monkeypatch.setattr(exec_app.store, "insert", insert_late)
    late = asyncio.create_task(exec_api.run_code("1", session_id=session["id"]))
    live = await exec_app.sessions.find(session["id"])
    async with asyncio.timeout(WAIT_SECONDS):
        while not live.lock.locked():
            await asyncio.sleep(0.01)
        deleting = asyncio.create_task(exec_api.request("DELETE", "sessions", session["id"]))
        while not live.is_ending:
            await asyncio.sleep(0.01)
    may_store.set()
    finals = [await late, await exec_api.final(running)]

    assert (await deleting).status == 204
    assert [record["error"]["code"] for record in finals] == ["SessionLost", "SessionLost"]
    assert [record["started"] for record in finals] == [False, True]
    assert finals[1]["result"]["stdout"] == "here\ntidied up\n"


async def test_no_kernel_is_left_of_a_deleted_session(exec_api: ExecApi, exec_app: ExecApp) -> None:
    """Neither a kernel nor a server session."""
    server: Any = exec_app.serverapp
    session = await exec_api.new_session()
    await exec_api.run_code("1", session_id=session["id"])
    assert len(server.kernel_manager.list_kernel_ids()) == 1
    (shown,) = await server.session_manager.list_sessions()
    assert (shown["type"], shown["path"]) == ("console", f"exec-{session['id']}")

    await exec_api.request("DELETE", "sessions", session["id"])

    assert server.kernel_manager.list_kernel_ids() == []
    assert await server.session_manager.list_sessions() == []


@pytest.mark.parametrize("exec_config", [{"session_idle_timeout_seconds": 1.0}])
async def test_a_session_that_nobody_uses_ends_and_says_so(
    exec_api: ExecApi, exec_app: ExecApp
) -> None:
    """Its kernel ends, its name is free, its record tells why; use of it keeps it."""
    server: Any = exec_app.serverapp
    session = await exec_api.new_session(name="idle")
    assert "expire_time" in session
    for _ in range(4):
        await exec_api.run_code("import time; time.sleep(0.5)", session_id=session["id"])

    ended = await exec_api.until_session(session["id"], lambda shown: shown["state"] == "ended")
    refused = await exec_api.request(
        "POST", "executions", json={"code": "1", "session_id": session["id"]}
    )
    listed = await exec_api.request("GET", "sessions")
    of_ended = await exec_api.request("GET", "sessions", params={"state": "ended"})

    assert ended["end_error"]["code"] == "SessionIdle"
    assert "end_time" in ended
    assert "kernel_id" not in ended
    assert server.kernel_manager.list_kernel_ids() == []
    assert (refused.status, refused.json["code"]) == (409, "SessionEnded")
    assert listed.json["sessions"] == []
    assert [shown["id"] for shown in of_ended.json["sessions"]] == [session["id"]]
    assert (await exec_api.new_session(name="idle"))["id"] != session["id"]


@pytest.mark.parametrize("exec_config", [{"max_sessions": 3, "max_pending_per_session": 2}])
async def test_limits_refuse_and_lose_nothing(exec_api: ExecApi) -> None:
    """Above the number of sessions, or of executions that wait in one: 429 with Retry-After."""
    sessions = [await exec_api.new_session(path="") for _ in range(3)]

    refused = await exec_api.request("POST", "sessions", json={})
    by_name = await exec_api.request(
        "POST", "executions", json={"code": "1", "session_name": "one too many"}
    )
    running = await exec_api.start_code(WAIT_FOR_FILE, session_id=sessions[0]["id"])
    await exec_api.until_printed(running, "here")
    waiting = [await exec_api.start_code("1", session_id=sessions[0]["id"]) for _ in range(2)]
    full = await exec_api.request(
        "POST", "executions", json={"code": "1", "session_id": sessions[0]["id"]}
    )
    (exec_api.root / "go").touch()

    for answer in (refused, by_name, full):
        assert (answer.status, answer.json["code"]) == (429, "TooMany")
        assert int(answer.headers["Retry-After"]) > 0
    for record in (running, *waiting):
        assert (await exec_api.final(record))["state"] == "succeeded"
    await exec_api.request("DELETE", "sessions", sessions[1]["id"])
    assert (await exec_api.request("POST", "sessions", json={})).status == 201


async def test_pages_of_sessions(exec_api: ExecApi) -> None:
    """Every session is on exactly one page, the newest first."""
    created = [(await exec_api.new_session(name=f"s{n}"))["id"] for n in range(5)]

    found: list[str] = []
    token = ""
    while True:
        answer = await exec_api.request(
            "GET", "sessions", params={"page_size": 2, "page_token": token}
        )
        found += [record["id"] for record in answer.json["sessions"]]
        token = answer.json.get("next_page_token", "")
        if not token:
            break

    assert found == created[::-1]


@pytest.mark.parametrize(
    ("body", "status", "target"),
    [
        ({"name": ""}, 422, "name"),
        ({"name": "a\nb"}, 422, "name"),
        ({"name": "x" * 257}, 422, "name"),
        ({"kernel_name": "no-such"}, 422, "kernel_name"),
        ({"kernel_id": "no-such"}, 404, "kernel_id"),
        ({"environment": {"PATH": "/x"}}, 422, "environment.PATH"),
        ({"environment": {"a b": "1"}}, 422, "environment.a b"),
        ({"idle_timeout_seconds": -1}, 422, "idle_timeout_seconds"),
        ({"idle_timeout_seconds": 1e12}, 422, "idle_timeout_seconds"),
        ({"idle_timeout_seconds": "soon"}, 400, "idle_timeout_seconds"),
        ({"labels": {"": "x"}}, 422, "labels"),
        ({"nome": "x"}, 400, "nome"),
        ({"path": 5}, 400, "path"),
    ],
    ids=repr,
)
async def test_bad_input_names_the_field(
    exec_api: ExecApi, body: dict[str, Any], status: int, target: str
) -> None:
    """And nothing is created."""
    answer = await exec_api.request("POST", "sessions", json=body)

    assert (answer.status, answer.json["target"]) == (status, target)
    assert (await exec_api.request("GET", "sessions")).json["sessions"] == []
