"""What becomes of a session when its kernel dies, is restarted or shut down, or is another's."""

import asyncio
import os
import signal
from typing import Any

import pytest
import zmq

from jupyter_exec_ext.app import ExecApp
from tests.conftest import WAIT_SECONDS, ExecApi

SLEEP = "import time, os; print(os.getpid(), flush=True); time.sleep(60)"


@pytest.fixture
def kernel_manager(exec_app: ExecApp) -> Any:
    """The kernel manager of the server under test."""
    server: Any = exec_app.serverapp
    return server.kernel_manager


async def printed_pid(exec_api: ExecApi, record: dict[str, Any]) -> int:
    shown = await exec_api.until(record, lambda shown: bool(shown["result"]["stdout"]))
    return int(shown["result"]["stdout"])


async def test_what_waits_for_a_kernel_that_died_does_not_run_silently(exec_api: ExecApi) -> None:
    """It fails as lost, or runs in a fresh kernel where it said so, and that one is told."""
    session = await exec_api.new_session()
    await exec_api.run_code("x = 1", session_id=session["id"])
    running = await exec_api.start_code(SLEEP, session_id=session["id"])
    lost = await exec_api.start_code("x", session_id=session["id"])
    goes_on = await exec_api.start_code(
        "'x' in globals()", session_id=session["id"], on_kernel_death="continue"
    )
    pid = await printed_pid(exec_api, running)

    began = asyncio.get_running_loop().time()
    os.kill(pid, signal.SIGKILL)
    died = await exec_api.final(running)
    seconds = asyncio.get_running_loop().time() - began

    assert (died["state"], died["error"]["code"]) == ("failed", "KernelDied")
    assert died["error"]["signal"] == "SIGKILL"
    assert seconds < 5
    lost = await exec_api.final(lost)
    assert (lost["state"], lost["error"]["code"], lost["started"]) == (
        "failed",
        "SessionLost",
        False,
    )
    goes_on = await exec_api.final(goes_on)
    assert goes_on["result"]["value"] is False
    assert goes_on["kernel_lost"]["code"] == "KernelDied"
    after = await exec_api.run_code("1", session_id=session["id"])
    assert "kernel_lost" not in after


async def test_a_kernel_that_dies_while_nobody_uses_it_is_noticed(exec_api: ExecApi) -> None:
    """The session says what happened, and its next execution has a fresh kernel."""
    session = await exec_api.new_session()
    pid = (await exec_api.run_code("import os; os.getpid()", session_id=session["id"]))["result"][
        "value"
    ]

    os.kill(pid, signal.SIGKILL)
    shown = await exec_api.until_session(session["id"], lambda shown: "kernel_error" in shown)
    record = await exec_api.run_code("import os; os.getpid()", session_id=session["id"])

    assert shown["kernel_error"]["code"] == "KernelDied"
    assert record["result"]["value"] != pid
    assert record["kernel_lost"]["code"] == "KernelDied"


async def test_a_session_that_lost_its_kernel_ends_when_nobody_uses_it(exec_api: ExecApi) -> None:
    """What the server says of a kernel that died while it was busy does not keep it."""
    session = await exec_api.new_session(idle_timeout_seconds=0.5)
    await exec_api.run_code("import os; os._exit(1)", session_id=session["id"])

    shown = await exec_api.until_session(session["id"], lambda shown: shown["state"] == "ended")

    assert shown["end_error"]["code"] == "SessionIdle"


