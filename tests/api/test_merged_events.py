"""Following several executions by one stream: each event once, whatever is cut off."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.services.merging import MAX_ENDED, MAX_EXECUTIONS, NEVER, Cursor
from tests.api.following import EventData, FollowingClient
from tests.conftest import WAIT_SECONDS, ExecApi

WAIT = "!sleep 300"


def by_execution(events: Iterable[EventData | None]) -> dict[str, list[EventData]]:
    """Return the events of each execution as its own stream has them."""
    found = defaultdict(list)
    for event in events:
        assert event is not None
        alone = {
            name: value for name, value in event.items() if name not in ("execution_id", "cursor")
        }
        found[event["execution_id"]].append(alone)
    return dict(found)


async def alone(following: FollowingClient, *records: EventData) -> dict[str, list[EventData]]:
    """Return the events of each execution, read by its own stream."""
    return {record["id"]: await following.events(record) for record in records}


async def cancel(exec_api: ExecApi, record: EventData) -> None:
    answer = await exec_api.request("POST", "executions", record["id"], "cancel", body="")
    assert answer.status == 200


@pytest.mark.parametrize("is_sse", [True, False])
async def test_a_session_is_followed_with_what_comes_later(
    exec_api: ExecApi, following: FollowingClient, echo_kernel_name: str, *, is_sse: bool
) -> None:
    """What runs, what waits and what is created later, until the session has ended."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    where = {"session_id": session["id"]}
    done = await exec_api.run_code("before", **where)
    elsewhere = await exec_api.start_code(WAIT, kernel_name=echo_kernel_name)
    running = await exec_api.start_code(WAIT, **where)
    waiting = await exec_api.start_code("waiting", **where)

    async with following.merged(is_sse=is_sse, **where) as stream:
        events = await stream.until("stream")
        assert {event["execution_id"] for event in events} == {running["id"]}
        await cancel(exec_api, running)
        events += await stream.until("end", execution_id=waiting["id"])
        later = await exec_api.run_code("!fail later", **where)
        events += await stream.until("end", execution_id=later["id"])
        beside = await exec_api.run_code("beside", fresh_kernel=True, **where)
        events += await stream.until("end", execution_id=beside["id"])
        assert (await exec_api.request("DELETE", "sessions", session["id"])).status == 204
        assert await stream.rest() == []
    await cancel(exec_api, elsewhere)

    assert by_execution(events) == await alone(following, running, waiting, later, beside)
    assert done["id"] not in by_execution(events)


async def test_executions_are_followed_by_their_ids(
    exec_api: ExecApi, following: FollowingClient, echo_kernel_name: str
) -> None:
    """In any session or none, final or not; the stream ends when the last has ended."""
    final = await exec_api.run_code("final", kernel_name=echo_kernel_name)
    running = await exec_api.start_code(WAIT, kernel_name=echo_kernel_name, session_name="s")
    waiting = await exec_api.start_code("1", session_name="s")
    ids = [record["id"] for record in (final, running, waiting, running)]

    async with following.merged(id=ids) as stream:
        events = await stream.until("stream", execution_id=running["id"])
        await cancel(exec_api, running)
        events += await stream.rest()
        assert stream.heartbeat_count == 0

    assert by_execution(events) == await alone(following, final, running, waiting)
    async with following.merged(id=ids, after=events[-1]["cursor"]) as stream:
        assert stream.response.status_code == 204
    for place, event in enumerate(events[:-1]):
        async with following.merged(id=ids, after=event["cursor"], is_sse=place % 2 == 0) as stream:
            assert by_execution(await stream.rest()) == by_execution(events[place + 1 :])


async def test_what_ended_already_is_read_on_request(
    exec_api: ExecApi, following: FollowingClient, echo_kernel_name: str
) -> None:
    """``created_after`` adds what a client submitted before it followed; any event resumes."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    where = {"session_id": session["id"]}
    records = [await exec_api.run_code(f"{number}", **where) for number in range(4)]
    since = {"created_after": records[1]["created_time"], **where}

    async with following.merged(**since) as stream:
        events = await stream.until("end", execution_id=records[3]["id"])

    assert by_execution(events) == await alone(following, *records[1:])
    for place, event in enumerate(events[:-1]):
        async with following.merged(after=event["cursor"], **since) as stream:
            rest = [await stream.next() for _ in events[place + 1 :]]
            assert by_execution(rest) == by_execution(events[place + 1 :])


async def test_a_client_that_comes_again_and_again_misses_nothing(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """Also of what runs beside, what is cancelled while it waits, and what ends in between."""
    session = await exec_api.new_session()
    where = {"session_id": session["id"]}
    await exec_api.run_code("1", **where)
    since = {"created_after": datetime.now(UTC).isoformat(), **where}
    code = "import time\nfor n in range(20): print(n, flush=True); time.sleep(0.02)"
    records: list[EventData] = []

    async def submit() -> None:
        for number in range(12):
            fields = where | ({"on_busy": "subshell"} if number % 4 == 1 else {})
            records.append(await exec_api.start_code(code, **fields))
            await asyncio.sleep(0.05)
        for record in records[-2:]:
            await cancel(exec_api, record)

    events: list[EventData] = []
    submitting = asyncio.create_task(submit())
    async with asyncio.timeout(WAIT_SECONDS):
        while sum(event["type"] == "end" for event in events) < 12:
            cursor = events[-1]["cursor"] if events else None
            async with following.merged(after=cursor, **since) as stream:
                for _ in range(7):
                    if sum(event["type"] == "end" for event in events) == 12:
                        break
                    event = await stream.next()
                    assert event is not None
                    events.append(event)
    await submitting

    assert by_execution(events) == await alone(following, *records)
    ends = [event["state"] for event in events if event["type"] == "end"]
    assert ends.count("cancelled") == 2
    # Those that wait take no room.
    assert max(len(event["cursor"]) for event in events) < 400


async def test_many_that_are_cancelled_at_once(
    exec_api: ExecApi, following: FollowingClient, echo_kernel_name: str
) -> None:
    """Cursors stay short, and each of them resumes the stream."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    where = {"session_id": session["id"]}
    records = [await exec_api.start_code(WAIT, **where) for _ in range(40)]

    async with following.merged(**where) as stream:
        events = await stream.until("stream")
        await exec_api.request("DELETE", "sessions", session["id"])
        events += await stream.rest()

    assert by_execution(events).keys() == {record["id"] for record in records}
    assert [event["type"] for event in events if event["type"] == "end"] == ["end"] * 40
    assert max(len(event["cursor"]) for event in events) < 200


