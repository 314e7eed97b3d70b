"""A good guest of its server: right links, activity that counts, kernels that are seen, an end."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from traitlets.config import Config

from jupyter_exec_ext.app import ACTIVITY_SETTING, ExecApp
from jupyter_exec_ext.services.notebooks import decode_result
from jupyter_exec_ext.store.leases import Instance
from jupyter_exec_ext.store.store import Store
from tests.conftest import WAIT_SECONDS, ExecApi

GATE = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
HEARTBEATS = "SELECT heartbeat_time FROM exec_leases"


@pytest.fixture
def host_config() -> dict[str, Any]:
    """Configuration of the host for a test; override it by parametrizing."""
    return {}


@pytest.fixture
def jp_server_config(jp_server_config: Config, host_config: dict[str, Any]) -> Config:
    jp_server_config.merge(Config(host_config))
    return jp_server_config


async def until(is_true: Callable[[], bool | Awaitable[bool]]) -> None:
    """Return as soon as *is_true*."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        answer = is_true()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_links_lead_back_through_any_proxy(
    exec_api: ExecApi, jp_serverapp: Any, jp_auth_header: dict[str, str], http_server_client: Any
) -> None:
    """``Location`` is a path, so that it is right for whatever host and scheme a proxy shows."""
    exec_api.write_notebook("nb.ipynb", "1")
    socket, port = bind_unused_port()
    proxied = HTTPServer(jp_serverapp.web_app, xheaders=True)
    proxied.add_socket(socket)
    public = "https://hub.example/user/a%40b/exec/executions"

    try:
        answer = await super(type(http_server_client), http_server_client).fetch(
            f"http://127.0.0.1:{port}/user/a%40b/exec/executions",
            method="POST",
            body='{"notebook": {"path": "nb.ipynb"}}',
            headers={
                **jp_auth_header,
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "hub.example",
                "X-Forwarded-For": "203.0.113.7",
            },
        )
    finally:
        proxied.stop()
        await proxied.close_all_connections()

    record = (await exec_api.request("GET", "executions")).json["executions"][0]
    assert answer.headers["Location"] == f"/user/a%40b/exec/executions/{record['id']}"
    assert urljoin(public, answer.headers["Location"]) == f"{public}/{record['id']}"
    await exec_api.final(record)


async def test_work_counts_as_activity_and_looking_does_not(
    exec_api: ExecApi, exec_app: ExecApp, jp_serverapp: Any
) -> None:
    """An accepted execution marks the server as in use; reading it again and again does not."""
    settings = jp_serverapp.web_app.settings
    exec_api.write_notebook("nb.ipynb", GATE)
    before = datetime.now(UTC)
    record = await exec_api.start("nb.ipynb")
    noted = settings[ACTIVITY_SETTING]
    settings["api_last_activity"] = LONG_AGO

    for where in ("", "/log", "/notebook"):
        await exec_api.request("GET", f"executions/{record['id']}{where}")
    for where in ("/", "openapi.json", "executions", "nothing"):
        await exec_api.request("GET", where)

    assert noted.utcoffset() == timedelta(0)
    assert noted >= before
    assert settings["api_last_activity"] == LONG_AGO
    assert exec_app.current_activity() == {"executions": 1}
    (exec_api.root / "go").touch()
    await exec_api.final(record)
    await until(lambda: exec_app.current_activity() is None)
    await until(lambda: bool(settings[ACTIVITY_SETTING] > noted))
    assert settings["api_last_activity"] == LONG_AGO


