"""Servers that are killed, stopped or have no store: no record is lost or untrue."""

import contextlib
import json
import sqlite3
import stat
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.process.conftest import ServerProcess

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

Start = Callable[..., ServerProcess]

SLEEP = "import time\nprint('here', flush=True)\ntime.sleep(300)"


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


def test_a_killed_server_leaves_a_true_store(start_server: Start) -> None:
    """After kill -9 and a new start every acknowledged execution is there and settled.

    What ran has failed with its outputs so far; what waited without inputs runs; what waited with
    inputs, which are kept nowhere, has failed without having started. What was final is as it was.
    """
    server = start_server("--ExecApp.max_running=1")
    done = server.start(server.write_notebook("done.ipynb", "print('done')"), variable_names=["x"])
    done = server.get(done["id"], wait=60)
    running = server.start(server.write_notebook("slow.ipynb", "print('one')", SLEEP))
    quick = server.write_notebook("quick.ipynb", "print('resumed')")
    waiting = [server.start(quick) for _ in range(10)]
    with_inputs = [server.start(quick, inputs={"A": "b"}) for _ in range(10)]
    server.until(running["id"], lambda record: "here" in record["result"]["stdout"])
    log = server.http.get(f"executions/{running['id']}/log").text
    kernels = server.kernels()

    server.kill()

    assert log == "one\nhere\n"
    assert gone(kernels, 8), "a kernel outlived its server"
    again = start_server()
    ended = again.until(running["id"], lambda record: record["state"] == "failed")
    assert ended["error"]["code"] == "ServerRestarted"
    assert ended["started"] is True
    assert ended["result"]["stdout"] == "one\nhere\n"
    assert again.http.get(f"executions/{running['id']}/log").text == log
    events = again.events(running["id"])
    assert [event["type"] for event in events[-3:]] == ["gap", "error", "end"]
    assert "lost" not in events[-3], "nobody knows what the killed server had not stored"
    assert again.events(running["id"], after=events[-4]["id"] + 1000) == events[-3:]
    notebook = again.http.get(f"executions/{running['id']}/notebook").json()
    assert notebook["cells"][0]["outputs"][0]["text"] == "one\n"
    for record in with_inputs:
        shown = again.until(record["id"], lambda record: record["state"] == "failed")
        assert shown["error"]["code"] == "ServerRestarted"
        assert shown["started"] is False
        events = again.events(record["id"])
        assert [event["type"] for event in events] == ["state", "error", "end"]
    for record in waiting:
        shown = again.get(record["id"], wait=60)
        assert shown["state"] == "succeeded"
        assert shown["result"]["stdout"] == "resumed\n"
    assert again.get(done["id"]) == done
    listed = again.http.get("executions").json()["executions"]
    assert len(listed) == 22


def test_a_chain_outlives_a_killed_server(start_server: Start) -> None:
    """What ran after the execution that the crash ended is cancelled; another chain goes on."""
    server = start_server("--ExecApp.max_running=1")
    running = server.start(server.write_notebook("slow.ipynb", SLEEP))
    quick = server.write_notebook("quick.ipynb", "print('resumed')")
    second = server.start(quick, after=running["id"])
    third = server.start(quick, after=second["id"])
    free = server.start(quick)
    last = server.start(quick, after=free["id"])
    server.until(running["id"], lambda record: "here" in record["result"]["stdout"])

    server.kill()

    again = start_server("--ExecApp.max_running=1")
    for record in (second, third):
        ended = again.until(record["id"], lambda record: record["state"] == "cancelled")
        assert ended["error"]["code"] == "PredecessorNotSucceeded"
        assert ended["started"] is False
    assert again.get(running["id"])["error"]["code"] == "ServerRestarted"
    resumed = [again.get(record["id"], wait=60) for record in (free, last)]
    assert [record["state"] for record in resumed] == ["succeeded", "succeeded"]
    assert resumed[0]["end_time"] <= resumed[1]["start_time"]


