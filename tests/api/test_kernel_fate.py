"""Kernels that do not start, die, or are taken away: the execution ends, and says the truth."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import WAIT_SECONDS, ExecApi

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="POSIX signals; Windows ends processes in another way"
)

NOTICE_SECONDS = 5
"""How soon a run has to know that its kernel is gone."""

HERE = "import os, time\nprint('here', os.getpid(), flush=True)\n"


def install_kernelspec(data_dir: Path, name: str, argv: list[str]) -> None:
    folder = data_dir / "kernels" / name
    folder.mkdir(parents=True)
    model = {"argv": argv, "display_name": name, "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(model))


async def start_sleeper(exec_api: ExecApi) -> tuple[dict[str, Any], int]:
    """Start a notebook whose second cell sleeps; return the record and the kernel's pid."""
    exec_api.write_notebook("nb.ipynb", "x = 1", f"{HERE}time.sleep(300)", "print('not reached')")
    record = await exec_api.start("nb.ipynb", variable_names=["x"])
    running = await exec_api.until_printed(record, "here")
    return running, int(running["result"]["stdout"].split()[1])


async def no_kernel_is_left(exec_api: ExecApi, record: dict[str, Any], server: Any) -> None:
    """Neither in the server's map nor as a process that nobody knows of."""
    await exec_api.until(record, lambda _: not server.kernel_manager.list_kernels())
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if "ipykernel_launcher" in " ".join(child.cmdline())]


@pytest.mark.serial
@pytest.mark.parametrize("delay_tenths", range(0, 40, 4))
async def test_a_killed_kernel_ends_the_run_in_time(
    exec_api: ExecApi, jp_serverapp: Any, delay_tenths: int
) -> None:
    """At ten moments across the restarter's three seconds: KernelDied, signal, outputs kept."""
    record, pid = await start_sleeper(exec_api)
    # The moment of the death within the restarter's period is what this test varies.
    await asyncio.sleep(delay_tenths / 10)
    killed_time = time.monotonic()
    os.kill(pid, signal.SIGKILL)

    record = await exec_api.final(record)

    assert time.monotonic() - killed_time < NOTICE_SECONDS
    assert record["state"] == "failed"
    assert (record["error"]["code"], record["error"]["signal"]) == ("KernelDied", "SIGKILL")
    assert record["error"]["cell_id"] == "c1"
    assert "here" in record["result"]["stdout"]
    assert "error" in record["result"]["variables"]["x"]
    await no_kernel_is_left(exec_api, record, jp_serverapp)


@pytest.mark.serial
@pytest.mark.parametrize("code", [0, 3])
async def test_a_kernel_that_exits_by_itself_tells_its_code(exec_api: ExecApi, code: int) -> None:
    """``os._exit`` ends the run as failed, with what was printed before and the exit code."""
    started = time.monotonic()

    record = await exec_api.run_cells(HERE, f"os._exit({code})", "print('no')")

    assert time.monotonic() - started < NOTICE_SECONDS + 10
    assert record["state"] == "failed"
    assert (record["error"]["code"], record["error"]["exit_code"]) == ("KernelDied", code)
    assert "here" in record["result"]["stdout"]
    assert "no" not in record["result"]["stdout"]


async def test_the_next_execution_is_unaffected(exec_api: ExecApi, jp_serverapp: Any) -> None:
    """A death leaves nothing behind: no kernel, no server session, and the next run succeeds."""
    await exec_api.run_cells("import os; os._exit(1)")

    record = await exec_api.run_cells("print('fine')")

    assert record["state"] == "succeeded"
    await exec_api.until(record, lambda _: not jp_serverapp.kernel_manager.list_kernels())