async def test_a_restarted_session_is_not_busy_for_ever(
    exec_api: ExecApi, kernel_manager: Any, echo_kernel_name: str
) -> None:
    """Nor does it stay alive, where the server missed the word that its kernel starts anew."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    running = await exec_api.start_code("!sleep 60", session_id=session["id"])
    kernel_id = (await exec_api.until_printed(running, "!sleep"))["kernel_id"]
    kernel_manager.get_kernel(kernel_id).execution_state = "busy"
    kernel_manager.stop_watching_activity(kernel_id)

    await exec_api.request("POST", "sessions", session["id"], "restart")
    await exec_api.request("PUT", "sessions", session["id"], json={"idle_timeout_seconds": 0.1})
    ended = await exec_api.until_session(session["id"], lambda shown: shown["state"] == "ended")

    assert ended["end_error"]["code"] == "SessionIdle"


async def test_restarting_a_session_that_lost_its_kernel_starts_one(exec_api: ExecApi) -> None:
    """The answer to the request has it already."""
    session = await exec_api.new_session()
    await exec_api.run_code("import os; os._exit(1)", session_id=session["id"])

    answer = await exec_api.request("POST", "sessions", session["id"], "restart")

    assert "kernel_id" in answer.json


async def test_restarting_again_and_again(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """Each connection to a kernel that runs already gets its answers."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    await exec_api.run_code("ready", session_id=session["id"])

    for number in range(5):
        answer = await exec_api.request("POST", "sessions", session["id"], "restart")
        record = await exec_api.run_code(f"{number}", session_id=session["id"])

        assert answer.status == 200
        assert record["result"]["stdout"] == f"{number}\n"
        assert record["kernel_lost"]["code"] == "KernelRestarted"


@pytest.mark.parametrize("what", ["restart", "shutdown"])
async def test_a_kernel_that_somebody_else_restarts_or_ends_is_noticed(
    exec_api: ExecApi, kernel_manager: Any, what: str
) -> None:
    """As JupyterLab's Running panel can: what runs ends truthfully, the session goes on."""
    session = await exec_api.new_session()
    running = await exec_api.start_code(SLEEP, session_id=session["id"])
    waiting = await exec_api.start_code("1", session_id=session["id"])
    await printed_pid(exec_api, running)
    kernel_id = (await exec_api.get(running))["kernel_id"]

    if what == "restart":
        await kernel_manager.restart_kernel(kernel_id)
    else:
        await kernel_manager.shutdown_kernel(kernel_id)
    ended = await exec_api.final(running)
    lost = await exec_api.final(waiting)
    shown = await exec_api.session(session["id"])
    after = await exec_api.run_code("'alive'", session_id=session["id"])

    assert (ended["state"], ended["error"]["code"]) == ("failed", "KernelRestarted")
    assert (lost["state"], lost["error"]["code"]) == ("failed", "SessionLost")
    assert shown["kernel_error"]["code"] == "KernelRestarted"
    assert after["result"]["value"] == "alive"
    assert (after["kernel_id"] == kernel_id) == (what == "restart")


async def test_restarting_a_session_by_request(exec_api: ExecApi) -> None:
    """Variables are gone, what ran ends as restarted, the kernel keeps its id."""
    session = await exec_api.new_session()
    before = await exec_api.run_code("x = 1", session_id=session["id"])
    running = await exec_api.start_code(SLEEP, session_id=session["id"])
    await printed_pid(exec_api, running)

    answer = await exec_api.request("POST", "sessions", session["id"], "restart")
    ended = await exec_api.final(running)
    after = await exec_api.run_code("'x' in globals()", session_id=session["id"])

    assert answer.status == 200
    assert (ended["state"], ended["error"]["code"]) == ("failed", "KernelRestarted")
    assert after["result"]["value"] is False
    assert after["kernel_id"] == before["kernel_id"]