def test_a_killed_server_leaves_nothing_of_a_command(start_server: Start) -> None:
    """Its process goes with the kernel; its output so far is in the record, its end is not."""
    server = start_server()
    body = {"command": {"build": "echo built", "exec": ["/bin/sh", "-c", "echo $$; sleep 300"]}}
    record = server.http.post("executions", json=body).json()
    shown = server.until(record["id"], lambda now: now["result"]["stdout"].count("\n") == 2)
    printed = shown["result"]["stdout"]
    assert server.http.get(f"executions/{record['id']}/log").text == printed
    command = psutil.Process(int(printed.split()[1]))
    processes = [command, *command.children()]
    kernels = server.kernels()

    server.kill()

    assert gone([*kernels, *processes], 10), "something outlived its server"
    again = start_server()
    ended = again.until(record["id"], lambda now: now["state"] == "failed")
    assert ended["error"]["code"] == "ServerRestarted"
    assert ended["result"]["stdout"] == printed
    assert "exit_codes" not in ended["result"]
    steps = [event.get("step") for event in again.events(record["id"]) if event["type"] == "stream"]
    assert steps == ["build", "exec"]


def test_what_a_crash_left_is_settled_without_a_request(
    start_server: Start, tmp_path: Path
) -> None:
    """The new server settles by itself: the store is right before anybody asks."""
    server = start_server()
    record = server.start(server.write_notebook("nb.ipynb", SLEEP))
    server.until(record["id"], lambda record: "here" in record["result"]["stdout"])
    server.kill()
    start_server()

    database = tmp_path / "home" / "data" / "jupyter_exec_ext" / "executions.sqlite"
    states: list[str] = []
    deadline = time.monotonic() + 20
    while states != ["failed"] and time.monotonic() < deadline:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            states = [row[0] for row in connection.execute("SELECT state FROM exec_executions")]
        time.sleep(0.1)

    assert states == ["failed"]
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert stat.S_IMODE(database.parent.stat().st_mode) == 0o700


def test_a_stopped_server_ends_in_time_with_final_records(start_server: Start) -> None:
    """SIGTERM with work under way: gone within its time, no kernel left, all records final."""
    server = start_server("--ExecApp.max_running=1")
    path = server.write_notebook("nb.ipynb", SLEEP)
    running, waiting = server.start(path), server.start(path)
    server.until(running["id"], lambda record: "here" in record["result"]["stdout"])
    kernels = server.kernels()

    seconds = server.stop()

    assert seconds < 15
    assert kernels
    assert gone(kernels, 1)
    assert "[E " not in server.log
    again = start_server()
    for record in (running, waiting):
        shown = again.get(record["id"])
        assert (shown["state"], shown["error"]["code"]) == ("failed", "ServerStopped")
    assert again.get(running["id"])["result"]["stdout"] == "here\n"
    assert again.get(waiting["id"])["started"] is False


@pytest.mark.parametrize("root", ["root", "other"])
def test_servers_of_one_home_leave_each_others_runs_alone(start_server: Start, root: str) -> None:
    """A second server, of the same folder or another one, does not settle what the first runs."""
    first = start_server()
    path = first.write_notebook(
        "nb.ipynb",
        "import pathlib, time\nprint('here', flush=True)\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)",
    )
    record = first.start(path)
    first.until(record["id"], lambda record: "here" in record["result"]["stdout"])

    second = start_server(root=root)
    second.get(second.start(second.write_notebook("own.ipynb", "1"))["id"], wait=60)
    seen = second.http.get("executions").json()["executions"]
    cancelled = second.http.post(f"executions/{record['id']}/cancel")
    (first.root / "go").touch()

    if root == "root":
        assert second.get(record["id"], wait=60)["state"] == "succeeded"
    assert first.get(record["id"], wait=60)["state"] == "succeeded"
    assert len(seen) == (2 if root == "root" else 1)
    assert cancelled.status_code == (409 if root == "root" else 404)


def test_without_a_store_the_server_starts_answers_503_and_stops(
    start_server: Start, tmp_path: Path
) -> None:
    """A store that cannot be opened is told in each answer; it is used once it is there."""
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    server = start_server(f"--ExecApp.db_url=sqlite:///{blocked}/executions.sqlite")
    path = server.write_notebook("nb.ipynb", "1")

    refused = server.http.post("executions", json={"notebook": {"path": path}})
    listed = server.http.get("executions")
    blocked.unlink()
    deadline = time.monotonic() + 10
    while server.http.get("executions").status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    record = server.get(server.start(path)["id"], wait=60)

    assert refused.status_code == listed.status_code == 503
    assert refused.json()["code"] == "StoreUnavailable"
    assert str(tmp_path) not in refused.text
    assert record["state"] == "succeeded"
    assert server.stop() < 15


