"""Cancelling, time limits and the queue: exactly one execution stops, and in time."""

import asyncio
import time
from typing import Any

import pytest

from jupyter_exec_ext.app import ExecApp
from tests.conftest import ExecApi

SLEEP = "import time\nprint('here', flush=True)\ntime.sleep(300)"
STUBBORN = (
    "import time\nprint('here', flush=True)\nend = time.time() + 300\n"
    "while time.time() < end:\n"
    "  try: time.sleep(300)\n"
    "  except KeyboardInterrupt: print('no!', flush=True)"
)


async def cancel(exec_api: ExecApi, record: dict[str, Any]) -> dict[str, Any]:
    answer = await exec_api.request("POST", "executions", record["id"], "cancel", body="")
    assert answer.status == 200, answer.body
    shown: dict[str, Any] = answer.json
    return shown


async def test_cancelling_interrupts_and_keeps_the_outputs(
    exec_api: ExecApi, jp_serverapp: Any
) -> None:
    """The answer comes at once as cancelling; then it is cancelled, without an error."""
    exec_api.write_notebook("nb.ipynb", "print('first')", SLEEP, "print('never')")
    record = await exec_api.start("nb.ipynb", save_to="out.ipynb")
    await exec_api.until_printed(record, "here")

    shown = await cancel(exec_api, record)
    record = await exec_api.final(record)

    assert shown["state"] in ("cancelling", "cancelled")
    assert record["state"] == "cancelled"
    assert "error" not in record
    assert record["result"]["stdout"] == "first\nhere\n"
    assert record["result"]["outputs"][-1]["ename"] == "KeyboardInterrupt"
    assert record["result"]["notebook_path"] == "out.ipynb"
    await exec_api.until(record, lambda _: not jp_serverapp.kernel_manager.list_kernels())


@pytest.mark.serial
@pytest.mark.parametrize("exec_config", [{"interrupt_grace_seconds": 1.0}])
async def test_a_kernel_that_ignores_the_interrupt_is_killed(
    exec_api: ExecApi, jp_serverapp: Any
) -> None:
    """After the grace time the execution is cancelled all the same, and the process is gone."""
    exec_api.write_notebook("nb.ipynb", STUBBORN)
    record = await exec_api.start("nb.ipynb")
    await exec_api.until_printed(record, "here")
    began = time.monotonic()

    await cancel(exec_api, record)
    record = await exec_api.final(record)

    assert time.monotonic() - began < 5
    assert record["state"] == "cancelled"
    assert "no!" in record["result"]["stdout"]
    assert jp_serverapp.kernel_manager.list_kernels() == []


async def test_cancelling_twice_or_late_changes_nothing(exec_api: ExecApi) -> None:
    """A second cancel and the cancel of a final execution answer 200 with the record."""
    exec_api.write_notebook("nb.ipynb", SLEEP)
    record = await exec_api.start("nb.ipynb")
    await exec_api.until_printed(record, "here")

    await asyncio.gather(*(cancel(exec_api, record) for _ in range(5)))
    final = await exec_api.final(record)
    late = await cancel(exec_api, record)

    assert late == final
    assert final["state"] == "cancelled"


async def test_cancelling_while_the_kernel_starts(exec_api: ExecApi, jp_serverapp: Any) -> None:
    """It is cancelled without having started any code, and no kernel is left."""
    exec_api.write_notebook("nb.ipynb", "print('never')")
    record = await exec_api.start("nb.ipynb")

    await cancel(exec_api, record)
    record = await exec_api.final(record)

    assert record["state"] == "cancelled"
    assert record["result"]["stdout"] == ""
    await exec_api.until(record, lambda _: not jp_serverapp.kernel_manager.list_kernels())


async def test_cancel_and_finish_at_once_give_one_final_state(exec_api: ExecApi) -> None:
    """Whichever comes first counts, once; ten races, and no state ever changes afterwards."""
    exec_api.write_notebook("nb.ipynb", "1")
    for number in range(5):
        record = await exec_api.start("nb.ipynb")
        await exec_api.until(record, lambda shown: shown["started"])
        await asyncio.sleep(number / 100)
        await cancel(exec_api, record)
        first = await exec_api.final(record)
        second = await exec_api.get(record)
        assert first == second
        assert first["state"] in ("succeeded", "cancelled")


@pytest.mark.parametrize("exec_config", [{"max_running": 1}])
async def test_the_queue_is_in_order_and_shows_positions(exec_api: ExecApi) -> None:
    """One after the other in order of acceptance; cancelling one leaves its neighbours alone."""
    exec_api.write_notebook(
        "first.ipynb",
        "import pathlib, time\nprint('here', flush=True)\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)",
    )
    exec_api.write_notebook("nb.ipynb", "import time; now = time.time_ns()")
    first = await exec_api.start("first.ipynb")
    waiting = [await exec_api.start("nb.ipynb", variable_names=["now"]) for _ in range(3)]
    await exec_api.until_printed(first, "here")

    shown = [await exec_api.get(record) for record in waiting]
    cancelled = await cancel(exec_api, waiting[1])
    moved = await exec_api.get(waiting[2])
    still = await exec_api.get(first)
    (exec_api.root / "go").touch()
    finals = [await exec_api.final(record) for record in [first, waiting[0], waiting[2]]]

    assert [record["position"] for record in shown] == [0, 1, 2]
    assert [record["state"] for record in shown] == ["pending"] * 3
    assert cancelled["state"] == "cancelled"
    assert "start_time" not in cancelled
    assert moved["position"] == 1
    assert still["state"] == "running"
    assert [record["state"] for record in finals] == ["succeeded"] * 3
    times = [record["result"]["variables"]["now"]["json"] for record in finals[1:]]
    assert times == sorted(times)
    assert finals[0]["end_time"] <= finals[1]["start_time"]
    assert finals[1]["end_time"] <= finals[2]["start_time"]