async def test_a_silent_run_stays_active_and_an_idle_service_does_not(
    exec_api: ExecApi,
    exec_app: ExecApp,
    jp_serverapp: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mark is renewed while something runs, since a silent cell sends nothing, and then not."""
    monkeypatch.setattr("jupyter_exec_ext.services.upkeep.ROUND_SECONDS", 0.02)
    await exec_app._start_jupyter_server_extension(jp_serverapp)
    settings = jp_serverapp.web_app.settings
    exec_api.write_notebook("nb.ipynb", "print('here')", GATE)
    record = await exec_api.start("nb.ipynb")
    await exec_api.until_printed(record, "here")

    for _ in range(2):
        settings[ACTIVITY_SETTING] = LONG_AGO
        await until(lambda: settings[ACTIVITY_SETTING] > LONG_AGO)

    (exec_api.root / "go").touch()
    await exec_api.final(record)
    await until(lambda: exec_app.current_activity() is None)
    connection = sqlite3.connect(tmp_path / "store" / "executions.sqlite")
    try:
        seen: set[int] = set()

        def rounds_left_no_mark() -> bool:
            if settings[ACTIVITY_SETTING] != LONG_AGO:
                settings[ACTIVITY_SETTING] = LONG_AGO
                seen.clear()
            seen.update(time for (time,) in connection.execute(HEARTBEATS))
            return len(seen) > 3

        await until(rounds_left_no_mark)
    finally:
        connection.close()


@pytest.mark.parametrize(
    "host_config",
    [{"MappingKernelManager": {"cull_idle_timeout": 1, "cull_interval": 1, "cull_busy": True}}],
)
async def test_the_kernel_culler_spares_running_executions(
    exec_api: ExecApi, jp_serverapp: Any
) -> None:
    """A kernel that sits silent in a cell outlives an idle one, even where busy ones are culled."""
    manager = jp_serverapp.kernel_manager
    exec_api.write_notebook("nb.ipynb", "print('here')", GATE)
    record = await exec_api.start("nb.ipynb")
    await exec_api.until_printed(record, "here")

    decoy = await manager.start_kernel(kernel_name="python3")
    await until(lambda: decoy not in manager)

    assert (await exec_api.get(record))["kernel_id"] in manager
    (exec_api.root / "go").touch()
    assert (await exec_api.final(record))["state"] == "succeeded"


@pytest.mark.parametrize(
    "host_config", [{"MappingKernelManager": {"cull_idle_timeout": 1, "cull_interval": 1}}]
)
async def test_a_session_ends_by_its_own_time_and_its_idleness_is_no_activity(
    exec_api: ExecApi,
    exec_app: ExecApp,
    jp_serverapp: Any,
    echo_kernel_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Till then the kernel culler spares its kernel; the server may be culled, or stop."""
    manager, settings = jp_serverapp.kernel_manager, jp_serverapp.web_app.settings
    stops: list[bool] = []
    monkeypatch.setattr(type(jp_serverapp), "stop", lambda *_: stops.append(True))
    jp_serverapp.shutdown_no_activity_timeout = 0
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    record = await exec_api.run_code("1", session_id=session["id"])
    await until(lambda: exec_app.current_activity() is None)
    settings[ACTIVITY_SETTING] = LONG_AGO

    decoy = await manager.start_kernel(kernel_name=echo_kernel_name)
    await until(lambda: decoy not in manager)
    busy = await exec_api.start_code("!ask", session_id=session["id"])
    await exec_api.until(busy, lambda shown: "input_request" in shown)
    while_busy = exec_app.current_activity(), settings[ACTIVITY_SETTING]
    await exec_api.request("POST", "executions", busy["id"], "input", json={"value": "Ada"})
    busy = await exec_api.final(busy)
    await until(lambda: exec_app.current_activity() is None)
    settings[ACTIVITY_SETTING] = LONG_AGO
    await exec_api.request("PUT", "sessions", session["id"], json={"idle_timeout_seconds": 0.1})
    ended = await exec_api.until_session(session["id"], lambda shown: shown["state"] == "ended")

    assert busy["kernel_id"] == record["kernel_id"]
    assert "kernel_lost" not in busy
    assert while_busy[0] == {"executions": 1}
    assert while_busy[1] > LONG_AGO
    assert ended["end_error"]["code"] == "SessionIdle"
    assert settings[ACTIVITY_SETTING] == LONG_AGO
    jp_serverapp.shutdown_no_activity()
    assert stops == [True]


async def test_the_running_panel_shows_the_kernel_but_not_as_the_notebooks(
    exec_api: ExecApi, jp_fetch: Any, jp_serverapp: Any
) -> None:
    """A console of its own with a readable name: JupyterLab attaches documents by their path."""
    exec_api.write_notebook("sub/my analysis.ipynb", "print('here')", GATE)
    record = await exec_api.start("sub/my analysis.ipynb")
    record = await exec_api.until_printed(record, "here")

    (shown,) = await jp_serverapp.session_manager.list_sessions()

    assert (shown["type"], shown["path"]) == ("console", f"exec-{record['session_id']}")
    assert shown["name"] == "exec: my analysis.ipynb"
    assert shown["kernel"]["id"] == record["kernel_id"]
    (exec_api.root / "sub" / "go").touch()
    await exec_api.final(record)


async def test_a_server_is_not_shut_down_for_inactivity_while_something_runs(
    exec_api: ExecApi, jp_serverapp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``shutdown_no_activity`` waits for executions; afterwards it does what it is there for."""
    stops: list[bool] = []
    monkeypatch.setattr(type(jp_serverapp), "stop", lambda *_: stops.append(True))
    monkeypatch.setattr(type(jp_serverapp.kernel_manager), "__len__", lambda _: 0)
    jp_serverapp.shutdown_no_activity_timeout = 0
    exec_api.write_notebook("nb.ipynb", GATE)

    record = await exec_api.start("nb.ipynb")
    jp_serverapp.shutdown_no_activity()
    assert stops == []
    (exec_api.root / "go").touch()
    await exec_api.final(record)
    await until(lambda: not jp_serverapp.extension_manager.any_activity())
    jp_serverapp.shutdown_no_activity()
    assert stops == [True]


@pytest.mark.parametrize("exec_config", [{"max_running": 1, "server_id": "this"}])
async def test_stopping_makes_all_records_final_in_time(
    exec_api: ExecApi, exec_app: ExecApp
) -> None:
    """What ran and what waited is failed as ``ServerStopped``; a second stop does no harm."""
    exec_api.write_notebook("nb.ipynb", "print('here')", GATE)
    records = [await exec_api.start("nb.ipynb") for _ in range(4)]
    await exec_api.until_printed(records[0], "here")
    began = time.monotonic()

    await exec_app.stop_extension()
    seconds = time.monotonic() - began
    await exec_app.stop_extension()

    assert seconds < 5
    refused = await exec_api.request("POST", "executions", json={"notebook": {"path": "nb.ipynb"}})
    assert (refused.status, refused.json["code"]) == (503, "ServerStopping")
    store = Store(exec_app.db_url, await asyncio.to_thread(Instance.of_this_process, "this"))
    try:
        stored = [await store.get(record["id"]) for record in records]
        result = await decode_result(await store.get_result(records[0]["id"]) or b"")
    finally:
        await store.close()
    assert [record.state for record in stored] == ["failed"] * 4
    assert {record.error.code for record in stored if record.error} == {"ServerStopped"}
    assert [record.started for record in stored] == [True, False, False, False]
    assert all(record.end_time for record in stored)
    assert result.stream("stdout") == "here\n"
    (exec_api.root / "go").touch()