def test_a_hanging_or_failing_end_does_not_keep_the_server(
    start_server: Start, tmp_path: Path
) -> None:
    """With its store locked by somebody else for ever the server still stops in time."""
    server = start_server()
    record = server.start(server.write_notebook("nb.ipynb", SLEEP))
    server.until(record["id"], lambda record: "here" in record["result"]["stdout"])
    kernels = server.kernels()
    database = tmp_path / "home" / "data" / "jupyter_exec_ext" / "executions.sqlite"
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")

        seconds = server.stop()

    assert seconds < 15
    assert gone(kernels, 1)
    again = start_server()
    shown = again.until(record["id"], lambda record: record["state"] == "failed")
    assert shown["error"]["code"] in ("ServerStopped", "ServerRestarted")


def test_installing_the_package_enables_the_extension() -> None:
    """Jupyter Server finds it enabled, in the environment that it was installed in."""
    config = Path(sys.prefix) / "etc/jupyter/jupyter_server_config.d/jupyter_exec_ext.json"

    enabled = json.loads(config.read_text())["ServerApp"]["jpserver_extensions"]

    assert enabled == {"jupyter_exec_ext": True}


def test_a_crash_does_not_hide_that_output_was_left_out(start_server: Start) -> None:
    """Outputs that are put together after a crash are counted as those of any other run."""
    server = start_server("--ExecApp.max_stream_bytes=20000")
    path = server.write_notebook(
        "nb.ipynb", "for _ in range(100): print('x' * 999)", "print('end')", SLEEP
    )
    record = server.start(path)
    server.until(record["id"], lambda record: "here" in record["result"]["stdout"])
    log = server.http.get(f"executions/{record['id']}/log").text

    server.kill()
    again = start_server("--ExecApp.max_stream_bytes=20000")
    ended = again.until(record["id"], lambda record: record["state"] == "failed")

    truncated = ended["result"]["truncated"]
    assert truncated["total_bytes"] == 100_000 + len("end\nhere\n")
    assert 0 < truncated["kept_bytes"] <= 20_000
    assert ended["result"]["stdout"].endswith("end\nhere\n")
    assert "left out" in ended["result"]["stdout"] + log


def test_kernels_that_did_not_start_keep_no_server_from_stopping(start_server: Start) -> None:
    """Jupyter goes on to wait for them; with another kernel there that would be for ever."""
    server = start_server()
    folder = server.root.parent / "home" / "data" / "kernels" / "broken"
    folder.mkdir(parents=True)
    spec = {"argv": ["/no/such/program"], "display_name": "Broken", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    there = server.http.post("executions?wait=60", json={"code": "1", "session_name": "there"})
    assert there.json()["state"] == "succeeded"
    for _ in range(2):
        body = {"code": "1", "kernel_name": "broken"}
        ran = server.http.post("executions?wait=60", json=body).json()
        assert ran["error"]["code"] == "KernelStartFailed"

    assert server.stop() < 15


def test_a_restart_of_a_kernel_keeps_no_server_from_stopping(start_server: Start) -> None:
    """Jupyter does not stop while one goes on: the end waits for it."""
    server = start_server()
    code = "import atexit, time\natexit.register(time.sleep, 2)\n"
    code += "atexit.register(lambda: open('ending', 'w').close())"
    body = {"code": code, "session_name": "mine"}
    ran = server.http.post("executions?wait=60", json=body).json()
    folder = server.root / server.http.get(f"sessions/{ran['session_id']}").json()["path"]
    with ThreadPoolExecutor() as pool:
        pool.submit(server.http.post, f"sessions/{ran['session_id']}/restart")
        deadline = time.monotonic() + 30
        while not (folder / "ending").exists() and time.monotonic() < deadline:
            time.sleep(0.01)

        assert server.stop() < 18

    assert "InvalidStateError" not in server.log
    assert not server.kernels()
