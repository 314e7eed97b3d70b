"""One session behind two doors, and what the dialect does beyond single exchanges."""

import asyncio
import shutil
from typing import Any

import httpx
import pytest

from jupyter_exec_ext.dialects.azure.executions import Executions
from tests.conftest import WAIT_SECONDS, ExecApi
from tests.dialects.azure.conftest import NEW, OLD, Pool
from tests.dialects.conftest import Call


async def _native_session(exec_api: ExecApi, name: str) -> dict[str, Any]:
    answer = await exec_api.request("GET", "sessions", params={"name": name})
    (session,) = answer.json["sessions"]
    found: dict[str, Any] = session
    return found


async def test_what_the_dialect_does_is_in_the_native_api(pool: Pool, exec_api: ExecApi) -> None:
    """The session by its name, its label and idle time, its executions and its files."""
    shown = await pool.run("print('seen'); kept = 41; open('made', 'w').write('m')")
    assert (await pool.upload("in/a.csv", "1,2")).status == 200

    session = await _native_session(exec_api, "both")
    record = await exec_api.get({"id": shown["id"]})
    again = await exec_api.run_code("kept + 1", session_name="both")
    listed = await exec_api.request(
        "GET", "sessions", session["id"], "files", params={"recursive": "true"}
    )

    assert session["labels"] == record["labels"] == {"dialect": "azure"}
    assert (session["keep_files"], session["idle_timeout_seconds"]) == (False, 300)
    assert record["session_id"] == again["session_id"] == session["id"]
    assert record["result"]["stdout"] == "seen\n"
    assert record["timeout_seconds"] == 220
    assert again["result"]["value"] == 42
    assert [file["path"] for file in listed.json["files"]] == ["in", "in/a.csv", "made"]
    assert (exec_api.root / session["path"] / "in/a.csv").read_text() == "1,2"

    assert (await pool.call("DELETE", "session")).status == 204
    assert not (exec_api.root / session["path"]).exists()
    assert (await exec_api.request("GET", "sessions", session["id"])).status == 404


async def test_what_the_native_api_does_is_in_the_dialect(pool: Pool, exec_api: ExecApi) -> None:
    """A session with a name, and what is in it; not one whose name is no identifier."""
    session = await exec_api.new_session(name="both", description="mine")
    await exec_api.new_session()
    await exec_api.new_session(name="two words")
    await exec_api.new_session(name="ä")
    put = await exec_api.request("PUT", "sessions", session["id"], "files/a.csv", body=b"1,2")
    assert put.status == 201
    mine = await exec_api.run_code("kept = 20\nkept + 1", session_id=session["id"])

    listed = await pool.call("GET", "listSessions")
    files = await pool.call("GET", "files", version=OLD)
    shown = await pool.call("GET", f"executions/{mine['id']}")
    used = await pool.run("kept + len(open('/mnt/data/a.csv').read())")

    assert [item["identifier"] for item in listed.json["sessions"]] == ["both"]
    assert [file["properties"]["filename"] for file in files.json["value"]] == ["a.csv"]
    assert shown.json["result"]["executionResult"] == 21
    assert used["result"]["executionResult"] == 23
    assert (await exec_api.session(session["id"]))["description"] == "mine"


async def test_an_execution_is_that_of_its_session(pool: Pool, exec_api: ExecApi) -> None:
    """For another identifier it is not there, also one without a session that lasts."""
    await pool.run("1", "other")
    mine = await pool.run("1", "both", headers={"operation-id": "op-1"})
    alone = await exec_api.run_code("1")

    for identifier, key, status in (
        ("both", "op-1", 200),
        ("other", "op-1", 404),
        ("unknown", "op-1", 404),
        ("both", alone["id"], 404),
    ):
        answer = await pool.call("GET", f"executions/{key}", identifier)
        assert answer.status == status, (identifier, key)
    assert mine["id"] == "op-1"


