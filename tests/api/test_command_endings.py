"""However a command ends, no process of it is left, and its kernel goes on where it can."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from jupyter_exec_ext.app import ExecApp
from tests.api.commanding import STUBBORN_COUNT, Tree, run_command, start_command
from tests.conftest import ExecApi

pytestmark = pytest.mark.parametrize("exec_config", [{"interrupt_grace_seconds": 3.0}])


@pytest.fixture(params=["python", "r", "bash"])
def kernel_name(request: pytest.FixtureRequest) -> str:
    """A kernel of each language that runs commands."""
    fixture = {"r": "ir_kernel", "bash": "bash_kernel"}.get(request.param)
    return str(request.getfixturevalue(fixture)) if fixture else "python3"


@pytest.fixture
def tree(exec_api: ExecApi) -> Iterator[Tree]:
    """A program that does not want to end."""
    tree = Tree(exec_api.root)
    yield tree
    tree.kill()


async def started(exec_api: ExecApi, tree: Tree, **fields: Any) -> dict[str, Any]:
    """Start the stubborn program and wait until all of it is there."""
    record = await start_command(exec_api, tree.command, **fields)
    await exec_api.until_printed(record, "ready")
    await tree.until_count(STUBBORN_COUNT)
    return record


async def keep_a_variable(exec_api: ExecApi, kernel_name: str) -> dict[str, Any]:
    session = await exec_api.new_session(kernel_name=kernel_name, path="")
    await exec_api.run_code("x=5", session_id=session["id"])
    return session


async def check_the_variable(exec_api: ExecApi, session: dict[str, Any]) -> None:
    after = await exec_api.run_code("", session_id=session["id"], variable_names=["x"])
    assert "kernel_lost" not in after
    assert str(after["result"]["variables"]["x"]["json"]) == "5"


async def test_cancelling_leaves_nothing_but_the_kernel(
    exec_api: ExecApi, tree: Tree, kernel_name: str
) -> None:
    """Not even what ignores all signals that can be ignored, and has a session of its own."""
    session = await keep_a_variable(exec_api, kernel_name)
    record = await started(exec_api, tree, session_id=session["id"])

    await exec_api.request("POST", "executions", record["id"], "cancel", json={})
    final = await exec_api.final(record)

    assert final["state"] == "cancelled"
    assert tree.processes() == []
    assert final["result"]["exit_codes"] == {"exec": 137}
    assert final["duration_seconds"] < 60
    await check_the_variable(exec_api, session)


async def test_a_time_limit_leaves_nothing_but_the_kernel(
    exec_api: ExecApi, tree: Tree, kernel_name: str
) -> None:
    """The error says which step it was."""
    session = await keep_a_variable(exec_api, kernel_name)

    final = await run_command(
        exec_api,
        {"build": "true", "exec": tree.command},
        session_id=session["id"],
        timeout_seconds=2,
    )

    assert tree.processes() == []
    assert final["state"] == "failed"
    assert (final["error"]["code"], final["error"]["step"]) == ("Timeout", "exec")
    assert final["result"]["stdout"] == "ready\n"
    await check_the_variable(exec_api, session)


async def test_cancelling_is_gentle_first(exec_api: ExecApi, kernel_name: str) -> None:
    """A program that tidies up at an interrupt can do so, and its last words are kept."""
    command = "trap 'echo tidy; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    record = await start_command(exec_api, command, kernel_name=kernel_name)
    await exec_api.until_printed(record, "ready")

    await exec_api.request("POST", "executions", record["id"], "cancel", json={})
    final = await exec_api.final(record)

    assert final["state"] == "cancelled"
    assert final["result"]["stdout"] == "ready\ntidy\n"
    assert final["result"]["exit_codes"] == {"exec": 9}


async def test_what_it_leaves_in_the_background_ends_with_it(
    exec_api: ExecApi, tree: Tree, kernel_name: str
) -> None:
    """So nothing waits for a pipe that a daemon holds."""
    tree.command.append("leave")
    start = time.monotonic()

    final = await run_command(exec_api, tree.command, kernel_name=kernel_name)

    assert final["state"] == "succeeded"
    assert final["result"]["stdout"] == "ready\n"
    assert tree.processes() == []
    assert time.monotonic() - start < 30


async def test_the_death_of_the_kernel_leaves_nothing(
    exec_api: ExecApi, exec_app: ExecApp, tree: Tree, kernel_name: str
) -> None:
    """Though nobody is left to ask for it."""
    server: Any = exec_app.serverapp
    record = await started(exec_api, tree, kernel_name=kernel_name)
    kernel_id = (await exec_api.get(record))["kernel_id"]
    pid = server.kernel_manager.get_kernel(kernel_id).provisioner.pid

    os.kill(pid, signal.SIGKILL)
    final = await exec_api.final(record)

    assert (final["state"], final["error"]["code"]) == ("failed", "KernelDied")
    assert final["error"]["step"] == "exec"
    await tree.until_count(0, seconds=10)


async def test_deleting_or_restarting_the_session_leaves_nothing(
    exec_api: ExecApi, tree: Tree, kernel_name: str
) -> None:
    """What ran has failed, and after a restart the session takes commands again."""
    session = await exec_api.new_session(kernel_name=kernel_name, path="")
    record = await started(exec_api, tree, session_id=session["id"])

    await exec_api.request("POST", "sessions", session["id"], "restart", json={})
    restarted = await exec_api.final(record)

    assert (restarted["state"], restarted["error"]["code"]) == ("failed", "KernelRestarted")
    await tree.until_count(0, seconds=10)

    record = await started(exec_api, tree, session_id=session["id"])

    await exec_api.request("DELETE", "sessions", session["id"])
    deleted = await exec_api.final(record)

    assert (deleted["state"], deleted["error"]["code"]) == ("failed", "SessionLost")
    await tree.until_count(0, seconds=10)


async def test_interrupting_the_session_ends_the_command(
    exec_api: ExecApi, tree: Tree, kernel_name: str
) -> None:
    """As Ctrl-C in a terminal; it is not begun again, and the kernel goes on."""
    session = await keep_a_variable(exec_api, kernel_name)
    # No shell: dash now and then loses an interrupt while it starts a program.
    (exec_api.root / "interruptible.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "with open('runs', 'a') as file: file.write('run\\n')\n"
        "print('ready', flush=True)\ntime.sleep(600)\n"
    )
    program = ["python3", "interruptible.py", tree.word]
    record = await start_command(exec_api, program, session_id=session["id"])
    await exec_api.until_printed(record, "ready")

    await exec_api.request("POST", "sessions", session["id"], "interrupt", json={})
    final = await exec_api.final(record)

    assert final["state"] == "failed"
    assert final["error"]["code"] == "CommandFailed"
    assert (final["error"]["exit_code"], final["error"]["signal"]) == (130, "SIGINT")
    assert (exec_api.root / "runs").read_text() == "run\n"
    await check_the_variable(exec_api, session)


async def test_a_command_can_end_its_guard(exec_api: ExecApi, tree: Tree, kernel_name: str) -> None:
    """All of it goes with the guard, and the record says that nobody knows its end."""
    session = await keep_a_variable(exec_api, kernel_name)
    (exec_api.root / "hunt.sh").write_text(
        f"{' '.join(tree.command)} & sleep 0.5; kill -9 $PPID; sleep 600"
    )

    final = await run_command(exec_api, "exec sh hunt.sh", session_id=session["id"])

    assert final["state"] == "failed"
    assert final["error"]["code"] == "CommandFailed"
    assert final["result"]["exit_codes"] == {}
    assert tree.processes() == []
    await check_the_variable(exec_api, session)


@pytest.mark.parametrize("command", ["yes", "yes >&2", "cat /dev/urandom"])
async def test_output_without_end_is_bounded_and_ends(exec_api: ExecApi, command: str) -> None:
    """It can be cancelled as any other command, and the server answers meanwhile."""
    record = await start_command(exec_api, command)
    await exec_api.until(record, lambda shown: "truncated" in shown["result"])

    await exec_api.request("POST", "executions", record["id"], "cancel", json={})
    final = await exec_api.final(record)

    assert final["state"] == "cancelled"
    left = final["result"]["stdout"] + final["result"]["stderr"]
    assert 5_000_000 < len(left.encode()) < 25_000_000


async def test_a_hundred_megabytes_are_counted(exec_api: ExecApi) -> None:
    """The beginning and the end are kept, and every byte counts."""
    start = time.monotonic()
    final = await run_command(
        exec_api, "echo begin; head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end"
    )

    truncated = final["result"]["truncated"]
    stdout = final["result"]["stdout"]
    assert final["state"] == "succeeded"
    assert stdout.startswith("begin\nxxx")
    assert stdout.endswith("xxx\nend\n")
    assert truncated["total_bytes"] == 100_000_000 + len("begin\n\nend\n")
    assert truncated["has_uncounted"] is False
    assert 9_000_000 < truncated["kept_bytes"] <= 10_000_000
    assert time.monotonic() - start < 60


async def test_many_small_writes(exec_api: ExecApi) -> None:
    """Each byte by itself, a hundred thousand times."""
    (exec_api.root / "main.py").write_text(
        "import os\nfor i in range(100_000):\n    os.write(1 + i % 2, b'x')\n"
    )

    final = await run_command(exec_api, "*")

    assert final["state"] == "succeeded"
    assert final["result"]["stdout"] == final["result"]["stderr"] == "x" * 50_000
    assert len(final["result"]["outputs"]) < 20_000


async def test_cancelling_at_any_moment(exec_api: ExecApi, tree: Tree) -> None:
    """Also before the program is there: nothing is left, and the kernel goes on."""
    session = await keep_a_variable(exec_api, "python3")
    for number in range(12):
        record = await start_command(exec_api, tree.command, session_id=session["id"])
        await asyncio.sleep(number * 0.006)
        await exec_api.request("POST", "executions", record["id"], "cancel", json={})
        final = await exec_api.final(record)
        assert final["state"] == "cancelled"
        assert tree.processes() == []
    await check_the_variable(exec_api, session)
