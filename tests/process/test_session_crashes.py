"""Sessions of servers that are killed or stopped: they and their executions end truthfully."""

import contextlib
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest

from tests.process.conftest import ServerProcess

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

Start = Callable[..., ServerProcess]

SLEEP = "import time\nprint('here', flush=True)\ntime.sleep(300)"


def submit(server: ServerProcess, code: str, **fields: Any) -> dict[str, Any]:
    answer = server.http.post("executions", json={"code": code, **fields})
    assert answer.status_code == 202, answer.text
    record: dict[str, Any] = answer.json()
    return record


def busy_server(start_server: Start) -> tuple[ServerProcess, dict[str, Any], list[dict[str, Any]]]:
    """Return a server, its session, and one execution that runs and twenty that wait in it."""
    server = start_server()
    session = server.http.post("sessions", json={"name": "mine"}).json()
    running = submit(server, SLEEP, session_id=session["id"])
    waiting = [submit(server, "1", session_id=session["id"]) for _ in range(20)]
    server.until(running["id"], lambda record: "here" in record["result"]["stdout"])
    return server, session, [running, *waiting]


def test_a_killed_server_leaves_no_session_and_every_record_true(start_server: Start) -> None:
    """What ran and what waited in a session has failed; the session has ended and says why."""
    server, session, records = busy_server(start_server)
    done = server.get(submit(server, "print('done'); 6 * 7")["id"], wait=60)
    kernels = server.kernels()
    assert server.http.get(f"executions/{records[0]['id']}/log").text == "here\n"

    server.kill()
    again = start_server()
    finals = [
        again.until(record["id"], lambda record: record["state"] == "failed") for record in records
    ]
    shown = again.http.get(f"sessions/{session['id']}").json()
    reborn = again.http.post("sessions", json={"name": "mine"})

    _, alive = psutil.wait_procs(kernels, timeout=8)
    assert not alive
    assert {record["error"]["code"] for record in finals} == {"ServerRestarted"}
    assert [record["started"] for record in finals] == [True] + [False] * 20
    assert finals[0]["result"]["stdout"] == "here\n"
    assert (shown["state"], shown["end_error"]["code"]) == ("ended", "ServerRestarted")
    assert reborn.status_code == 201
    assert done["result"]["value"] == 42
    assert again.get(done["id"]) == done
    listed = again.http.get("executions", params={"session_id": session["id"]}).json()
    assert len(listed["executions"]) == 21


def test_folders_of_a_killed_server(start_server: Start) -> None:
    """They stay, unless a session said that its files go with it, and can be read as before."""
    server = start_server()
    kept, gone = (
        server.http.post("sessions", json=fields).json() for fields in ({}, {"keep_files": False})
    )
    for session in (kept, gone):
        put = server.http.put(f"sessions/{session['id']}/files/a", content=b"1")
        assert put.status_code == 201

    server.kill()
    again = start_server()
    deadline = time.monotonic() + 60
    while (again.root / gone["path"]).exists() and time.monotonic() < deadline:
        time.sleep(0.05)

    assert not (again.root / gone["path"]).exists()
    assert again.http.get(f"sessions/{kept['id']}/files/a").content == b"1"
    assert again.http.delete(f"sessions/{kept['id']}").status_code == 204
    assert not (again.root / kept["path"]).exists()


def test_a_server_stops_whoever_moves_files(start_server: Start) -> None:
    """Clients that stand still in uploads and downloads do not keep its process alive."""
    server = start_server()
    session = server.http.post("sessions", json={}).json()
    folder = server.root / session["path"]
    with (folder / "big").open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    url = httpx.URL(server.url)
    path = f"{url.raw_path.decode()}exec/sessions/{session['id']}/files"
    head = f" HTTP/1.1\r\nHost: localhost\r\nAuthorization: token {server.token}\r\n"
    requests = [f"PUT {path}/f{n}{head}Content-Length: 100\r\n\r\n123" for n in range(8)]
    requests += [f"GET {path}/big{head}\r\n"] * 8
    with contextlib.ExitStack() as stack:
        for request in requests:
            client = stack.enter_context(socket.create_connection((url.host, url.port)))
            client.sendall(request.encode())
        deadline = time.monotonic() + 30
        while len([*folder.iterdir()]) < 9 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)

        seconds = server.stop()

    assert seconds < 10
    assert [path.name for path in folder.iterdir()] == ["big"]
    assert "a defect" not in server.log


def test_what_waited_for_prepared_answers_does_not_run_after_a_crash(start_server: Start) -> None:
    """They are kept nowhere, so it has failed; its neighbour without any runs."""
    server = start_server("--ExecApp.max_running=1")
    running = submit(server, SLEEP)
    with_answers = submit(server, "print(input())", stdin=["secret"])
    without = submit(server, "print('resumed')")
    server.until(running["id"], lambda record: "here" in record["result"]["stdout"])

    server.kill()
    again = start_server()
    failed = again.until(with_answers["id"], lambda record: record["state"] == "failed")
    resumed = again.get(without["id"], wait=60)

    assert (failed["error"]["code"], failed["started"]) == ("ServerRestarted", False)
    assert resumed["result"]["stdout"] == "resumed\n"


def test_a_stopped_server_ends_its_sessions(start_server: Start) -> None:
    """In time, with everything final, and no kernel is left."""
    server, session, records = busy_server(start_server)
    kernels = server.kernels()

    seconds = server.stop()

    _, alive = psutil.wait_procs(kernels, timeout=1)
    assert kernels
    assert not alive
    assert seconds < 15
    assert "[E " not in server.log
    again = start_server()
    shown = again.http.get(f"sessions/{session['id']}").json()
    assert (shown["state"], shown["end_error"]["code"]) == ("ended", "ServerStopped")
    for record in records:
        final = again.get(record["id"])
        assert (final["state"], final["error"]["code"]) == ("failed", "ServerStopped")


def test_another_server_process_leaves_a_session_alone(start_server: Start) -> None:
    """A second server of the same folder sees it, and cannot use, end or replace it."""
    first = start_server()
    session = first.http.post("sessions", json={"name": "mine"}).json()
    second = start_server()

    answers = [
        second.http.post("executions", json={"code": "1", "session_id": session["id"]}),
        second.http.post("executions", json={"code": "1", "session_name": "mine"}),
        second.http.post("sessions", json={"name": "mine"}),
        second.http.put(f"sessions/{session['id']}", json={"description": "x"}),
        second.http.delete(f"sessions/{session['id']}"),
    ]

    assert second.http.get(f"sessions/{session['id']}").status_code == 200
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (409, "RunsElsewhere"), answer.text
    record = submit(first, "'alive'", session_id=session["id"])
    assert first.get(record["id"], wait=60)["state"] == "succeeded"
