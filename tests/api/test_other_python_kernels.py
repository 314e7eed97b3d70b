"""Python kernels that are not ipykernel: what they can do is asked of them."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.api.commanding import run_command, start_command
from tests.api.conftest import install_kernel
from tests.conftest import ExecApi


@pytest.fixture(params=["xpython", "xpython-raw"])
def xpython(request: pytest.FixtureRequest, jp_data_dir: Path) -> str:
    """A kernelspec of xeus-python, with IPython in it or without."""
    if importlib.util.find_spec("xpython_launcher") is None:
        pytest.skip("xeus-python is not installed: pip install xeus-python")
    name: str = request.param
    options = ["--raw"] if name.endswith("raw") else []
    argv = [sys.executable, "-m", "xpython_launcher", "-f", "{connection_file}", *options]
    install_kernel(jp_data_dir, name, argv, "python")
    return name


async def test_variables_and_inputs(exec_api: ExecApi, xpython: str) -> None:
    """In a session, so that the inputs are set in a running kernel and taken out again."""
    code = "import os\nx, y = 6, {'a': [os.environ.get('N'), True]}\nx + 1"
    fields: dict[str, Any] = {"session_name": "x", "kernel_name": xpython}
    names = ["x", "y", "os", "z"]

    record = await exec_api.run_code(code, inputs={"N": "né"}, variable_names=names, **fields)
    after = await exec_api.run_code("y = os.environ.get('N')", variable_names=["y"], **fields)

    assert record["state"] == "succeeded", record["error"]
    variables = record["result"]["variables"]
    assert variables["x"] == {"type": "int", "json": 6}
    assert variables["y"]["json"] == {"a": ["né", True]}
    assert "module" in variables["os"]["data"]["text/plain"]
    assert variables["z"] == {"error": "no variable of this name"}
    assert after["result"]["variables"]["y"]["json"] is None
    assert record["result"]["value_data"]["text/plain"] == "7"
    assert record["result"]["stdout"] == ""


async def test_commands(exec_api: ExecApi, xpython: str) -> None:
    """Their output, what they read and their exit codes are as with ipykernel."""
    program = "import sys; print(sys.stdin.read() * 2); print('e', file=sys.stderr); sys.exit(3)"
    (exec_api.root / "main.py").write_text(program)

    record = await run_command(
        exec_api, ["python3", "main.py"], stdin=["one", "two"], kernel_name=xpython
    )
    long = await run_command(
        exec_api, "head -c 3000000 /dev/zero | tr '\\0' x", kernel_name=xpython
    )

    assert (record["error"]["code"], record["error"]["exit_code"]) == ("CommandFailed", 3)
    assert record["result"]["stdout"] == "one\ntwo\none\ntwo\n\n"
    assert record["result"]["stderr"] == "e\n"
    assert long["state"] == "succeeded", long["error"]
    assert long["result"]["stdout"] == "x" * 3_000_000


DEAF = """
import runpy, sys
from ipykernel.ipkernel import IPythonKernel
IPythonKernel.implementation = "deaf"
def do_execute(self, code, silent, *args, **kwargs):
    open("executed", "a").write("x")
    return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
