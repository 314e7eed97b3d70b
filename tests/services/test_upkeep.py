"""What upkeep does with the rows that a dead process of the server left behind."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.core.models import CodeSource, Event, EventType, Execution
from jupyter_exec_ext.core.sessions import Session, SessionState
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.services.events import encode_event
from jupyter_exec_ext.services.notebooks import decode_result
from jupyter_exec_ext.store.records import encode
from jupyter_exec_ext.store.store import Store
from tests.conftest import ExecApi
from tests.store.builders import (
    START,
    connected,
    ended,
    eventually,
    gone_process,
    new_execution,
    new_instance,
    running,
)

BROKEN = b'{"not": "a record of the store"'


@pytest.fixture
def exec_config() -> dict[str, Any]:
    return {"server_id": "server"}


@pytest.fixture
def dead_store(exec_app: ExecApp, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[Store]:
    """The store as another process of this server used it, which has ended."""
    pid, start = gone_process()
    store = Store(exec_app.db_url, new_instance(pid=pid, process_start_time=start))
    yield store
    jp_asyncio_loop.run_until_complete(store.close())


async def left_behind(store: Store, **fields: Any) -> Execution:
    """Store an execution of code that has printed, and whose server ended then."""
    execution = new_execution(
        type="code", source=CodeSource(code="1"), session_id=str(uuid.uuid4()), **fields
    )
    execution = replace(running(execution), started=True)
    await store.insert(execution, notebook=None)
    content = {"name": "stdout", "text": "printed\n"}
    events = [
        Event(number=number, type=EventType.STREAM, cell_index=0, content=content)
        for number in (1, 2, 3)
    ]
    await store.append_events(execution.id, [encode_event(event) for event in events])
    return execution


def damage(url: str, table: str, key: str, **values: Any) -> None:
    """Overwrite columns of the row whose id begins with *key*, past the store."""
    column = {"exec_events": "execution_id", "exec_leases": "instance_id"}.get(table, "id")
    settings = ", ".join(f"{name} = :{name}" for name in values)
    number = " AND number = 2" if table == "exec_events" else ""
    with connected(url) as connection:
        changed = connection.execute(
            text(f"UPDATE {table} SET {settings} WHERE {column} = :key{number}"),
            {"key": key, **values},
        )
        assert changed.rowcount == 1


def lines_of(caplog: pytest.LogCaptureFixture, *words: str) -> list[str]:
    lines = [record.getMessage() for record in caplog.records]
    return [line for line in lines if all(word in line for word in words)]


async def test_a_damaged_row_hinders_no_other(
    exec_app: ExecApp,
    exec_api: ExecApi,
    dead_store: Store,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each damaged row fails alone and is reported once; heartbeat and recovery go on."""
    monkeypatch.setattr("jupyter_exec_ext.services.upkeep.ROUND_SECONDS", 0.02)
    url = exec_app.db_url
    payloads = {
        "not JSON": BROKEN,
        "text": "text where bytes belong",
        "another event": b'{"number": 2, "type": "stream", "cell_index": 0, "content": {}}',
        "of no cell": encode_event(
            Event(number=2, type=EventType.OUTPUT, cell_index=7, content={"msg_type": "no"})
        )[1],
        "deep": b"[" * 100_000,
    }
    damaged = {kind: await left_behind(dead_store) for kind in payloads}
    for kind, payload in payloads.items():
        damage(url, "exec_events", damaged[kind].id, payload=payload)
    unreadable = await left_behind(dead_store)
    damage(url, "exec_executions", unreadable.id, record=BROKEN)
    odd_state = await left_behind(dead_store)
    damage(url, "exec_executions", odd_state.id, state="of another program")
    no_notebook = replace(running(new_execution()), started=True)
    await dead_store.insert(no_notebook, notebook=BROKEN)
    broken_session = Session(
        id="broken", state=SessionState.IDLE, kernel_name="python3", created_time=START,
        last_activity_time=START,
    )  # fmt: skip
    await dead_store.sessions.insert(broken_session)
    await dead_store.sessions.insert(replace(broken_session, id="whole"))
    damage(url, "exec_sessions", "broken", record=BROKEN)
    broken_leases: list[dict[str, float]] = [{"pid": -1}, {"process_start_time": 1e308}]
    for number, broken_lease in enumerate(broken_leases):
        instance = await asyncio.to_thread(new_instance, id=f"lease {number}")
        other = Store(url, instance)
        await other.open()
        damage(url, "exec_leases", f"lease {number}", **broken_lease)
    whole = await left_behind(dead_store)

    upkeep = asyncio.create_task(exec_app.upkeep.run())
    try:
        record = await exec_api.until({"id": whole.id}, lambda now: now["state"] == "failed")
        for _ in range(3):
            await next_heartbeat(url)
    finally:
        upkeep.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await upkeep

    assert record["error"]["code"] == "ServerRestarted"
    assert record["result"]["stdout"] == "printed\n" * 3
    for kind, execution in damaged.items():
        ended = await exec_api.get({"id": execution.id})
        assert (ended["state"], ended["result"]["stdout"]) == ("failed", "printed\n" * 2), kind
        reports = lines_of(caplog, execution.id, "1 of its events")
        assert len(reports) == (kind != "of no cell"), kind
    assert (await exec_app.store.get(odd_state.id)).state is State.FAILED
    assert (await exec_app.store.get(no_notebook.id)).state is State.FAILED
    assert (await exec_app.store.sessions.get("whole")).state is SessionState.ENDED
    assert (await exec_app.store.get(unreadable.id)).state is State.FAILED
    for key in (unreadable.id, "broken"):
        assert len(lines_of(caplog, key)) == 1, key
    assert "a record of the store" not in caplog.text
    result = await exec_app.store.get_result(damaged["not JSON"].id)
    assert (await decode_result(result or b"")).stream("stdout") == "printed\n" * 2


