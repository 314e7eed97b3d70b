"""Code, executed at once or later, and what comes back of it."""

import asyncio
import json
from typing import Any

import pytest

from jupyter_exec_ext.api.executions import ExecutionsHandler
from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.engine.cells import CellsRun
from tests.conftest import WAIT_SECONDS, ExecApi

SLEEP = "import time; print('here', flush=True); time.sleep(60)"


async def test_code_runs_without_a_session_in_one_of_its_own(
    exec_api: ExecApi, exec_app: ExecApp
) -> None:
    """It ends with the execution, and is not in the list of sessions."""
    server: Any = exec_app.serverapp

    record = await exec_api.run_code("import os\nprint('hello')\nos.getcwd()")

    assert record["type"] == "code"
    assert record["source"] == {"code": "import os\nprint('hello')\nos.getcwd()"}
    assert record["state"] == "succeeded"
    assert record["result"]["stdout"] == "hello\n"
    assert record["result"]["value"] == str(exec_api.root)
    assert (await exec_api.request("GET", "sessions", params={"state": "all"})).json == {
        "sessions": []
    }
    async with asyncio.timeout(10):
        while server.kernel_manager.list_kernel_ids():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("1 + 1", 2),
        ("{'a': [1, 2.5, None, True], 'b': 'ü'}", {"a": [1, 2.5, None, True], "b": "ü"}),
        ("print('x')\n'last'", "last"),
        ("10**30", 10**30),
        ("[]", []),
        ("False", False),
    ],
)
async def test_the_displayed_last_expression_comes_back_as_json(
    exec_api: ExecApi, code: str, value: object
) -> None:
    """Encoded in the kernel, beside its MIME bundle."""
    result = (await exec_api.run_code(code, session_name="s"))["result"]

    assert result["value"] == value
    assert "text/plain" in result["value_data"]


@pytest.mark.parametrize("code", ["x = 1", "1;", "None", "print(1)", ""])
async def test_what_displays_nothing_has_no_value(exec_api: ExecApi, code: str) -> None:
    """Neither as JSON nor as a bundle, also after an execution that had one."""
    await exec_api.run_code("'before'", session_name="s")

    result = (await exec_api.run_code(code, session_name="s"))["result"]

    assert "value" not in result
    assert "value_data" not in result


@pytest.mark.parametrize("code", ["object()", "float('nan')", "{1: 2}", "b'x'"])
async def test_what_is_not_json_has_a_bundle_alone(exec_api: ExecApi, code: str) -> None:
    """No approximation of it stands in for a value."""
    result = (await exec_api.run_code(code, session_name="s"))["result"]

    assert "value" not in result
    assert "text/plain" in result["value_data"]


async def test_a_notebook_has_the_value_of_its_last_cell(exec_api: ExecApi) -> None:
    """However long it is; of a cell before the last one there is the bundle alone."""
    long = await exec_api.run_cells("'first'", "list(range(2000))")
    earlier = await exec_api.run_cells("'first'", "x = 1")
    none = await exec_api.run_cells("x = 1")

    assert long["result"]["value"] == list(range(2000))
    assert "value" not in earlier["result"]
    assert earlier["result"]["value_data"] == {"text/plain": "'first'"}
    assert not {"value", "value_data"} & set(none["result"])