@asynccontextmanager
async def refused(
    following: FollowingClient, status: int, target: str | None, **params: Any
) -> AsyncIterator[None]:
    async with following.merged(**params) as stream:
        assert stream.response.status_code == status, stream.response.content
        assert stream.response.json().get("target") == target
    yield


async def test_requests_that_cannot_be_followed(
    exec_api: ExecApi, following: FollowingClient, echo_kernel_name: str
) -> None:
    """They are refused with the parameter at fault."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    record = await exec_api.run_code("1", session_id=session["id"])
    one = {"id": [record["id"]]}
    for status, target, params in (
        (422, "session_id", {}),
        (422, "session_id", {"session_id": session["id"], **one}),
        (400, "id", {"id": [f"{number}" for number in range(MAX_EXECUTIONS + 1)]}),
        (422, "created_after", {"created_after": "2026-01-01T00:00:00Z", **one}),
        (400, "created_after", {"created_after": "x", "session_id": session["id"]}),
        (422, "Last-Event-ID", {"after": "7", **one}),
        (422, "after", {"after": "????", "is_sse": False, **one}),
        (404, None, {"id": [record["id"], "none"]}),
        (404, None, {"session_id": "none"}),
    ):
        async with refused(following, status, target, **params):
            pass
    far = Cursor(ended=(2**63 - 1, NEVER[1])).encode()
    async with refused(following, 422, "after", after=far, is_sse=False, **one):
        pass


async def test_too_many_that_have_ended(
    following: FollowingClient, exec_api: ExecApi, echo_kernel_name: str, keep_final: Any
) -> None:
    """Since each needs room in the cursor."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    for _ in range(MAX_ENDED + 1):
        await keep_final(session_id=session["id"])
    where = {"session_id": session["id"], "created_after": "2026-01-01T00:00:00Z"}

    async with refused(following, 422, "created_after", **where):
        pass


@pytest.mark.parametrize("exec_config", [{"max_streams": 4, "heartbeat_seconds": 1.0}])
async def test_a_stream_of_many_is_one_stream(
    exec_api: ExecApi, following: FollowingClient, echo_kernel_name: str, exec_app: ExecApp
) -> None:
    """For the share of a user; it shows that it lives, and the stop of the server ends it."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    where = {"session_id": session["id"]}
    running = await exec_api.start_code(WAIT, **where)
    await exec_api.start_code(WAIT, **where)

    async with following.merged(**where) as stream:
        events = await stream.until("stream")
        async with following.merged(id=[running["id"]], is_sse=False) as other:
            await other.until("stream")
            async with refused(following, 429, None, **where):
                pass
        reading = asyncio.create_task(stream.rest())
        async with asyncio.timeout(WAIT_SECONDS):
            while stream.heartbeat_count < 2:
                await asyncio.sleep(0.05)
        await exec_app.stop_extension()
        events += await reading

    ends = [event["type"] for event in events if event["type"] in ("error", "end")]
    assert ends == ["error", "end"] * 2
    assert not exec_app.following._followers


async def test_a_session_that_has_ended_can_be_followed_to_its_end(
    exec_api: ExecApi, following: FollowingClient, echo_kernel_name: str
) -> None:
    """A client that comes back late gets what it missed."""
    session = await exec_api.new_session(
        kernel_name=echo_kernel_name, idle_timeout_seconds=timedelta(seconds=0.1).total_seconds()
    )
    where = {"session_id": session["id"]}
    async with following.merged(**where) as stream:
        record = await exec_api.start_code("1", **where)
        (first, *_) = await stream.until("state", state="pending")
    await exec_api.until_session(session["id"], lambda one: one["state"] == "ended")

    async with following.merged(after=first["cursor"], **where) as stream:
        events = [first, *await stream.rest()]

    assert by_execution(events) == await alone(following, record)
    async with following.merged(after=events[-1]["cursor"], **where) as stream:
        assert stream.response.status_code == 204
    async with following.merged(**where) as stream:
        assert stream.response.status_code == 204