@pytest.mark.serial
@pytest.mark.parametrize("action", ["restart", "shut down"])
async def test_a_kernel_taken_away_ends_the_run(
    exec_api: ExecApi, jp_serverapp: Any, action: str
) -> None:
    """Somebody who restarts or ends the kernel, as JupyterLab can, ends the run as failed."""
    record, _ = await start_sleeper(exec_api)
    manager = jp_serverapp.kernel_manager
    began = time.monotonic()
    if action == "restart":
        await manager.restart_kernel(record["kernel_id"])
    else:
        await manager.shutdown_kernel(record["kernel_id"])

    record = await exec_api.final(record)

    assert time.monotonic() - began < NOTICE_SECONDS + 5
    assert record["state"] == "failed"
    assert record["error"]["code"] == "KernelRestarted"
    assert "here" in record["result"]["stdout"]
    await no_kernel_is_left(exec_api, record, jp_serverapp)


async def test_an_interrupt_by_somebody_else_is_the_codes_failure(
    exec_api: ExecApi, jp_serverapp: Any
) -> None:
    """A KeyboardInterrupt that no client of ours asked for fails the run; variables are there."""
    record, _ = await start_sleeper(exec_api)

    await jp_serverapp.kernel_manager.interrupt_kernel(record["kernel_id"])
    record = await exec_api.final(record)

    assert record["state"] == "failed"
    assert record["error"]["ename"] == "KeyboardInterrupt"
    assert record["result"]["variables"]["x"]["json"] == 1


async def test_a_kernel_that_cannot_be_launched(exec_api: ExecApi, jp_data_dir: Path) -> None:
    """A kernelspec whose program is missing: failed, KernelStartFailed, nothing ran."""
    install_kernelspec(jp_data_dir, "missing", ["/no/such/program", "{connection_file}"])

    record = await exec_api.run_cells("1", kernel_name="missing")

    assert record["state"] == "failed"
    assert record["error"]["code"] == "KernelStartFailed"
    assert record["started"] is False


@pytest.mark.serial
async def test_a_kernel_that_ends_while_it_starts(exec_api: ExecApi, jp_data_dir: Path) -> None:
    """Its exit code is told within the time, and not after five restarts."""
    argv = [sys.executable, "-c", "raise SystemExit(7)", "{connection_file}"]
    install_kernelspec(jp_data_dir, "early", argv)
    started = time.monotonic()

    record = await exec_api.run_cells("1", kernel_name="early")

    assert time.monotonic() - started < NOTICE_SECONDS
    assert record["error"]["code"] == "KernelStartFailed"
    assert record["error"]["exit_code"] == 7
    assert record["started"] is False


async def test_a_start_that_fails_by_chance_is_tried_again(
    exec_api: ExecApi, jp_data_dir: Path
) -> None:
    """A kernel that ends at once, as when its port is taken, is started anew; nothing shows."""
    once = (
        "import os, pathlib, sys\n"
        "mark = pathlib.Path('was_started')\n"
        "if not mark.exists(): mark.touch(); sys.exit(1)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'ipykernel_launcher', *sys.argv[1:]])"
    )
    argv = [sys.executable, "-c", once, "-f", "{connection_file}"]
    install_kernelspec(jp_data_dir, "unlucky", argv)

    record = await exec_api.run_cells("print('fine')", kernel_name="unlucky")

    assert record["state"] == "succeeded"
    assert record["result"]["stdout"] == "fine\n"
    assert (exec_api.root / "was_started").exists()


@pytest.mark.parametrize("exec_config", [{"kernel_start_timeout_seconds": 1.5}])
async def test_a_kernel_that_never_answers(
    exec_api: ExecApi, jp_data_dir: Path, jp_serverapp: Any
) -> None:
    """A start has a bound, after which the process is gone."""
    argv = [sys.executable, "-c", "import time; time.sleep(600)", "{connection_file}"]
    install_kernelspec(jp_data_dir, "mute", argv)

    record = await exec_api.run_cells("1", kernel_name="mute")

    assert record["error"]["code"] == "KernelStartFailed"
    assert "1.5 s" in record["error"]["message"]
    assert jp_serverapp.kernel_manager.list_kernels() == []