async def test_one_variable_that_takes_long_costs_no_other(
    exec_api: ExecApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the others comes out, also those that are read together with it."""
    monkeypatch.setattr("jupyter_exec_ext.engine.cells.VARIABLES_SECONDS", 6)
    monkeypatch.setattr("jupyter_exec_ext.engine.cells.VARIABLE_SECONDS", 1)
    code = """
import time
class Slow:
    def __repr__(self):
        time.sleep(60)
a, slow, b, c, d, e = 1, Slow(), 2, 3, 4, 5
"""

    record = await exec_api.run_code(code, variable_names=["a", "slow", "b", "c", "d", "e"])

    variables = record["result"]["variables"]
    slow = variables.pop("slow")
    assert {name: one["json"] for name, one in variables.items()} == {
        "a": 1,
        "b": 2,
        "c": 3,
        "d": 4,
        "e": 5,
    }
    assert slow == {"error": "reading the variable took too long"}


async def test_no_more_is_asked_once_the_time_for_variables_is_over(
    exec_api: ExecApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one trip for each of many that take long: the first few took all the time there is."""
    monkeypatch.setattr("jupyter_exec_ext.engine.cells.VARIABLES_SECONDS", 2)
    real, asked = CellsRun._exchange, []

    async def exchange(run: CellsRun, *args: Any) -> Any:
        asked.append(args)
        return await real(run, *args)

    monkeypatch.setattr(CellsRun, "_exchange", exchange)
    names = [f"v{number}" for number in range(40)]
    code = f"""
import time
class Slow:
    def __repr__(self):
        time.sleep(60)
{" = ".join(names)} = Slow()
"""

    record = await exec_api.run_code(code, variable_names=names)

    variables = record["result"]["variables"]
    assert sorted(variables) == sorted(names)
    assert all("took too long" in one["error"] for one in variables.values())
    assert len(asked) <= 5


async def test_pictures_are_outputs(exec_api: ExecApi) -> None:
    """A display is an nbformat output, whole."""
    record = await exec_api.run_code(
        "from IPython.display import Image\n"
        "import base64\n"
        "png = base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAA"
        "AAYAAjCB0C8AAAAASUVORK5CYII=')\n"
        "Image(png)"
    )

    (output,) = record["result"]["outputs"]
    assert output["output_type"] == "execute_result"
    assert output["data"]["image/png"].startswith("iVBORw0KGgo")
    assert record["result"]["value_data"] == output["data"]


async def test_an_error_is_told_with_and_without_colours(exec_api: ExecApi) -> None:
    """The failure is data of an answer with 200, and the variables are read all the same."""
    record = await exec_api.run_code("x = 5\nprint('before')\n1 / 0", variable_names=["x"])

    error = record["error"]
    assert record["state"] == "failed"
    assert (error["code"], error["ename"]) == ("CodeError", "ZeroDivisionError")
    assert error["evalue"] == "division by zero"
    assert any("\x1b[" in line for line in error["traceback"])
    assert "\x1b" not in error["traceback_text"]
    assert "1 / 0" in error["traceback_text"]
    assert "cell_index" not in error
    assert record["result"]["stdout"] == "before\n"
    assert record["result"]["variables"]["x"] == {"type": "int", "json": 5}
    assert record["duration_seconds"] > 0


async def test_an_asynchronous_request_is_answered_at_once(exec_api: ExecApi) -> None:
    """202 with the record's address and when to come again; reading it ten times gives it."""
    answer = await exec_api.request("POST", "executions", json={"code": "6 * 7"})
    location = f"/user/a%40b/exec/executions/{answer.json['id']}"

    shown = [await exec_api.final(answer.json) for _ in range(10)]

    assert answer.status == 202
    assert answer.headers["Location"] == location
    assert int(answer.headers["Retry-After"]) >= 1
    assert all(record == shown[0] for record in shown)
    assert shown[0]["result"]["value"] == 42


async def test_a_wait_that_is_over_leaves_the_execution_running(exec_api: ExecApi) -> None:
    """By parameter or by header: 202, and nothing is cancelled."""
    answer = await exec_api.request(
        "POST",
        "executions",
        headers={"Prefer": "wait=1"},
        json={"code": "import time; time.sleep(2.5); 'done'"},
    )
    record = await exec_api.final(answer.json)

    assert (answer.status, answer.json["state"]) == (202, "running")
    assert record["result"]["value"] == "done"


async def started_one(exec_api: ExecApi) -> dict[str, Any]:
    """Return the record of the only execution, once its code printed something."""
    async with asyncio.timeout(60):
        while not (listed := (await exec_api.request("GET", "executions")).json["executions"]):
            await asyncio.sleep(0.02)
    return await exec_api.until_printed(listed[0], "here")


@pytest.mark.parametrize("cancels", [False, True])
async def test_a_client_that_hangs_up(
    exec_api: ExecApi,
    jp_http_port: int,
    jp_auth_header: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    cancels: bool,
) -> None:
    """Cancels nothing, unless its request said so."""
    is_noticed = asyncio.Event()
    real = ExecutionsHandler.on_connection_close

    def notice(handler: ExecutionsHandler) -> None:
        real(handler)
        is_noticed.set()

    monkeypatch.setattr(ExecutionsHandler, "on_connection_close", notice)
    body = json.dumps({"code": SLEEP, "cancel_on_disconnect": cancels}).encode()
    _, writer = await asyncio.open_connection("localhost", jp_http_port)
    head = (
        f"POST /user/a%40b/exec/executions?wait=60 HTTP/1.1\r\nHost: localhost:{jp_http_port}\r\n"
        f"Authorization: {jp_auth_header['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    record = await started_one(exec_api)

    writer.close()
    await asyncio.wait_for(is_noticed.wait(), WAIT_SECONDS)

    if cancels:
        assert (await exec_api.final(record))["state"] == "cancelled"
    else:
        assert (await exec_api.get(record))["state"] == "running"
        await exec_api.request("POST", "executions", record["id"], "cancel")


async def test_cancelling_one_that_waits_interrupts_nobody(exec_api: ExecApi) -> None:
    """It leaves the queue alone; its neighbours run, and so does deleting it."""
    session = await exec_api.new_session(path="")
    running = await exec_api.start_code(
        "import pathlib, time\nprint('here', flush=True)\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.005)",
        session_id=session["id"],
    )
    await exec_api.until_printed(running, "here")
    first, second, third = [
        await exec_api.start_code(f"print({n})", session_id=session["id"]) for n in range(3)
    ]

    cancelled = await exec_api.request("POST", "executions", first["id"], "cancel")
    deleted = await exec_api.request("DELETE", "executions", second["id"], params={"force": "true"})
    (exec_api.root / "go").touch()

    assert (cancelled.status, cancelled.json["state"]) == (200, "cancelled")
    assert cancelled.json["started"] is False
    assert deleted.status == 204
    assert (await exec_api.final(running))["state"] == "succeeded"
    assert (await exec_api.final(third))["result"]["stdout"] == "2\n"


async def test_variables_survive_a_cancel_and_a_timeout(exec_api: ExecApi) -> None:
    """The kernel is interrupted, not restarted."""
    session = await exec_api.new_session()
    await exec_api.run_code("x = 'kept'", session_id=session["id"])

    sleeper = await exec_api.start_code(SLEEP, session_id=session["id"])
    await exec_api.until_printed(sleeper, "here")
    await exec_api.request("POST", "executions", sleeper["id"], "cancel")
    cancelled = await exec_api.final(sleeper)
    timed_out = await exec_api.run_code(SLEEP, session_id=session["id"], timeout_seconds=0.5)
    after = await exec_api.run_code("x", session_id=session["id"])

    assert cancelled["state"] == "cancelled"
    assert (timed_out["state"], timed_out["error"]["code"]) == ("failed", "Timeout")
    assert timed_out["result"]["stdout"] == "here\n"
    assert after["result"]["value"] == "kept"
    assert "kernel_lost" not in after


@pytest.mark.parametrize("exec_config", [{"interrupt_grace_seconds": 0.5}])
async def test_code_that_ignores_the_interrupt_costs_the_kernel(exec_api: ExecApi) -> None:
    """After the grace time the kernel is restarted, and the next execution is told."""
    session = await exec_api.new_session()
    stubborn = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('here', flush=True)\nwhile True: time.sleep(0.1)"
    )
    record = await exec_api.start_code(stubborn, session_id=session["id"])
    await exec_api.until_printed(record, "here")

    await exec_api.request("POST", "executions", record["id"], "cancel")
    cancelled = await exec_api.final(record)
    after = await exec_api.run_code("'alive'", session_id=session["id"])

    assert cancelled["state"] == "cancelled"
    assert after["result"]["value"] == "alive"
    assert after["kernel_lost"]["code"] == "KernelDied"
    assert after["kernel_id"] == cancelled["kernel_id"]


async def test_lists_show_the_beginning_of_code(exec_api: ExecApi) -> None:
    """200 characters and no result; `type` chooses."""
    long = await exec_api.run_code("#" * 500 + "\n1")
    await exec_api.run_cells("1")

    codes = (await exec_api.request("GET", "executions", params={"type": "code"})).json
    notebooks = (await exec_api.request("GET", "executions", params={"type": "notebook"})).json

    (shown,) = codes["executions"]
    assert shown["id"] == long["id"]
    assert shown["source"] == {"code": "#" * 200}
    assert "result" not in shown
    assert [record["type"] for record in notebooks["executions"]] == ["notebook"]


async def test_the_notebook_of_code_is_one_cell(exec_api: ExecApi) -> None:
    """What ran and what it showed can be opened in JupyterLab."""
    record = await exec_api.run_code("print('x')\n5")

    notebook = await exec_api.notebook(record)

    (cell,) = notebook["cells"]
    assert cell["source"] == "print('x')\n5"
    assert [output["output_type"] for output in cell["outputs"]] == ["stream", "execute_result"]
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("exec_config", [{"max_code_bytes": 1_000}])
@pytest.mark.parametrize(
    ("body", "status", "target"),
    [
        ({"code": "x" * 1_001}, 413, "code"),
        ({"code": "ü" * 501}, 413, "code"),
        ({"code": "1", "notebook": {"path": "x.ipynb"}}, 400, "code"),
        ({"code": 1}, 400, "code"),
        ({"code": "1", "session_id": "a", "session_name": "b"}, 422, "session_name"),
        ({"code": "1", "session_id": "no-such"}, 404, "session_id"),
        ({"code": "1", "session_name": ""}, 422, "session_name"),
        ({"code": "1", "cell_timeout_seconds": 1}, 422, "cell_timeout_seconds"),
        ({"code": "1", "on_busy": "reject"}, 422, "on_busy"),
        ({"code": "1", "on_busy": "wait"}, 400, "on_busy"),
        ({"code": "1", "stdin": "a"}, 400, "stdin"),
        ({"code": "1", "stdin": ["a"] * 1_001}, 422, "stdin"),
        ({"code": "\ud800"}, 400, None),
    ],
    ids=lambda value: repr(value)[:60],
)
async def test_bad_input_names_the_field(
    exec_api: ExecApi, body: dict[str, Any], status: int, target: str | None
) -> None:
    """And nothing is accepted."""
    answer = await exec_api.request("POST", "executions", json=body)

    assert (answer.status, answer.json.get("target")) == (status, target)
    assert (await exec_api.request("GET", "executions")).json["executions"] == []


SLOW = "class Slow:\n    def __repr__(self): __import__('time').sleep(60)\n"


@pytest.mark.serial
async def test_reading_the_variables_counts_for_the_time_limit(exec_api: ExecApi) -> None:
    """Values get at least 3 s of their own; the code has succeeded, and the kernel is kept."""
    session = await exec_api.new_session()
    await exec_api.run_code("1", session_id=session["id"])
    names = ["slow", "slower", "quick"]
    seconds = {}

    for limit in (0.5, 5):
        record = await exec_api.run_code(
            f"{SLOW}slow, slower, quick = Slow(), Slow(), 1",
            session_id=session["id"],
            variable_names=names,
            timeout_seconds=limit,
        )

        seconds[limit] = record["duration_seconds"]
        variables = record["result"]["variables"]
        assert record["state"] == "succeeded"
        assert variables["quick"].get("json") == 1, variables
        assert "took too long" in variables["slow"]["error"]
        assert "took too long" in variables["slower"]["error"]
    after = await exec_api.run_code("quick", session_id=session["id"])

    assert seconds[0.5] < 5, seconds
    assert seconds[5] < 7, seconds
    assert after["result"]["value"] == 1