async def test_a_row_with_a_record_that_cannot_be_its_own_fails_and_can_be_deleted(
    exec_app: ExecApp,
    exec_api: ExecApi,
    dead_store: Store,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each such execution ends, is reported once, and hinders no other."""
    monkeypatch.setattr("jupyter_exec_ext.services.upkeep.ROUND_SECONDS", 0.02)
    url = exec_app.db_url
    other, final = await left_behind(dead_store), await left_behind(dead_store)
    await dead_store.finish(ended(final), result=b"{}")
    unknown = new_execution()
    records = {
        "of another one": encode(await dead_store.get(other.id)),
        "of a final one": encode(await dead_store.get(final.id)),
        "of none": encode(unknown),
        "not a record": BROKEN,
    }
    damaged = {
        kind: await left_behind(dead_store, labels={"team": "a"}, owner="ann") for kind in records
    }
    for kind, stored in records.items():
        damage(url, "exec_executions", damaged[kind].id, record=stored, state="pending")
    damaged["final"] = await left_behind(dead_store)
    damage(
        url,
        "exec_executions",
        damaged["final"].id,
        record=encode(ended(damaged["final"])),
        state="pending",
    )
    damaged["final, with a result"] = await left_behind(dead_store)
    await dead_store.finish(ended(damaged["final, with a result"]), result=b"{}")
    damage(
        url, "exec_executions", damaged["final, with a result"].id, state="pending", end_time=None
    )
    damaged_end = await left_behind(dead_store)
    await dead_store.finish(ended(damaged_end), result=b"{}")
    damage(url, "exec_executions", damaged_end.id, record=BROKEN)
    whole = await left_behind(dead_store)

    upkeep = asyncio.create_task(exec_app.upkeep.run())
    try:
        await exec_api.until({"id": whole.id}, lambda now: now["state"] == "failed")
        for _ in range(3):
            await next_heartbeat(url)
    finally:
        upkeep.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await upkeep

    listed = await exec_api.request("GET", "executions", params={"page_size": "100"})
    states = {shown["id"]: shown["state"] for shown in listed.json["executions"]}
    for kind, execution in damaged.items():
        record = await exec_api.get({"id": execution.id})
        assert (record["state"], record["error"]["code"]) == ("failed", "ServerRestarted"), kind
        assert "damaged" in record["error"]["message"], kind
        assert record["result"]["stdout"] == "printed\n" * 3, kind
        assert states[execution.id] == "failed", kind
        assert len(lines_of(caplog, execution.id, "record")) == 1, kind
    labelled = await exec_api.request("GET", "executions", params={"label": "team"})
    assert labelled.json["executions"] == []
    assert states[other.id] == "failed"
    assert states[final.id] == "succeeded"
    for execution in (*damaged.values(), damaged_end):
        deleted = await exec_api.request("DELETE", "executions", execution.id)
        assert deleted.status == 204
        assert (await exec_api.request("GET", "executions", execution.id)).status == 404


async def next_heartbeat(url: str) -> None:
    """Wait until a heartbeat later than the last one is stored."""
    before = newest_heartbeat(url)

    async def check() -> None:
        assert newest_heartbeat(url) > before

    await eventually(check, AssertionError)


def newest_heartbeat(url: str) -> int:
    with connected(url) as connection:
        return connection.scalar(text("SELECT max(heartbeat_time) FROM exec_leases")) or 0


async def test_followers_see_a_gap_where_an_event_is_damaged(
    exec_app: ExecApp, exec_api: ExecApi, dead_store: Store
) -> None:
    """The events around a damaged one are shown, and the log names the place."""
    execution = await left_behind(dead_store)
    await exec_app.upkeep.recover()
    damage(exec_app.db_url, "exec_events", execution.id, payload=BROKEN)

    answer = await exec_api.request(
        "GET", "executions", execution.id, "events", headers={"Accept": "application/x-ndjson"}
    )
    log = await exec_api.log({"id": execution.id})

    events = [msgspec.json.decode(line) for line in answer.body.splitlines()]
    assert [event["type"] for event in events] == [
        "state", "stream", "gap", "stream", "gap", "error", "end",
    ]  # fmt: skip
    assert events[2]["lost"] == 1
    assert log == "printed\n\n[... output left out ...]\nprinted\n"