@pytest.mark.parametrize("error", [OSError, zmq.ZMQError])
async def test_a_kernel_that_does_not_start_fails_the_execution_alone(
    exec_api: ExecApi, exec_app: ExecApp, echo_kernel_name: str, error: type[Exception]
) -> None:
    """The session stays; its next execution tries again."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    await exec_api.run_code("1", session_id=session["id"])
    server: Any = exec_app.serverapp
    manager = server.kernel_manager
    (kernel_id,) = manager.list_kernel_ids()
    await manager.shutdown_kernel(kernel_id)
    original = manager.start_kernel

    async def refuse(**_: Any) -> None:
        raise error

    manager.start_kernel = refuse
    failed = await exec_api.run_code("1", session_id=session["id"])
    manager.start_kernel = original
    after = await exec_api.run_code("2", session_id=session["id"])

    assert (failed["state"], failed["error"]["code"]) == ("failed", "KernelStartFailed")
    assert after["result"]["stdout"] == "2\n"


# Kernels of somebody else.


async def attached(exec_api: ExecApi, kernel_manager: Any) -> tuple[str, dict[str, Any]]:
    """Start a kernel as JupyterLab would, and attach a session to it."""
    kernel_id = await kernel_manager.start_kernel(kernel_name="python3")
    return kernel_id, await exec_api.new_session(kernel_id=kernel_id)


async def test_a_session_attaches_to_a_live_kernel_and_never_ends_it(
    exec_api: ExecApi, kernel_manager: Any
) -> None:
    """Its variables are shared with whoever uses the kernel too."""
    kernel_id, session = await attached(exec_api, kernel_manager)
    assert (session["is_attached"], session["kernel_id"]) == (True, kernel_id)

    first = await exec_api.run_code("x = 5", session_id=session["id"])
    again = await exec_api.request("POST", "sessions", json={"kernel_id": kernel_id})
    await exec_api.request("DELETE", "sessions", session["id"])
    other = await exec_api.new_session(kernel_id=kernel_id)
    second = await exec_api.run_code("x", session_id=other["id"])
    await exec_api.request("DELETE", "sessions", other["id"])

    assert (again.status, again.json["code"]) == (409, "KernelInUse")
    assert first["kernel_id"] == second["kernel_id"] == kernel_id
    assert second["result"]["value"] == 5
    assert kernel_id in kernel_manager
    assert await kernel_manager.get_kernel(kernel_id).is_alive()


BUSY_UNTIL_GO = """
import pathlib, time
pathlib.Path('busy').touch()
try:
    while not pathlib.Path('go').exists(): time.sleep(0.005)
    told = 'went on'
except KeyboardInterrupt:
    told = 'interrupted'
"""


@pytest.mark.parametrize("how", ["finish", "cancel", "timeout", "delete"])
async def test_what_others_run_in_a_kernel_is_left_alone(
    exec_api: ExecApi, kernel_manager: Any, how: str
) -> None:
    """Ours comes after it. Stopped before its turn, ours never runs, and nobody is interrupted."""
    kernel_id = await kernel_manager.start_kernel(kernel_name="python3", path="")
    client = kernel_manager.get_kernel(kernel_id).client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        client.execute(BUSY_UNTIL_GO)
        async with asyncio.timeout(60):
            while not (exec_api.root / "busy").exists():
                await asyncio.sleep(0.01)
        session = await exec_api.new_session(kernel_id=kernel_id)
        record = await exec_api.start_code(
            "import pathlib, os; pathlib.Path('ran').touch(); told, os.environ.get('A')",
            session_id=session["id"],
            inputs={"A": "b"},
            **({"timeout_seconds": 0.2} if how == "timeout" else {}),
        )
        await exec_api.until(record, lambda shown: shown["state"] == "running")

        if how == "cancel":
            await exec_api.request("POST", "executions", record["id"], "cancel")
        elif how == "delete":
            await exec_api.request("DELETE", "sessions", session["id"])
        if how in ("cancel", "delete"):
            await exec_api.final(record)
        (exec_api.root / "go").touch()
        final = await exec_api.final(record)
        reply = await client.execute_interactive("", user_expressions={"x": "told"}, timeout=60)
    finally:
        client.stop_channels()

    told = reply["content"]["user_expressions"]["x"]["data"]["text/plain"]
    assert told == "'went on'"
    # A time limit counts from when the kernel is free.
    was_stopped = how in ("cancel", "delete")
    assert (exec_api.root / "ran").exists() != was_stopped
    if not was_stopped:
        assert final["result"]["value"] == ["went on", "b"]


@pytest.mark.parametrize("delay_seconds", [0, 0.1, 0.3])
async def test_a_session_deleted_while_its_kernel_starts_leaves_none(
    exec_api: ExecApi, kernel_manager: Any, delay_seconds: float
) -> None:
    """Nor does one that is restarted meanwhile."""
    session = await exec_api.new_session()
    await asyncio.sleep(delay_seconds)
    await exec_api.request("DELETE", "sessions", session["id"])
    assert kernel_manager.list_kernel_ids() == []

    session = await exec_api.new_session()
    await exec_api.run_code("1", session_id=session["id"])
    restart = asyncio.ensure_future(exec_api.request("POST", "sessions", session["id"], "restart"))
    await asyncio.sleep(delay_seconds)
    await exec_api.request("DELETE", "sessions", session["id"])
    await restart

    assert kernel_manager.list_kernel_ids() == []


@pytest.mark.parametrize("delay_seconds", [0, 0.002, 0.005, 0.01])
async def test_a_cancel_right_after_the_start_keeps_the_kernel(
    exec_api: ExecApi, delay_seconds: float
) -> None:
    """An interrupt that comes before the code has begun must not be lost."""
    session = await exec_api.new_session()
    await exec_api.run_code("x = 'kept'", session_id=session["id"])

    record = await exec_api.start_code(SLEEP, session_id=session["id"])
    await asyncio.sleep(delay_seconds)
    await exec_api.request("POST", "executions", record["id"], "cancel")
    final = await exec_api.final(record)
    after = await exec_api.run_code("x", session_id=session["id"])

    assert final["state"] == "cancelled"
    assert after["result"].get("value") == "kept", after.get("kernel_lost")


async def test_a_cancel_of_a_request_that_the_kernel_dropped_keeps_the_kernel(
    exec_api: ExecApi,
) -> None:
    """The kernel is free, as after an interrupt between its own steps: no force is needed."""
    session = await exec_api.new_session()
    await exec_api.run_code(
        "x = 'kept'\n"
        "handlers = get_ipython().kernel.shell_handlers\n"
        "original = handlers['execute_request']\n"
        "async def drop(*_):\n"
        "    handlers['execute_request'] = original\n"
        "handlers['execute_request'] = drop",
        session_id=session["id"],
    )

    dropped = await exec_api.start_code("1", session_id=session["id"])
    await exec_api.request("POST", "executions", dropped["id"], "cancel")
    final = await exec_api.final(dropped)
    after = await exec_api.run_code("x", session_id=session["id"])

    assert final["state"] == "cancelled"
    assert after["result"].get("value") == "kept", after.get("kernel_lost")


@pytest.mark.parametrize("is_busy", [False, True])
async def test_an_attached_session_outlasts_a_restart(
    exec_api: ExecApi, kernel_manager: Any, is_busy: bool
) -> None:
    """JupyterLab restarts the notebook's kernel: what ran is told, and it goes on."""
    kernel_id, session = await attached(exec_api, kernel_manager)
    await exec_api.run_code("x = 5", session_id=session["id"])
    running = None
    if is_busy:
        running = await exec_api.start_code(SLEEP, session_id=session["id"])
        await printed_pid(exec_api, running)

    await kernel_manager.restart_kernel(kernel_id)
    if running is not None:
        assert (await exec_api.final(running))["error"]["code"] == "KernelRestarted"
    after = await exec_api.run_code("'x' in globals()", session_id=session["id"])

    assert after["state"] == "succeeded", after.get("error")
    assert after["result"]["value"] is False
    assert after["kernel_lost"]["code"] == "KernelRestarted"
    assert after["kernel_id"] == kernel_id