@pytest.mark.parametrize(
    ("limits", "which"),
    [({"timeout_seconds": 1.0}, "execution"), ({"cell_timeout_seconds": 1.0}, "cell")],
)
async def test_a_time_limit_ends_the_run_as_failed(
    exec_api: ExecApi, limits: dict[str, float], which: str
) -> None:
    """The code is interrupted: failed with Timeout, outputs kept, variables gathered."""
    exec_api.write_notebook("nb.ipynb", "x = 5", SLEEP, "x = 0")

    record = await exec_api.run("nb.ipynb", variable_names=["x"], **limits)

    assert record["state"] == "failed"
    assert record["error"]["code"] == "Timeout"
    assert which in record["error"]["message"]
    assert record["error"]["cell_id"] == "c1"
    assert record["result"]["stdout"] == "here\n"
    assert record["result"]["variables"]["x"]["json"] == 5


@pytest.mark.parametrize("exec_config", [{"interrupt_grace_seconds": 1.0}])
async def test_a_time_limit_holds_against_code_that_ignores_it(
    exec_api: ExecApi, jp_serverapp: Any
) -> None:
    """The kernel is killed after the grace time; variables then say that they are lost."""
    exec_api.write_notebook("nb.ipynb", "x = 5", STUBBORN)

    record = await exec_api.run("nb.ipynb", variable_names=["x"], timeout_seconds=1)

    assert record["error"]["code"] == "Timeout"
    assert "error" in record["result"]["variables"]["x"]
    assert jp_serverapp.kernel_manager.list_kernels() == []


async def test_waiting_in_the_queue_does_not_count(exec_api: ExecApi) -> None:
    """A limit per cell is for each cell: three of 0.6 s pass a limit of 2 s."""
    record = await exec_api.run_cells(
        *["import time; time.sleep(0.6)"] * 3, cell_timeout_seconds=2.0
    )

    assert record["state"] == "succeeded"


@pytest.mark.serial
async def test_stopping_the_server_ends_runs_truthfully(
    exec_api: ExecApi, exec_app: ExecApp
) -> None:
    """What ran is failed/ServerStopped with its outputs; the end of the extension is bounded."""
    exec_api.write_notebook("nb.ipynb", SLEEP)
    record = await exec_api.start("nb.ipynb")
    await exec_api.until_printed(record, "here")
    executions = exec_app.executions
    began = time.monotonic()

    await exec_app.supervisor.close(timeout_seconds=4)
    final = await executions.get(record["id"])
    result = await executions.result(record["id"])
    await exec_app.stop_extension()

    assert time.monotonic() - began < 5
    assert final.state == "failed"
    assert final.error is not None
    assert final.error.code == "ServerStopped"
    assert result.stream("stdout") == "here\n"


AWAITING = "import asyncio\nprint('here', flush=True)\nawait asyncio.sleep(60)"


@pytest.mark.serial
@pytest.mark.parametrize("is_attached", [False, True])
async def test_code_that_awaits_is_stopped_soon_and_the_kernel_kept(
    exec_api: ExecApi, jp_serverapp: Any, *, is_attached: bool
) -> None:
    """By a time limit, a cancel or an interrupt of the session; in each case in under 2 s."""
    fields = {}
    if is_attached:
        manager = jp_serverapp.kernel_manager
        fields["kernel_id"] = await manager.start_kernel(kernel_name="python3", path="")
    session = await exec_api.new_session(**fields)
    await exec_api.run_code("x = 'kept'", session_id=session["id"])
    seconds = {}
    finals = {}

    for how in ("timeout", "cancel", "interrupt"):
        limit = {"timeout_seconds": 1} if how == "timeout" else {}
        record = await exec_api.start_code(AWAITING, session_id=session["id"], **limit)
        await exec_api.until_printed(record, "here")
        began = time.monotonic()
        if how == "cancel":
            await cancel(exec_api, record)
        elif how == "interrupt":
            await exec_api.request("POST", "sessions", session["id"], "interrupt")
        finals[how] = await exec_api.final(record)
        seconds[how] = time.monotonic() - began - (how == "timeout")
    after = await exec_api.run_code("x", session_id=session["id"])

    assert max(seconds.values()) < 2, seconds
    assert finals["timeout"]["error"]["code"] == "Timeout"
    assert finals["cancel"]["state"] == "cancelled"
    assert finals["interrupt"]["error"]["code"] == "CodeError"
    assert after["result"]["value"] == "kept", after.get("kernel_lost")
    assert "kernel_lost" not in after


@pytest.mark.serial
async def test_code_that_blocks_in_a_cell_that_awaits_costs_no_kernel(exec_api: ExecApi) -> None:
    """There ipykernel's handler of the signal raises nothing; half the grace time later we do."""
    session = await exec_api.new_session()
    await exec_api.run_code("import asyncio, time; x = 'kept'", session_id=session["id"])

    for blocking in ("time.sleep(60)", "while True: pass"):
        code = f"await asyncio.sleep(0)\nprint('here', flush=True)\n{blocking}"
        record = await exec_api.start_code(code, session_id=session["id"])
        await exec_api.until_printed(record, "here")
        await cancel(exec_api, record)
        record = await exec_api.final(record)

        assert record["state"] == "cancelled"
        assert record["result"]["outputs"][-1]["ename"] == "KeyboardInterrupt"
    after = await exec_api.run_code("x", session_id=session["id"])

    assert after["result"]["value"] == "kept", after.get("kernel_lost")
    assert "kernel_lost" not in after
