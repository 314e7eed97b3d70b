"""Following an execution by its events: all of them, in order, once, at little cost."""

import asyncio
import contextlib
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psutil
import pytest

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.core.models import Event, EventType, Result
from jupyter_exec_ext.core.states import State, advance
from jupyter_exec_ext.services.events import closing_events, encode_event
from tests.api.conftest import START
from tests.api.following import EventData, FollowingClient, ids_of, text_of
from tests.conftest import WAIT_SECONDS, ExecApi
from tests.stalling import taken_when_cut

GATE = "import pathlib, time\nwhile not pathlib.Path('{0}').exists(): time.sleep(0.005)\n"
SLEEP = "import time\nprint('here', flush=True)\ntime.sleep(300)"
SHOW = """
from IPython.display import display, clear_output
print('one')
handle = display({'text/plain': 'first'}, raw=True, display_id='d')
handle.update({'text/plain': 'second'}, raw=True)
print('two')
clear_output(wait=True)
import sys; print('err', file=sys.stderr)
6 * 7
"""


async def test_all_that_happens_is_told_in_order(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """From pending to the end: states, progress, outputs; together they are the record."""
    exec_api.write_notebook("nb.ipynb", SHOW, "1/0")
    record = await exec_api.start("nb.ipynb")

    events = await following.events(record)

    record = await exec_api.final(record)
    assert ids_of(events) == list(range(len(events)))
    told = [event for event in events if "cell_index" not in event]
    assert [(event["id"], event["type"], event["state"]) for event in told[:2]] == [
        (0, "state", "pending"),
        (1, "state", "running"),
    ]
    assert [(event["type"], event.get("done")) for event in told[2:]] == [
        ("progress", 0),
        ("progress", 1),
        ("progress", 2),
        ("error", None),
        ("end", None),
    ]
    assert told[2]["current_cell_id"] == "c0"
    assert told[-2]["error"] == record["error"]
    duration = record["duration_seconds"]
    assert told[-1].items() >= {"state": "failed", "duration_seconds": duration}.items()
    of_first = [event for event in events if event.get("cell_index") == 0]
    assert [event["type"] for event in of_first] == [
        "execution_count",
        *("stream", "output", "update", "stream", "clear", "stream", "output"),
    ]
    assert of_first[2].items() >= {"display_id": "d"}.items()
    assert of_first[3]["display_id"] == "d"
    assert of_first[3]["data"] == {"text/plain": "second"}
    assert of_first[5]["wait"] is True
    assert text_of(events) == "one\ntwo\n"
    shown = [event["output"] for event in events if event["type"] == "output"]
    assert shown[1:] == record["result"]["outputs"][1:]


async def test_every_event_has_its_time(exec_api: ExecApi, following: FollowingClient) -> None:
    """The moment when it occurred: from the record's creation to its end, in order."""
    start = datetime.now(UTC)
    record = await exec_api.run_cells(
        "import time\nprint('a', flush=True)\ntime.sleep(0.3)\n1", "2"
    )

    events = await following.events(record)

    times = [datetime.fromisoformat(event["time"]) for event in events]
    assert times == sorted(times)
    assert start < times[0]
    assert times[-1] < datetime.now(UTC)
    assert events[0]["time"] == record["created_time"]
    assert events[-1]["time"] == record["end_time"]
    printed, shown = (
        datetime.fromisoformat(next(e["time"] for e in events if e["type"] == kind))
        for kind in ("stream", "output")
    )
    assert shown - printed > timedelta(seconds=0.2)
    ndjson = {"Accept": "application/x-ndjson"}
    assert await following.events(record, headers=ndjson) == events


async def test_events_that_were_stored_without_a_time_have_none(
    exec_app: ExecApp, following: FollowingClient, keep_final: Any
) -> None:
    """As those of a release before the field."""
    record = {"id": (await keep_final(state=State.PENDING)).id}
    content = {"state": "running"}
    old = {"number": 1, "type": "state", "cell_index": 0, "content": content, "published_bytes": 0}

    async with following.stream(record) as stream:
        await stream.until("state", state="pending")
        await exec_app.store.append_events(record["id"], [(1, msgspec.json.encode(old))])
        assert await stream.next() == {"id": 1, "type": "state", "state": "running"}


async def test_events_come_while_it_runs(exec_api: ExecApi, following: FollowingClient) -> None:
    """What was printed is there before the cell goes on, for each of many readers."""
    exec_api.write_notebook(
        "nb.ipynb", *(f"print({n}, flush=True)\n{GATE.format(f'go{n}')}" for n in range(3))
    )
    record = await exec_api.start("nb.ipynb")

    async def follow() -> list[EventData]:
        async with following.stream(record) as stream:
            events = []
            for number in range(3):
                events += await stream.until("stream", text=f"{number}\n")
                (exec_api.root / f"go{number}").touch()
            return events + await stream.rest()

    first, *others = await asyncio.gather(*(follow() for _ in range(5)))
    assert all(other == first for other in others)
    assert first == await following.events(record)


@pytest.mark.serial
async def test_events_come_at_once(exec_api: ExecApi, following: FollowingClient) -> None:
    """Half of the events of a running cell are there within 50 ms."""
    exec_api.write_notebook(
        "nb.ipynb",
        "import time\nfor _ in range(40):\n  print(time.time(), flush=True); time.sleep(0.05)",
    )
    record = await exec_api.start("nb.ipynb")
    delays = []

    async with following.stream(record) as stream:
        while (event := await stream.next()) is not None:
            if event["type"] == "stream":
                delays.append(time.time() - float(event["text"].split()[-1]))

    assert len(delays) >= 30
    assert sorted(delays)[len(delays) // 2] < 0.05


async def test_a_reader_resumes_at_any_event(exec_api: ExecApi, following: FollowingClient) -> None:
    """After any id comes exactly the rest; after the last there is nothing, and 204 says so."""
    record = await exec_api.run_cells(SHOW, "for n in range(3):\n  print(n); display(n)")
    whole = await following.events(record)

    for place, event in enumerate(whole[:-1]):
        headers = {"Last-Event-ID": str(event["id"])}
        assert await following.events(record, headers=headers) == whole[place + 1 :]
        assert await following.events(record, params={"after": event["id"]}) == whole[place + 1 :]
    for number in (whole[-1]["id"], whole[-1]["id"] + 1000):
        async with following.stream(record, headers={"Last-Event-ID": str(number)}) as stream:
            assert stream.response.status_code == 204
            assert stream.response.content == b""


async def test_a_reader_that_comes_again_and_again_misses_nothing(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """While it runs too: what is read in many parts is the whole; the header beats the query."""
    exec_api.write_notebook(
        "nb.ipynb",
        "import time\nfor n in range(300):\n  print(n, flush=True); time.sleep(0.005)\n"
        "  if n % 50 == 0: display(n)",
    )
    record = await exec_api.start("nb.ipynb")
    events: list[EventData] = []

    while not events or events[-1]["type"] != "end":
        headers = {"Last-Event-ID": str(events[-1]["id"])} if events else {}
        async with following.stream(record, headers=headers, params={"after": ""}) as stream:
            for _ in range(3):
                if (event := await stream.next()) is not None:
                    events.append(event)

    assert events == await following.events(record)
    assert text_of(events) == "".join(f"{n}\n" for n in range(300))
    async with following.stream(record, headers=headers, params={"after": "0"}) as stream:
        assert await stream.rest() == events[int(headers["Last-Event-ID"]) + 1 :]


async def test_a_number_that_is_none_is_refused(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """With 400, in the header as in the query."""
    record = await exec_api.run_cells("1")
    for text in ("x", "-1", "1.5", "\u0661"):
        for place in ({"headers": {"Last-Event-ID": text.encode()}}, {"params": {"after": text}}):
            async with following.stream(record, **place) as stream:
                assert stream.response.status_code == 400
                assert stream.response.json()["code"] == "MalformedRequest"


@pytest.mark.parametrize(
    "exec_config", [{"max_stream_bytes": 2_000, "max_output_bytes": 20_000}], ids=["small"]
)
async def test_what_retention_cut_is_a_gap(exec_api: ExecApi, following: FollowingClient) -> None:
    """It tells how many events are lost; whoever resumes after it, or before it, misses no more."""
    record = await exec_api.run_cells(
        "import sys\nfor n in range(100):\n"
        "  print(f'{n:099}', file=(sys.stdout, sys.stderr)[n % 2], flush=True)"
    )

    whole = await following.events(record)

    gaps = [event for event in whole if event["type"] == "gap"]
    assert gaps
    seen = -1
    for event in whole:
        lost = event["lost"] if event["type"] == "gap" else 0
        assert event["id"] == seen + (lost or 1)
        seen = event["id"]
    for place, event in enumerate(whole[:-1]):
        params = {"after": event["id"]}
        assert await following.events(record, params=params) == whole[place + 1 :]
    assert whole[-1]["type"] == "end"
    assert [e["type"] for e in whole[:3]] == ["state", "state", "progress"]


async def test_lines_of_json_are_the_same_events(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """By ``Accept``; and both are said not to be kept by proxies on the way."""
    record = await exec_api.run_cells(SHOW, "print('a\\r\\nb\\u2028c')\n1/0")
    ndjson = {"Accept": "application/x-ndjson"}

    assert await following.events(record, headers=ndjson) == await following.events(record)

    for headers, content_type in ((ndjson, "application/x-ndjson"), ({}, "text/event-stream")):
        async with following.stream(record, headers=headers) as stream:
            got = stream.response.headers
            assert got["Content-Type"] == content_type
            assert got["X-Accel-Buffering"] == "no"
            assert got["Cache-Control"] == "no-store"


@pytest.mark.parametrize("exec_config", [{"heartbeat_seconds": 1.0}], ids=["fast"])
@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_a_silent_stream_shows_that_it_lives(
    exec_api: ExecApi, following: FollowingClient, accept: str
) -> None:
    """Now and then a heartbeat comes, which is no event."""
    exec_api.write_notebook("nb.ipynb", GATE.format("go"))
    record = await exec_api.start("nb.ipynb")

    async with following.stream(record, headers={"Accept": accept}) as stream:
        await stream.until("execution_count")
        reading = asyncio.create_task(stream.rest())
        async with asyncio.timeout(WAIT_SECONDS):
            while stream.heartbeat_count < 2:
                assert not reading.done()
                await asyncio.sleep(0.05)
        (exec_api.root / "go").touch()
        rest = await reading

    assert [event["type"] for event in rest] == ["progress", "end"]


# How it ends.


async def test_the_death_of_the_kernel_ends_it(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """With what was printed before, the error and the end."""
    exec_api.write_notebook("nb.ipynb", f"import os; print(os.getpid(), flush=True)\n{SLEEP}")
    record = await exec_api.start("nb.ipynb")

    async with following.stream(record) as stream:
        events = await stream.until("stream")
        os.kill(int(events[-1]["text"].split()[0]), signal.SIGKILL)
        events += await stream.rest()

    assert [event["type"] for event in events[-2:]] == ["error", "end"]
    assert events[-2]["error"]["code"] == "KernelDied"
    assert events[-1]["state"] == "failed"


async def test_cancelling_ends_it(exec_api: ExecApi, following: FollowingClient) -> None:
    """One that runs is seen cancelling; of one that waits nothing but the end is left."""
    exec_api.write_notebook("nb.ipynb", SLEEP)
    record = await exec_api.start("nb.ipynb")

    async with following.stream(record) as stream:
        await stream.until("stream")
        await exec_api.request("POST", "executions", record["id"], "cancel", body="")
        events = await stream.rest()

    assert events[0].items() >= {"type": "state", "state": "cancelling"}.items()
    assert events[-1].items() >= {"type": "end", "state": "cancelled"}.items()
    assert "error" not in [event["type"] for event in events]


@pytest.mark.parametrize("exec_config", [{"max_running": 1}], ids=["one"])
async def test_one_that_never_ran_has_an_end_too(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """Whether somebody followed it or not."""
    exec_api.write_notebook("nb.ipynb", SLEEP)
    await exec_api.start("nb.ipynb")
    record = await exec_api.start("nb.ipynb")

    async with following.stream(record) as stream:
        await stream.until("state", state="pending")
        await exec_api.request("POST", "executions", record["id"], "cancel", body="")
        rest = await stream.rest()

    record = await exec_api.final(record)
    end_time = record["end_time"]
    assert rest == [{"id": 1, "type": "end", "time": end_time, "state": "cancelled"}]
    assert (await following.events(record))[1:] == rest


@pytest.mark.parametrize("exec_config", [{"max_running": 1}], ids=["one"])
async def test_the_stop_of_the_server_ends_it(
    exec_api: ExecApi, exec_app: ExecApp, following: FollowingClient, keep_final: Any
) -> None:
    """What ran and what waited ends with the reason; a silent stream ends too, and in time."""
    exec_api.write_notebook("nb.ipynb", SLEEP)
    running, waiting = [await exec_api.start("nb.ipynb") for _ in range(2)]
    elsewhere = {"id": (await keep_final(state=State.PENDING)).id}

    async with (
        following.stream(running) as of_running,
        following.stream(waiting) as of_waiting,
        following.stream(elsewhere) as of_elsewhere,
    ):
        await of_running.until("stream")
        for stream in (of_waiting, of_elsewhere):
            await stream.until("state")
        await exec_app.stop_extension()
        ends = [await stream.rest() for stream in (of_running, of_waiting, of_elsewhere)]

    for events in ends[:2]:
        assert [event["type"] for event in events[-2:]] == ["error", "end"]
        assert events[-2]["error"]["code"] == "ServerStopped"
    assert ends[2] == []
    async with following.stream(running) as stream:
        assert stream.response.status_code == 503


async def test_one_that_another_server_runs_is_followed(
    exec_app: ExecApp, following: FollowingClient, keep_final: Any
) -> None:
    """By asking the store, to its end."""
    pending = await keep_final(state=State.PENDING)
    content = {"name": "stdout", "text": "a"}
    event = Event(number=1, type=EventType.STREAM, cell_index=0, content=content)
    final = advance(advance(pending, State.RUNNING, at=START), State.SUCCEEDED, at=START)

    async with following.stream({"id": pending.id}) as stream:
        await stream.until("state")
        await exec_app.store.append_events(pending.id, [encode_event(event)])
        await stream.until("stream", text="a")
        closing = [*map(encode_event, closing_events(final, after=1))]
        await exec_app.store.finish(final, result=msgspec.json.encode(Result()), events=closing)
        end = {"id": 2, "type": "end", "time": "2026-01-01T12:00:00Z", "state": "succeeded"}
        assert await stream.rest() == [end]


async def test_the_end_of_the_record_ends_the_stream(
    exec_app: ExecApp, exec_api: ExecApi, following: FollowingClient, keep_final: Any
) -> None:
    """When it is deleted there is no end to tell of; later requests are answered 404."""
    pending = await keep_final(state=State.PENDING)
    final = advance(advance(pending, State.RUNNING, at=START), State.SUCCEEDED, at=START)

    async with following.stream({"id": pending.id}) as stream:
        await stream.until("state")
        await exec_app.store.finish(final, result=msgspec.json.encode(Result()))
        await exec_app.store.delete(pending.id)
        assert await stream.rest() == []
    async with following.stream({"id": pending.id}) as stream:
        assert stream.response.status_code == 404


# What it costs.


@pytest.mark.parametrize("exec_config", [{"max_streams": 4}], ids=["two"])
async def test_the_number_of_streams_is_limited(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """One user has at most half of them; when one leaves there is room again."""
    exec_api.write_notebook("nb.ipynb", SLEEP)
    record = await exec_api.start("nb.ipynb")

    async with following.stream(record) as stream:
        await stream.until("stream")
        async with (
            following.stream(record, what="log", params={"follow": "true"}),
            following.stream(record) as refused,
        ):
            assert refused.response.status_code == 429
            assert refused.response.headers["Retry-After"] == "10"
        async with asyncio.timeout(10):
            while True:
                async with following.stream(record) as again:
                    if again.response.status_code == 200:
                        break


@pytest.mark.serial
async def test_readers_that_leave_leave_nothing(
    exec_api: ExecApi, exec_app: ExecApp, following: FollowingClient
) -> None:
    """Of 200 streams whose clients went away no task and no file is left, and the run goes on."""
    exec_api.write_notebook("nb.ipynb", f"print('here', flush=True)\n{GATE.format('go')}print(1)")
    record = await exec_api.start("nb.ipynb")
    async with following.stream(record) as stream:
        await stream.until("stream")
    await following.http.get("executions")
    process = psutil.Process()
    async with asyncio.timeout(WAIT_SECONDS):
        while exec_app.following._followers:
            await asyncio.sleep(0.01)
    tasks, fds = len(asyncio.all_tasks()), process.num_fds()

    async def open_and_leave() -> None:
        async with following.stream(record) as stream:
            await stream.until("stream")
            opened.append(stream)
            await is_time.wait()

    opened: list[Any] = []
    is_time = asyncio.Event()
    readers = [asyncio.create_task(open_and_leave()) for _ in range(200)]
    async with asyncio.timeout(WAIT_SECONDS):
        while len(opened) < 200:
            await asyncio.sleep(0.05)
    assert len(exec_app.following._followers) == 200
    is_time.set()
    await asyncio.gather(*readers)

    start = time.monotonic()
    while len(asyncio.all_tasks()) > tasks or process.num_fds() > fds:
        assert time.monotonic() - start < 5, (len(asyncio.all_tasks()), process.num_fds())
        await asyncio.sleep(0.05)
    (exec_api.root / "go").touch()
    record = await exec_api.final(record)
    assert record["result"]["stdout"] == "here\n1\n"


async def read_nothing(
    record: EventData, port: int, auth_header: dict[str, str]
) -> asyncio.StreamWriter:
    """Ask for events and read nothing; `leave` closes what is returned."""
    _, writer = await asyncio.open_connection("localhost", port, limit=1000)
    lines = (
        f"GET /user/a%40b/exec/executions/{record['id']}/events HTTP/1.1",
        "Host: localhost",
        f"Authorization: {auth_header['Authorization']}",
        "",
    )
    writer.write("".join(f"{line}\r\n" for line in lines).encode())
    return writer


async def leave(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_one_who_reads_nothing_does_not_delay_the_stop(
    exec_api: ExecApi, exec_app: ExecApp, jp_http_port: int, jp_auth_header: dict[str, str]
) -> None:
    """The server leaves what could not be sent."""
    record = await exec_api.run_cells("for _ in range(90): print('x' * 99_999)")
    stuck = await read_nothing(record, jp_http_port, jp_auth_header)
    async with asyncio.timeout(WAIT_SECONDS):
        while not exec_app.following._followers:
            await asyncio.sleep(0.01)

    start = time.monotonic()
    await exec_app.stop_extension()

    assert time.monotonic() - start < 3
    assert not exec_app.following._followers
    await leave(stuck)


@pytest.mark.parametrize("exec_config", [{"transfer_timeout_seconds": 1}])
@pytest.mark.parametrize("path", ["events", "log", "log?follow=true"])
async def test_one_who_reads_nothing_is_cut_off(
    exec_api: ExecApi,
    jp_http_port: int,
    jp_base_url: str,
    jp_auth_header: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    path: str,
) -> None:
    """No stream waits for ever to be taken, and it is no defect."""
    record = await exec_api.run_cells("for _ in range(90): print('x' * 99_999)")

    target = f"{jp_base_url}exec/executions/{record['id']}/{path}"
    taken = await taken_when_cut(jp_http_port, target, jp_auth_header)

    assert taken.startswith(b"HTTP/1.1 200 ")
    assert len(taken) < 9_000_000
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


FLOOD = (
    "import time\nstart = time.perf_counter()\n"
    "for _ in range(500):\n  print('x' * 99_999)\n"
    "print(f'{time.perf_counter() - start}')"
)


@pytest.mark.serial
async def test_a_slow_reader_slows_nobody(
    exec_api: ExecApi,
    following: FollowingClient,
    jp_http_port: int,
    jp_auth_header: dict[str, str],
) -> None:
    """Twenty clients that read nothing of 50 MB: the run, another reader and memory stay as is."""
    path = exec_api.write_notebook("nb.ipynb", f"{GATE.format('go')}{FLOOD}")

    async def run(idle_count: int) -> tuple[float, float, int]:
        """Return seconds of the code and of a reader, and the growth of memory."""
        (exec_api.root / "go").unlink(missing_ok=True)
        record = await exec_api.start(path)
        stuck = [
            await read_nothing(record, jp_http_port, jp_auth_header) for _ in range(idle_count)
        ]
        async with following.stream(record) as stream:
            await stream.until("progress")
            before = psutil.Process().memory_info().rss
            start = time.monotonic()
            (exec_api.root / "go").touch()
            events = await stream.rest()
            seconds = time.monotonic() - start
        growth = psutil.Process().memory_info().rss - before
        assert events[-1]["state"] == "succeeded"
        for writer in stuck:
            await leave(writer)
        return float(text_of(events).split()[-1]), seconds, growth

    await run(0)
    code_alone, reader_alone, growth_alone = await run(0)
    code, reader, growth = await run(20)

    assert code < 2 * code_alone + 1
    assert reader < 2 * reader_alone + 2
    # Of each no more than a batch, and what sockets hold.
    assert growth - max(0, growth_alone) < 20 * 3_000_000