async def test_an_attached_session_outlasts_a_death(exec_api: ExecApi, kernel_manager: Any) -> None:
    """The server restarts the kernel that died, as it does for notebooks."""
    _, session = await attached(exec_api, kernel_manager)

    died = await exec_api.run_code("import os; os._exit(1)", session_id=session["id"])
    after = await exec_api.run_code("'alive'", session_id=session["id"])

    assert died["error"]["code"] == "KernelDied", died["error"]
    assert after["result"]["value"] == "alive"


async def test_an_attached_session_ends_with_its_kernel(
    exec_api: ExecApi, kernel_manager: Any
) -> None:
    """Somebody shuts the kernel down: the session has ended, and says why."""
    kernel_id, session = await attached(exec_api, kernel_manager)
    running = await exec_api.start_code(SLEEP, session_id=session["id"])
    await printed_pid(exec_api, running)

    await kernel_manager.shutdown_kernel(kernel_id)
    ended = await exec_api.final(running)
    shown = await exec_api.until_session(session["id"], lambda shown: shown["state"] == "ended")

    assert (ended["state"], ended["error"]["code"]) == ("failed", "KernelRestarted")
    assert shown["end_error"]["code"] == "SessionLost"
    assert shown["kernel_error"]["code"] == "KernelRestarted"