IPythonKernel.do_execute = do_execute
sys.argv[0] = "deaf"
runpy.run_module("ipykernel_launcher", run_name="__main__")
"""
"""An ipykernel that calls itself something else, and neither evaluates nor prints anything."""


async def test_a_kernel_that_cannot_is_refused_with_the_reason(
    exec_api: ExecApi, jp_data_dir: Path
) -> None:
    """It is asked once, and only when something needs it."""
    argv = [sys.executable, "-c", DEAF, "-f", "{connection_file}"]
    install_kernel(jp_data_dir, "deaf", argv, "python")
    session = {"session_name": "deaf", "kernel_name": "deaf"}

    plain = await exec_api.run_code("1", **session)
    (folder,) = [path.parent for path in exec_api.root.rglob("executed")]
    plain_requests = (folder / "executed").stat().st_size
    record = await exec_api.run_code("1", variable_names=["x"], **session)
    asked = (folder / "executed").stat().st_size
    command = await run_command(exec_api, "true", **session)
    inputs = await exec_api.run_code("1", inputs={"N": "1"}, **session)

    assert (plain["state"], plain_requests) == ("succeeded", 1)
    assert record["state"] == "succeeded"
    assert "'deaf'" in record["result"]["variables"]["x"]["error"]
    assert command["error"]["code"] == "CommandFailed"
    assert inputs["error"]["code"] == "KernelStartFailed"
    for failed in (command, inputs):
        assert "'deaf'" in failed["error"]["message"]
    assert asked == 4, "two test requests, and the code again"
    assert (folder / "executed").stat().st_size == asked, "nothing is sent that cannot be answered"


async def test_the_probe_promises_only_what_is_known(
    exec_api: ExecApi, jp_data_dir: Path, xpython: str
) -> None:
    """True for kernels that are tested, false where it is impossible, else nothing."""
    install_kernel(jp_data_dir, "cobol", ["cobol", "{connection_file}"], "cobol")
    install_kernel(jp_data_dir, "js", ["/opt/deno.exe", "{connection_file}"], "typescript")
    install_kernel(jp_data_dir, "ijulia", ["julia", "{connection_file}"], "julia")

    shown = (await exec_api.request("GET")).json

    specs = {
        spec["name"]: (spec.get("reads_variables"), spec.get("runs_commands"))
        for spec in shown["kernelspecs"]
    }
    assert specs["python3"] == (True, True)
    assert specs[xpython] == (None, None)
    assert specs["cobol"] == (False, False)
    assert specs["js"] == (True, False)
    assert specs["ijulia"] == (None, False)


async def test_commands_are_stopped_and_the_kernel_is_kept(
    exec_api: ExecApi, xpython: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By a time limit and by a cancel; afterwards the kernel of the session still answers."""
    session: dict[str, Any] = {"session_name": "x", "kernel_name": xpython}
    await exec_api.run_code("x = 'kept'", **session)

    timed_out = await run_command(exec_api, "sleep 600", **session, timeout_seconds=1)
    first = await exec_api.run_code("x", **session, timeout_seconds=20)
    record = await start_command(exec_api, "echo here; sleep 600", **session)
    await exec_api.until_printed(record, "here")
    await exec_api.request("POST", "executions", record["id"], "cancel", body="")
    cancelled = await exec_api.final(record)
    second = await exec_api.run_code("x", **session, timeout_seconds=20)

    assert timed_out["error"]["code"] == "Timeout"
    assert cancelled["state"] == "cancelled"
    for after in (first, second):
        assert after["state"] == "succeeded", after["error"]
        assert after["result"]["value_data"]["text/plain"] == "'kept'"
        assert "kernel_lost" not in after
    assert "is not valid" not in caplog.text, "all that the kernel sends is understood"


async def test_code_is_stopped_and_costs_the_kernel(
    exec_api: ExecApi, xpython: str, jp_serverapp: Any
) -> None:
    """In time, with no process left behind; the session goes on with a fresh kernel."""
    session = await exec_api.new_session(kernel_name=xpython)
    stop = {"cancel": "import time; time.sleep(600)", "timeout": "while True: pass"}
    stop["interrupt"] = (
        stop["cancel"] if xpython.endswith("raw") else "import asyncio; await asyncio.sleep(600)"
    )
    processes: list[psutil.Process] = []

    for how, code in stop.items():
        limit = {"timeout_seconds": 1} if how == "timeout" else {}
        code = f"print('here', flush=True)\n{code}"
        record = await exec_api.start_code(code, session_id=session["id"], **limit)
        if how != "timeout":
            await exec_api.until_printed(record, "here")
        running = await exec_api.until(record, lambda shown: "kernel_id" in shown)
        kernel = jp_serverapp.kernel_manager.get_kernel(running["kernel_id"])
        processes.append(psutil.Process(kernel.provisioner.pid))
        if how == "cancel":
            await exec_api.request("POST", "executions", record["id"], "cancel", body="")
        elif how == "interrupt":
            await exec_api.request("POST", "sessions", session["id"], "interrupt")
        final = await exec_api.final(record)
        after = await exec_api.run_code("1", session_id=session["id"], timeout_seconds=20)

        assert final["state"] == ("cancelled" if how == "cancel" else "failed")
        assert how != "timeout" or final["error"]["code"] == "Timeout"
        assert after["state"] == "succeeded", after["error"]
    own = await exec_api.run_code("while True: pass", kernel_name=xpython, timeout_seconds=1)

    assert own["error"]["code"] == "Timeout"
    assert len(set(processes)) == len(processes), "each of them cost the kernel"
    assert not [process for process in processes if process.is_running()]
    await exec_api.until(own, lambda _: len(jp_serverapp.kernel_manager.list_kernels()) == 1)


async def test_an_exception_has_its_plain_name(exec_api: ExecApi, xpython: str) -> None:
    """xeus-python sends ``<class 'ZeroDivisionError'>``."""
    record = await exec_api.run_code("1 / 0", kernel_name=xpython)

    assert record["error"]["ename"] == "ZeroDivisionError"
    assert record["error"]["message"] == "ZeroDivisionError: division by zero"
