"""Records are found, paged, read and deleted; what is asked for is what happens."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.core.models import (
    Event,
    EventType,
    Execution,
    NotebookSource,
    Result,
)
from jupyter_exec_ext.core.states import State, advance
from tests.api.conftest import START
from tests.conftest import Answer, ExecApi

GATE = (
    "print('here')\nimport pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"
)

Keep = Callable[..., Awaitable[Execution]]


async def listed(exec_api: ExecApi, **params: Any) -> list[str]:
    """Return the descriptions of the executions on one page."""
    answer = await exec_api.request("GET", "executions", params=params)
    assert answer.status == 200, answer.body
    return [record["description"] for record in answer.json["executions"]]


async def delete(exec_api: ExecApi, *parts: str, **params: Any) -> Answer:
    return await exec_api.request("DELETE", "executions", *parts, params=params)


async def test_filters_choose_and_the_newest_come_first(
    exec_api: ExecApi, keep_final: Keep
) -> None:
    """State, path, label, owner, session and times, alone and together; no match, empty list."""
    first = await keep_final(0, description="0", path="a.ipynb", owner="ann", labels={"x": "1"})
    await keep_final(1, description="1", path="a.ipynb", owner="bob", state=State.FAILED)
    await keep_final(2, description="2", path="d/ü b.ipynb", labels={"x": "2", "y": ""})
    await keep_final(3, description="3", state=State.CANCELLED, labels={"x": "a=b", "ü": "ß"})

    for params, expected in (
        ({}, "3210"),
        ({"order_by": "created_time"}, "0123"),
        ({"order_by": "-created_time"}, "3210"),
        ({"state": "failed"}, "1"),
        ({"state": "failed,cancelled"}, "31"),
        ({"state": "running,pending,cancelling"}, ""),
        ({"path": "a.ipynb"}, "10"),
        ({"path": "d/ü b.ipynb"}, "2"),
        ({"path": "a"}, ""),
        ({"path": " a.ipynb"}, ""),
        ({"label": "x"}, "320"),
        ({"label": "x=2"}, "2"),
        ({"label": "x=a=b"}, "3"),
        ({"label": "y="}, "2"),
        ({"label": "ü=ß"}, "3"),
        ({"label": "x=%"}, ""),
        ({"owner": "ann"}, "0"),
        ({"owner": "nobody"}, ""),
        ({"session_id": first.session_id}, "0"),
        ({"created_after": "2026-01-01T12:02:00Z"}, "32"),
        ({"created_before": "2026-01-01T12:02:00Z"}, "10"),
        ({"created_after": "2026-01-01T14:01:00+02:00"}, "321"),
        ({"created_after": "2026-01-01T12:01", "created_before": "2026-01-01T12:02"}, "1"),
        ({"path": "a.ipynb", "state": "failed", "owner": "bob"}, "1"),
        ({"path": "a.ipynb", "state": "failed", "owner": "ann"}, ""),
    ):
        assert "".join(await listed(exec_api, **params)) == expected, params
    shown = (await exec_api.request("GET", "executions")).json
    assert "next_page_token" not in shown
    assert all("result" not in record for record in shown["executions"])


async def test_pages_show_each_record_once_while_others_come(
    exec_api: ExecApi, keep_final: Keep
) -> None:
    """A token goes on where its page ended, whatever was added or deleted meanwhile."""
    records = [await keep_final(number, description=str(number)) for number in range(7)]
    seen: list[str] = []
    params: dict[str, Any] = {"page_size": 3}

    while True:
        answer = await exec_api.request("GET", "executions", params=params)
        seen += [record["description"] for record in answer.json["executions"]]
        if "next_page_token" not in answer.json:
            break
        params["page_token"] = answer.json["next_page_token"]
        await keep_final(100 + len(seen), description="new")
        if len(seen) == 3:
            await exec_api.request("DELETE", "executions", records[4].id)

    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


@pytest.mark.parametrize("exec_config", [{"max_page_size": 4}])
async def test_sizes_of_pages_and_tokens_of_other_lists(
    exec_api: ExecApi, keep_final: Keep
) -> None:
    """0 is the default, too much is the limit; a token of another list, or none, is refused."""
    for number in range(6):
        await keep_final(number, description=str(number))
    page = (await exec_api.request("GET", "executions", params={"page_size": 2})).json

    for size, count in ((1, 1), (4, 4), (5, 4), (10**17, 4), ("9" * 5000, 4), (0, 4)):
        assert len(await listed(exec_api, page_size=size)) == count
    assert await listed(exec_api, page_token=page["next_page_token"], page_size=1) == ["3"]
    for params in (
        {"page_token": page["next_page_token"], "state": "failed"},
        {"page_token": page["next_page_token"], "order_by": "created_time"},
        {"page_token": page["next_page_token"] + "x"},
        {"page_token": page["next_page_token"][:-1]},
        {"page_token": "x"},
        {"page_token": "ü"},
        {"page_token": "A" * 5000},
    ):
        answer = await exec_api.request("GET", "executions", params=params)
        assert (answer.status, answer.json["target"]) == (422, "page_token"), params
    assert len(await listed(exec_api, page_token="")) == 4


async def test_a_bulk_delete_needs_a_filter_and_takes_only_what_is_final(
    exec_api: ExecApi, keep_final: Keep
) -> None:
    """Without a filter, or with one misspelt or twice, nothing goes; what runs is never taken."""
    for number in range(4):
        state = State.FAILED if number % 2 else State.SUCCEEDED
        await keep_final(number, description=str(number), state=state, labels={"a": "b"})
    exec_api.write_notebook("nb.ipynb", GATE)
    running = await exec_api.start("nb.ipynb", labels={"a": "b"}, description="runs")
    await exec_api.until_printed(running, "here")

    empty = [f"?owner=a&{name}=" for name in ("state", "label", "created_before", "created_after")]
    for query in ("", "?", "?stat=failed", "?1764", "?no_track_activity=1", *empty):
        answer = await exec_api.request("DELETE", "executions", params=dict(parsed(query)))
        assert (answer.status, answer.json["code"]) == (400, "MalformedRequest"), query
    refused = await delete(exec_api, state="failed", lable="a")
    assert (refused.status, refused.json["target"]) == (400, "lable")
    twice = await exec_api.request("DELETE", "executions", params=[("label", "a"), ("label", "c")])
    assert (twice.status, twice.json["target"]) == (400, "label")
    assert len(await listed(exec_api)) == 5

    assert (await delete(exec_api, state="failed", owner="nobody")).json == {"deleted": 0}
    assert (await delete(exec_api, state="failed", **{"1764": ""})).json == {"deleted": 2}
    assert (await delete(exec_api, label="a=b")).json == {"deleted": 2}
    assert await listed(exec_api) == ["runs"]
    (exec_api.root / "go").touch()
    await exec_api.final(running)
    assert (await delete(exec_api, state="succeeded")).json == {"deleted": 1}


def parsed(query: str) -> list[tuple[str, str]]:
    """Return the parameters of a query string."""
    pairs = [item.partition("=") for item in query.lstrip("?").split("&") if item]
    return [(name, value) for name, _, value in pairs]


async def test_deleting_leaves_nothing_but_saved_files(exec_api: ExecApi) -> None:
    """204, then 404 on all paths of the execution; the notebook that it saved stays."""
    record = await exec_api.run_cells("print(1)", save_to="out.ipynb")

    answer = await delete(exec_api, record["id"])

    assert (answer.status, answer.body) == (204, b"")
    again = await delete(exec_api, record["id"])
    assert (again.status, again.json["code"]) == (404, "ExecutionNotFound")
    for where in ("", "/log", "/notebook"):
        answer = await exec_api.request("GET", f"executions/{record['id']}{where}")
        assert answer.status == 404
    assert (await exec_api.request("POST", f"executions/{record['id']}/cancel")).status == 404
    assert (exec_api.root / "out.ipynb").exists()
    assert await listed(exec_api) == []


@pytest.mark.parametrize("exec_config", [{"max_running": 1}])
async def test_what_is_not_final_is_deleted_by_force_only(
    exec_api: ExecApi, jp_serverapp: Any
) -> None:
    """409 while it waits or runs; with ``force`` it is cancelled first, and then it is gone."""
    exec_api.write_notebook("nb.ipynb", GATE)
    running = await exec_api.start("nb.ipynb")
    pending = await exec_api.start("nb.ipynb")
    await exec_api.until_printed(running, "here")

    for record in (running, pending):
        answer = await delete(exec_api, record["id"])
        assert (answer.status, answer.json["code"]) == (409, "NotFinal")
        assert (await delete(exec_api, record["id"], force="false")).status == 409
    for record in (pending, running):
        assert (await delete(exec_api, record["id"], force="true")).status == 204
        assert (await exec_api.request("GET", "executions", record["id"])).status == 404
    exec_api.write_notebook("nb.ipynb", "print('next')")
    assert (await exec_api.run("nb.ipynb"))["result"]["stdout"] == "next\n"
    assert len(await listed(exec_api)) == 1


async def test_the_basic_view_leaves_out_what_is_large(exec_api: ExecApi) -> None:
    """Everywhere it can be asked for: no result, no traceback, but what and where it was."""
    path = exec_api.write_notebook("nb.ipynb", "print('x' * 1000)", "1/0")
    body = json.dumps({"notebook": {"path": path}})
    params = {"view": "basic", "wait": "60"}

    created = await exec_api.request("POST", "executions", body=body, params=params)
    full = await exec_api.get(created.json)
    one = f"executions/{full['id']}"
    shown = await exec_api.request("GET", one, params={"view": "basic"})
    cancelled = await exec_api.request("POST", f"{one}/cancel", body="", params=params)
    (in_list,) = (await exec_api.request("GET", "executions")).json["executions"]

    assert created.json == shown.json == cancelled.json == in_list
    large = ("traceback", "traceback_text")
    expected = {key: value for key, value in full.items() if key != "result"}
    expected["error"] = {key: full["error"][key] for key in full["error"] if key not in large}
    assert shown.json == expected
    assert full["error"]["traceback_text"]
    assert shown.json["error"]["ename"] == "ZeroDivisionError"


async def long_log(exec_app: ExecApp, count: int, text: str) -> Execution:
    """Keep an execution that printed *text* so many times."""
    pending = Execution(
        id="11111111-2222-4333-8444-555555555555",
        type="notebook",
        state=State.PENDING,
        source=NotebookSource(path="nb.ipynb"),
        session_id="s",
        kernel_name="python3",
        created_time=START,
    )
    await exec_app.store.insert(pending, notebook=b"{}")
    final = advance(advance(pending, State.RUNNING, at=START), State.SUCCEEDED, at=START)
    events = []
    for number in range(1, count + 1):
        content = {"name": "stdout", "text": f"{number} {text}"}
        event = Event(number=number, type=EventType.STREAM, cell_index=0, content=content)
        events.append((number, msgspec.json.encode(event)))
    await exec_app.store.finish(final, result=msgspec.json.encode(Result()), events=events)
    return final


async def test_a_long_log_is_streamed_whole(exec_api: ExecApi, exec_app: ExecApp) -> None:
    """Many pages of it arrive in order, as text; both streams as they came."""
    record = await long_log(exec_app, 1001, "ü\n")

    answer = await exec_api.request("GET", "executions", record.id, "log")

    assert answer.body.decode() == "".join(f"{number} ü\n" for number in range(1, 1002))
    assert answer.headers["Transfer-Encoding"] == "chunked"


async def open_log(
    key: str, port: int, auth_header: dict[str, str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a log, and read no more of the answer than that it begins."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
    lines = (
        f"GET /user/a%40b/exec/executions/{key}/log HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Authorization: {auth_header['Authorization']}",
    )
    writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
    assert b"200" in await reader.readline()
    return reader, writer


async def test_a_log_that_breaks_off_does_not_look_whole(
    exec_app: ExecApp, exec_api: ExecApi, jp_http_port: int, jp_auth_header: dict[str, str]
) -> None:
    """When the rest cannot be read the connection is cut: the last chunk never comes."""
    record = await long_log(exec_app, 450, "x" * 64_000)
    reader, writer = await open_log(record.id, jp_http_port, jp_auth_header)

    assert (await delete(exec_api, record.id)).status == 204
    rest = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert len(rest) > 64_000
    assert not rest.endswith(b"\r\n0\r\n\r\n")
    assert (await exec_api.request("GET", "executions")).status == 200


async def test_a_reader_who_leaves_in_the_middle_of_a_log_does_no_harm(
    exec_app: ExecApp,
    exec_api: ExecApi,
    jp_http_port: int,
    jp_auth_header: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The server stops reading for it, reports no defect, and the next reader gets all."""
    record = await long_log(exec_app, 450, "x" * 64_000)
    _, writer = await open_log(record.id, jp_http_port, jp_auth_header)

    writer.transport.abort()

    answer = await exec_api.request("GET", "executions", record.id, "log")
    assert len(answer.body) > 450 * 64_000
    assert "a defect" not in caplog.text
    assert "Traceback" not in caplog.text