async def test_a_request_aborted_for_another_clients_error_runs_again(
    exec_api: ExecApi, jp_serverapp: Any
) -> None:
    """Another client's error makes the kernel abort what waits in it; ours still runs, once."""
    exec_api.write_notebook(
        "nb.ipynb",
        f"{HERE}\nimport pathlib\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)",
        "print('second')",
    )
    record = await exec_api.start("nb.ipynb")
    running = await exec_api.until_printed(record, "here")
    kernel = jp_serverapp.kernel_manager.get_kernel(running["kernel_id"])
    client = kernel.client()
    client.start_channels(iopub=False, stdin=False, hb=False)
    try:
        client.execute("import time; time.sleep(0.3); 1/0", stop_on_error=True)
        (exec_api.root / "go").touch()
        record = await exec_api.final(record)
    finally:
        client.stop_channels()

    assert record["state"] == "succeeded"
    assert record["result"]["stdout"].endswith("second\n")


async def test_an_end_that_takes_too_long_goes_on_by_itself(
    exec_api: ExecApi, jp_serverapp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No kernel stays behind in the server's list, nor keeps the server from stopping."""
    monkeypatch.setattr("jupyter_exec_ext.engine.kernels.CLOSE_SECONDS", 0.01)
    manager = jp_serverapp.kernel_manager

    record = await exec_api.run_code("1")

    assert record["state"] == "succeeded"
    async with asyncio.timeout(WAIT_SECONDS):
        while manager.list_kernel_ids():
            await asyncio.sleep(0.01)
    assert not manager._pending_kernels


@pytest.mark.parametrize("exec_config", [{"kernel_start_timeout_seconds": 1}])
async def test_a_start_that_takes_too_long_leaves_nothing(
    exec_api: ExecApi, jp_serverapp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server starts in the end all the same is ended at once."""
    manager = jp_serverapp.kernel_manager
    real, started = manager.start_kernel, asyncio.Event()

    async def slow(**arguments: Any) -> Any:
        await asyncio.sleep(1.5)
        kernel_id = await real(**arguments)
        started.set()
        return kernel_id

    monkeypatch.setattr(manager, "start_kernel", slow)
    monkeypatch.setattr("jupyter_exec_ext.engine.launching.CLOSE_SECONDS", 0.01)

    record = await exec_api.run_code("1")

    assert record["error"]["code"] == "KernelStartFailed"
    async with asyncio.timeout(WAIT_SECONDS):
        await started.wait()
        while manager.list_kernel_ids():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("exec_config", [{"interrupt_grace_seconds": 1.0}])
@pytest.mark.parametrize("is_session", [False, True])
async def test_a_server_that_does_not_answer_keeps_no_execution_waiting(
    exec_api: ExecApi, jp_serverapp: Any, monkeypatch: pytest.MonkeyPatch, *, is_session: bool
) -> None:
    """Neither when it has to interrupt the kernel, nor when it has to report its process."""
    for limit in ("INTERRUPT_SECONDS", "ALIVE_SECONDS"):
        monkeypatch.setattr(f"jupyter_exec_ext.engine.kernels.{limit}", 0.1)
    fields: dict[str, Any] = {"session_name": "s"} if is_session else {}
    code = f"{HERE}time.sleep(300)"
    record = await exec_api.start_code(code, timeout_seconds=2, **fields)
    running = await exec_api.until_printed(record, "here")
    kernel = jp_serverapp.kernel_manager.get_kernel(running["kernel_id"])

    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(jp_serverapp.kernel_manager, "interrupt_kernel", never)
        patch.setattr(kernel, "is_alive", never)
        record = await exec_api.final(record)

    assert record["error"]["code"] == "Timeout"
    pid = int(record["result"]["stdout"].split()[1])
    await exec_api.until(record, lambda _: not psutil.pid_exists(pid))
