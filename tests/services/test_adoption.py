"""What a server does with executions that another instance of it took over, or that are gone."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.core.models import Execution
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.services.announcer import EXECUTION_SCHEMA_ID
from jupyter_exec_ext.services.events import closing_events, encode_events
from jupyter_exec_ext.store.store import ListQuery, Store
from tests.conftest import ExecApi
from tests.store.builders import connected, ended, new_instance, running


def mark(root: Path) -> str:
    """Return code that leaves a file when it runs."""
    return f"import pathlib\npathlib.Path({str(root)!r}, 'ran').touch()"


def wait_for_go(root: Path) -> str:
    """Return code that ends when there is a file of this name."""
    path = f"pathlib.Path({str(root)!r}, 'go')"
    return f"import pathlib, time\nwhile not {path}.exists(): time.sleep(0.01)"


@pytest.fixture
def exec_config() -> dict[str, Any]:
    return {"server_id": "server", "max_running": 1}


@pytest.fixture
def other(exec_app: ExecApp, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[Store]:
    """The store as another instance of the same server uses it."""
    store = Store(exec_app.db_url, new_instance())
    yield store
    jp_asyncio_loop.run_until_complete(store.close())


async def adopted(exec_app: ExecApp, other: Store, record: dict[str, Any]) -> Execution:
    """Let *other* adopt an execution: the lease of the server under test looks dead to it."""
    await other.open()
    with connected(exec_app.db_url) as connection:
        pid = {"pid": 2**22 + 1}  # above the highest that Linux gives
        connection.execute(text("UPDATE exec_leases SET pid = :pid"), pid)
    await other.heartbeat()
    found = await other.adopt(record["id"])
    assert found is not None
    return found.execution


@pytest.mark.parametrize("has_session", [False, True])
async def test_what_waits_does_not_run_here_once_another_instance_has_it(
    exec_app: ExecApp, exec_api: ExecApi, other: Store, has_session: bool
) -> None:
    """Its code starts in one instance only, and clients of both see what that one stores."""
    fields = {"session_id": (await exec_api.new_session())["id"]} if has_session else {}
    first = await exec_api.start_code(wait_for_go(exec_api.root), **fields)
    second = await exec_api.start_code(mark(exec_api.root), **fields)
    told: list[str] = []

    async def listen(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        if data["execution_id"] == second["id"]:
            told.append(data["state"])

    server: Any = exec_app.serverapp
    server.event_logger.add_listener(schema_id=EXECUTION_SCHEMA_ID, listener=listen)
    waiting = asyncio.create_task(exec_api.get(second, wait=60))
    following = asyncio.create_task(
        exec_api.request(
            "GET",
            "executions",
            second["id"],
            "events",
            headers={"Accept": "application/x-ndjson"},
        )
    )
    execution = await adopted(exec_app, other, second)
    assert execution.state is State.PENDING

    (exec_api.root / "go").touch()
    assert (await exec_api.final(first))["state"] == "succeeded"
    async with asyncio.timeout(60):
        while [*exec_app.turns.all()]:
            await asyncio.sleep(0.02)
    assert await other.update(running(execution))

    assert not (exec_api.root / "ran").exists()
    assert (await exec_api.get(second))["state"] == "running"
    assert not waiting.done()
    assert not following.done()
    final = ended(running(execution))
    await other.finish(final, result=b"{}", events=encode_events(closing_events(final, after=5)))
    assert (await exec_api.get(second))["state"] == "succeeded"
    assert (await waiting)["state"] == "succeeded"
    events = [json.loads(line) for line in (await following).body.splitlines()]
    assert (events[-1]["type"], events[-1]["state"]) == ("end", "succeeded")
    assert not {"failed", "error"} & {*told, *(event["type"] for event in events)}


async def test_a_cancel_here_does_not_reach_what_another_instance_runs(
    exec_app: ExecApp, exec_api: ExecApi, other: Store
) -> None:
    """The client gets the error for it, and the record is what the other instance stores."""
    first = await exec_api.start_code(wait_for_go(exec_api.root))
    second = await exec_api.start_code(mark(exec_api.root))
    execution = await adopted(exec_app, other, second)
    assert await other.update(running(execution))

    refused = await exec_api.request("POST", "executions", second["id"], "cancel", body="")

    assert (refused.status, refused.json["code"]) == (409, "RunsElsewhere")
    assert (await exec_api.get(second))["state"] == "running"
    (exec_api.root / "go").touch()
    assert (await exec_api.final(first))["state"] == "succeeded"
    assert not (exec_api.root / "ran").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the kernel waits in a shell")
async def test_no_code_is_sent_after_another_instance_has_ended_the_execution(
    exec_app: ExecApp, exec_api: ExecApi, other: Store, jp_data_dir: Path
) -> None:
    """While its kernel starts, another instance made the execution final."""
    folder = jp_data_dir / "kernels" / "waiting"
    folder.mkdir(parents=True)
    wait = f"until [ -e {exec_api.root}/go ]; do sleep 0.02; done"
    command = (
        f'touch {exec_api.root}/started; {wait}; exec {sys.executable} -m ipykernel_launcher "$@"'
    )
    argv = ["/bin/sh", "-c", command, "sh", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Waiting", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    record = await exec_api.start_code(mark(exec_api.root), kernel_name="waiting")
    async with asyncio.timeout(30):
        while not (exec_api.root / "started").exists():
            await asyncio.sleep(0.02)
    execution = await adopted(exec_app, other, record)
    assert await other.finish(ended(execution), result=b"{}")

    (exec_api.root / "go").touch()
    async with asyncio.timeout(60):
        while [*exec_app.turns.all()]:
            await asyncio.sleep(0.05)

    assert not (exec_api.root / "ran").exists()
    assert (await exec_api.get(record))["state"] == "succeeded"


async def test_a_removed_record_is_never_stored_as_one_that_waits(
    exec_app: ExecApp, exec_api: ExecApi
) -> None:
    """It is stored whole or not at all: after a crash nothing of it would run again."""
    record = await exec_api.start_code(
        f"print('here', flush=True)\n{wait_for_go(exec_api.root)}", labels={"a": "b"}
    )
    await exec_api.until_printed(record, "here")
    with connected(exec_app.db_url) as connection:
        for table in ("label_terms", "events", "notebooks", "executions"):
            connection.execute(text(f"DELETE FROM exec_{table}"))
        connection.execute(
            text(
                "CREATE TRIGGER no_results BEFORE INSERT ON exec_results"
                " BEGIN SELECT RAISE(ABORT, 'no results now'); END"
            )
        )

    (exec_api.root / "go").touch()
    final = await exec_api.final(record)
    stored = await exec_app.store.list(ListQuery())
    with connected(exec_app.db_url) as connection:
        connection.execute(text("DROP TRIGGER no_results"))
    await exec_app.turns.store_unstored()

    assert final["state"] == "succeeded"
    assert stored.executions == []
    assert [*exec_app.turns.all()] == []
    assert (await exec_api.get(record))["result"]["stdout"] == "here\n"
    assert (await exec_app.store.get(record["id"])).state is State.SUCCEEDED