@pytest.mark.parametrize("exec_config", [{"interrupt_grace_seconds": 0.5}])
async def test_somebody_elses_kernel_is_never_killed(
    exec_api: ExecApi, kernel_manager: Any
) -> None:
    """Code that ignores the interrupt is given up, and runs on."""
    kernel_id, session = await attached(exec_api, kernel_manager)
    stubborn = (
        "import signal, time; old = signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('here', flush=True)\ntime.sleep(3); signal.signal(signal.SIGINT, old); x = 'kept'"
    )
    record = await exec_api.start_code(stubborn, session_id=session["id"])
    await exec_api.until_printed(record, "here")

    await exec_api.request("POST", "executions", record["id"], "cancel")
    cancelled = await exec_api.final(record)
    after = await exec_api.run_code("x", session_id=session["id"])

    assert cancelled["state"] == "cancelled"
    assert after["result"]["value"] == "kept"
    assert "kernel_lost" not in after
    assert kernel_id in kernel_manager


# Subshells.


async def test_a_subshell_runs_beside_what_runs(exec_api: ExecApi) -> None:
    """At once, with the same variables, and each has its own outputs."""
    session = await exec_api.new_session()
    running = await exec_api.start_code(
        "import time\nn = 0\nprint('here', flush=True)\nwhile n != 'stop': time.sleep(0.01)\n"
        "print('main ends')",
        session_id=session["id"],
    )
    await exec_api.until_printed(running, "here")

    beside = await exec_api.run_code(
        "n = 'stop'; print('beside'); 7", session_id=session["id"], on_busy="subshell"
    )
    final = await exec_api.final(running)

    assert beside["state"] == "succeeded"
    assert beside["result"]["stdout"] == "beside\n"
    assert beside["result"]["value"] == 7
    assert final["result"]["stdout"] == "here\nmain ends\n"


async def test_cancelling_in_a_subshell_stops_it_alone(exec_api: ExecApi) -> None:
    """What runs in the main shell goes on, and the session is usable afterwards."""
    session = await exec_api.new_session()
    code = "import time\nprint('here', flush=True)\nwhile True: time.sleep(0.01)"
    running = await exec_api.start_code(code, session_id=session["id"])
    await exec_api.until_printed(running, "here")
    beside = await exec_api.start_code(code, session_id=session["id"], on_busy="subshell")
    await exec_api.until_printed(beside, "here")

    await exec_api.request("POST", "executions", beside["id"], "cancel")
    cancelled = await exec_api.final(beside)
    still = await exec_api.get(running)
    await exec_api.request("POST", "executions", running["id"], "cancel")
    await exec_api.final(running)
    after = await exec_api.run_code("'alive'", session_id=session["id"])

    assert (cancelled["state"], still["state"]) == ("cancelled", "running")
    assert after["result"]["value"] == "alive"
    assert "kernel_lost" not in after


async def test_a_subshell_has_no_inputs_of_its_own(exec_api: ExecApi) -> None:
    """They would be seen by what runs in the main shell."""
    session = await exec_api.new_session()

    answer = await exec_api.request(
        "POST",
        "executions",
        json={
            "code": "1",
            "session_id": session["id"],
            "on_busy": "subshell",
            "inputs": {"A": "1"},
        },
    )

    assert (answer.status, answer.json["target"]) == (422, "inputs")


async def test_no_kernel_of_ours_gathers_much_text_into_one_message(
    exec_api: ExecApi, kernel_manager: Any
) -> None:
    """That holds from the first cell on, also after a restart; what is printed stays the same."""
    session = await exec_api.new_session()
    for _ in range(2):
        record = await exec_api.run_code(
            "import sys; assert sys.stdout.write('x' * 2_000_000) == 2_000_000\n"
            "for _ in range(2_000): print('y' * 999)",
            session_id=session["id"],
        )
        assert record["result"]["stdout"] == "x" * 2_000_000 + ("y" * 999 + "\n") * 2_000

        client = kernel_manager.get_kernel(record["kernel_id"]).client()
        client.start_channels(shell=True, iopub=True, stdin=False, hb=False, control=False)
        try:
            await client.wait_for_ready()
            message_id = client.execute("print('x' * 2_000_000)")
            lengths: list[int] = []
            while sum(lengths) < 2_000_001:
                message = await client.get_iopub_msg(timeout=WAIT_SECONDS)
                if message["parent_header"].get("msg_id") == message_id:
                    lengths.append(len(message["content"].get("text", "")))
        finally:
            client.stop_channels()
        assert max(lengths) < 300_000

        await exec_api.request("POST", "sessions", session["id"], "restart", body="")