async def test_an_operation_id_is_one_execution(pool: Pool) -> None:
    """Sent again it runs nothing again; with other code it is refused; a new session knows none."""
    op = {"operation-id": "op-1"}
    code = "n = globals().get('n', 0) + 1; n"

    first = await pool.run(code, headers=op)
    again = await pool.run(code, headers=op)
    other = {"codeInputType": "Inline", "executionType": "Synchronous", "code": "2"}
    refused = await pool.call("POST", "executions", json=other, headers=op)
    await pool.call("DELETE", "session")
    anew = await pool.run("5", headers=op)

    assert first == again
    assert refused.status == 409
    assert refused.json["error"] == {
        "code": "IdempotencyConflict",
        "message": "another request had this operation-id",
        "target": "operation-id",
    }
    assert anew["result"]["executionResult"] == 5


@pytest.mark.parametrize("azure_config", [{"session_idle_seconds": 1}])
async def test_an_operation_id_outlives_its_session(pool: Pool, exec_api: ExecApi) -> None:
    """Until a session that has the name uses it again."""
    op = {"operation-id": "op-1"}
    first = await pool.run("1", headers=op)
    session = await _native_session(exec_api, "both")
    await exec_api.until_session(session["id"], lambda shown: shown["state"] == "ended")

    ended = await pool.call("GET", "executions/op-1")
    await pool.run("2")
    beside = await pool.call("GET", "executions/op-1")
    again = await pool.run("3", headers=op)
    newest = await pool.call("GET", "executions/op-1")
    await pool.call("DELETE", "session")
    deleted = await pool.call("GET", "executions/op-1")

    assert ended.json == beside.json == first
    assert again["result"]["executionResult"] == 3
    assert newest.json == deleted.json == again


async def test_an_empty_kernel_is_in_the_same_folder(pool: Pool, exec_api: ExecApi) -> None:
    """It sees the files and not the variables; the same request at once is one run."""
    await pool.run("kept = 1; open('a', 'w').write('x')")

    runs = await asyncio.gather(
        *(
            pool.run(
                "open('/mnt/data/a').read(), 'kept' in globals()",
                useEmptyKernel=True,
                headers={"operation-id": "op-1"},
            )
            for _ in range(4)
        )
    )
    again = await pool.call("GET", "executions/op-1")
    listed = await exec_api.request("GET", "executions", params={"label": "dialect=azure"})
    record, first = listed.json["executions"]

    assert runs == [again.json] * 4
    assert again.json["result"]["executionResult"] == "('x', False)"
    assert (record["fresh_kernel"], record["session_id"]) == (True, first["session_id"])
    assert (await pool.run("open('a').read(), kept"))["result"]["executionResult"] == "('x', 1)"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash; apt-get install bash")
async def test_a_shell_command_is_one_of_bash(pool: Pool) -> None:
    """As in the service's own pools: arrays and double brackets, quotes as they are."""
    command = """arr=(1 '2 "3"'); [[ ${arr[1]} == *3* ]] && echo "${arr[@]}"; exit 7"""

    answer = await pool.call("POST", "executions", json={"shellCommand": command})

    assert answer.json["status"] == "7"
    assert answer.json["result"]["stdout"] == '1 2 "3"\n'


@pytest.mark.parametrize(
    "identifier", ["a/../b", "..", "|-&^%$#(){}[];<>", "a+b", "\"'`\\", "x" * 256, "%41"]
)
async def test_any_identifier_is_a_session_of_its_own(
    identifier: str, pool: Pool, exec_api: ExecApi
) -> None:
    """Its folder is below that of all sessions, and nothing of it is in a path."""
    shown = await pool.run("import os; os.getcwd()", identifier)
    session = await pool.call("GET", "session", identifier)

    folder = (exec_api.root / "exec-sessions").resolve()
    assert shown["identifier"] == session.json["identifier"] == identifier
    assert shown["result"]["executionResult"].strip("'").startswith(f"{folder}/")
    assert len(list(folder.iterdir())) == 1


async def test_an_identifier_that_is_not_escaped_is_read_too(
    send: Call, token: str, pool: Pool
) -> None:
    """Some clients put it into the URL as it is: a plus in it is a plus."""
    await pool.run("kept = 7", "a+b%zz")

    answer = await send(
        "POST",
        f"azure/code/execute?api-version={OLD}&identifier=a+b%zz",
        {"Authorization": f"Bearer {token}"},
        b'{"properties":{"codeInputType":"inline","executionType":"synchronous","code":"kept"}}',
    )

    assert answer.json["properties"]["result"] == 7


async def test_a_list_of_files_starts_the_kernel(pool: Pool, exec_api: ExecApi) -> None:
    """What clients ask for first, so that the first run need not wait for it."""
    assert (await pool.call("GET", "files", version=OLD)).json == {"value": []}

    session = await _native_session(exec_api, "both")
    ready = await exec_api.until_session(session["id"], lambda shown: shown["state"] == "idle")
    assert ready["kernel_id"]


async def test_lists_show_what_the_service_has_a_word_for(pool: Pool, exec_api: ExecApi) -> None:
    """Files and folders, no links; the older shape all files at any depth."""
    await pool.run(
        "import os; os.makedirs('d/e'); open('d/e/f', 'w').close(); os.symlink('d/e/f', 'link')"
    )

    old = await pool.call("GET", "files", version="2024-08-02-preview")
    new = await pool.call("GET", "files", query="&recursive=true")
    link = await pool.call("GET", "files/link/content")

    assert [item["properties"]["filename"] for item in old.json["value"]] == ["d/e/f"]
    assert [(item["directory"], item["name"]) for item in new.json["value"]] == [
        ("", "d"),
        ("d", "e"),
        ("d/e", "f"),
    ]
    assert (link.status, link.json["error"]["code"]) == (400, "LinkRefused")


async def test_a_long_list_has_a_next_link(
    pool: Pool, send: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which gets the rest, with the parameters of the first call."""
    monkeypatch.setattr("jupyter_exec_ext.dialects.azure.files.PAGE_SIZE", 2)
    for name in ("in/a", "in/b", "in/c"):
        await pool.upload(name)

    first = (await pool.call("GET", "files", query="&path=in")).json
    rest = await send("GET", first["nextLink"].partition("/exec/")[2], pool.headers)

    assert [item["name"] for item in first["value"]] == ["a", "b"]
    assert [item["name"] for item in rest.json["value"]] == ["c"]
    assert rest.json["nextLink"] is None


async def test_a_long_list_of_sessions_has_a_next_link(
    pool: Pool,
    send: Call,
    exec_api: ExecApi,
    echo_kernel_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which skips those that were shown; the oldest come first."""
    monkeypatch.setattr("jupyter_exec_ext.dialects.azure.pool.PAGE_SIZE", 2)
    for name in ("a", "b", "c"):
        await exec_api.new_session(name=name, kernel_name=echo_kernel_name)
    where, shown = f"azure/listSessions?api-version={NEW}", []

    while where:
        page = (await send("GET", where, pool.headers)).json
        shown.append([session["identifier"] for session in page["sessions"]])
        where = (page["nextLink"] or "").partition("/exec/")[2]

    assert shown == [["a", "b"], ["c"]]


async def test_a_run_whose_client_is_gone_leaves_the_session_free(
    pool: Pool,
    exec_api: ExecApi,
    jp_http_port: int,
    jp_base_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is cancelled, and the variables stay; with an operation-id it goes on."""
    is_noticed = asyncio.Event()
    real = Executions.on_connection_close

    def notice(handler: Executions) -> None:
        real(handler)
        is_noticed.set()

    monkeypatch.setattr(Executions, "on_connection_close", notice)
    await pool.run("kept = 3")
    url = f"http://127.0.0.1:{jp_http_port}{jp_base_url}exec/azure/executions"
    long = (
        "import time, pathlib\npathlib.Path('began').touch()\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.02)"
    )
    folder = exec_api.root / (await _native_session(exec_api, "both"))["path"]
    body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": long}

    async def leave(**headers: str) -> None:
        async with httpx.AsyncClient(headers={**pool.headers, **headers}) as client:
            query = {"api-version": NEW, "identifier": "both"}
            asked = asyncio.create_task(client.post(url, params=query, json=body, timeout=60))
            async with asyncio.timeout(30):
                while not (folder / "began").exists():
                    await asyncio.sleep(0.02)
            asked.cancel()
            await asyncio.wait([asked])

    await leave()
    after = await pool.run("kept")
    (folder / "began").unlink()
    is_noticed.clear()
    await leave(**{"operation-id": "op-1"})
    await asyncio.wait_for(is_noticed.wait(), WAIT_SECONDS)
    (folder / "go").touch()
    await pool.run("'the next turn'")

    assert after["result"]["executionResult"] == 3
    assert (await pool.call("GET", "executions/op-1")).json["status"] == "Succeeded"


@pytest.mark.parametrize("exec_config", [{"max_sessions": 1}])
async def test_a_full_pool_has_no_session(pool: Pool) -> None:
    """404, as the service says it; what is there goes on."""
    await pool.run("1", "one")

    refused = [
        await pool.call("GET", "files", "two"),
        await pool.upload("a", identifier="two"),
    ]

    assert [answer.status for answer in refused] == [404, 404]
    assert {answer.headers["x-ms-error-code"] for answer in refused} == {"NoMoreSessions"}
    assert (await pool.run("2", "one"))["status"] == "Succeeded"


async def test_a_running_session_of_another_kernel_is_taken_as_it_is(
    pool: Pool, exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """The kernel is the session's, whatever the dialect would have chosen."""
    await exec_api.new_session(name="both", kernel_name=echo_kernel_name)

    assert (await pool.run("hello"))["status"] == "Succeeded"
    shell = await pool.call("POST", "executions", json={"shellCommand": "ls"})
    assert (shell.status, shell.json["error"]["target"]) == (400, "shellCommand")


async def test_output_is_cut_as_the_service_does(pool: Pool) -> None:
    """To 4096 characters of each stream from 2025-10-02 on, and not before; why it failed stays."""
    code = "import sys; print('o' * 5000); print('e' * 5000, file=sys.stderr)"
    body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": code}

    shown = await pool.run(code)
    before = await pool.call("POST", "executions", version="2025-02-02-preview", json=body)
    failed = await pool.run(f"{code}; 1/0", outputStreamsMaxLength=10)
    long = await pool.run("raise ValueError('x' * 5000 + 'end')")

    assert failed["result"]["stderr"].startswith("e" * 10 + "\n-")
    assert failed["result"]["stderr"].endswith("ZeroDivisionError: division by zero")
    assert len(long["result"]["stderr"]) == 4096
    assert long["result"]["stderr"].endswith("end")
    assert [len(shown["result"][name]) for name in ("stdout", "stderr")] == [4096, 4096]
    assert [len(before.json["result"][name]) for name in ("stdout", "stderr")] == [5001, 5001]


async def test_metadata_tells_of_the_kernel_and_its_packages(pool: Pool) -> None:
    """All members that the specification requires."""
    shown = (await pool.call("GET", "metadata")).json

    packages = {package["name"]: package["version"] for package in shown["preInstalledPackages"]}
    assert shown["runtimes"][0]["name"] == "python"
    assert shown["jupyterKernel"]["name"] == "python3"
    assert shown["jupyterKernel"]["version"] == packages["ipykernel"]
    assert set(shown) == {
        "runtimes",
        "preInstalledPackages",
        "createdAt",
        "lastUpdatedAt",
        "jupyterKernel",
    }


@pytest.mark.parametrize("exec_config", [{"max_wait_seconds": 1}])
async def test_an_answer_does_not_wait_for_ever(pool: Pool, exec_api: ExecApi) -> None:
    """The newer shape tells where to ask again; where nobody could, the run ends."""
    code = "import time\nwhile True: time.sleep(0.02)"
    body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": code}

    old = await pool.call("POST", "code/execute", version=OLD, json={"properties": body})
    listed = (await exec_api.request("GET", "executions")).json["executions"]
    ended = await exec_api.until(listed[0], lambda shown: shown["state"] == "cancelled")
    new = await pool.call("POST", "executions", json=body)
    later = await pool.call("GET", f"executions/{new.json['id']}")
    shell = await pool.call("POST", "executions", "shell", json={"shellCommand": "sleep 60"})
    (command,) = (await exec_api.request("GET", "executions", params={"type": "command"})).json[
        "executions"
    ]

    assert (old.status, old.json["properties"]["status"]) == (200, "Failure")
    assert "did not end" in old.json["properties"]["stderr"]
    assert ended["id"] == listed[0]["id"]
    assert (new.json["status"], later.json["status"]) == ("Running", "Running")
    assert "result" not in new.json
    assert (shell.status, shell.json["status"]) == (200, "124")
    assert shell.json["error"]["error"]["code"] == "ExecutionTimeout"
    assert "did not end" in shell.json["result"]["stderr"]
    await exec_api.until(command, lambda shown: shown["state"] == "cancelled")
    await pool.call("DELETE", "session")


async def test_a_run_that_somebody_else_cancels_says_so(pool: Pool, exec_api: ExecApi) -> None:
    """In the older shape, and for a command, where no state could."""
    code = "import time\nwhile True: time.sleep(0.02)"
    inline = {"codeInputType": "Inline", "executionType": "Synchronous", "code": code}
    for path, version, body in (
        ("code/execute", OLD, {"properties": inline}),
        ("executions", NEW, {"shellCommand": "sleep 60"}),
    ):
        asked = asyncio.create_task(pool.call("POST", path, version=version, json=body))
        running: list[dict[str, Any]] = []
        async with asyncio.timeout(WAIT_SECONDS):
            while not running:
                answer = await exec_api.request("GET", "executions", params={"state": "running"})
                running = answer.json["executions"]

        await exec_api.request("POST", "executions", running[0]["id"], "cancel")

        shown = (await asked).json
        if path == "executions":
            assert shown["status"] == "124"
            assert shown["result"]["stderr"] == "the execution was cancelled"
        else:
            assert shown["properties"]["status"] == "Failure"
            assert shown["properties"]["stderr"] == "the execution was cancelled"


async def test_an_execution_whose_session_ended_is_there(pool: Pool) -> None:
    """By its own id, with what became of it; what ran is failed."""
    body = {"codeInputType": "Inline", "executionType": "Asynchronous"}
    code = "import time\nprint('seen', flush=True)\ntime.sleep(60)"
    started = await pool.call("POST", "executions", json={**body, "code": code})
    where = f"executions/{started.json['id']}"
    async with asyncio.timeout(30):
        while (await pool.call("GET", where)).json["status"] != "Running":
            await asyncio.sleep(0.02)

    await pool.call("DELETE", "session")

    shown = (await pool.call("GET", where)).json
    assert shown["status"] == "Failed"
    assert shown["error"]["error"]["code"] == "SessionLost"


async def test_a_kernel_that_dies_fails_what_runs_and_is_replaced(pool: Pool) -> None:
    """The next run has a fresh one."""
    died = await pool.run("kept = 1; import os; os._exit(3)")
    after = await pool.run("'kept' in globals()")

    assert died["status"] == "Failed"
    assert died["error"]["error"]["code"] == "KernelDied"
    assert died["result"]["stderr"]
    assert after["result"]["executionResult"] == "False"


async def test_a_run_that_waits_when_code_ends_the_kernel_has_a_fresh_one(
    pool: Pool, exec_api: ExecApi
) -> None:
    """An `exit()` of the code before it is no failure of the run that waits."""
    await pool.run("kept = 1")
    wait = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)\n"
    exits = asyncio.create_task(pool.run(wait + "exit()"))
    second = asyncio.create_task(pool.run("'kept' in globals()"))
    async with asyncio.timeout(WAIT_SECONDS):
        while (await _native_session(exec_api, "both"))["pending_count"] != 1:
            await asyncio.sleep(0.02)
    await pool.upload("go")

    assert (await exits)["status"] == "Succeeded"
    shown = await second
    record = await exec_api.get({"id": shown["id"]})

    assert (shown["status"], shown["result"]["executionResult"]) == ("Succeeded", "False")
    assert "the code ended the kernel" in record["kernel_lost"]["message"]


async def test_runs_of_a_session_wait_for_each_other(pool: Pool) -> None:
    """And those of others do not."""
    wait = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)\n"
    first = asyncio.create_task(pool.run(wait + "x = 'first'"))
    async with asyncio.timeout(30):
        while not (await pool.call("GET", "listSessions")).json["sessions"]:
            await asyncio.sleep(0.02)
    second = asyncio.create_task(pool.run("x"))

    other = await pool.run("1", "other")
    assert not first.done()
    assert not second.done()
    await pool.upload("go")

    assert other["status"] == "Succeeded"
    assert (await first)["status"] == "Succeeded"
    assert (await second)["result"]["executionResult"] == "'first'"
